"""Laws heard: true sound obeys, a late or still one does not, and a law is judged only where it can be heard."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clipsonic.evaluate.obedience import (
    Heard,
    LawEars,
    correlation,
    heard_onsets_s,
    loudness_curve,
    onset_offsets_ms,
)
from clipsonic.soundstage.scene import Phase, Scene, plain_scene
from clipsonic.soundstage.synth import synthesize

RATE_HZ = 16000
SECONDS = 4.0


def scene_of(*phases: Phase, kind: str = "flute") -> Scene:
    plain = plain_scene(kind, "silver" if kind == "flute" else "glass", 0.4, 0.5, 1, duration_s=8.0, seed=2)
    return dataclasses.replace(plain, phases=phases) if phases else plain


def cut(scene: Scene, start_s: float = 0.0) -> np.ndarray:
    return synthesize(scene, RATE_HZ)[round(start_s * RATE_HZ) :][: round(SECONDS * RATE_HZ)]


def test_a_scene_has_a_speed_only_where_it_sounds_throughout_and_keeps_it() -> None:
    scene = scene_of(Phase(0.0, 4.2, 0.2), Phase(4.2, 8.0, 0.7))
    assert Heard(scene, 0.0, SECONDS).speed == 0.2
    assert Heard(scene, 4.0, SECONDS).speed == 0.7
    assert Heard(scene, 2.0, SECONDS).speed is None


def test_a_change_counts_only_well_inside_the_stretch() -> None:
    scene = scene_of(Phase(2.0, 8.0, 0.5))
    assert Heard(scene, 0.0, SECONDS).changes
    assert not Heard(scene, 1.7, SECONDS).changes
    assert not Heard(scene_of(), 0.0, SECONDS).changes


def test_onsets_are_counted_from_the_start_of_the_stretch() -> None:
    scene = scene_of(kind="bell")
    inside = [event.time_s - 3.0 for event in scene.events if 3.0 <= event.time_s < 7.0]
    np.testing.assert_allclose(Heard(scene, 3.0, SECONDS).onsets_s, inside)


def test_clicks_are_heard_where_they_are() -> None:
    wave = np.zeros(4 * RATE_HZ, dtype=np.float32)
    times_s = np.array([0.5, 1.25, 3.1])
    for at in times_s:
        wave[round(at * RATE_HZ) :][:30] = 0.5
    assert len(heard_onsets_s(wave, RATE_HZ)) == 3
    assert max(onset_offsets_ms(wave, times_s, RATE_HZ)) < 20.0  # half a window of 512 samples is 16 ms
    assert onset_offsets_ms(wave, times_s + 0.2, RATE_HZ) == pytest.approx([200.0] * 6, abs=20.0)


def test_onsets_where_the_law_has_none_count_as_well() -> None:
    wave = np.zeros(4 * RATE_HZ, dtype=np.float32)
    for at in (0.5, 1.5):
        wave[round(at * RATE_HZ) :][:30] = 0.5
    assert onset_offsets_ms(wave, np.array([0.5]), RATE_HZ) == pytest.approx([0.0, 0.0, 1000.0], abs=20.0)


def test_without_an_onset_every_onset_is_missed_by_the_whole_segment() -> None:
    assert onset_offsets_ms(np.zeros(2 * RATE_HZ, dtype=np.float32), np.array([0.1]), RATE_HZ) == [2000.0]
    assert onset_offsets_ms(np.zeros(2 * RATE_HZ, dtype=np.float32), np.array([]), RATE_HZ) == []


def test_the_loudness_curve_of_a_tone_that_starts_steps_up_and_has_a_floor() -> None:
    wave = np.sin(np.arange(4 * RATE_HZ) * 0.3).astype(np.float32) * np.repeat([0.0, 1.0], 2 * RATE_HZ)
    curve = loudness_curve(wave, RATE_HZ)
    assert curve[-1] == pytest.approx(-3.01, abs=0.1)
    assert curve[0] == pytest.approx(curve.max() - 40.0)


def test_equal_curves_correlate_fully_opposite_ones_fully_against_and_flat_ones_not_at_all() -> None:
    curve = np.array([0.0, 1.0, 4.0, 2.0])
    assert correlation(curve, 3.0 * curve + 1.0) == pytest.approx(1.0)
    assert correlation(curve, -curve) == pytest.approx(-1.0)
    assert correlation(curve, np.ones(4)) == 0.0


def test_true_sound_obeys_and_sounds_of_other_scenes_do_not() -> None:
    scenes = [scene_of(Phase(0.0, 2.0, 0.5)), scene_of(Phase(2.0, 8.0, 0.5)), scene_of(), scene_of(kind="bell")]
    waves = np.stack([cut(scene) for scene in scenes])
    ears = LawEars([Heard(scene, 0.0, SECONDS) for scene in scenes], waves, RATE_HZ, seed=0)
    true, wrong = ears.figures(waves), ears.figures(waves[[1, 0, 3, 2]])
    assert true["envelope_correlation"]["value"] == pytest.approx(1.0)
    assert wrong["envelope_correlation"]["value"] < 0.0
    assert true["level_db"]["value"] == 0.0
    assert true["pitch_semitones"]["value"] < 0.5
    assert true["pitch_semitones"]["count"] == 4
    assert true["rate_error"]["count"] == 2
    assert true["onset_ms"]["value"] < 30.0 < wrong["onset_ms"]["value"]


def test_a_shorter_row_is_heard_against_the_first_items() -> None:
    scenes = [scene_of(), scene_of(kind="bell")]
    waves = np.stack([cut(scene) for scene in scenes])
    figures = LawEars([Heard(scene, 0.0, SECONDS) for scene in scenes], waves, RATE_HZ, seed=0).figures(waves[:1])
    assert "onset_ms" not in figures
    assert figures["level_db"]["count"] == 1
