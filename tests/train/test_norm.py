"""Batch statistics are those of the whole batch, however many processes hold it. Run as a script, it is one of two."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from makers_train import in_two_processes
from torch import Tensor, nn

from clipsonic.train.engine.norm import BatchNorm2d, over_processes


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 4 * 5, 2)).train()


def learned(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Gradients and buffers after two batches whose mean is far from zero."""
    for batch in (x + 5.0, x * 2.0):
        (net(batch).square() * torch.tensor([1.0, -0.5])).sum(dim=1).mean().backward()
    gradients = {f"{name} gradient": weight.grad for name, weight in net.named_parameters()}
    return {**dict(net.named_buffers()), **{name: value for name, value in gradients.items() if value is not None}}


def batch() -> Tensor:
    return torch.randn(6, 1, 8, 9, generator=torch.Generator().manual_seed(1))


def test_on_one_process_it_is_torchs_own_bit_for_bit() -> None:
    plain, ours = network(), over_processes(network())
    assert sum(type(module) is BatchNorm2d for module in ours.modules()) == 2
    assert list(plain.state_dict()) == list(ours.state_dict())
    expected, found = learned(plain, batch()), learned(ours, batch())
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert torch.equal(ours.eval()(batch()), plain.eval()(batch()))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("norm")
    in_two_processes(__file__, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_processes_have_the_gradients_and_buffers_of_one(ranks: list[dict[str, Any]]) -> None:
    whole = learned(network(), batch())
    for name, value in whole.items():
        shares = [rank[name] for rank in ranks]
        found = (shares[0] + shares[1]) / 2 if "gradient" in name else shares[0]
        # sums in another order; 8e-7 measured
        torch.testing.assert_close(found, value, rtol=0, atol=1e-5 * max(1.0, float(value.abs().max())))


def test_the_buffers_of_both_are_equal_bit_for_bit(ranks: list[dict[str, Any]]) -> None:
    names = [name for name in ranks[0] if "gradient" not in name]
    assert len(names) == 6
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in names)


def one_of_two(rank: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(learned(over_processes(network()), batch()[rank::2]), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    one_of_two(int(sys.argv[1]), Path(sys.argv[2]))
