"""Flaws: how many, which, and what they do to a file."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import av
import numpy as np
import pytest

from clipsonic.soundstage.flaws import FLAWS, draw_flaw, flawed_bytes, flawed_scene, flawed_wave
from clipsonic.soundstage.render import render_bytes
from clipsonic.soundstage.scene import draw_scene


def test_a_share_of_the_files_is_flawed_and_every_flaw_occurs() -> None:
    flaws = Counter(draw_flaw(5, index, 0.1) for index in range(5000))
    assert abs(5000 - flaws[None] - 500) < 4 * np.sqrt(5000 * 0.1 * 0.9)  # four standard deviations
    assert set(flaws) == {None, *FLAWS}


def test_no_share_means_no_flaw_and_the_whole_share_spares_none() -> None:
    assert all(draw_flaw(5, index, 0.0) is None for index in range(200))
    assert all(draw_flaw(5, index, 1.0) is not None for index in range(200))


def test_flaws_of_a_smaller_share_are_among_those_of_a_larger_one() -> None:
    few = {index: flaw for index in range(300) if (flaw := draw_flaw(5, index, 0.1))}
    assert all(draw_flaw(5, index, 0.3) == flaw for index, flaw in few.items())


def test_a_too_short_video_lasts_half_a_second() -> None:
    scene = flawed_scene(draw_scene(1, 1), "too_short")
    assert scene.duration_s == 0.5
    assert all(event.time_s < 0.5 for event in scene.events)
    with av.open(io.BytesIO(render_bytes(scene))) as container:
        assert float(container.duration / av.time_base) == pytest.approx(0.5, abs=0.07)  # one frame of picture or AAC


def test_a_video_with_no_sound_has_no_sound_track_and_a_silent_one_has_zeros() -> None:
    scene = flawed_scene(draw_scene(1, 1), "too_short")
    with av.open(io.BytesIO(render_bytes(scene, flaw="no_sound"))) as container:
        assert not container.streams.audio
    with av.open(io.BytesIO(render_bytes(scene, flaw="silent"))) as container:
        assert all(np.max(np.abs(frame.to_ndarray())) < 1e-6 for frame in container.decode(audio=0))


def test_a_still_video_shows_one_picture_throughout() -> None:
    scene = flawed_scene(replace(draw_scene(1, 4), camera="pan", background="street"), "too_short")

    def change(flaw: str | None) -> float:
        with av.open(io.BytesIO(render_bytes(scene, flaw=flaw))) as container:
            pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
        return max(float(np.abs(picture - pictures[0]).mean()) for picture in pictures)

    assert change("still") < 0.25 * change(None)  # what remains is the encoder refining its first frame


def test_truncated_and_not_media_files_do_not_open() -> None:
    data = render_bytes(flawed_scene(draw_scene(1, 1), "too_short"))
    cut = flawed_bytes(data, "truncated", 1, 1)
    assert 0.3 * len(data) - 1 <= len(cut) <= 0.7 * len(data)
    for broken in (cut, flawed_bytes(data, "not_media", 1, 1)):
        with pytest.raises(av.error.InvalidDataError):
            av.open(io.BytesIO(broken))


def test_a_sound_without_flaw_is_untouched() -> None:
    wave = np.linspace(-1.0, 1.0, 100, dtype=np.float32)
    assert flawed_wave(wave, None) is wave
    assert flawed_bytes(b"abc", None, 1, 1) == b"abc"
