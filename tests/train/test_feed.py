"""Batches reach the device as they were made."""

from __future__ import annotations

import pytest
import torch

from clipsonic.shards.crops import as_float
from clipsonic.train.engine.feed import on_device


def test_int16_becomes_the_float32_that_is_made_of_it_in_numpy_and_floats_stay() -> None:
    wave = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16)
    assert torch.equal(as_float(wave), torch.from_numpy(wave.numpy().astype("f4") * (1 / 32768)))
    assert as_float(wave).abs().max() == 1.0
    float_wave = as_float(wave)
    assert as_float(float_wave) is float_wave


@pytest.mark.gpu
def test_on_a_gpu_a_batch_is_what_it_was_and_waits_for_its_copy() -> None:
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    wave = torch.randint(-32768, 32767, (64, 160_000), dtype=torch.int16)
    moved = [on_device({"wave": wave + number, "keys": ["k"], "position": number}, side) for number in range(8)]
    for number, batch in enumerate(moved):
        assert batch["keys"] == ["k"]
        assert batch["position"] == number
        assert batch["wave"].device.type == "cuda"
        assert torch.equal(as_float(batch["wave"]).cpu(), as_float(wave + number))
