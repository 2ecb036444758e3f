"""The ear: level, batches, windows, and its folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsonic.ear.tower import Ear, window_starts
from clipsonic.errors import CheckpointError, SpecError

RATE_HZ = 4000
MEL = {"sample_rate_hz": RATE_HZ, "n_fft": 256, "hop_length": 64, "num_mels": 16, "f_max_hz": 2000.0}


@pytest.fixture(scope="module")
def ear() -> Ear:
    torch.manual_seed(0)
    made: Ear = Ear(embed_width=6, space="toy/1", window_columns=64, channels=(4, 8), depths=(1, 2), hidden=8, **MEL)
    with torch.no_grad():
        made.outer.bias.zero_()  # else all answers of an untrained one are near to it
        made.inner.bias.zero_()
    return made.eval()


def noise(count: int, seconds: float) -> np.ndarray:
    shape = count, round(seconds * RATE_HZ)
    return np.random.default_rng(0).normal(0.0, 0.1, shape).astype(np.float32)


def test_a_vector_is_of_length_one_and_does_not_depend_on_level_or_on_the_rest_of_a_batch(ear: Ear) -> None:
    waves = noise(3, 1.0)
    heard = ear.embed_sounds(waves, RATE_HZ)
    assert heard.embeds.shape == (3, 1, 6)
    np.testing.assert_allclose(np.linalg.norm(heard.embeds, axis=2), 1.0, atol=1e-5)
    np.testing.assert_allclose(ear.embed_sounds(waves * 0.01, RATE_HZ).embeds, heard.embeds, atol=1e-4)
    np.testing.assert_allclose(ear.embed_sounds(waves[1:2], RATE_HZ).embeds, heard.embeds[1:2], atol=1e-6)
    assert np.abs(heard.embeds[0] - heard.embeds[1]).max() > 1e-3


def test_a_longer_sound_has_a_vector_for_each_window_and_its_time(ear: Ear) -> None:
    window = ear.spec.num_samples(64)
    waves = noise(2, 2.6)
    heard = ear.embed_sounds(waves, RATE_HZ)
    starts = [0, window, waves.shape[1] - window]
    np.testing.assert_allclose(heard.times_s, [(start + window / 2) / RATE_HZ for start in starts])
    for place, start in enumerate(starts):
        alone = ear.embed_sounds(waves[:, start : start + window], RATE_HZ)
        np.testing.assert_allclose(heard.embeds[:, place], alone.embeds[:, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(heard.whole, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(("length", "starts"), [(5, [0]), (10, [0]), (11, [0, 1]), (20, [0, 10]), (25, [0, 10, 15])])
def test_windows_cover_a_sound_and_the_last_ends_with_it(length: int, starts: list[int]) -> None:
    assert window_starts(length, 10) == (starts, min(length, 10))


def test_what_is_not_seen_of_a_picture_is_not_heard(ear: Ear) -> None:
    picture = torch.rand(2, 1, 16, 64)
    changed = picture.clone()
    changed[:, :, :, 48:] = 1.0
    half = torch.full((2,), 0.5)
    torch.testing.assert_close(ear(picture, half), ear(changed, half))
    assert (ear(picture) - ear(changed)).abs().max() > 1e-4
    torch.testing.assert_close(ear(picture, torch.ones(2)), ear(picture))


@pytest.mark.parametrize(
    ("waves", "rate_hz", "said"),
    [(noise(1, 1.0), 8000, "at 8000 Hz are not heard"), (noise(1, 0.5), RATE_HZ, "0.50 s is below the 1 s")],
)
def test_other_rates_and_sounds_that_are_too_short_are_refused(
    ear: Ear, waves: np.ndarray, rate_hz: int, said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        ear.embed_sounds(waves, rate_hz)


def test_a_saved_ear_hears_the_same_and_has_the_same_name(ear: Ear, tmp_path: Path) -> None:
    ear.save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    again = Ear.load(tmp_path)
    assert again.fingerprint == ear.fingerprint
    assert again.space == "toy/1"
    np.testing.assert_array_equal(
        again.embed_sounds(noise(1, 1.0), RATE_HZ).embeds, ear.embed_sounds(noise(1, 1.0), RATE_HZ).embeds
    )


@pytest.mark.parametrize("change", [{"strange": 1}, {"hidden": 9}, {"num_mels": 0}, {"half": 2}])
def test_a_folder_with_other_settings_or_weights_is_refused(ear: Ear, tmp_path: Path, change: dict[str, int]) -> None:
    ear.save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(CheckpointError):
        Ear.load(tmp_path)


def test_a_folder_from_before_there_were_halves_is_of_none(ear: Ear, tmp_path: Path) -> None:
    ear.save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    config = tmp_path / "config.json"
    values = json.loads(config.read_text())
    del values["half"]
    config.write_text(json.dumps(values))
    assert Ear.load(tmp_path).learned_half is None
