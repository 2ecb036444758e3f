"""What a run reads: one corpus or several, from folders and addresses, and the options that say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from clipsonic.cli import main
from clipsonic.errors import UsageError
from clipsonic.files import PROTOCOLS
from clipsonic.shards.record import Record
from clipsonic.shards.writer import CorpusIndex, write_facts, write_shard
from clipsonic.specs import CorpusSpec
from clipsonic.train.command import build_parser, config_of
from clipsonic.train.streams.records import frame_bank, mel_statistics, open_data

RATE_HZ, WIDTH = 4000, 8
SMALL = [
    "--segment.sample_rate_hz", "4000", "--segment.n_fft", "256", "--segment.hop_length", "64",
    "--segment.num_mels", "16", "--segment.f_max_hz", "2000", "--segment.num_mel_frames", "32",
    "--model.dit.patch", "4", "--model.dit.width", "16", "--model.dit.depth", "1", "--model.dit.heads", "2",
    "--model.dit.fine_depth", "0", "--optim.batch_size", "4", "--run.val_every", "0", "--run.preview_every", "0",
    "--run.ckpt_every", "3",
]  # fmt: skip


def make_corpus(folder: Path, count: int, level: float) -> Path:
    """Noise of one level; every record is of a video of its own."""
    folder.mkdir()
    rng, records = np.random.default_rng(count), []
    times_s = list(CorpusSpec.frame_times_s(1.0, 4))
    for number in range(count):
        wave = (level * rng.uniform(-1, 1, RATE_HZ)).astype(np.float32)
        frames = np.full((4, WIDTH), WIDTH**-0.5, np.float16)
        facts = {"source": f"{folder.name}{number}", "seconds": 1.0, "frame_times_s": times_s, "sample_rate": RATE_HZ}
        records.append(Record(f"{folder.name}{number:02d}", wave, frames, facts))
    shard = write_shard(folder / "shard-000000.tar", records)
    write_facts(folder, [{**record.facts, "key": record.key, "shard": shard["name"]} for record in records])
    CorpusIndex(CorpusSpec(RATE_HZ, 1.0, 0.1), "toy/1", "tiny", WIDTH, [shard]).save(folder)
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Loud and quiet noise."""
    return [str(make_corpus(tmp_path / "loud", 24, 0.8)), str(make_corpus(tmp_path / "quiet", 6, 0.01))]


@pytest.fixture
def address(two: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The quiet one in fsspec's store in memory."""
    monkeypatch.setitem(PROTOCOLS, "memory", "fsspec")
    memory = fsspec.filesystem("memory")
    for path in Path(two[1]).iterdir():
        memory.pipe(f"/bucket/quiet/{path.name}", path.read_bytes())
    yield "memory://bucket/quiet"
    memory.store.clear()


def parsed(*words: str) -> Any:
    return build_parser("clipsonic train").parse_args([*words, "--out", "O", *SMALL])


def test_corpora_and_their_weights_are_options_and_config(tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").write_text("data: {weights: [0.7, 0.3]}\n")
    args = parsed("--corpus", "a", "--corpus", "s3://bucket/b=1", "--config", str(tmp_path / "mix.yaml"))
    assert args.corpus == ["a", "s3://bucket/b=1"]
    assert config_of(args).data.weights == (0.7, 0.3)
    assert config_of(parsed("--corpus", "a", "--data.weights", "[2,1]")).data.weights == (2.0, 1.0)
    with pytest.raises(UsageError, match=r"data\.cache_gb 0\.0 must be above 0"):
        config_of(parsed("--corpus", "a", "--data.cache_gb", "0"))


def test_a_mix_is_weighed_in_the_stream_and_in_the_statistics_and_is_said(two: list[str]) -> None:
    quieter = []
    for weights in ("[0.9,0.1]", "[0.1,0.9]"):
        config = config_of(parsed("--corpus", "-", "--data.weights", weights))
        data = open_data(two, config.segment.spec(WIDTH, "toy/1"), config)
        quieter.append(float(mel_statistics(data.loader, 6)[0].mean()))
        assert any("10.0% from" in note and "90.0% from" in note for note in data.notes)
        assert len(frame_bank(data.loader, 64).images) > 20
    assert quieter[0] > quieter[1] + 1.0, "natural logarithms: the quiet noise is 4.4 below"


def test_the_command_trains_on_a_folder_and_an_address_and_goes_on_as_if_never_stopped(
    two: list[str], address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpora = ["--corpus", two[0], "--corpus", address, "--data.weights", "[0.75,0.25]"]
    cache = ["--data.cache_dir", str(tmp_path / "cache")]
    for out, steps in (("unbroken", "6"), ("resumed", "3"), ("resumed", "6")):
        words = ["train", *corpora, *cache, "--out", str(tmp_path / out), "--max-steps", steps, *SMALL]
        schedule = ["--optim.schedule", "constant", "--optim.warmup_steps", "0", "--objective.guidance_scale", "1.25"]
        assert main([*words, *schedule]) == 0, capsys.readouterr().err
    states = [
        torch.load(tmp_path / out / "checkpoints" / "step-00000006.ckpt", weights_only=True)
        for out in ("unbroken", "resumed")
    ]
    for name, weight in states[0]["state_dict"].items():
        assert torch.equal(weight, states[1]["state_dict"][name]), name
    assert json.loads((tmp_path / "resumed" / "model_index.json").read_text())["guidance_scale"] == 1.25
    report = json.loads((tmp_path / "resumed" / "training.json").read_text())
    assert [part["share"] for part in report["corpus"]["corpora"]] == [0.75, 0.25]
    assert report["corpus"]["corpora"][1]["corpus"] == address
    assert list((tmp_path / "cache").glob("quiet-*/shard-000000.tar"))


def test_an_address_that_holds_no_corpus_is_one_sentence(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--corpus", "memory://bucket/other", "--out", str(tmp_path / "out"), *SMALL]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "no index.json can be read at memory://bucket/other" in error
    assert error.count("\n") == 1
