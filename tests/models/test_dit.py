"""DiT1D: what no item, no masked token and no batch mate may change, what time and prompt must change, saving."""

import pytest
import torch

import clipsonic
from clipsonic.diffusion.objective import loss_per_item, make_objective, make_scheduler, sample_timesteps
from clipsonic.diffusion.sampling import sample
from clipsonic.errors import SpecError
from clipsonic.models.conditioner import Condition, global_condition, timed_condition
from clipsonic.models.dit import DiT1D
from clipsonic.seeding import torch_generator

SMALL = {
    "num_mels": 8,
    "num_mel_frames": 32,
    "patch": 4,
    "width": 32,
    "depth": 2,
    "heads": 2,
    "embed_width": 16,
    "segment_seconds": 3.2,
}


FINE = {"fine_depth": 1, "fine_width": 8, "fine_patch": 2}


ACROSS = {**FINE, "fine_attention": 1}


@pytest.fixture(
    params=[{}, FINE, ACROSS, {**ACROSS, "fine_beat": 12}], ids=["patches", "fine", "across", "beat"], autouse=True
)
def level(request, monkeypatch):
    """Every promise holds with a linear layer around the transformer, with the fine level, its attention, a beat."""
    for name, value in request.param.items():
        monkeypatch.setitem(SMALL, name, value)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator(seed, "test.dit"))


def trained(**change):
    """As after some training: every parameter at work, the zero-initialised ones too."""
    torch.manual_seed(0)
    network = DiT1D(**{**SMALL, **change})
    generator = torch_generator(1, "test.dit.weights")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network.eval()


def inputs(batch=3):
    return draw(batch, 8, 32), torch.linspace(10.0, 990.0, batch), global_condition(draw(batch, 16, seed=1))


@torch.no_grad()
def test_it_answers_in_the_shape_of_the_mel():
    assert trained()(*inputs()).shape == (3, 8, 32)


@torch.no_grad()
@pytest.mark.parametrize("rubbish", [1e6, float("nan")])
def test_masked_tokens_have_exactly_no_influence(rubbish):
    x, t, _ = inputs()
    network, tokens = trained(), draw(3, 4, 16, seed=2)
    times_s = torch.tensor([[0.4, 1.2, 2.0, 2.8]] * 3)
    mask = torch.tensor([[True, False, True, False]] * 3)
    plain = network(x, t, timed_condition(tokens, times_s, mask))
    spoilt = Condition(tokens.masked_fill(~mask[..., None], rubbish), times_s.masked_fill(~mask, rubbish), mask)
    assert torch.equal(network(x, t, spoilt), plain)


@torch.no_grad()
def test_all_masked_is_one_and_the_same_unconditional_prediction():
    x, t, condition = inputs()
    network = trained()
    unconditional = network(x, t, condition.null_like())
    dropped = condition.keep_where(torch.zeros(3, dtype=torch.bool))
    assert torch.equal(network(x, t, dropped), unconditional)
    assert (network(x, t, condition) - unconditional).abs().max() > 1e-3


@torch.no_grad()
def test_padding_a_condition_changes_nothing_but_rounding():
    x, t, condition = inputs()
    network = trained()
    torch.testing.assert_close(network(x, t, condition.pad_to(6)), network(x, t, condition), atol=1e-5, rtol=0)


@torch.no_grad()
def test_attention_gets_no_mask_where_it_is_known_that_nothing_is_masked(monkeypatch):
    masks, attend = [], torch.nn.functional.scaled_dot_product_attention

    def noting(*args, attn_mask=None, **how):
        masks.append(attn_mask)
        return attend(*args, attn_mask=attn_mask, **how)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noting)
    network, (x, t, known) = trained(), inputs()
    unknown = Condition(known.tokens, known.times_s, known.mask)
    with_mask = network(x, t, unknown)
    assert sum(mask is not None and mask.dtype == torch.bool for mask in masks) == SMALL["depth"]
    masks.clear()
    without = network(x, t, known)
    assert not any(mask is not None and mask.dtype == torch.bool for mask in masks)
    torch.testing.assert_close(without, with_mask, atol=1e-5, rtol=0)  # rounding, 1e-6 measured


def test_batched_equals_single():
    x, t, condition = inputs()
    network = trained()
    batched = network(x, t, condition)
    for index in range(3):
        part = slice(index, index + 1)
        # matrix products of another height are summed in another order: 1e-6 measured
        torch.testing.assert_close(batched[part], network(x[part], t[part], condition[part]), atol=2e-5, rtol=0)


def test_no_item_sees_another():
    x, t, condition = inputs()
    x.requires_grad_()
    trained()(x, t, condition)[1].sum().backward()
    assert x.grad[1].abs().max() > 0
    assert torch.equal(x.grad[[0, 2]], torch.zeros(2, 8, 32))


@torch.no_grad()
def test_time_and_place_of_a_token_matter():
    x, t, condition = inputs()
    network, tokens = trained(), draw(3, 1, 16, seed=2)

    def at(seconds):
        return network(x, t, timed_condition(tokens, torch.full((3, 1), seconds)))

    assert (at(0.4) - at(2.8)).abs().max() > 1e-4
    assert (at(0.4) - network(x, t, global_condition(tokens[:, 0]))).abs().max() > 1e-4
    assert (network(x, t + 5.0, condition) - network(x, t, condition)).abs().max() > 1e-4


