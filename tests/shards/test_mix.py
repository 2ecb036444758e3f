"""Several corpora as one stream: in proportion, exactly resumable, and only those that go together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from clipsonic.errors import CorpusError, FingerprintError, SpecError, UsageError
from clipsonic.shards.expressions import keep_where
from clipsonic.shards.loader import SegmentLoader
from clipsonic.shards.selection import half_of
from clipsonic.specs import SegmentSpec

MakeCorpus = Callable[..., Path]
WEIGHTS = [0.5, 0.3, 0.2]


@pytest.fixture
def three(make_corpus: MakeCorpus) -> list[Path]:
    """Corpora of 11, 7 and 3 records."""
    sizes = {"a": 11, "b": 7, "c": 3}
    return [make_corpus(name, [f"{name}{i:02d}" for i in range(size)]) for name, size in sizes.items()]


def keys_of(loader: SegmentLoader, num_batches: int) -> list[str]:
    return [key for batch in islice(iter(loader), num_batches) for key in batch["keys"]]


def test_after_any_number_of_records_each_corpus_has_had_its_weight_and_its_epochs_are_whole(
    three: list[Path], segment: SegmentSpec
) -> None:
    keys = keys_of(SegmentLoader(three, segment, 7, 3, "all", weights=WEIGHTS), 30)
    for count in range(1, len(keys) + 1):
        had = Counter(key[0] for key in keys[:count])
        for name, weight in zip("abc", WEIGHTS, strict=True):
            assert abs(had[name] - weight * count) < 1
    for name, size in {"a": 11, "b": 7, "c": 3}.items():
        own = [key for key in keys if key[0] == name]
        epochs = [own[start : start + size] for start in range(0, len(own) - size + 1, size)]
        assert all(len(set(epoch)) == size for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_without_weights_a_mix_is_one_corpus_of_all_records(three: list[Path], segment: SegmentSpec) -> None:
    keys = keys_of(SegmentLoader(three, segment, 7, 3, "all"), 6)
    assert len(set(keys[:21])) == len(set(keys[21:])) == 21


@pytest.mark.parametrize("cut", [0, 1, 5, 9])
def test_a_mix_resumes_at_any_batch_by_one_number_whatever_the_workers(
    three: list[Path], segment: SegmentSpec, cut: int
) -> None:
    unbroken = keys_of(SegmentLoader(three, segment, 4, 7, "all", weights=WEIGHTS), 12)
    first = SegmentLoader(three, segment, 4, 7, "all", weights=WEIGHTS, num_workers=2)
    list(islice(iter(first), cut))
    second = SegmentLoader(three, segment, 4, 7, "all", weights=WEIGHTS)
    second.load_state_dict(first.state_dict())
    assert keys_of(second, 12 - cut) == unbroken[4 * cut :]


def test_a_position_is_of_these_corpora_in_this_order_with_these_weights(
    three: list[Path], segment: SegmentSpec
) -> None:
    state = SegmentLoader(three, segment, 4, 7, "all", weights=WEIGHTS).state_dict()
    for corpora, weights in [(three, None), (three, [0.4, 0.4, 0.2]), (three[::-1], WEIGHTS), (three[:2], [0.5, 0.5])]:
        with pytest.raises(CorpusError, match="digest"):
            SegmentLoader(corpora, segment, 4, 7, "all", weights=weights).load_state_dict(state)


def test_the_ranks_of_a_mix_share_its_batches(three: list[Path], segment: SegmentSpec) -> None:
    whole = SegmentLoader(three, segment, 6, 1, "all", weights=WEIGHTS)
    parts = [iter(whole.shard(rank, 3)) for rank in range(3)]
    for expected in islice(iter(whole), 9):
        assert Counter(expected["keys"]) == Counter(key for part in parts for key in next(part)["keys"])


def test_one_pass_over_a_mix_has_every_record_once_and_begins_in_proportion(
    three: list[Path], segment: SegmentSpec
) -> None:
    loader = SegmentLoader(three, segment, 2, 0, "all", weights=WEIGHTS)
    keys = [key for batch in loader.one_pass() for key in batch["keys"]]
    assert len(keys) == len(set(keys)) == 21
    assert Counter(key[0] for key in keys[:10]) == {"a": 5, "b": 3, "c": 2}
    assert {loader.frames_of(record).shape for record in loader.records} == {(4, 8)}


def test_equal_keys_of_two_corpora_are_two_records(make_corpus: MakeCorpus, segment: SegmentSpec) -> None:
    corpora = [make_corpus("one", ["x", "y"]), make_corpus("two", ["x", "y"], embeds=True)]
    loader = SegmentLoader(corpora, segment, 4, 0, "all")
    batch = next(iter(loader))
    assert sorted(batch["keys"]) == ["x", "x", "y", "y"]
    assert "audio_embeds" not in batch, "half of them have none"
    assert sum(record.corpus for record in loader.records) == 2


def test_a_filter_holds_for_every_corpus_and_each_says_what_it_left_out(
    make_corpus: MakeCorpus, segment: SegmentSpec
) -> None:
    loud = make_corpus("loud", ["l0", "l1", "l2"], lufs=-20.0)
    quiet = make_corpus("quiet", ["q0", "q1"], lufs=-60.0)
    mixed = make_corpus("mixed", ["m0"], lufs=-30.0)
    keep = keep_where("lufs > -50")
    loader = SegmentLoader([loud, quiet, mixed], segment, 2, 0, "all", keep=keep)
    assert {record.key for record in loader.records} == {"l0", "l1", "l2", "m0"}
    assert (loader.report["used"], loader.report["filtered"]) == (4, 2)
    assert [(part["used"], part["filtered"], part["share"]) for part in loader.report["corpora"]] == [
        (3, 0, 0.75), (0, 2, 0.0), (1, 0, 0.25),
    ]  # fmt: skip
    with pytest.raises(CorpusError, match=r"quiet has no usable record .* 2 filtered out"):
        SegmentLoader([loud, quiet], segment, 2, 0, "all", weights=[0.5, 0.5], keep=keep)


def test_a_video_in_two_corpora_is_on_one_side(make_corpus: MakeCorpus, segment: SegmentSpec) -> None:
    keys = [f"k{i:02d}" for i in range(40)]
    corpora = [make_corpus("one", keys), make_corpus("two", keys[30:])]
    for weights in (None, [0.5, 0.5]):
        sides = {
            side: {record.source for record in SegmentLoader(corpora, segment, 2, 0, side, 0.2, weights).records}
            for side in ("train", "val")
        }
        assert not sides["train"] & sides["val"]
        assert len(sides["train"] | sides["val"]) == 40


def test_copies_are_found_across_corpora(make_corpus: MakeCorpus, segment: SegmentSpec) -> None:
    hashes: dict[str, Any] = {"sound_hash": "f" * 16, "picture_hash": "0" * 16, "rms_db": -20.0}
    corpora = [make_corpus("one", ["x"], **hashes), make_corpus("two", ["x"], **hashes), make_corpus("three", ["z"])]
    loader = SegmentLoader(corpora, segment, 2, 0, "all", drop_duplicates=True)
    assert [(record.corpus, record.key) for record in loader.records] == [(0, "x"), (2, "z")]
    assert [part["duplicate"] for part in loader.report["corpora"]] == [0, 1, 0]


def test_corpora_that_do_not_go_together_are_refused_naming_both(make_corpus: MakeCorpus, segment: SegmentSpec) -> None:
    one = make_corpus("one", ["a"])
    with pytest.raises(FingerprintError, match=r"one is in CLIP space toy/1, .*other in other/2"):
        SegmentLoader([one, make_corpus("other", ["b"], fingerprint="other/2")], segment, 1, 0)
    with pytest.raises(SpecError, match=r"one is at 4000 Hz, .*fast at 8000 Hz"):
        SegmentLoader([one, make_corpus("fast", ["b"], rate_hz=8000)], segment, 1, 0)
    with pytest.raises(UsageError, match=r"data\.weights has 1 for 2 corpora"):
        SegmentLoader([one, one], segment, 1, 0, weights=[1.0])


@pytest.mark.parametrize("num_records", [19, 8, 5])
def test_eight_ranks_of_one_shard_take_equally_many_steps_and_share_the_records(
    make_corpus: MakeCorpus, segment: SegmentSpec, num_records: int
) -> None:
    folder = make_corpus("one", [f"k{i:02d}" for i in range(num_records)], per_shard=100)
    assert len(list(folder.glob("*.tar"))) == 1
    whole = SegmentLoader(folder, segment, 16, 0, "all")
    parts = [whole.shard(rank, 8) for rank in range(8)]
    rows = [[batch["keys"] for batch in islice(iter(part), 10)] for part in parts]
    assert {len(row) for row in rows} == {10}
    assert {part.position for part in parts} == {10 * parts[0].stride}
    keys = [key for step in zip(*rows, strict=True) for column in zip(*step, strict=True) for key in column]
    for start in range(0, len(keys) - num_records + 1, num_records):
        assert len(set(keys[start : start + num_records])) == num_records, "each record once per epoch"


def test_the_halves_share_no_video_and_together_are_all(make_corpus: MakeCorpus, segment: SegmentSpec) -> None:
    keys = [f"k{i:02d}" for i in range(40)]
    corpora = [make_corpus("one", keys), make_corpus("two", keys[30:])]
    loaders = [SegmentLoader(corpora, segment, 2, 0, "all", half=half) for half in (0, 1)]
    sources = [{record.source for record in loader.records} for loader in loaders]
    assert not sources[0] & sources[1]
    assert sources[0] | sources[1] == {f"{key}.mp4" for key in keys}
    assert min(map(len, sources)) >= 10, "about a half each: of 40, fewer than 10 come once in a thousand draws"
    for mine, other in (loaders, loaders[::-1]):
        assert mine.report["other_half"] == len(other.records) == sum(p["other_half"] for p in mine.report["corpora"])
    assert "other_half" not in SegmentLoader(corpora, segment, 2, 0, "all").report


def test_a_half_without_a_record_is_refused_with_the_count(make_corpus: MakeCorpus, segment: SegmentSpec) -> None:
    half = half_of("a.mp4")
    with pytest.raises(CorpusError, match="1 in the other half"):
        SegmentLoader(make_corpus("one", ["a"]), segment, 2, 0, "all", half=1 - half)
