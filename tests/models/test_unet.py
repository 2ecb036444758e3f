"""The U-Net behind the same call as the DiT."""

import pytest
import torch

import clipsonic
from clipsonic.errors import SpecError
from clipsonic.models.conditioner import Condition, global_condition, timed_condition
from clipsonic.models.unet import MelUNet
from clipsonic.seeding import torch_generator

SMALL = {
    "num_mels": 16,
    "num_mel_frames": 32,
    "channels": (16, 32),
    "layers": 1,
    "attention_levels": 1,
    "head_width": 16,
    "condition_width": 16,
    "embed_width": 8,
}


def model():
    torch.manual_seed(0)
    return MelUNet(**SMALL).eval()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator(seed, "test.unet"))


def inputs(batch=2):
    return draw(batch, 16, 32), torch.linspace(10.0, 990.0, batch), global_condition(draw(batch, 8, seed=1))


@torch.no_grad()
def test_it_answers_in_the_shape_of_the_mel_also_of_a_shorter_one():
    x, t, condition = inputs()
    assert model()(x, t, condition).shape == (2, 16, 32)
    assert model()(x[..., :8], t, condition).shape == (2, 16, 8)


@torch.no_grad()
def test_masked_tokens_have_exactly_no_influence():
    x, t, _ = inputs()
    times_s, mask = torch.tensor([[1.0, 2.0, 3.0]] * 2), torch.tensor([[True, False, True]] * 2)
    tokens = draw(2, 3, 8)
    plain = model()(x, t, timed_condition(tokens, times_s, mask))
    tokens[:, 1] = float("nan")
    assert torch.equal(model()(x, t, Condition(tokens, times_s, mask)), plain)


@torch.no_grad()
def test_batched_equals_single_and_the_condition_matters():
    x, t, condition = inputs(3)
    network = model()
    batched = network(x, t, condition)
    for index in range(3):
        part = slice(index, index + 1)
        # convolutions and products are summed in another order: 1e-6 measured
        torch.testing.assert_close(batched[part], network(x[part], t[part], condition[part]), atol=2e-5, rtol=0)
    assert (network(x, t, condition.null_like()) - batched).abs().max() > 1e-4


@torch.no_grad()
def test_saved_and_reloaded_it_answers_identically(tmp_path):
    network = model()
    network.save_pretrained(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    reloaded = clipsonic.MelUNet.from_pretrained(tmp_path)
    assert torch.equal(reloaded(*inputs()), network(*inputs()))


def test_the_default_with_vit_l_embeddings_has_142_7_m_parameters():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in MelUNet(embed_width=768).parameters())
    assert round(count / 1e6, 1) == 142.7


@pytest.mark.parametrize(
    "change",
    [{"num_mel_frames": 31}, {"num_mels": 15}, {"head_width": 12}, {"attention_levels": 3}, {"prediction_type": "x0"}],
)
def test_geometry_that_does_not_divide_is_refused(change):
    with pytest.raises(SpecError, match=str(next(iter(change.values())))):
        MelUNet(**{**SMALL, **change})


@pytest.mark.parametrize("shape", [(2, 16, 7), (2, 16, 64), (2, 8, 32), (1, 16, 32)])
def test_mels_that_do_not_fit_are_refused(shape):
    _, t, condition = inputs()
    with pytest.raises(SpecError, match="mel"):
        model()(torch.zeros(shape), t, condition)
