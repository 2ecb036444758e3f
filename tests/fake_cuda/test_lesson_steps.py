"""Every lesson's step on a CUDA device that is not there: nothing waits for it, and nothing lies elsewhere.

Rehearsed is what comes before the backward pass, from a batch on the device to its loss and to what judges say, and
what comes after it, from given gradients through clipping and AdamW to the averaged weights. NOT_REHEARSED says what
needs the backward pass itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from fake_cuda import rehearsed
from lessons_at_work import LESSONS
from makers_clip import write_recipe
from torch import Tensor

from clipsonic.train.command import build_parser, config_of
from clipsonic.train.config import Sources
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.guard import FiniteGuard
from clipsonic.train.engine.lesson import Course
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.engine.steps import BareSteps, rows
from clipsonic.train.run import maker

NOT_REHEARSED = {
    "torch.autograd.backward": "gradients of lessons and judges are given instead",
    "torch.autograd.grad": "the pulls of an adaptive weight are given instead (adversary.adaptive)",
}
U_NET = (
    "--model.kind unet --model.unet.channels [8,16] --model.unet.head_width 8 --model.unet.attention_levels 1 "
    "--model.unet.condition_width 16"
)
CASES: dict[str, tuple[str, list[str]]] = {
    **{name: (name, []) for name in LESSONS if name != "toy"},
    "sound in epsilon": ("sound", ["--objective.prediction_type", "epsilon", "--objective.min_snr_gamma", "5"]),
    "sound in v": ("sound", ["--objective.prediction_type", "v_prediction", "--objective.min_snr_gamma", "5"]),
    "sound by a U-Net": ("sound", U_NET.split()),
    "sound of timed tokens": ("sound", ["--condition.global_share", "0", "--condition.pooled_share", "0"]),
    "sound by recomputation": ("sound", ["--model.checkpoint_blocks", "true"]),
    "clip of convolutions": ("clip", ["--clip.arch", "{folder}/convolutions.json"]),
    "vocoder alone": ("vocoder", ["--adversary.weight", "0"]),
    "vocoder before its judges": ("vocoder", ["--adversary.start", "10"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lessons")
    write_recipe(made / "convolutions.json")
    return made


@pytest.mark.parametrize("case", CASES)
def test_a_step_waits_for_nothing_and_copies_nothing(case: str, folder: Path) -> None:
    name, words = CASES[case]
    course, config = made([*LESSONS[name](folder), *(word.format(folder=folder) for word in words)])
    with rehearsed() as report, given_gradients(course):
        module = LessonModule(config, course.lesson, Clock(config.run)).to("cuda")
        module.average.place(module.device, None)
        if course.lesson.adversary is not None:
            course.lesson.adversary.place(module.device)
        steps = BareSteps(module, rounded=True)
        batch = rows(next(iter(course.stream)), 4, module.device)
        report.clear()
        for _ in range(2):  # the first makes the optimiser's state
            steps.step(batch)
    assert report.unexpected({}) == []


def test_the_guard_against_numbers_that_are_not_finite_waits_once_for_what_it_began_to_copy_before() -> None:
    guard = FiniteGuard()
    with rehearsed() as report:
        guard.watch("loss", torch.zeros(4, device="cuda"), ["a", "b", "c", "d"])
        assert report.syncs == []
        guard.check()
    assert [noted.file for noted in [*report.copies, *report.syncs]] == ["train/engine/guard.py"] * 2


def made(words: list[str]) -> tuple[Course, Any]:
    args = build_parser("clipsonic train").parse_args([*words, "--out", "-"])
    config = config_of(args)
    sources = Sources(tuple(args.corpus), tuple(args.pairs), tuple(args.val_pairs), args.recordings)
    return maker(config, sources, args.init)(None), config


@contextmanager
def given_gradients(course: Course) -> Iterator[None]:
    """Inside, a backward pass leaves a gradient of no values on all that learns."""

    def backward(_: Tensor) -> None:
        adversary = course.lesson.adversary
        for part in [course.lesson.learner, *([] if adversary is None else adversary.judges)]:
            for weight in part.parameters():
                weight.grad = torch.zeros_like(weight) if weight.requires_grad else None

    stubs = {"torch.autograd.backward": backward, "torch.autograd.grad": pulled}
    assert stubs.keys() == NOT_REHEARSED.keys()
    with ExitStack() as stack:
        for name, stub in stubs.items():
            stack.enter_context(mock.patch(name, stub))
        yield


def pulled(_: Tensor, weight: Tensor, retain_graph: bool = False) -> tuple[Tensor]:
    return (torch.zeros_like(weight),)
