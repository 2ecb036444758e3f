"""Weights as data: strict, hashed by content, whole on disk."""

import pytest
import torch

from clipsonic.errors import CheckpointError
from clipsonic.weights import (
    content_hash,
    halved,
    load_strictly,
    read_plain,
    read_weights,
    save_exactly,
    save_weights,
)


def module():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def test_the_hash_is_that_of_the_float16_values_whatever_the_order_or_type():
    state = module().state_dict()
    shuffled = dict(reversed(list(state.items())))
    assert content_hash(state) == content_hash(shuffled) == content_hash(halved(state))


@pytest.mark.parametrize("change", ["value", "name", "shape", "counter"])
def test_the_hash_tells_any_change_of_content(change):
    state = dict(module().state_dict())
    before = content_hash(state)
    if change == "value":
        state["0.bias"] = state["0.bias"] + 0.01
    elif change == "name":
        state["other"] = state.pop("0.bias")
    elif change == "shape":
        state["0.weight"] = state["0.weight"].reshape(3, 2)
    else:
        state["1.num_batches_tracked"] = torch.tensor(9)
    assert content_hash(state) != before


def test_missing_unknown_and_misshapen_keys_are_all_named():
    state = dict(module().state_dict())
    del state["0.bias"]
    state["extra"] = torch.zeros(1)
    state["0.weight"] = torch.zeros(5, 3)
    with pytest.raises(CheckpointError) as refusal:
        load_strictly(module(), state, "weights.safetensors")
    for word in ("missing: 0.bias", "unknown: extra", "0.weight (5, 3) instead of (2, 3)", "weights.safetensors"):
        assert word in str(refusal.value)


def test_saved_weights_are_read_back_as_rounded_to_float16(tmp_path):
    state = module().state_dict()
    save_weights(tmp_path / "w.safetensors", state)
    back = read_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(back[key], value) for key, value in halved(state).items())
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_value_beyond_float16_is_refused_instead_of_becoming_infinite():
    with pytest.raises(CheckpointError, match="not finite"):
        halved({"w": torch.tensor([1e6])})


def test_a_truncated_file_gets_one_sentence(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, module().state_dict())
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(path)
    with pytest.raises(CheckpointError, match="missing"):
        read_weights(tmp_path / "none.safetensors")


def test_weights_saved_exactly_are_read_back_bit_for_bit_even_where_two_share_memory(tmp_path):
    shared = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    state = {"a": shared, "b": shared, "count": torch.tensor(7), "turned": shared.T}
    save_exactly(tmp_path / "w.safetensors", state, torch.float32)
    back = read_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(back[key], value) and back[key].dtype == value.dtype for key, value in state.items())


def test_plain_weights_are_read_from_a_pickle_and_nothing_else_is(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(2)}, path)
    assert torch.equal(read_plain(path)["w"], torch.ones(2))
    torch.save(torch.ones(2), path)
    with pytest.raises(CheckpointError, match="holds a Tensor, not weights by name"):
        read_plain(path)
    for data in (b"", b"no pickle", path.read_bytes()[:200]):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="no plain weights"):
            read_plain(path)
    path.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        read_plain(path)
