"""What a vocoder reads: crops that follow seed and place, shares that hold, sources on one side, any folder."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from makers_train import RATE_HZ, make_corpus, make_record, tones
from makers_vocoder import COLUMNS, NUM_SAMPLES, WORDS, recordings

from clipsonic.errors import CorpusError, UsageError
from clipsonic.train.command import build_parser, config_of
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.streams.recordings import RecordingFolder, RecordingLoader, source_of
from clipsonic.train.streams.waves import Waves, open_waves

SECONDS = NUM_SAMPLES / RATE_HZ


def config(**vocoder: Any) -> TrainConfig:
    """The toy run of `makers_vocoder`, some of its vocoder's values changed."""
    given = config_of(build_parser("clipsonic train").parse_args([*WORDS, "--out", "-"]))
    return dataclasses.replace(given, vocoder=dataclasses.replace(given.vocoder, **vocoder))


def both(folder: Path, **vocoder: Any) -> Waves:
    sources = Sources((tones(folder / "corpus", 12),), recordings=str(recordings(folder / "recordings")))
    return open_waves(config(**vocoder), sources)


def folder_of(folder: Path, cache_mb: float = 64) -> RecordingFolder:
    return RecordingFolder(folder, RATE_HZ, NUM_SAMPLES, cache_mb)


def test_every_position_resumes_to_the_same_batches(tmp_path: Path) -> None:
    waves = both(tmp_path)
    unbroken = list(itertools.islice(waves.stream, 6))
    again = both(tmp_path).stream
    again.load_state_dict({**again.state_dict(), "position": unbroken[1]["position"]})
    for batch, expected in zip(again, unbroken[2:], strict=False):
        assert batch["keys"] == expected["keys"]
        assert batch["position"] == expected["position"]
        assert torch.equal(batch["wave"], expected["wave"])


def test_ranks_hold_the_rows_of_the_whole_batch_in_turns(tmp_path: Path) -> None:
    stream = both(tmp_path).stream
    whole = next(iter(stream))
    for rank in range(2):
        stream.load_state_dict({**stream.state_dict(), "position": 0})
        part = next(iter(stream.shard(rank, 2)))
        assert part["keys"] == whole["keys"][rank::2]
        assert torch.equal(part["wave"], whole["wave"][rank::2])
        assert part["position"] == whole["position"]


def test_threads_change_no_batch(tmp_path: Path) -> None:
    made = both(tmp_path)
    alone = list(itertools.islice(made.stream, 4))
    given = config()
    threaded = dataclasses.replace(given, data=dataclasses.replace(given.data, num_workers=2))
    sources = Sources((tmp_path / "corpus",), recordings=str(tmp_path / "recordings"))
    for one, other in zip(alone, open_waves(threaded, sources).stream, strict=False):
        assert one["keys"] == other["keys"]
        assert torch.equal(one["wave"], other["wave"])


def test_each_origin_has_its_share_of_any_stretch(tmp_path: Path) -> None:
    stream = both(tmp_path, recordings_share=0.25).stream
    keys = [key for batch in itertools.islice(stream, 10) for key in batch["keys"]]
    count = sum(".flac" in key for key in keys)
    assert abs(count - 0.25 * len(keys)) <= 1


@pytest.mark.parametrize("given", ["corpus", "recordings"])
def test_either_origin_alone_is_enough(tmp_path: Path, given: str) -> None:
    sources = (
        Sources((tones(tmp_path / "corpus", 12),))
        if given == "corpus"
        else Sources(recordings=str(recordings(tmp_path / "recordings")))
    )
    waves = open_waves(config(), sources)
    batch = next(iter(waves.stream))
    assert batch["wave"].shape == (4, NUM_SAMPLES)
    assert list(waves.sounds) == [given]


def test_no_sounds_are_refused() -> None:
    with pytest.raises(UsageError, match="give --corpus, --recordings FOLDER or both"):
        open_waves(config(), Sources())


def test_gains_stay_within_their_range_and_never_clip(tmp_path: Path) -> None:
    sources = Sources((tones(tmp_path / "corpus", 12),))
    plain, gained = (open_waves(config(gain_db=gain), sources).stream for gain in (0.0, 20.0))
    ratios = [
        20.0 * torch.log10(b["wave"].abs().amax(dim=1) / a["wave"].abs().amax(dim=1))
        for a, b in itertools.islice(zip(plain, gained, strict=False), 8)
    ]
    found = torch.cat(ratios)
    assert found.min() >= -20.0
    assert found.max() <= 20.0 * np.log10(0.99 / 0.3) + 0.1  # the tones' peak is 0.3
    assert found.std() > 3.0
    assert all(batch["wave"].abs().max() <= 0.991 for batch in itertools.islice(gained, 8))  # float32 rounding


