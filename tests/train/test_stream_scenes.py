"""The stream of scenes is a function of seed and place, and what it says of a piece is true of the scene."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from clipsonic.errors import CorpusError, UsageError
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.scene import Scene, combination_is_heldout, draw_scene, sounds_enough
from clipsonic.soundstage.synth import synthesize
from clipsonic.train.engine.lesson import Batch
from clipsonic.train.lessons.configs import JudgeConfig
from clipsonic.train.streams.scenes import SceneStream, held_out_scenes

RATE_HZ = 8000
SMALL = JudgeConfig(num_scenes=10, num_held_out=25, lengths_s=(1.0, 1.5))


def stream(config: JudgeConfig = SMALL, batch_size: int = 4, seed: int = 3, **how: Any) -> SceneStream:
    return SceneStream(config, RATE_HZ, batch_size, seed, **how)


def first(scenes: SceneStream, count: int) -> list[Batch]:
    return list(islice(scenes, count))


def assert_same(batches: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(batches, others, strict=True):
        assert (one["keys"], one["position"]) == (other["keys"], other["position"])
        assert torch.equal(one["wave"], other["wave"])
        assert torch.equal(one["label"], other["label"])


def places(batches: list[Batch]) -> list[tuple[int, int]]:
    """(scene, first sample) of each row."""
    found = [re.fullmatch(r"scene (\d+), sample (\d+)", key) for batch in batches for key in batch["keys"]]
    return [(int(match[1]), int(match[2])) for match in found if match]


def scene_of(index: int, split: Any = "train") -> Scene:
    return draw_scene(7, index, split=split, kind=list(KINDS)[index % 25])


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_saved_position_resumes_to_the_same_batches_across_an_epochs_border(cut: int) -> None:
    whole = stream()
    batches = first(whole, 7)
    cut_short = stream()
    first(cut_short, cut)
    resumed = stream()
    resumed.load_state_dict(cut_short.state_dict())
    assert_same(first(resumed, 7 - cut), batches[cut:])
    assert whole.state_dict()["position"] == 28


def test_two_processes_hold_the_rows_of_one_and_equally_many() -> None:
    batches = first(stream(), 4)
    parts = [first(stream().shard(rank, 2), 4) for rank in range(2)]
    for whole, *shares in zip(batches, *parts, strict=True):
        for rank, share in enumerate(shares):
            assert torch.equal(share["wave"], whole["wave"][rank::2])
            assert share["keys"] == whole["keys"][rank::2]
            assert share["position"] == whole["position"]


def test_memory_and_the_thread_ahead_never_change_a_batch() -> None:
    batches = first(stream(), 5)
    assert_same(first(stream(workers=1), 5), batches)
    assert_same(first(stream(cache_mb=0.0), 5), batches)


@pytest.mark.slow
def test_processes_that_render_never_change_a_batch() -> None:
    assert_same(first(stream(workers=2), 5), first(stream(), 5))


def test_every_scene_comes_once_in_an_epoch_and_in_another_order_in_the_next() -> None:
    orders = np.array([scene for scene, _ in places(first(stream(batch_size=5), 4))]).reshape(2, 10)
    assert [sorted(order) for order in orders] == [list(range(10))] * 2
    assert list(orders[0]) != list(orders[1])


def test_a_piece_is_the_scenes_own_sound_where_it_sounds_and_its_label_is_its_kind() -> None:
    batches = first(stream(), 5)
    assert {batch["wave"].shape[1] for batch in batches} == {RATE_HZ, RATE_HZ * 3 // 2}
    for batch in batches:
        for row, (index, start) in enumerate(places([batch])):
            scene, length = scene_of(index), batch["wave"].shape[1]
            assert list(KINDS)[batch["label"][row]] == scene.kind
            assert sounds_enough(scene, start / RATE_HZ, length / RATE_HZ)
            true = synthesize(scene, sample_rate_hz=RATE_HZ)[start : start + length]
            # int16
            np.testing.assert_allclose(batch["wave"][row].numpy() / 32767, true.clip(-1, 1), atol=1 / 32767)


def test_a_scene_without_a_piece_as_long_gives_its_row_to_another() -> None:
    config = JudgeConfig(num_scenes=20, num_held_out=25, lengths_s=(7.0,))
    durations_s = [scene_of(index).duration_s for index, _ in places(first(stream(config), 5))]
    assert len(durations_s) == 20
    assert min(durations_s) > 7.0 > min(scene_of(index).duration_s for index in range(20))


def test_pieces_longer_than_every_scene_are_refused() -> None:
    with pytest.raises(UsageError, match=r"judge\.lengths_s 13\.0 is longer than what sounds in the 10 scenes"):
        first(stream(JudgeConfig(num_scenes=10, lengths_s=(13.0,))), 1)
    with pytest.raises(UsageError, match=r"judge\.num_held_out 25 leaves no piece of 13\.0 s"):
        held_out_scenes(JudgeConfig(num_held_out=25, lengths_s=(13.0,)), RATE_HZ, 16)


def test_a_position_in_other_scenes_or_of_another_seed_is_refused() -> None:
    state = stream().state_dict()
    with pytest.raises(CorpusError, match="digest"):
        stream(JudgeConfig(num_scenes=11, lengths_s=(1.0, 1.5))).load_state_dict(state)
    with pytest.raises(CorpusError, match="seed 3, scenes and seed here have 4"):
        stream(seed=4).load_state_dict(state)


def test_held_out_pieces_are_of_combinations_that_are_never_learned_from() -> None:
    batches = held_out_scenes(SMALL, RATE_HZ, 10)
    assert [batch["wave"].shape[1] / RATE_HZ for batch in batches] == [1.0, 1.5, 1.0]
    scenes = [scene_of(index, "heldout") for index, _ in places(batches)]
    assert len(scenes) == len(set(places(batches))) >= 20
    assert all(combination_is_heldout(one.kind, one.material, one.size, one.speed) for one in scenes)
    learned = {scene_of(index) for index in range(10)}
    assert not any(combination_is_heldout(one.kind, one.material, one.size, one.speed) for one in learned)
    assert [list(KINDS)[label] for batch in batches for label in batch["label"]] == [one.kind for one in scenes]
