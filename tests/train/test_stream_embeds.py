"""The stream of pairs: every row once per epoch, any cut resumes, ranks share it, what cannot be is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipsonic.clip.pair_embeds import PairShard, open_embedded
from clipsonic.errors import CorpusError
from clipsonic.train.streams.embeds import PairStream
from clipsonic.train.streams.pair_rows import PairRows

WIDTH = 4
SMALL = {"block_bytes": 3 * 32, "window_bytes": 10 * 32}
"""Blocks of 3 and windows of about 10 rows of 32 bytes."""


def vectors(count: int, seed: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(dtype)


def write(folder: Path, *counts: int, dtype: Any = np.float16, repeat: int = 1) -> Path:
    """Shards of so many rows in clip-retrieval's layout; each picture `repeat` times."""
    for number, count in enumerate(counts):
        for stem, values in (
            ("img_emb", vectors(count, number, dtype).repeat(repeat, axis=0)[:count]),
            ("text_emb", vectors(count, 100 + number, dtype)),
        ):
            (folder / stem).mkdir(parents=True, exist_ok=True)
            np.save(folder / stem / f"{stem}_{number}.npy", values)
    return folder


def stream(folder: Path, batch_size: int = 4, seed: int = 0, **how: Any) -> PairStream:
    return PairStream(PairRows(open_embedded(folder)), batch_size, seed, **{**SMALL, **how})


def keys(batches: Any) -> list[str]:
    return [key for batch in batches for key in batch["keys"]]


def take(source: PairStream, count: int) -> list[dict[str, Any]]:
    return list(itertools.islice(source, count))


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    same = all(torch.equal(one[name], other[name]) for name in ("texts", "images"))
    return same and (one["keys"], one["position"]) == (other["keys"], other["position"])


def test_each_epoch_holds_every_row_once_in_another_order(tmp_path: Path) -> None:
    pairs = stream(write(tmp_path / "e", 17, 0 + 5, 10))
    first, second = np.array(keys(take(pairs, 16))).reshape(2, 32)
    everything = sorted(f"e/{shard}:{row}" for shard, count in enumerate((17, 5, 10)) for row in range(count))
    assert sorted(first) == sorted(second) == everything
    assert list(first) != list(second)


