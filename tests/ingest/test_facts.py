"""Facts of sounds and pictures: loudness by the standard, cuts where there are cuts, hashes that survive a copy."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clipsonic.audio.wave import loudness_lufs
from clipsonic.ingest.segments import picture_facts, picture_hash, sound_facts, sound_hash
from clipsonic.seeding import numpy_rng

RATE_HZ = 16000


def noise(seed: int, *shape: int) -> np.ndarray:
    return numpy_rng(seed, "test.facts").normal(size=shape)


def events(seed: int, seconds: float = 6.0) -> np.ndarray:
    """A few decaying bursts of different colours at drawn times."""
    rng = numpy_rng(seed, "test.facts.events")
    wave = 1e-3 * noise(seed, round(seconds * RATE_HZ))
    time_s = np.arange(RATE_HZ) / RATE_HZ
    for start in rng.integers(0, len(wave) - RATE_HZ, 8):
        tone = np.sin(2 * np.pi * rng.uniform(150, 4000) * time_s) * np.exp(-5 * time_s)
        wave[start : start + RATE_HZ] += 0.2 * tone
    return wave.astype(np.float32)


def picture(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    """Smooth colours, as photographs have them."""
    coarse = (128 + 60 * noise(seed, 6, 8, 3)).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def bits_that_differ(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.parametrize("level_db", [-10.0, -23.0, -40.0])
def test_a_tone_of_a_kilohertz_has_the_loudness_of_the_standard(level_db: float) -> None:
    amplitude = 10 ** (level_db / 20)
    tone = amplitude * np.sin(2 * np.pi * 997.0 * np.arange(5 * RATE_HZ) / RATE_HZ)
    # BS.1770-4, annex 1: a full-scale tone of 997 Hz in one channel is -3.01 LKFS; pyloudnorm's filter errs by 0.1 dB
    assert loudness_lufs(tone, RATE_HZ) == pytest.approx(level_db - 3.01, abs=0.15)


@pytest.mark.parametrize(
    "wave", [np.zeros(RATE_HZ), np.zeros(10), 1e-6 * np.ones(100)], ids=["silent", "short", "tiny"]
)
def test_what_is_below_the_gate_has_the_gates_loudness(wave: np.ndarray) -> None:
    assert loudness_lufs(wave, RATE_HZ) == -70.0


def test_a_cut_is_counted_and_movement_is_none() -> None:
    first, second = picture(1), picture(5) // 2
    moving = [np.roll(first, 3 * step, axis=1) for step in range(4)]
    assert picture_facts(moving)["shot_changes"] == 0
    assert picture_facts([*moving, second, second, first])["shot_changes"] == 2


def test_a_smaller_and_compressed_copy_has_nearly_the_same_hash_and_other_pictures_have_not() -> None:
    whole = picture(2, 360, 480)
    buffer = io.BytesIO()
    Image.fromarray(whole).resize((200, 150)).save(buffer, "JPEG", quality=50)
    copy = np.asarray(Image.open(buffer))
    assert bits_that_differ(picture_hash(whole), picture_hash(copy)) <= 3
    assert min(bits_that_differ(picture_hash(whole), picture_hash(picture(seed))) for seed in range(3, 23)) > 10


def test_a_quieter_and_noisier_copy_has_nearly_the_same_hash_and_other_sounds_have_not() -> None:
    wave = events(1)
    copy = (0.3 * wave + 1e-4 * noise(9, len(wave))).astype(np.float32)
    assert bits_that_differ(sound_hash(wave, RATE_HZ), sound_hash(copy, RATE_HZ)) <= 3
    assert (
        min(bits_that_differ(sound_hash(wave, RATE_HZ), sound_hash(events(seed), RATE_HZ)) for seed in range(2, 22))
        > 10
    )


@pytest.mark.parametrize("length", [0, 1, 5000, 163840])
def test_sounds_of_any_length_have_facts(length: int) -> None:
    facts = sound_facts(events(3, 11.0)[:length], RATE_HZ)
    assert len(facts["sound_hash"]) == 16
    assert -70.0 <= facts["lufs"] < 0.0
