"""The rehearsal itself: it sees a planted wait, a planted copy and a planted mix of devices, and takes clean code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_cuda import rehearsed
from torch import Tensor, nn

from clipsonic.seeding import torch_generator
from clipsonic.train.engine.losses import clip_gradient

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.flatten().tolist(),
        lambda x: (x > 0).nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: torch.equal(x, x),
        lambda x: x.repeat_interleave(torch.ones(3, dtype=torch.int64, device="cuda"), dim=0),
        lambda x: torch.cuda.synchronize(),
    ],
    ids=["item", "bool", "tolist", "nonzero", "mask", "masked_select", "equal", "repeat_interleave", "synchronize"],
)
def test_a_planted_wait_is_seen_with_its_line(wait: Callable[[Tensor], object]) -> None:
    with rehearsed(HERE) as report:
        wait(torch.zeros(3, 3, device="cuda"))
    assert {noted.where for noted in report.syncs} == {f"test_fake_cuda.py:{wait.__code__.co_firstlineno}"}
    assert not report.copies


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: x.cpu(),
        lambda x: torch.zeros(3).to(x.device),
        lambda x: torch.tensor([0, 1], device=x.device),
        lambda x: x.copy_(torch.zeros(3, 3)),
        lambda x: torch.empty(3, 3, pin_memory=True).copy_(x, non_blocking=True),
        lambda x: x[torch.tensor([0, 1])],
    ],
    ids=["to the host", "to the device", "a constant", "into", "into pinned", "an index"],
)
def test_a_planted_copy_is_seen_with_its_line(copy: Callable[[Tensor], object]) -> None:
    with rehearsed(HERE) as report:
        copy(torch.zeros(3, 3, device="cuda"))
    assert [noted.where for noted in report.copies] == [f"test_fake_cuda.py:{copy.__code__.co_firstlineno}"]
    assert not report.syncs


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.zeros(3),
        lambda x: nn.Linear(3, 3)(x),
        lambda x: torch.cat([x, torch.zeros(3, 3)]),
        lambda x: torch.randn(3, generator=torch.Generator(), device="cuda"),
        lambda x: torch.randn(3, generator=torch_generator(0, "test", device="cuda")),
    ],
    ids=["sum", "layer", "cat", "host generator", "device generator"],
)
def test_a_planted_mix_of_devices_raises(mix: Callable[[Tensor], object]) -> None:
    with rehearsed(), pytest.raises(RuntimeError, match="device"):
        mix(torch.zeros(3, 3, device="cuda"))


def test_arithmetic_with_numbers_of_the_host_is_no_wait_and_no_copy() -> None:
    with rehearsed(HERE) as report:
        x = torch.randn(2, 3, generator=torch_generator(0, "test", device="cuda"), device="cuda")
        mask = x > 0.5
        x[mask] = 0.0
        x[0] = 2.0
        torch.where(mask, x * torch.tensor(2.0), torch.zeros_like(x)).masked_fill(mask, 1.0)
    assert report.syncs == [] == report.copies


def test_a_step_from_given_gradients_runs_where_the_network_was_moved_to() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    with rehearsed(HERE) as report:
        network.to("cuda")
        report.clear()
        with torch.autocast("cuda", torch.bfloat16):
            rounded = network(torch.zeros(3, 4, device="cuda"))
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        clip_gradient(network, 1.0, sharded=False)
        torch.optim.AdamW(network.parameters(), fused=True).step()
        assert {value.device.type for value in network.state_dict().values()} == {"cuda"}
    assert rounded.dtype == torch.bfloat16
    assert rounded.shape == (3, 2)
    assert report.syncs == [] == report.copies


def test_what_the_host_computes_is_really_computed_and_what_comes_back_is_ones() -> None:
    with rehearsed(HERE) as report:
        assert (torch.arange(3) * 2).tolist() == [0, 2, 4]
        assert torch.zeros(2, device="cuda").cpu().tolist() == [1.0, 1.0]
    assert len(report.copies) == 1
    assert report.unexpected({"test_fake_cuda.py": "the line above"}) == []
    assert report.unexpected({}) == [str(report.copies[0])]


def test_after_it_there_is_no_device_again() -> None:
    before = torch.cuda.is_available(), torch.Generator
    with rehearsed():
        assert torch.cuda.is_available()
    assert (torch.cuda.is_available(), torch.Generator) == before