def test_a_batch_holds_the_unit_vectors_of_its_keys_rows(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", 9, 8)
    batch = take(stream(folder, 8), 1)[0]
    for key, text, image in zip(batch["keys"], batch["texts"], batch["images"], strict=True):
        shard, row = key.removeprefix("e/").split(":")
        for stem, value in (("text_emb", text), ("img_emb", image)):
            stored = np.load(folder / stem / f"{stem}_{shard}.npy")[int(row)].astype(np.float64)
            assert np.abs(value.numpy() - stored / np.linalg.norm(stored)).max() < 1e-6  # float32


@pytest.mark.parametrize("cut", [1, 5, 8, 13])
def test_any_cut_resumes_to_the_same_batches_across_epochs(tmp_path: Path, cut: int) -> None:
    folder = write(tmp_path / "e", 17, 10)
    whole = take(stream(folder), 20)
    begun = stream(folder)
    take(begun, cut)
    resumed = stream(folder, num_workers=0)
    resumed.load_state_dict(begun.state_dict())
    assert all(equal(one, other) for one, other in zip(take(resumed, 20 - cut), whole[cut:], strict=True))


def test_ranks_hold_the_rows_of_the_whole_batch_in_turn(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", 17, 10)
    whole = take(stream(folder, 6), 9)
    parts = [take(stream(folder, 6).shard(rank, 3), 9) for rank in range(3)]
    for step, batch in enumerate(whole):
        for rank in range(3):
            assert parts[rank][step]["keys"] == batch["keys"][rank::3]
            assert torch.equal(parts[rank][step]["images"], batch["images"][rank::3])
            assert parts[rank][step]["position"] == batch["position"]


def test_shards_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", *[1] * 11)
    assert [shard.name for shard in open_embedded(folder)] == [f"e/{number}" for number in range(11)]


def test_held_out_pairs_are_never_trained_on_nor_is_their_picture_with_another_caption(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", 90, 60, repeat=3)
    pairs = stream(folder, val_share=0.1, batch_size=15)
    held = pairs.rows.one_of_each(pairs.held_out, 100)
    pictures = {tuple(row.tolist()) for batch, _ in held for row in batch["images"]}
    trained = [tuple(row.tolist()) for batch in take(pairs, 20) for row in batch["images"]]
    assert 15 <= len(pairs.rows) - pairs.num_rows <= 17  # a tenth, in whole pictures
    assert len(pictures) == 5
    assert not pictures & set(trained)
    assert len(set(keys(take(stream(folder, val_share=0.1, batch_size=1), pairs.num_rows)))) == pairs.num_rows


def test_a_large_share_is_held_out_in_runs_and_only_some_are_looked_at() -> None:
    rows = PairRows([PairShard("m", vectors(30_000, 1), vectors(30_000, 2))])
    pairs = PairStream(rows, 8, 0, val_share=0.2)
    assert len(pairs.held_out) == 1024
    assert abs(pairs.num_rows - 24_000) <= 6  # one run more or less
    assert len({seed: tuple(PairStream(rows, 8, seed, val_share=0.2).held_out) for seed in (0, 1)}) == 2


def test_the_digest_names_files_by_name_size_and_rows_and_not_by_time(tmp_path: Path) -> None:
    digest = stream(write(tmp_path / "a" / "e", 7)).digest
    assert stream(write(tmp_path / "b" / "e", 7)).digest == digest
    others = [
        stream(write(tmp_path / "c" / "e", 8)).digest,
        stream(write(tmp_path / "d" / "e", 7), val_share=0.3).digest,
    ]
    assert digest not in others
    pairs = stream(tmp_path / "a" / "e")
    with pytest.raises(CorpusError, match=f"of digest {digest[::-1]}, pairs and seed here have {digest}"):
        pairs.load_state_dict({**pairs.state_dict(), "digest": digest[::-1]})
    with pytest.raises(CorpusError, match="of seed 7"):
        pairs.load_state_dict({**pairs.state_dict(), "seed": 7})


def test_rows_that_are_no_directions_are_left_out_and_named_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "e", 20)
    images = np.load(folder / "img_emb" / "img_emb_0.npy")
    images[3], images[11, 0] = 0.0, np.nan
    np.save(folder / "img_emb" / "img_emb_0.npy", images)
    pairs = stream(folder, batch_size=20, window_bytes=2**20)
    seen = [keys(take(pairs, 1)) for _ in range(2)]
    good = {f"e/0:{row}" for row in range(20)} - {"e/0:3", "e/0:11"}
    assert [set(names) for names in seen] == [good, good]
    assert capfd.readouterr().err.count("row 3 of e/0 is not finite or has no length") == 1


def test_what_cannot_go_together_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", 5, 6)
    np.save(folder / "text_emb" / "text_emb_1.npy", vectors(4, 0))
    with pytest.raises(CorpusError, match=r"e/1 has pictures of shape \(6, 4\) and captions of \(4, 4\)"):
        open_embedded(folder)
    (folder / "text_emb" / "text_emb_1.npy").unlink()
    with pytest.raises(CorpusError, match=r"only one of img_emb_1\.npy and text_emb_1\.npy"):
        open_embedded(folder)
    np.save(folder / "text_emb" / "text_emb_1.npy", vectors(6, 0).astype(np.int32))
    with pytest.raises(CorpusError, match="write float16 or float32"):
        open_embedded(folder)
    (folder / "text_emb" / "text_emb_1.npy").write_bytes(b"half a file")
    with pytest.raises(CorpusError, match="is no readable array"):
        open_embedded(folder)
    with pytest.raises(CorpusError, match="a of width 4 and b of width 2"):
        PairRows(
            [
                PairShard(name, vectors(3, 0)[:, :width], vectors(3, 0)[:, :width])
                for name, width in (("a", 4), ("b", 2))
            ]
        )
    with pytest.raises(CorpusError, match="1 pairs are too few"):
        PairStream(PairRows([PairShard("a", vectors(1, 0), vectors(1, 1))]), 4, 0, val_share=0.5)
