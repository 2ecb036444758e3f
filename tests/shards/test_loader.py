"""The loader: every record once, exact resuming, crops with their own frames, and refusals."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipsonic.errors import CorpusError, FingerprintError, SpecError
from clipsonic.shards.crops import as_float
from clipsonic.shards.loader import SegmentLoader
from clipsonic.shards.record import Record
from clipsonic.shards.selection import held_out_sources
from clipsonic.shards.writer import CorpusIndex, write_facts, write_shard
from clipsonic.specs import CorpusSpec, MelSpec, SegmentSpec

RATE_HZ, WIDTH, FINGERPRINT = 4000, 8, "toy/1"
SPEC = CorpusSpec(RATE_HZ, seconds=4.0, min_seconds=0.5)
MEL = MelSpec(RATE_HZ, n_fft=256, hop_length=64, num_mels=16, f_max_hz=2000.0)
SEGMENT = SegmentSpec(MEL, 50, WIDTH, FINGERPRINT)  # 0.8 s


def ramp(seconds: float) -> np.ndarray:
    """A sound that tells its own time: 0.1 per second."""
    return (0.1 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype(np.float32)


def make_record(
    key: str, source: str, seconds: float = 4.0, times_s: tuple[float, ...] | None = None, **facts: Any
) -> Record:
    """A record whose frames carry their own time in their first number."""
    times_s = SPEC.frame_times_s(seconds) if times_s is None else times_s
    frames = np.zeros((len(times_s), WIDTH), np.float16)
    frames[:, 0] = times_s
    values = {
        "source": source,
        "start_s": 0.0,
        "seconds": seconds,
        "valid_seconds": seconds,
        "frame_times_s": list(times_s),
    }
    return Record(key, ramp(seconds), frames, {**values, "sample_rate": RATE_HZ, "has_audio": True, **facts})


def make_corpus(folder: Path, records: list[Record], per_shard: int = 8) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shards, facts = [], []
    for number, start in enumerate(range(0, len(records), per_shard)):
        part, name = records[start : start + per_shard], f"shard-{number:06d}.tar"
        shards.append(write_shard(folder / name, part))
        facts += [{**record.facts, "key": record.key, "shard": name} for record in part]
    write_facts(folder, facts)
    CorpusIndex(SPEC, FINGERPRINT, "toy", WIDTH, shards).save(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 records of 9 videos: a prime number, so that nothing divides."""
    return make_corpus(
        tmp_path_factory.mktemp("corpus"), [make_record(f"r{i:02d}", f"video{i % 9}.mp4") for i in range(23)]
    )


