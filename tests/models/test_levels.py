"""The levels around the transformer: patches are reversible, and the fine level treats every place alike."""

import pytest
import torch

from clipsonic.models.levels import FineLevel, to_columns, to_patches
from clipsonic.seeding import torch_generator


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator(seed, "test.levels"))


@pytest.mark.parametrize("patch", [1, 4, 16])
def test_patching_and_unpatching_are_inverse(patch):
    x = draw(2, 8, 32)
    patches = to_patches(x, patch)
    assert patches.shape == (2, 32 // patch, 8 * patch)
    assert torch.equal(to_columns(patches, patch), x)
    assert torch.equal(patches[:, 0], x[:, :, :patch].flatten(1))  # one token is neighbouring columns


@pytest.fixture
def fine():
    torch.manual_seed(0)
    level = FineLevel(num_mels=8, patch=8, width=16, fine_patch=2, fine_width=12, fine_depth=2).eval()
    with torch.no_grad():
        for weights in (level.patch_out.weight, level.modulation.weight, level.modulation_out.weight):
            weights.copy_(draw(*weights.shape, seed=1) * 0.1)
    return level


def silent(tokens):
    """A transformer that says nothing."""
    return torch.zeros_like(tokens)


@torch.no_grad()
def test_a_sound_that_comes_one_position_later_is_answered_one_position_later(fine):
    x, drive = draw(1, 8, 160), draw(1, 16, seed=2)
    later = torch.roll(x, fine.fine_patch, dims=2)
    early, late = (fine(mel, drive, silent) for mel in (x, later))
    inside = slice(40, 120)  # further from the ends than the 4 x 3 positions of 2 columns that the blocks see
    shifted = torch.roll(early, fine.fine_patch, dims=2)
    torch.testing.assert_close(late[..., inside], shifted[..., inside], atol=1e-5, rtol=0)


def test_without_the_transformer_a_column_sees_its_neighbourhood_and_no_further(fine):
    x = draw(1, 8, 160).requires_grad_()
    fine(x, draw(1, 16, seed=2), silent)[0, :, 80].sum().backward()
    seen = x.grad[0].abs().amax(dim=0).nonzero().flatten()
    reach = 2 * 2 * 3 * fine.fine_patch  # blocks x positions to a side x columns
    assert seen.min() == 80 - reach
    assert seen.max() == 81 + reach


@torch.no_grad()
def test_the_transformer_reaches_every_column(fine):
    x, drive = draw(1, 8, 160), draw(1, 16, seed=2)
    changed = fine(x, drive, lambda tokens: draw(*tokens.shape, seed=3)) - fine(x, drive, silent)
    assert changed.abs().amax(dim=(0, 1)).min() > 0


@torch.no_grad()
def test_attention_is_the_identity_before_training_and_then_reaches_every_column(fine):
    across = FineLevel(8, 8, 16, fine_patch=2, fine_width=12, fine_depth=2, fine_attention=1, heads=3).eval()
    across.load_state_dict({**across.state_dict(), **fine.state_dict()})
    x, drive = draw(1, 8, 160), draw(1, 16, seed=2)
    assert torch.equal(across(x, drive, silent), fine(x, drive, silent))
    across.across.modulation.weight.copy_(draw(*across.across.modulation.weight.shape, seed=4) * 0.1)
    other = x.clone()
    other[..., 100] += 1.0
    change = across(other, drive, silent) - across(x, drive, silent)
    assert change.abs().amax(dim=(0, 1)).min() > 0
