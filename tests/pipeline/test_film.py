"""A film of changing scenes, longer than a segment: its sound follows the picture, without seams (bundled pipeline)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsonic.audio.mel import LogMel
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.denoising import Timeline
from clipsonic.soundstage.draw.painter import Painter
from clipsonic.soundstage.encode import encode_mp4
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.scene import Scene, draw_scene
from clipsonic.specs import SegmentSpec

FPS = 10
SCENE_S = 5.0


def make_scenes(count: int) -> list[Scene]:
    """Scenes of different kinds that sound throughout."""
    scenes, place = [], 0
    while len(scenes) < count:
        scene = draw_scene(77, place, split="train", kind=list(KINDS)[place * 7 % len(KINDS)])
        place += 1
        if scene.duration_s >= SCENE_S and (phase := scene.phases[0]).start_s == 0.0 and phase.end_s >= SCENE_S:
            scenes.append(dataclasses.replace(scene, duration_s=SCENE_S))
    return scenes


def make_film(path: Path, scenes: list[Scene]) -> Path:
    painters = (Painter(scene, 160, 120) for scene in scenes)
    pictures = (painter.frame(number / FPS) for painter in painters for number in range(round(SCENE_S * FPS)))
    path.write_bytes(encode_mp4(pictures, None, fps=FPS))
    return path


def near_borders(segment: SegmentSpec, duration_s: float, num_columns: int) -> np.ndarray:
    """Which columns lie within two of where a window begins or ends."""
    near = np.zeros(num_columns, dtype=bool)
    for start in Timeline.of(duration_s, segment).starts:
        for border in (start, start + segment.num_mel_frames):
            near[max(0, border - 2) : border + 2] = True
    near[:4] = near[-4:] = False  # the sound's own beginning and end
    return near


@pytest.mark.slow
def test_the_sound_of_a_long_film_follows_its_scenes(tmp_path: Path) -> None:
    """Each scene's piece is named by a judge that knows true sounds only."""
    from clipsonic.measure import judge

    scenes = make_scenes(8)
    film = make_film(tmp_path / "film.mp4", scenes)
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    wave = pipeline(video=film, duration_s=len(scenes) * SCENE_S, seed=1).audios[0]
    assert len(wave) == len(scenes) * SCENE_S * 16000
    heard = judge.load_judge()
    pieces = np.stack(np.split(wave, len(scenes)))[:, 4000:-4000]
    named = [heard.config.kinds[int(kind)] for kind in heard.verdicts(pieces).named]
    right = sum(name == scene.kind for name, scene in zip(named, scenes, strict=True))
    assert right >= 6, named


@pytest.mark.slow
def test_no_onset_is_heard_where_windows_begin_and_end() -> None:
    """Steady sounds: the rise in level from column to column is no larger at the borders of windows than elsewhere."""
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    log_mel, duration_s = LogMel(pipeline.segment.mel), 30.0
    for text in ("steady rain falling", "a large violin playing"):
        wave = torch.from_numpy(pipeline(text=text, duration_s=duration_s).audios)
        rise = log_mel(wave)[0].diff(dim=1).clamp_min(0.0).mean(dim=0).numpy()
        near = near_borders(pipeline.segment, duration_s, len(rise))
        assert rise[near].mean() < 1.15 * rise[~near].mean(), text  # 0.95 to 1.05 measured over 20 sounds
