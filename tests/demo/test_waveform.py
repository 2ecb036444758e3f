"""A place in the picture is a time of the sound, and the part that is marked is the one that was chosen."""

from __future__ import annotations

import numpy as np
import pytest

from clipsonic.demo.waveform import HEIGHT, WIDTH, Waveform


def test_the_picture_spans_the_sound_from_edge_to_edge() -> None:
    waveform = Waveform.of(np.zeros((2, 48000)), 16000)
    assert waveform.seconds == 3.0
    assert [waveform.time_s(x) for x in (-5, 0, WIDTH / 4, WIDTH, 2 * WIDTH)] == [0.0, 0.0, 0.75, 3.0, 3.0]


def test_only_the_part_that_is_chosen_is_marked() -> None:
    waveform = Waveform.of(np.random.default_rng(0).uniform(-1, 1, (1, 32000)), 16000)
    changed = (waveform.drawn(0.5, 1.0) != waveform.drawn(0.0, 0.0)).any(axis=2)
    assert changed[:, WIDTH // 4 : WIDTH // 2].all()
    assert not changed[:, : WIDTH // 4].any()
    assert not changed[:, WIDTH // 2 :].any()


@pytest.mark.parametrize("num_samples", [1, 100, 100_000])
def test_what_is_loud_in_either_channel_stands_higher(num_samples: int) -> None:
    wave_CT = np.zeros((2, num_samples))
    wave_CT[1, : num_samples // 2] = -0.5
    pixels = Waveform.of(wave_CT, 16000).drawn(0.0, 0.0)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    heights = (pixels != pixels[0, 0]).any(axis=2).sum(axis=0)
    if num_samples > 1:
        assert heights[: WIDTH // 2].min() > 0.9 * HEIGHT > 3 > heights[WIDTH // 2 :].max()
