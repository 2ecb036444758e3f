"""The bias of attention by distance: nothing when new, of the prompt when trained."""

import torch

from clipsonic.models.levels import Beat
from clipsonic.seeding import torch_generator


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator(seed, "test.beat"))


@torch.no_grad()
def test_a_new_one_changes_nothing():
    assert torch.equal(Beat(16, heads=2, reach=6)(draw(3, 16), 10), torch.zeros(3, 2, 10, 10))


@torch.no_grad()
def test_it_is_of_the_prompt_and_of_the_distance_alone():
    beat = Beat(16, heads=2, reach=6)
    beat.by_distance.weight.copy_(draw(12, 16, seed=1))
    bias = beat(draw(3, 16), 10)
    assert not torch.equal(bias[0], bias[1])
    place = torch.arange(10)
    apart = (place[:, None] - place).abs()
    for item in range(3):
        for head in range(2):
            for distance in range(10):
                values = bias[item, head][apart == distance]
                assert torch.equal(values, values[:1].expand_as(values))
            assert len(bias[item, head][0, :6].unique()) == 6
            assert (bias[item, head][apart >= 5] == bias[item, head][0, 5]).all(), (
                "beyond its reach all is the furthest"
            )
