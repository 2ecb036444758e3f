"""What a row draws is its own: the same whoever holds it, and however long the rows beside it are padded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from makers_adapters import SECONDS, SEGMENT, WIDTH, adapting, distilling, tones, toy
from makers_train import new_lesson
from torch.nn import functional

from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.seeding import torch_generator
from clipsonic.shards.crops import pad_frames
from clipsonic.specs import CorpusSpec
from clipsonic.train.config import ConditionConfig, TrainConfig
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.lessons.adapted import Adapted
from clipsonic.train.lessons.adapter import AdapterLesson
from clipsonic.train.lessons.condition import draw_condition
from clipsonic.train.lessons.fewstep import FewstepLesson
from clipsonic.train.run import train
from clipsonic.train.streams.records import TrainData

COUNTS = [1, 5, 2, 3, 1, 4]
"""Frames of each record: the rows of two processes, every second one, are padded to 2 and to 5."""


def batch_of(rows: range) -> dict[str, Any]:
    """These of six records."""
    generator = torch_generator(0, "test.batch")
    waves = 0.1 * torch.randn(len(COUNTS), round(SECONDS * SEGMENT.sample_rate_hz), generator=generator)
    embeds = functional.normalize(torch.randn(len(COUNTS), max(COUNTS), WIDTH, generator=generator), dim=-1)
    frames = [embeds[row, : COUNTS[row]].numpy() for row in rows]
    times_s = [torch.tensor(CorpusSpec.frame_times_s(SECONDS, COUNTS[row])).numpy() for row in rows]
    return {"wave": waves[list(rows)], **pad_frames(frames, times_s), "keys": [f"k{row}" for row in rows]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("base") / "P"
    train(toy(40), tones(out.parent / "corpus", [150.0, 300.0, 500.0, 700.0]), out)
    return out


def module_of(kind: str, base: Path) -> LessonModule:
    """What trains a whole network, an adapter that keeps the old sounds, or one for few steps."""
    noisy = {"condition": ConditionConfig(dropout=0.3, embed_noise_std=0.4)}
    pipeline = ClipSonicPipeline.from_pretrained(base)
    if kind == "sound":
        config = toy(1, **noisy)
        lesson: Any = new_lesson(config, *pipeline.mel_statistics)
        lesson.learner.load_state_dict(pipeline.denoiser.state_dict())
        return LessonModule(config, lesson, Clock(config.run))
    config = adapting(1, keep=2.0) if kind == "adapter" else distilling(1, 4)
    config = TrainConfig(**{**vars(config), **noisy})
    adapted = Adapted(config, pipeline)
    lesson = FewstepLesson(adapted) if config.distill.steps else AdapterLesson(adapted, TrainData(None, []))  # type: ignore[arg-type]
    return LessonModule(config, lesson, Clock(config.run))


@pytest.mark.parametrize("kind", ["sound", "adapter", "distill"])
def test_the_losses_of_a_step_are_the_same_in_one_process_and_in_two_that_pad_their_rows_otherwise(
    base: Path, kind: str
) -> None:
    module = module_of(kind, base)
    with torch.no_grad():
        whole = module.losses(batch_of(range(6)), "train.step", 7)
        for rank in range(2):
            mine = batch_of(range(rank, 6, 2))
            assert mine["frames"].shape[1] == (2, 5)[rank]
            losses = module.losses(mine, "train.step", 7, ranks=(rank, 2))
            for name, (_, inside_B) in losses.logged.items():  # the quarter of the diffusion time
                assert torch.equal(inside_B, whole.logged[name][1][rank::2])
            mine_B, whole_B = losses.per_item, whole.per_item
            torch.testing.assert_close(mine_B, whole_B[rank::2], rtol=1e-4, atol=1e-5)  # sums of float32, 1e-6 measured


def test_the_teacher_starts_each_item_from_the_same_noise_however_long_its_batch_is_padded(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, starts = module_of("distill", base), []
    assert isinstance(module.lesson, FewstepLesson)
    path = module.lesson.teacher_path
    monkeypatch.setattr(module.lesson, "teacher_path", lambda noise, seen: starts.append(noise) or path(noise, seen))
    with torch.no_grad():
        for batch in (batch_of(range(0, 6, 2)), {**batch_of(range(0, 6, 2)), **longer(batch_of(range(0, 6, 2)))}):
            module.losses(batch, "train.step", 7)
    assert torch.equal(starts[0], starts[1])


def longer(batch: dict[str, Any]) -> dict[str, Any]:
    """The frames of a batch with three more columns of padding."""
    return {
        "frames": functional.pad(batch["frames"], (0, 0, 0, 3)),
        "frame_times_s": functional.pad(batch["frame_times_s"], (0, 3)),
        "frame_mask": functional.pad(batch["frame_mask"], (0, 3)),
    }


def test_nothing_can_be_drawn_after_what_is_drawn_by_the_length_of_a_batch() -> None:
    batch = batch_of(range(6))
    draws = Draws(torch_generator(0, "test.last"), 6)
    draw_condition(batch["frames"], batch["frame_times_s"], batch["frame_mask"], draws, embed_noise_std=0.4)
    with pytest.raises(AssertionError, match="after a draw whose length depends on padding"):
        draws.normal(3)
