"""Rulers: the law's pitch and rate are read back off true sound, whatever its level, and off nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clipsonic.measure.rulers import (
    PITCH_RANGE_SEMITONES,
    has_pitch,
    has_rate,
    onset_strength,
    pitch_error_semitones,
    rate_error,
)
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.scene import Scene, draw_scene, plain_scene
from clipsonic.soundstage.synth import synthesize

RATE_HZ = 16000
SECONDS = 4.096
QUICK = ("bell", "dog", "flute")


def sound(scene: Scene) -> np.ndarray:
    return synthesize(scene, RATE_HZ)


@pytest.mark.parametrize("kind", QUICK)
def test_the_pitch_of_true_sound_is_read_to_half_a_semitone_at_any_level(kind: str) -> None:
    material = KINDS[kind].materials[1]
    for size in (0.13, 0.52, 0.91):
        scene = plain_scene(kind, material, size, 0.7, 1, duration_s=SECONDS, seed=5)
        for gain in (1.0, 0.05):
            assert pitch_error_semitones(gain * sound(scene), scene, RATE_HZ) < 0.5


@pytest.mark.parametrize("kind", QUICK)
def test_a_sound_of_another_size_is_as_far_off_as_its_law_says(kind: str) -> None:
    made = plain_scene(kind, KINDS[kind].materials[0], 0.3, 0.5, 1, duration_s=SECONDS, seed=5)
    asked = dataclasses.replace(made, size=0.8)
    assert pitch_error_semitones(sound(made), asked, RATE_HZ) == pytest.approx(0.5 * PITCH_RANGE_SEMITONES, abs=0.5)


@pytest.mark.parametrize("kind", ["dog", "fan"])
def test_a_sound_twice_as_fast_is_a_rate_error_of_one(kind: str) -> None:
    made = plain_scene(kind, KINDS[kind].materials[0], 0.5, 0.75, 1, duration_s=SECONDS, seed=5)
    assert rate_error(sound(made), made, 0.75, RATE_HZ) < 0.1
    assert rate_error(sound(made), made, 0.25, RATE_HZ) == pytest.approx(1.0, abs=0.2)


def test_silence_is_as_wrong_as_the_range_is_wide() -> None:
    scene = plain_scene("bell", "glass", 0.5, 0.5, 1, duration_s=SECONDS)
    silence = np.zeros(round(SECONDS * RATE_HZ), dtype=np.float32)
    assert pitch_error_semitones(silence, scene, RATE_HZ) == PITCH_RANGE_SEMITONES
    assert rate_error(silence, scene, 0.5, RATE_HZ) == 3.0


def test_the_onset_strength_is_highest_where_a_click_is() -> None:
    wave = np.zeros(RATE_HZ, dtype=np.float32)
    wave[8000:8040] = 0.5
    assert onset_strength(wave, RATE_HZ).argmax() * 0.005 == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_over_all_kinds_true_sound_is_within_what_the_module_promises() -> None:
    scenes = [draw_scene(31, index, split="any") for index in range(150)]
    whole = [
        scene for scene in scenes if len(scene.phases) == 1 and scene.phases[0].end_s - scene.phases[0].start_s > 4
    ]
    cuts = [(scene, sound(scene)[round(scene.phases[0].start_s * RATE_HZ) :][: 4 * RATE_HZ]) for scene in whole]
    pitches = [pitch_error_semitones(wave, scene, RATE_HZ) for scene, wave in cuts if has_pitch(scene)]
    rates = [rate_error(wave, scene, scene.speed, RATE_HZ) for scene, wave in cuts if has_rate(scene)]
    assert min(len(pitches), len(rates)) > 30
    assert np.median(pitches) < 0.3
    assert np.quantile(pitches, 0.9) < 0.6
    assert np.median(rates) < 0.04
