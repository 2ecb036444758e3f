"""What is judged is what sounds and shows, drawn by the seed and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from clipsonic.evaluate.plan import Law, plan_scenes, plan_videos
from clipsonic.soundstage.manifest import scene_from_law
from clipsonic.soundstage.scene import Scene, draw_scene, sounds_enough
from clipsonic.specs import CorpusSpec

SECONDS = 4.096


def record(key: str, source: str, start_s: float = 0.0, seconds: float = 10.24, **changes: Any) -> dict[str, Any]:
    times_s = list(CorpusSpec.frame_times_s(seconds))
    facts = {"key": key, "shard": "shard-000000.tar", "source": source, "start_s": start_s, "seconds": seconds}
    plain = {"valid_seconds": seconds, "frame_times_s": times_s, "sample_rate": 16000, "rms_db": -20.0}
    return {**facts, **plain, "silence_share": 0.1, **changes}


def scene(kind: str = "flute", phases: tuple[tuple[float, float], ...] = ((0.0, 10.24),), **changes: Any) -> Scene:
    law = draw_scene(1, 2, kind=kind).to_dict()
    given = [{"start_s": start_s, "end_s": end_s, "speed": 0.5} for start_s, end_s in phases]
    return scene_from_law({**law, "duration_s": 10.24, "phases": given, **changes})


def laws(*scenes: Scene) -> dict[str, Law]:
    return {f"/videos/{place}.mp4": Law(one, ("a thing", "another thing")) for place, one in enumerate(scenes)}


def corpus(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [record(f"key-{place}", f"/videos/{place}.mp4", **changes) for place in range(count)]


def test_half_of_a_stretch_must_sound() -> None:
    late = scene(phases=((2.0, 10.0),))
    assert sounds_enough(late, 0.0, 4.0)
    assert not sounds_enough(late, 0.0, 3.9)
    assert sounds_enough(scene(phases=((0.0, 1.0), (3.0, 4.0))), 0.0, 4.0)


def test_a_thing_with_onsets_must_strike_early_enough_to_be_heard() -> None:
    struck = scene("bell", events=[{"time_s": 3.9, "index": 0, "strength": 1.0}])
    assert not sounds_enough(struck, 0.0, 4.0)
    assert sounds_enough(struck, 1.0, 4.0)


def test_there_is_one_segment_per_video_and_it_sounds_and_shows() -> None:
    facts = [*corpus(3), record("key-0-b", "/videos/0.mp4", start_s=10.24)]
    known = laws(scene(phases=((5.0, 10.24),)), scene(), scene(phases=((0.0, 3.0),)))
    plan = plan_scenes(facts, known, SECONDS, num_scenes=10, seed=0)
    assert sorted(item.source for item in plan.items) == ["/videos/0.mp4", "/videos/1.mp4", "/videos/2.mp4"]
    for item in plan.items:
        law = known[item.source].scene
        frame_s = facts[0]["frame_times_s"][item.image]
        assert sounds_enough(law, item.start_s, SECONDS)
        assert law.speed_at(frame_s) is not None
        assert item.start_s <= frame_s <= item.start_s + SECONDS
        assert item.kind == "flute"
        assert item.caption in ("a thing", "another thing")


def test_the_four_frames_of_a_segment_lie_at_its_bin_centres() -> None:
    (item,) = plan_scenes(corpus(1), laws(scene()), SECONDS, num_scenes=1, seed=3).items
    # exact but for float rounding, since segments start where frame bins do
    assert item.times_s == pytest.approx([0.512, 1.536, 2.560, 3.584], abs=1e-9)
    assert list(item.frames) == [item.frames[0] + place for place in range(4)]


def test_a_video_that_never_sounds_long_enough_is_left_out_and_counted() -> None:
    plan = plan_scenes(corpus(2), laws(scene(phases=((0.0, 1.0),)), scene()), SECONDS, num_scenes=9, seed=0)
    assert [item.source for item in plan.items] == ["/videos/1.mp4"]
    assert plan.left_out == {"videos without a segment of the model's length that sounds": 1}


def test_a_video_without_a_law_is_left_out_and_counted() -> None:
    plan = plan_scenes(corpus(3), laws(scene()), SECONDS, num_scenes=9, seed=0)
    assert len(plan.items) == 1
    assert plan.left_out == {"records without a law": 2}


def test_the_same_seed_draws_the_same_scenes_in_any_number_and_another_seed_draws_others() -> None:
    facts, known = corpus(40), laws(*[scene() for _ in range(40)])
    first = plan_scenes(facts, known, SECONDS, num_scenes=10, seed=1)
    assert first == plan_scenes(facts, known, SECONDS, num_scenes=10, seed=1)
    assert first.items != plan_scenes(facts, known, SECONDS, num_scenes=10, seed=2).items
    assert first.left_out == {"videos beyond --num-scenes": 30}
    everything = plan_scenes(facts, known, SECONDS, num_scenes=40, seed=1)
    assert first.items == everything.items[:10]


def test_a_real_record_is_judged_from_its_start_if_it_is_long_enough_and_not_silent() -> None:
    facts = [
        record("a", "a.mp4"),
        record("b", "b.mp4", seconds=2.56),
        record("c", "c.mp4", rms_db=-80.0, silence_share=1.0),
        record("d", "a.mp4", start_s=10.24),
        record("e", "e.mp4", seconds=4.0),
    ]
    plan = plan_videos(facts, SECONDS, num_scenes=9, seed=0)
    assert [(item.key, item.is_first, item.start_s) for item in plan.items] == [
        ("a", True, 0.0),
        ("d", False, 0.0),
        ("e", True, 0.0),
    ]
    assert plan.left_out == {"records shorter than the model's segment": 1, "silent records": 1}
    assert all(item.kind is None for item in plan.items)


def test_beyond_the_number_asked_for_first_segments_stay() -> None:
    facts = [record(f"{video}-{place}", f"{video}.mp4", start_s=10.24 * place) for video in "abc" for place in range(5)]
    plan = plan_videos(facts, SECONDS, num_scenes=5, seed=0)
    assert len(plan.items) == 5
    assert [item.key for item in plan.items if item.is_first] == ["a-0", "b-0", "c-0"]
    assert plan.left_out == {"records beyond --num-scenes": 10}


def test_a_record_with_fewer_frames_than_the_prompt_gives_some_twice() -> None:
    (item,) = plan_videos([record("a", "a.mp4", seconds=10.24)], 2.0, num_scenes=1, seed=0).items
    assert item.frames == (0, 0, 1, 1)
    assert item.times_s == pytest.approx([0.512, 0.512, 1.536, 1.536], abs=1e-9)