def assert_equal(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first["keys"] == second["keys"]
    for name in ("wave", "frames", "frame_times_s", "frame_mask"):
        assert torch.equal(first[name], second[name])


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_record_comes_exactly_once_per_epoch_over_all_ranks_and_workers(
    corpus: Path, world_size: int, num_workers: int
) -> None:
    loaders = [
        SegmentLoader(corpus, SEGMENT, 2, 5, "all", num_workers=num_workers, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    streams = [iter(loader) for loader in loaders]
    taken: list[str] = []
    while len(taken) < 3 * 23:
        rows = [next(stream)["keys"] for stream in streams]
        taken += [key for column in zip(*rows, strict=True) for key in column]
    for epoch in range(3):
        assert Counter(taken[epoch * 23 : (epoch + 1) * 23]) == Counter(f"r{i:02d}" for i in range(23))
    assert taken[:23] != taken[23:46]
    assert len({loader.position for loader in loaders}) == 1


def test_several_ranks_together_take_the_batches_of_one(corpus: Path) -> None:
    whole = SegmentLoader(corpus, SEGMENT, 6, 1, "all")
    parts = [iter(whole.shard(rank, 3)) for rank in range(3)]
    for expected in islice(iter(whole), 9):
        got = [next(part) for part in parts]
        assert sorted(expected["keys"]) == sorted(key for part in got for key in part["keys"])
        assert {part["position"] for part in got} == {expected["position"]}


@pytest.mark.parametrize("cut", range(0, 14))
def test_any_cut_resumes_to_the_same_batches_across_epoch_borders(corpus: Path, cut: int) -> None:
    unbroken = list(islice(iter(SegmentLoader(corpus, SEGMENT, 4, 7, "all")), 16))
    first = SegmentLoader(corpus, SEGMENT, 4, 7, "all", num_workers=2)
    list(islice(iter(first), cut))
    second = SegmentLoader(corpus, SEGMENT, 4, 7, "all", num_workers=1)
    second.load_state_dict(first.state_dict())
    for expected, got in zip(unbroken[cut:], islice(second, 16 - cut), strict=True):
        assert_equal(expected, got)


@pytest.mark.parametrize("options", [{"num_workers": 3}, {"cache_mb": 0}, {"cache_mb": 0.1}], ids=str)
def test_workers_and_memory_never_change_a_batch(corpus: Path, options: dict[str, Any]) -> None:
    plain, other = SegmentLoader(corpus, SEGMENT, 4, 0, "all"), SegmentLoader(corpus, SEGMENT, 4, 0, "all", **options)
    for expected, got in zip(islice(plain, 15), islice(other, 15), strict=True):
        assert_equal(expected, got)


def test_order_and_crops_follow_the_seed(corpus: Path) -> None:
    first, again, other = (next(iter(SegmentLoader(corpus, SEGMENT, 8, seed, "all"))) for seed in (3, 3, 4))
    assert_equal(first, again)
    assert first["keys"] != other["keys"]


def test_a_crop_depends_on_seed_epoch_and_key_only(tmp_path: Path, corpus: Path) -> None:
    smaller = make_corpus(tmp_path, [make_record(f"r{i:02d}", f"video{i}") for i in range(11)])
    in_epoch_0 = starts(SegmentLoader(corpus, SEGMENT, 23, 0, "all"))
    assert starts(SegmentLoader(smaller, SEGMENT, 11, 0, "all")).items() <= in_epoch_0.items()
    later = SegmentLoader(corpus, SEGMENT, 23, 0, "all")
    later.load_state_dict({**later.state_dict(), "position": 23})
    assert sum(in_epoch_0[key] == value for key, value in starts(later).items()) <= 2
    assert set(starts(SegmentLoader(corpus, SEGMENT, 23, 0, "all", random_crop=False)).values()) == {0.0}


def starts(loader: SegmentLoader) -> dict[str, float]:
    batch = next(iter(loader))
    return dict(zip(batch["keys"], batch["wave"][:, 0].tolist(), strict=True))


def test_frames_keep_their_place_in_the_sound_of_their_crop(corpus: Path) -> None:
    loader = SegmentLoader(corpus, SegmentSpec(MEL, 125, WIDTH, FINGERPRINT), 23, 0, "all")  # 2 s of 4
    for batch in islice(iter(loader), 4):
        for wave, frames, times_s, mask in zip(
            *(batch[k] for k in ("wave", "frames", "frame_times_s", "frame_mask")), strict=True
        ):
            assert mask.any()
            assert ((times_s[mask] >= 0) & (times_s[mask] < 2.0)).all()
            ramp_s = as_float(wave) / 0.1
            heard_s = ramp_s[(times_s[mask] * RATE_HZ).round().long()]
            # one 16-bit step of the ramp is 0.3 ms, a frame's time in float16 is good to 2 ms
            assert torch.allclose(heard_s, frames[mask][:, 0], atol=3e-3)
            expected = [t for t in SPEC.frame_times_s(4.0) if ramp_s[0] <= t < ramp_s[0] + 2.0]
            assert mask.sum() == len(expected)
        assert (batch["frame_times_s"][~batch["frame_mask"]] == -1).all()
        assert (batch["frames"][~batch["frame_mask"]] == 0).all()


def test_a_crop_between_frames_keeps_the_nearest_one(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path, [make_record(f"k{i}", f"v{i}", times_s=(0.0, 3.9)) for i in range(16)])
    batch = next(iter(SegmentLoader(folder, SEGMENT, 16, 0, "all")))
    start_s = as_float(batch["wave"])[:, 0] / 0.1
    between = (start_s > 0.01) & (start_s < 3.09)
    assert between.sum() > 5
    nearest_s = torch.where(start_s + 0.4 < 1.95, 0.0, 3.9)
    assert batch["frame_mask"].sum(1).eq(1).all()
    assert torch.allclose(batch["frames"][between, 0, 0], nearest_s[between], atol=2e-3)  # float16 at 3.9
    assert torch.equal(batch["frame_times_s"][between, 0], torch.where(nearest_s == 0.0, 0.0, SEGMENT.seconds)[between])


def test_no_video_is_on_both_sides_whatever_the_seed(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path, [make_record(f"k{i:03d}", f"v{i // 3}", 1.0) for i in range(120)])
    sides = {}
    for seed in (0, 1):
        for split in ("train", "val", "all"):
            loader = SegmentLoader(folder, SEGMENT, 4, seed, split, val_share=0.2)
            sides[seed, split] = {record.source for record in loader.records}
    assert sides[0, "train"] == sides[1, "train"]
    assert sides[0, "val"] == sides[1, "val"]
    assert not sides[0, "train"] & sides[0, "val"]
    assert sides[0, "train"] | sides[0, "val"] == sides[0, "all"]
    assert 2 <= len(sides[0, "val"]) <= 16  # binomial(40, 0.2): within 2.5 standard deviations of 8


def test_no_more_videos_are_held_out_than_the_share_says_and_a_video_keeps_its_side() -> None:
    videos = [f"v{i}" for i in range(200)]
    assert held_out_sources(videos[:19], 0.05) == set()
    assert all(held_out_sources(videos[:count], 0.05) for count in range(20, 200))
    assert len(held_out_sources(videos[:2], 0.99)) == 1
    assert held_out_sources(videos[:1], 0.99) == held_out_sources([], 0.5) == held_out_sources(videos, 0.0) == set()
    assert held_out_sources(videos[:100], 0.1) == held_out_sources(videos, 0.1) & set(videos[:100])


def test_records_that_cannot_be_used_are_left_out_and_counted(tmp_path: Path) -> None:
    records = [
        make_record("full", "a", 2.0),
        make_record("padded", "b", 0.77),  # 3.75 % short
        make_record("short", "c", 0.7),
        make_record("halfvalid", "d", 2.0, valid_seconds=0.5),
        make_record("novalid", "d", 2.0, valid_seconds=0.0),
        make_record("quiet", "e", 2.0, rms_db=-61.0),
        make_record("mostlysilent", "f", 2.0, rms_db=-20.0, silence_share=0.96),
        make_record("mute", "g", 2.0, has_audio=False),
        make_record("still", "h", 2.0, still_share=1.0),
    ]
    folder = make_corpus(tmp_path, records)
    loader = SegmentLoader(folder, SEGMENT, 2, 0, "all", keep=lambda facts: facts.get("still_share", 0.0) < 0.9)
    assert loader.report == {
        "used": 2,
        "other_split": 0,
        "too_short": 3,
        "silent": 3,
        "filtered": 1,
        "duplicate": 0,
        "batch_size": 2,
    }
    batch = next(iter(loader))
    wave = batch["wave"][batch["keys"].index("padded")]
    num_true = round(0.77 * RATE_HZ)
    assert wave.shape == (SEGMENT.num_samples,)
    assert (wave[num_true:] == 0).all()
    assert wave[num_true - 1] != 0
    everything = SegmentLoader(folder, SEGMENT, 2, 0, "all", drop_silent=False)
    assert {record.key for record in everything.records} >= {"quiet", "mostlysilent", "mute", "still"}


def test_crops_avoid_the_padding_at_a_records_end(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path, [make_record(f"k{i}", f"v{i}", 4.0, valid_seconds=1.0) for i in range(12)])
    batch = next(iter(SegmentLoader(folder, SEGMENT, 12, 0, "all")))
    assert as_float(batch["wave"]).max() <= 0.1 * 1.0


def test_one_pass_gives_every_record_once_and_moves_nothing(corpus: Path) -> None:
    loader = SegmentLoader(corpus, SEGMENT, 4, 0, "all")
    sizes = [len(batch["keys"]) for batch in loader.one_pass()]
    assert sizes == [4, 4, 4, 4, 4, 3]
    assert len(loader) == len(sizes)
    assert len({key for batch in loader.one_pass() for key in batch["keys"]}) == 23
    assert loader.position == 0


def test_a_corpus_smaller_than_the_batch_shrinks_the_batch(tmp_path: Path) -> None:
    loader = SegmentLoader(make_corpus(tmp_path, [make_record(f"k{i}", "v") for i in range(3)]), SEGMENT, 32, 0)
    assert loader.report["batch_size"] == loader.batch_size == 3
    assert sorted(next(iter(loader))["keys"]) == ["k0", "k1", "k2"]


def test_the_epoch_is_that_of_the_next_record(corpus: Path) -> None:
    loader = SegmentLoader(corpus, SEGMENT, 10, 0, "all")
    assert [(batch["position"], loader.epoch) for batch in islice(iter(loader), 5)] == [
        (10, 0),
        (20, 0),
        (30, 1),
        (40, 1),
        (50, 2),
    ]


def test_a_corpus_of_another_clip_is_refused_naming_both(corpus: Path) -> None:
    with pytest.raises(FingerprintError, match=r"toy/1.*other/2"):
        SegmentLoader(corpus, SegmentSpec(MEL, 50, WIDTH, "other/2"), 2, 0)


def test_a_segment_longer_than_the_corpus_is_refused_with_both_lengths(corpus: Path) -> None:
    with pytest.raises(SpecError, match=r"4\.8 s.*4 s"):
        SegmentLoader(corpus, SegmentSpec(MEL, 300, WIDTH, FINGERPRINT), 2, 0)


def test_another_sample_rate_is_refused_with_both_rates(corpus: Path) -> None:
    with pytest.raises(SpecError, match=r"4000 Hz.*16000 Hz"):
        SegmentLoader(corpus, SegmentSpec(MelSpec(), 50, WIDTH, FINGERPRINT), 2, 0)


def test_a_corpus_without_a_usable_record_says_why(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path, [make_record("a", "v", 0.5), make_record("b", "v", rms_db=-90.0)])
    with pytest.raises(CorpusError, match=r"of 2 records 1 are too short, 1 silent"):
        SegmentLoader(folder, SEGMENT, 2, 0)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path, [make_record(f"k{i}", "v") for i in range(3)])
    shard = folder / "shard-000000.tar"
    data = bytearray(shard.read_bytes())
    data[512:520] = b"\xff" * 8  # the first record's sound
    shard.write_bytes(data)
    with pytest.raises(CorpusError, match="k0"):
        list(SegmentLoader(folder, SEGMENT, 3, 0).one_pass())


def test_a_position_in_another_corpus_or_seed_is_refused(tmp_path: Path, corpus: Path) -> None:
    state = SegmentLoader(corpus, SEGMENT, 4, 0, "all").state_dict()
    with pytest.raises(CorpusError, match="digest"):
        SegmentLoader(make_corpus(tmp_path, [make_record("k", "v")]), SEGMENT, 4, 0).load_state_dict(state)
    with pytest.raises(CorpusError, match="seed"):
        SegmentLoader(corpus, SEGMENT, 4, 1, "all").load_state_dict(state)
