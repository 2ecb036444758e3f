"""One training step: its loss, its draws, and what a lower precision does to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from clipsonic.train.clock import Clock
from clipsonic.train.config import (
    ConditionConfig,
    DiTConfig,
    ModelConfig,
    SegmentConfig,
    TrainConfig,
    UNetConfig,
)
from clipsonic.train.module import SoundModule

WIDTH, B = 8, 16
SEGMENT = SegmentConfig(sample_rate_hz=4000, n_fft=256, hop_length=64, num_mels=16, f_max_hz=2000.0, num_mel_frames=32)


def make_module(kind: Any = "dit", **condition: float) -> SoundModule:
    unet = UNetConfig(channels=(8, 16), layers=1, attention_levels=1, head_width=8, condition_width=16)
    model = ModelConfig(kind=kind, dit=DiTConfig(patch=4, width=16, depth=1, heads=2), unet=unet)
    config = TrainConfig(model=model, segment=SEGMENT, condition=ConditionConfig(**condition))
    module = SoundModule(
        config, SEGMENT.spec(WIDTH, "toy/1"), torch.full((16,), -4.0), torch.full((16,), 2.0), Clock(config.run)
    )
    with torch.no_grad():  # as after some training: the output layers begin at zero
        for weight in module.denoiser.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    return module


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
    exact = module.loss(batch, "test")
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module.loss(batch, "test")
    assert rounded.dtype == torch.float32
    rounded.mean().backward()
    # bfloat16 keeps 8 bits, 0.4 % per product; the losses are means of 512 squares: 0.15 % measured
    assert torch.allclose(exact, rounded, rtol=0.015)


def test_draws_follow_purpose_and_place_and_nothing_else(batch: dict[str, Any]) -> None:
    module = make_module()
    first = module.loss(batch, "test", 1)
    torch.manual_seed(5)
    torch.rand(3)
    assert torch.equal(first, module.loss(batch, "test", 1))
    assert not torch.equal(first, module.loss(batch, "test", 2))
    assert not torch.equal(first, module.loss(batch, "other", 1))


def test_validation_sees_its_frames_whatever_the_dropout(batch: dict[str, Any]) -> None:
    dropping, keeping = make_module(dropout=0.99), make_module(dropout=0.0)
    assert torch.equal(dropping.loss(batch, "test", seeing=True), keeping.loss(batch, "test", seeing=True))
    assert not torch.equal(dropping.loss(batch, "test"), keeping.loss(batch, "test"))


def test_model_space_and_back_is_where_it_was() -> None:
    module = make_module()
    mel = torch.linspace(-11.5, 3.0, 16 * 32).view(1, 16, 32)
    # one rounding each way of numbers up to 11.5: 1e-6
    assert torch.allclose(module.from_model_space(module.to_model_space(mel)), mel, atol=1e-5)
    assert torch.equal(module.to_model_space(torch.full((1, 16, 2), -4.0)), torch.zeros(1, 16, 2))


def test_averaged_weights_are_there_inside_and_gone_after() -> None:
    module = make_module()
    before = [weight.clone() for weight in module.denoiser.parameters()]
    with module.averaged():
        inside = [weight.clone() for weight in module.denoiser.parameters()]
        assert not module.denoiser.training
    assert module.denoiser.training
    assert all(torch.equal(one, two) for one, two in zip(inside, module.average.full(), strict=True))
    assert all(torch.equal(one, two) for one, two in zip(before, module.denoiser.parameters(), strict=True))