def test_takes_of_one_recording_stay_on_one_side(tmp_path: Path) -> None:
    assert source_of("esc_1-22694-A-20") == source_of("esc_1-22694-B-20") == "esc_1-22694"
    assert source_of("ambient_coffee-shop") == "ambient_coffee-shop"
    for number, take in itertools.product(range(6), "AB"):
        tone = 0.3 * np.sin(np.arange(3 * RATE_HZ) * 0.01 * (number + 1))
        soundfile.write(tmp_path / f"1-{number}-{take}-7.flac", tone, RATE_HZ)
    folder = folder_of(tmp_path)
    sides = [{record.source for record in RecordingLoader(folder, 0, split, 0.3).records} for split in ("train", "val")]
    assert len(sides[0] | sides[1]) == 6
    assert sides[1]
    assert not sides[0] & sides[1]


def test_a_half_is_of_the_corpus_s_videos(tmp_path: Path) -> None:
    sources, keys = Sources((tones(tmp_path / "corpus", 12),)), []
    for half in (0, 1):
        given = config()
        waves = open_waves(dataclasses.replace(given, data=dataclasses.replace(given.data, half=half)), sources)
        keys.append({key for batch in itertools.islice(waves.stream, 12) for key in batch["keys"]})
        assert any("of the other half of the videos" in note for note in waves.notes)
    assert keys[0]
    assert keys[1]
    assert not keys[0] & keys[1]


def test_held_out_sounds_are_not_trained_on(tmp_path: Path) -> None:
    waves = both(tmp_path)
    trained = {key for batch in itertools.islice(waves.stream, 20) for key in batch["keys"]}
    assert not trained & {key for batch in waves.held_out for key in batch["keys"]}
    assert waves.held_out
    assert waves.notes == []


def test_too_few_sources_to_hold_one_out_are_said(tmp_path: Path) -> None:
    waves = open_waves(config(), Sources(recordings=str(recordings(tmp_path, count=1))))
    assert "judged on what it learns from" in waves.notes[0]


def test_what_is_short_silent_or_damaged_is_left_out_and_counted(tmp_path: Path) -> None:
    recordings(tmp_path, count=3)
    soundfile.write(tmp_path / "short.wav", 0.3 * np.ones(NUM_SAMPLES - 1), RATE_HZ)
    (tmp_path / "deep").mkdir()
    soundfile.write(tmp_path / "deep" / "silence.flac", np.zeros(3 * RATE_HZ), RATE_HZ)
    (tmp_path / "broken.flac").write_bytes(b"no sound")
    (tmp_path / "notes.txt").write_text("not a recording")
    folder = folder_of(tmp_path)
    assert folder.left_out == {"too_short": 1, "silent": 1, "unreadable": 1}
    assert len(folder.pieces) == 3
    waves = open_waves(config(), Sources(recordings=str(tmp_path)))
    assert waves.notes[0] == "left out of recordings: 1 too short, 1 silent, 1 unreadable"


def test_a_folder_without_usable_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        folder_of(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no recording"):
        folder_of(tmp_path)
    soundfile.write(tmp_path / "silence.flac", np.zeros(3 * RATE_HZ), RATE_HZ)
    with pytest.raises(CorpusError, match="not silent"):
        folder_of(tmp_path)


def test_a_long_recording_is_read_in_pieces_and_the_cache_changes_nothing(tmp_path: Path) -> None:
    rate_hz = 3 * RATE_HZ
    recordings(tmp_path, count=1, seconds=20 * SECONDS, rate_hz=rate_hz)
    cached, uncached = folder_of(tmp_path), folder_of(tmp_path, cache_mb=0)
    assert len(cached.pieces) == 5
    assert abs(sum(piece.num_samples for piece in cached.pieces) - 20 * NUM_SAMPLES) <= 5
    for piece in cached.pieces:
        assert np.array_equal(cached.read(piece.key), uncached.read(piece.key))
    assert all(cached._kept.get(piece.key) is not None for piece in cached.pieces)
    assert all(uncached._kept.get(piece.key) is None for piece in cached.pieces)


def test_a_long_record_of_a_corpus_gives_another_crop_in_every_epoch(tmp_path: Path) -> None:
    rising = np.linspace(0.01, 0.9, 2 * NUM_SAMPLES).astype(np.float32)
    corpus = make_corpus(tmp_path, [make_record(0, rising, np.eye(8)[0], "v0")])
    stream = open_waves(config(gain_db=0.0), Sources((corpus,))).stream
    starts = {float(wave[0]) for wave in next(iter(stream))["wave"]}
    assert len(starts) == 4
    assert COLUMNS * 64 == NUM_SAMPLES
