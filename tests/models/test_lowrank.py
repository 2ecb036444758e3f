"""Low-rank adapters on both denoisers: what they add, and that without them the network is what it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipsonic.errors import CheckpointError, SpecError
from clipsonic.models.conditioner import global_condition
from clipsonic.models.dit import DiT1D
from clipsonic.models.lowrank import (
    LowRank,
    adapter_weights,
    adapters_off,
    add_adapter,
    learning_weights,
    linear_paths,
    merged_weights,
    remove_adapter,
    set_adapter_weights,
    use_adapters,
    without_adapters,
)
from clipsonic.models.unet import MelUNet
from clipsonic.seeding import torch_generator

WIDTH = 8
SHAPE = LowRank(2, 4.0, ("block",))


def make(kind: str) -> Any:
    """Untrained, with weights everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network: Any = (
            DiT1D(num_mels=16, num_mel_frames=16, patch=4, width=16, depth=2, heads=2, embed_width=WIDTH,
                  fine_depth=1, fine_width=16, fine_patch=2, fine_attention=1)
            if kind == "dit"
            else MelUNet(num_mels=16, num_mel_frames=16, channels=(8, 16), layers=1, attention_levels=1, head_width=8,
                         condition_width=16, embed_width=WIDTH)
        )  # fmt: skip
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn(weight.shape) * 0.1)
    return network.eval()


def answer(network: Any) -> torch.Tensor:
    generator = torch_generator(0, "test.lowrank")
    condition = global_condition(torch.nn.functional.normalize(torch.randn(2, WIDTH, generator=generator), dim=-1))
    with torch.no_grad():
        said: torch.Tensor = network(
            torch.randn(2, 16, 16, generator=generator), torch.tensor([300.0, 800.0]), condition
        )
    return said


def with_weights(network: Any, name: str, seed: int) -> None:
    """An adapter whose B is not zero."""
    add_adapter(network, SHAPE, name, seed)
    generator = torch_generator(seed, "test.weights")
    values = {
        key: torch.randn(value.shape, generator=generator) * 0.3
        for key, value in adapter_weights(network, name).items()
    }
    set_adapter_weights(network, name, values, "here")


@pytest.mark.parametrize("kind", ["dit", "unet"])
def test_a_new_adapter_changes_nothing_and_a_trained_one_is_gone_bit_for_bit_when_off_or_removed(kind: str) -> None:
    network = make(kind)
    before, keys = answer(network), list(network.state_dict())
    add_adapter(network, SHAPE, "new")
    use_adapters(network, {"new": 1.0})
    assert torch.equal(answer(network), before)
    with_weights(network, "trained", 5)
    use_adapters(network, {"trained": 1.0})
    acting = answer(network)
    assert (acting - before).abs().max() > 0.01
    with adapters_off(network):
        assert torch.equal(answer(network), before)
    assert torch.equal(answer(network), acting)
    with without_adapters(network):
        assert list(network.state_dict()) == keys
        assert torch.equal(answer(network), before)
    assert torch.equal(answer(network), acting)
    use_adapters(network, {})
    assert torch.equal(answer(network), before)
    remove_adapter(network, "trained")
    remove_adapter(network, "new")
    assert list(network.state_dict()) == keys
    assert torch.equal(answer(network), before)


@pytest.mark.parametrize("kind", ["dit", "unet"])
def test_merged_weights_say_what_the_adapters_in_use_say(kind: str) -> None:
    network, other = make(kind), make(kind)
    with_weights(network, "one", 1)
    with_weights(network, "two", 2)
    use_adapters(network, {"one": 1.0, "two": 1.0})
    other.load_state_dict(merged_weights(network))
    # float32 sums in another order: 2e-6 measured on answers of about 1
    torch.testing.assert_close(answer(other), answer(network), atol=5e-5, rtol=5e-5)
    use_adapters(network, {"two": 1.0})
    assert (answer(other) - answer(network)).abs().max() > 0.01


def test_the_weight_of_an_adapter_scales_what_it_adds_and_0_is_without() -> None:
    network = make("dit")
    before = answer(network)
    with_weights(network, "one", 1)
    far = []
    for weight in (0.0, 0.5, 1.0):
        use_adapters(network, {"one": weight})
        far.append(float((answer(network) - before).abs().mean()))
    assert far[0] == 0.0
    assert far[0] < far[1] < far[2]


def test_only_the_adapter_learns_and_it_sits_on_linear_layers_of_the_named_parts() -> None:
    network = make("dit")
    add_adapter(network, SHAPE, "one")
    use_adapters(network, {"one": 1.0})
    learning = learning_weights(network, "one")
    assert {id(weight) for weight in learning} == {id(w) for w in network.parameters() if w.requires_grad}
    assert len(learning) == 2 * len(linear_paths(network, SHAPE.modules))
    assert all("block" in key for key in adapter_weights(network, "one"))
    with adapters_off(network):
        pass
    assert all(weight.requires_grad for weight in learning)
    assert len(linear_paths(network)) > len(linear_paths(network, SHAPE.modules))


def test_what_does_not_fit_is_refused() -> None:
    network = make("dit")
    with pytest.raises(SpecError, match="no linear layer of DiT1D has one of nothing in its path"):
        add_adapter(network, LowRank(2, 2.0, ("nothing",)), "one")
    with pytest.raises(SpecError, match=r"an adapter of rank 0 and alpha 1\.0 is none"):
        LowRank(0, 1.0)
    add_adapter(network, SHAPE, "one")
    with pytest.raises(CheckpointError, match="weights here do not fit their config"):
        set_adapter_weights(network, "one", {"blocks.0.mlp_in.A": torch.zeros(3, 16)}, "here")