@torch.no_grad()
def test_a_timed_token_stands_on_the_axis_of_the_patches():
    network = trained()
    patch_seconds = 0.4
    times_s = torch.tensor([[2.5 * patch_seconds]])  # the centre of patch 2
    cos, sin = network._rotation(timed_condition(draw(1, 1, 16), times_s), 8)
    for part in (cos, sin):  # null token, the timed token, then patches 0 .. 7
        torch.testing.assert_close(part[0, 0, 1], part[0, 0, 2 + 2], atol=1e-6, rtol=0)
    assert torch.equal(cos[0, 0, 0], torch.ones_like(cos[0, 0, 0]))


@torch.no_grad()
def test_a_shorter_segment_is_accepted_and_keeps_its_seconds():
    x, t, condition = inputs()
    network = trained()
    assert network(x[..., :20], t, condition).shape == (3, 8, 20)
    long, short = (network._rotation(condition, count)[0][..., :7, :] for count in (8, 5))
    assert torch.equal(long[:, :, :6], short[:, :, :6])


@torch.no_grad()
@pytest.mark.parametrize("prediction_type", ["flow", "epsilon", "v_prediction"])
def test_a_new_network_says_nothing_of_its_own(prediction_type):
    """Zero-initialised output: flow answers a(t) x, which is the best guess that knows no data."""
    torch.manual_seed(0)
    x, t, condition = inputs()
    network = DiT1D(**{**SMALL, "prediction_type": prediction_type})
    out = network(x, t, condition)
    if prediction_type == "flow":
        t, s = (t / 1000)[:, None, None], network.config.sigma_data
        x = x * (t - s**2 * (1 - t)) / (s**2 * (1 - t) ** 2 + t**2)
        torch.testing.assert_close(out, x)
    else:
        assert torch.equal(out, torch.zeros_like(x))


def test_every_parameter_learns():
    network = trained()
    tokens, times_s = draw(3, 2, 16, seed=2), torch.tensor([[0.4, -1.0]] * 3)
    network(*inputs()[:2], timed_condition(tokens, times_s)).square().mean().backward()
    network(*inputs()[:2], global_condition(tokens[:, 0]).null_like()).square().mean().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        network = trained().train()
        if checkpointing:
            network.enable_gradient_checkpointing()
        network(*inputs()).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(plain, again) for plain, again in zip(*gradients, strict=True))


@torch.no_grad()
def test_bfloat16_weights_or_autocast_stay_near_float32():
    x, t, condition = inputs()
    exact = trained()(x, t, condition)
    halved = trained().to(torch.bfloat16)(x, t, condition)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = trained()(x, t, condition)
    for out in (halved, mixed):
        assert out.dtype == torch.float32
        # bfloat16 has 8 bits, 4e-3 a product: 0.0011 to 0.0042 of an item's norm measured
        assert ((out - exact).flatten(1).norm(dim=1) < 0.01 * exact.flatten(1).norm(dim=1)).all()


@torch.no_grad()
def test_saved_and_reloaded_it_answers_identically(tmp_path):
    network = trained()
    network.save_pretrained(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    reloaded = clipsonic.DiT1D.from_pretrained(tmp_path)
    assert reloaded.config.segment_seconds == 3.2
    assert torch.equal(reloaded(*inputs()), network(*inputs()))


def test_the_default_has_about_7_m_parameters():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in DiT1D().parameters())
    assert 5e6 < count < 8e6


@pytest.mark.parametrize(
    "change",
    [
        *({"patch": 5}, {"patch": 0}, {"width": 36}, {"heads": 3}, {"num_mel_frames": 33}, {"prediction_type": "x0"}),
        *({"fine_patch": 3, "fine_depth": 1}, {"fine_depth": -1}, {"fine_width": 0}),
        *({"fine_attention": -1}, {"fine_attention": 2, "fine_depth": 0}),
        {"fine_width": 12, "fine_attention": 1, "fine_depth": 1},
        *({"fine_beat": -1}, {"fine_beat": 5, "fine_attention": 0}),
    ],
)
def test_geometry_that_does_not_divide_is_refused(change):
    with pytest.raises(SpecError, match=str(next(iter(change.values())))):
        DiT1D(**{**SMALL, **change})


@pytest.mark.parametrize("shape", [(3, 8, 30), (3, 8, 64), (3, 4, 32), (8, 32), (2, 8, 32)])
def test_mels_that_do_not_fit_are_refused(shape):
    _, t, condition = inputs()
    with pytest.raises(SpecError, match="mel"):
        trained()(torch.zeros(shape), t, condition)


@pytest.mark.slow
def test_it_learns_four_mels_and_swapping_the_conditions_swaps_them():
    torch.manual_seed(0)
    network = DiT1D(**SMALL)
    mels = torch.nn.functional.interpolate(draw(4, 8, 8, seed=3), 32, mode="linear")  # smooth, as mels are
    prompts = torch.nn.functional.normalize(draw(4, 16, seed=4), dim=-1)
    objective, generator = make_objective("flow"), torch_generator(0, "test.overfit")
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(600):
        index = torch.randint(4, (16,), generator=generator)
        noise = torch.randn(16, 8, 32, generator=generator)
        t, condition = sample_timesteps(objective, 16, generator), global_condition(prompts[index])
        loss = loss_per_item(objective, lambda x, s, c=condition: network(x, s, c), mels[index], noise, t).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    swapped = torch.tensor([1, 0, 3, 2])
    made = sample(
        lambda x, s, _: network(x, s, global_condition(prompts[swapped])), make_scheduler("flow"), draw(4, 8, 32), 10
    )
    distance = torch.cdist(made.flatten(1), mels.flatten(1))
    assert distance.argmin(dim=1).tolist() == swapped.tolist()
    assert distance.gather(1, swapped[:, None]).max() < 0.5 * distance.median()
