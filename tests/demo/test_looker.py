"""What the process that opens uploads says is believed only where it could be true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clipsonic.demo.looker import _frames_in, _picture_in, _samples_in, _why_not_in
from clipsonic.refusals import MalformedError

PICTURE = np.zeros((4, 6, 3), np.uint8)


def test_what_the_process_gives_is_taken() -> None:
    assert _picture_in(({}, [PICTURE])).pictures[0] is PICTURE
    seen = _frames_in(({"times_s": [0, 0.5], "left_s": 1.5}, [PICTURE] * 2))
    assert (seen.times_s, seen.left_s, len(seen.pictures)) == ([0.0, 0.5], 1.5, 2)
    assert _why_not_in(({"written": True}, [])) is None
    assert _why_not_in(({"written": False, "why": "no\x1b[2J room"}, [])) == r"no\x1b[2J room"


@pytest.mark.parametrize(
    "pictures",
    [[], [PICTURE] * 2, [PICTURE[0]], [PICTURE[..., :2]], [PICTURE[:0]], [PICTURE.astype(np.float32)], [np.zeros(())]],
    ids=lambda pictures: str([picture.shape for picture in pictures]),
)
def test_what_is_no_picture_is_not_taken(pictures: list[np.ndarray]) -> None:
    with pytest.raises(MalformedError):
        _picture_in(({}, pictures))


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"times_s": [0.0], "left_s": 1.0},
        {"times_s": [0.0, 0.1, 0.2], "left_s": 1.0},
        {"times_s": [0.0, 0.1]},
        {"times_s": [0.0, -0.1], "left_s": 1.0},
        {"times_s": [0.0, "0.1"], "left_s": 1.0},
        {"times_s": [0.0, True], "left_s": 1.0},
        {"times_s": [0.0, 0.1], "left_s": 1e300},
        {"times_s": [0.0, 0.1], "left_s": float("nan")},
        {"times_s": {"0": 0.0, "1": 0.1}, "left_s": 1.0},
    ],
    ids=str,
)
def test_times_that_cannot_be_are_not_taken(facts: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        _frames_in((facts, [PICTURE] * 2))


def test_a_sound_is_taken_with_its_rate_and_depth() -> None:
    heard = _samples_in(({"rate_hz": 8000, "depth": "PCM_24"}, [np.zeros((2, 4000))]))
    assert (heard.seconds, heard.depth) == (0.5, "PCM_24")


@pytest.mark.parametrize(
    ("facts", "arrays"),
    [
        ({"rate_hz": 8000}, [np.zeros((1, 9))]),
        ({"rate_hz": "8000", "depth": "PCM_16"}, [np.zeros((1, 9))]),
        ({"rate_hz": 10**9, "depth": "PCM_16"}, [np.zeros((1, 9))]),
        ({"rate_hz": 8000, "depth": "PCM_16"}, []),
        ({"rate_hz": 8000, "depth": "PCM_16"}, [np.zeros((1, 9), np.float32)]),
        ({"rate_hz": 8000, "depth": "PCM_16"}, [np.zeros(9)]),
        ({"rate_hz": 8000, "depth": "PCM_16"}, [np.zeros((1, 0))]),
        ({"rate_hz": 8000, "depth": "PCM_16"}, [np.full((1, 9), np.nan)]),
        ({"rate_hz": 8000, "depth": "PCM_16"}, [np.zeros((33, 9))]),
    ],
    ids=str,
)
def test_a_sound_that_cannot_be_is_not_taken(facts: dict[str, Any], arrays: list[np.ndarray]) -> None:
    with pytest.raises(MalformedError):
        _samples_in((facts, arrays))


@pytest.mark.parametrize("facts", [{}, {"written": 1}, {"written": False}, {"written": False, "why": 3}], ids=str)
def test_no_word_on_a_video_is_not_taken(facts: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        _why_not_in((facts, []))
