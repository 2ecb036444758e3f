"""What training measures of mels is in decibels, whatever logarithm the mel space takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clipsonic.audio.mel import LogMel
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec, SegmentSpec
from clipsonic.train.lessons import figures_of_sound
from clipsonic.train.streams.records import mel_statistics

LOGARITHMS = ["ln", "log10"]


def spec_of(logarithm: str) -> SegmentSpec:
    return SegmentSpec(MelSpec(logarithm=logarithm), 16, 8, "toy/1")


@pytest.mark.parametrize("logarithm", LOGARITHMS)
def test_a_bin_that_never_moves_is_given_a_deviation_of_0_87_db(logarithm: str) -> None:
    segment = spec_of(logarithm)
    batch = {"wave": torch.zeros(2, segment.num_samples)}
    loader: Any = SimpleNamespace(segment=segment, batch_size=2, one_pass=lambda: iter([batch]))
    mean, std = mel_statistics(loader)
    torch.testing.assert_close(segment.mel.db(std), torch.full((64,), 0.8686), atol=1e-4, rtol=0)
    torch.testing.assert_close(segment.mel.db(mean), torch.full((64,), -100.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("logarithm", LOGARITHMS)
def test_previews_of_a_tenth_of_the_amplitude_are_heard_20_db_lower(
    logarithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment, seen = spec_of(logarithm), []
    wave = 0.1 * torch.randn(2, segment.num_samples, generator=torch_generator(0, "test.units"))
    log_mel = LogMel(segment.mel)
    sound: Any = SimpleNamespace(device=torch.device("cpu"), log_mel=log_mel, segment=segment)
    monkeypatch.setattr(figures_of_sound, "generate", lambda *_: log_mel(0.1 * wave))
    monkeypatch.setattr(figures_of_sound, "judge_levels", lambda health, step, *levels: seen.append(levels))
    batch = {"wave": wave, **{name: torch.zeros(2) for name in ("frames", "frame_times_s", "frame_mask")}}
    figures_of_sound.previews(sound, SimpleNamespace(batches=[batch], health=None, step=1), None)  # type: ignore[arg-type]
    level_db, true_level_db, spread = seen[0]
    assert level_db - true_level_db == pytest.approx(-20.0, abs=0.01)
    assert spread == pytest.approx(1.0, abs=0.01)
