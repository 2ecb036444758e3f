"""One training step: its loss, its draws, and what a lower precision does to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from makers_train import SEGMENT, WIDTH, new_module
from torch.nn import functional

from clipsonic.train.config import (
    ConditionConfig,
    DiTConfig,
    ModelConfig,
    TrainConfig,
    UNetConfig,
)
from clipsonic.train.engine.module import LessonModule

B = 16


def make_module(kind: Any = "dit", **condition: float) -> LessonModule:
    unet = UNetConfig(channels=(8, 16), layers=1, attention_levels=1, head_width=8, condition_width=16)
    model = ModelConfig(kind=kind, dit=DiTConfig(patch=4, width=16, depth=1, heads=2), unet=unet)
    config = TrainConfig(model=model, segment=SEGMENT, condition=ConditionConfig(**condition))
    module = new_module(config)
    with torch.no_grad():  # as after some training: the output layers begin at zero
        for weight in module.lesson.learner.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    return module


def loss_of(module: LessonModule, batch: dict[str, Any], purpose: str, *indices: int) -> torch.Tensor:
    return module.losses(batch, purpose, *indices).per_item


@pytest.fixture
def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "wave": 0.1 * torch.randn(B, 2048, generator=generator),
        "frames": functional.normalize(torch.randn(B, 3, WIDTH, generator=generator), dim=-1),
        "frame_times_s": torch.tensor([0.1, 0.2, 0.3]).expand(B, 3),
        "frame_mask": torch.ones(B, 3, dtype=torch.bool),
        "keys": [f"k{i}" for i in range(B)],
        "position": B,
    }


@pytest.mark.parametrize("kind", ["dit", "unet"])
def test_the_loss_under_bfloat16_is_that_of_float32_within_its_rounding(batch: dict[str, Any], kind: str) -> None:
    module = make_module(kind)
    exact = loss_of(module, batch, "test")
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss_of(module, batch, "test")
    assert rounded.dtype == torch.float32
    rounded.mean().backward()
    # bfloat16 keeps 8 bits, 0.4 % per product; the losses are means of 512 squares: 0.15 % measured
    assert torch.allclose(exact, rounded, rtol=0.015)


def test_draws_follow_purpose_and_place_and_nothing_else(batch: dict[str, Any]) -> None:
    module = make_module()
    first = loss_of(module, batch, "test", 1)
    torch.manual_seed(5)
    torch.rand(3)
    assert torch.equal(first, loss_of(module, batch, "test", 1))
    assert not torch.equal(first, loss_of(module, batch, "test", 2))
    assert not torch.equal(first, loss_of(module, batch, "other", 1))


def test_validation_sees_its_frames_whatever_the_dropout(batch: dict[str, Any]) -> None:
    dropping, keeping = make_module(dropout=0.99), make_module(dropout=0.0)
    assert not torch.equal(loss_of(dropping, batch, "test"), loss_of(keeping, batch, "test"))
    for module in (dropping, keeping):
        module.lesson.eval()
    assert torch.equal(loss_of(dropping, batch, "test"), loss_of(keeping, batch, "test"))


def test_model_space_and_back_is_where_it_was() -> None:
    module = make_module().lesson.sound
    mel = torch.linspace(-11.5, 3.0, 16 * 32).view(1, 16, 32)
    # one rounding each way of numbers up to 11.5: 1e-6
    assert torch.allclose(module.from_model_space(module.to_model_space(mel)), mel, atol=1e-5)
    assert torch.equal(module.to_model_space(torch.full((1, 16, 2), -4.0)), torch.zeros(1, 16, 2))


def test_averaged_weights_are_there_inside_and_gone_after() -> None:
    module = make_module()
    before = [weight.clone() for weight in module.lesson.learner.parameters()]
    with module.averaged():
        inside = [weight.clone() for weight in module.lesson.learner.parameters()]
        assert not module.lesson.learner.training
    assert module.lesson.learner.training
    assert all(torch.equal(one, two) for one, two in zip(inside, module.average.full(), strict=True))
    assert all(torch.equal(one, two) for one, two in zip(before, module.lesson.learner.parameters(), strict=True))
