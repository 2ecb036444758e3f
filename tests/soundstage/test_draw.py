"""Pictures of scenes: pure, to scale, and moving at the instants that are heard."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest

from clipsonic.soundstage.draw import Painter
from clipsonic.soundstage.draw.background import paint_background
from clipsonic.soundstage.draw.dial import HEIGHT, draw_dial
from clipsonic.soundstage.draw.moment import Timeline
from clipsonic.soundstage.draw.painter import object_height
from clipsonic.soundstage.draw.silent import COLORS, SILENT, silent_sketch
from clipsonic.soundstage.draw.sketches import SKETCHES
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.scene import BACKGROUNDS, CAMERAS, Event, Phase, Scene, draw_scene

EVENT_KINDS = [name for name, kind in KINDS.items() if kind.mode == "events"]


def make_scene(kind: str, **changes: object) -> Scene:
    """One object in the middle, in white light, before a still camera; it sounds throughout unless told otherwise."""
    plain = {
        "count": 1,
        "positions": ((0.5, 0.56),),
        "light": 1.0,
        "warmth": 0.0,
        "camera": "still",
        "duration_s": 8.0,
        "phases": (Phase(0.0, 8.0, 0.5),),
        "events": (),
        "background": "meadow",
        "palette": 0,
    }
    return dataclasses.replace(draw_scene(1, 0, kind=kind, split="any"), **{**plain, **changes})


def box_of(scene: Scene, time_s: float) -> tuple[int, int]:
    """Height and width of what is drawn on a white stage, without the dial."""
    picture = Painter(scene, 320, 240, style="white", sketch=SKETCHES[scene.kind]).frame(time_s)
    marked = np.abs(picture.astype(int) - 250).max(axis=2) > 20
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def colorful(picture: np.ndarray) -> int:
    """How many pixels are strongly coloured."""
    values = picture.astype(int)
    return int((values.max(axis=2) - values.min(axis=2) > 60).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_the_same_in_any_order_and_from_any_painter(kind):
    scene = draw_scene(2, 5, kind=kind, split="any")
    times_s = [scene.duration_s * share for share in (0.1, 0.35, 0.7)]
    first, second = Painter(scene), Painter(scene)
    forward = [first.frame(time_s) for time_s in times_s]
    backward = [second.frame(time_s) for time_s in reversed(times_s)][::-1]
    assert all(np.array_equal(one, other) for one, other in zip(forward, backward, strict=True))
    assert forward[0].shape == (120, 160, 3)
    assert forward[0].dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_every_material_of_a_kind_can_be_seen(kind):
    events = (Event(1.0, 0, 1.0),) if KINDS[kind].mode == "events" else ()
    pictures = [
        Painter(make_scene(kind, material=material, size=0.5, events=events)).frame(1.23).astype(float)
        for material in KINDS[kind].materials
    ]
    middle = np.abs(pictures[0] - pictures[1])[30:105, 40:120]
    assert (middle.max(axis=2) > 25).sum() > 60  # at least an eighth of a half-size object has another colour


def test_no_two_kinds_look_alike():
    pictures = {kind: Painter(make_scene(kind, size=0.8), style="white").frame(1.23).astype(float) for kind in KINDS}
    for first, picture in pictures.items():
        for second, other in pictures.items():
            if first < second:
                assert (np.abs(picture - other).max(axis=2) > 60).sum() > 400, (first, second)  # measured: above 800


@pytest.mark.parametrize("kind", KINDS)
def test_larger_objects_are_drawn_larger_in_proportion_to_the_law(kind):
    resting = {size: box_of(make_scene(kind, size=size, phases=()), 1.0) for size in (0.0, 0.25, 0.5, 0.75, 1.0)}
    heights, widths = [box[0] for box in resting.values()], [box[1] for box in resting.values()]
    assert heights == sorted(set(heights))
    assert widths == sorted(set(widths))
    growth = object_height(1.0) / object_height(0.0)
    assert heights[-1] / heights[0] == pytest.approx(growth, rel=0.12)  # contours are whole pixels thick


@pytest.mark.parametrize("kind", KINDS)
def test_an_active_object_is_about_as_high_as_the_law_says(kind):
    scene = make_scene(kind, size=1.0, events=(Event(1.0, 0, 1.0),) if KINDS[kind].mode == "events" else ())
    assert 0.75 < box_of(scene, 1.1)[0] / (object_height(1.0) * 240) < 1.35  # sparks, steam and glow reach beyond


def test_object_heights_are_linear_in_size_from_18_to_55_percent():
    assert object_height(0.0) == pytest.approx(0.18)
    assert object_height(1.0) == pytest.approx(0.55)
    assert object_height(0.5, 2) == pytest.approx((object_height(0.0, 2) + object_height(1.0, 2)) / 2)
    assert object_height(0.5, 3) < object_height(0.5, 2) < object_height(0.5, 1)


@pytest.mark.parametrize("kind", EVENT_KINDS)
@pytest.mark.parametrize("event_s", [3.0, 3.017])
def test_motion_peaks_within_one_frame_of_the_event(kind, event_s):
    fps = 15  # each kind's peak is at least 1.04 times its next largest change, 1.2 for most
    painter = Painter(make_scene(kind, size=0.7, events=(Event(event_s, 0, 0.6),)))
    frames = [painter.frame(number / fps).astype(float) for number in range(2 * fps + 5, 4 * fps - 5)]
    change = [np.abs(after - before).mean() for before, after in pairwise(frames)]
    peak_s = (2 * fps + 6 + int(np.argmax(change))) / fps  # the first frame that shows the change
    assert 0.0 <= peak_s - event_s <= 1.0 / fps + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_resting_object_does_not_move(kind):
    events = (Event(0.9, 0, 1.0),) if KINDS[kind].mode == "events" else ()
    painter = Painter(make_scene(kind, phases=(Phase(0.0, 1.0, 0.5), Phase(7.0, 8.0, 0.5)), events=events))
    settled = painter.frame(2.0)
    for time_s in (2.5, 4.0, 6.99):
        assert np.array_equal(painter.frame(time_s), settled), time_s


@pytest.mark.parametrize("kind", KINDS)
def test_an_active_picture_differs_from_a_resting_one(kind):
    active = make_scene(kind, size=0.6)
    resting = dataclasses.replace(active, phases=())
    change = np.abs(Painter(active).frame(2.3).astype(int) - Painter(resting).frame(2.3).astype(int)).max(axis=2)
    assert (change > 30).sum() > 60  # measured: at least 90 pixels, the needle and arc of the dial alone make 150


@pytest.mark.parametrize("kind", [name for name, law in KINDS.items() if law.mode == "continuous"])
def test_a_continuous_kind_keeps_moving_while_active(kind):
    painter = Painter(make_scene(kind, size=0.6))
    frames = [painter.frame(2.0 + 0.13 * number) for number in range(4)]
    assert all(not np.array_equal(before, after) for before, after in pairwise(frames))


def test_the_arc_of_the_dial_grows_with_speed_and_is_grey_at_rest():
    def dial(speed: float | None) -> np.ndarray:
        picture = np.full((120, 160, 3), 128, np.uint8)
        draw_dial(picture, speed, left=True)
        return picture

    arcs = [colorful(dial(speed)) for speed in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert arcs == sorted(set(arcs))
    assert colorful(dial(None)) == 0
    needles = [dial(speed)[10:25, 25:50].astype(int) for speed in (0.0, 0.3, 0.6, 1.0)]
    assert all(np.abs(one - other).max() > 100 for one, other in pairwise(needles))


@pytest.mark.parametrize("left", [False, True])
def test_the_dial_is_large_and_survives_a_centre_crop(left):
    picture = np.full((120, 160, 3), 128, np.uint8)
    draw_dial(picture, 0.5, left=left)
    rows, columns = np.nonzero((picture != 128).any(axis=2))
    assert np.ptp(rows) + 1 >= 0.22 * 120
    assert HEIGHT >= 0.22
    assert columns.min() >= 20
    assert columns.max() < 140


def test_the_dial_follows_a_change_of_speed_and_only_kinds_with_a_rate_have_one():
    painter = Painter(make_scene("fan", phases=(Phase(0.0, 4.0, 0.2), Phase(4.0, 8.0, 0.9))))
    corner = np.s_[:33, 20:140]
    assert not np.array_equal(painter.frame(3.9)[corner], painter.frame(4.1)[corner])
    kettle = make_scene("kettle", background="wall")
    without = Painter(kettle, sketch=SKETCHES["kettle"]).frame(1.0)
    assert np.array_equal(Painter(kettle).frame(1.0), without)


def test_a_striker_touches_at_the_event_and_is_away_before_and_after():
    timeline = Timeline(make_scene("bell", events=(Event(1.0, 0, 0.8),)))
    assert timeline.moment(0, 1.0).swing() == pytest.approx(0.0, abs=1e-9)
    assert timeline.moment(0, 1.0).hit() == pytest.approx(0.8)
    assert timeline.moment(0, 0.999).hit() == 0.0
    assert timeline.moment(0, 0.8).swing() == 1.0
    assert timeline.moment(0, 1.5).swing() > 0.95


def test_cycles_count_the_law_s_rate_from_the_start_of_the_phase():
    scene = make_scene("siren", phases=(Phase(1.0, 3.0, 0.5),))
    moment = Timeline(scene).moment(0, 2.5)
    assert moment.cycles == pytest.approx(1.5 * 0.3 * 4.0**0.5)
    assert Timeline(scene).moment(0, 0.5).cycles == 0.0
    assert math.isinf(moment.since_s)


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_camera_never_looks_beyond_the_stage(camera):
    painter = Painter(make_scene("bee", camera=camera, size=0.0), style="white")
    for share in np.linspace(0.0, 1.0, 9):
        frame = painter.frame(8.0 * float(share))
        edges = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
        assert (edges == 250).all()


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_each_background_has_six_different_colourings(background):
    scenes = [make_scene("bee", background=background, palette=palette) for palette in range(6)]
    means = [paint_background(scene, 160, 120, (16, 12), "full").mean(axis=(0, 1)) for scene in scenes]
    distances = [np.abs(one - other).max() for at, one in enumerate(means) for other in means[:at]]
    assert min(distances) > 4.0


def test_light_and_warmth_tint_the_whole_picture():
    dark, bright = (Painter(make_scene("dog", light=light)).frame(1.0).mean() for light in (0.6, 1.0))
    assert dark / bright == pytest.approx(0.6, abs=0.01)  # one rounding of each value
    cold, warm = (Painter(make_scene("dog", warmth=warmth)).frame(1.0).mean(axis=(0, 1)) for warmth in (-1.0, 1.0))
    assert warm[0] > cold[0]
    assert warm[2] < cold[2]


@pytest.mark.parametrize("size", [(96, 96), (320, 240)])
def test_other_picture_sizes_are_drawn_whole(size):
    frame = Painter(make_scene("train"), *size).frame(1.0)
    assert frame.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("thing", SILENT)
def test_silent_things_never_move_and_show_their_colour(thing):
    scene = make_scene("bee", size=0.8)
    red, blue = (Painter(scene, sketch=silent_sketch(thing, color)) for color in ("red", "blue"))
    assert np.array_equal(red.frame(0.5), red.frame(3.0))
    assert (np.abs(red.frame(0.5).astype(int) - blue.frame(0.5)).max(axis=2) > 60).sum() > 60
    assert len(COLORS) == 10
