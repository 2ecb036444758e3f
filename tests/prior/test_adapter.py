"""TextPrior: dalle2-pytorch's own samples, with generators of ours, as unit vectors."""

import json

import numpy as np
import pytest
import torch

from clipsonic.errors import CheckpointError, FingerprintError, SpecError, UsageError
from clipsonic.prior.adapter import CONFIG_FILE, WEIGHTS_FILE, PriorShape, TextPrior
from clipsonic.prior.core import ItemNoise

SHAPE = PriorShape(width=32, depth=1, heads=2, head_width=16, num_timesteps=12)


def made_prior(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = TextPrior(SHAPE, "toy/abc")
    prior.core.diffusion.eval().requires_grad_(False)
    return prior


@pytest.fixture(scope="module")
def prior():
    return made_prior()


@pytest.fixture(scope="module")
def texts():
    return torch.nn.functional.normalize(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)), dim=-1)


def generators(count=3):
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("steps", [12, 5, 2])
def test_samples_are_those_of_the_package_bit_for_bit(prior, texts, steps, capfd):
    noise = ItemNoise([torch.Generator().manual_seed(7)], 1, torch.device("cpu"))
    own = prior.core.sample(texts[:1], None, noise, steps, 1.0) / prior.core.diffusion.image_embed_scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        package = prior.core.diffusion.p_sample_loop((1, 32), text_cond={"text_embed": texts[:1]}, timesteps=steps)
    assert torch.equal(own, package)


@pytest.mark.parametrize("steps", [None, 5])
def test_a_batch_equals_its_items_one_by_one(prior, texts, steps):
    together = prior(texts, generators(), steps=steps)
    alone = [prior(texts[n : n + 1], generators()[n : n + 1], steps=steps) for n in range(3)]
    assert (together - torch.cat(alone)).abs().max() < 1e-5  # 0 measured; sums may be ordered otherwise elsewhere


def test_results_are_unit_vectors_and_depend_on_text_and_generator(prior, texts):
    result = prior(texts, generators())
    assert (result.norm(dim=1) - 1).abs().max() < 1e-6  # float32 rounding of 32 squares
    assert torch.equal(result, prior(texts.numpy(), generators()))
    assert not torch.equal(result, prior(texts, generators(4)[1:]))
    assert not torch.equal(result[0], prior(texts[1:2], generators(1))[0])


def test_more_candidates_are_never_farther_from_the_text(prior, texts):
    def likeness(num_candidates):
        return (prior(texts, generators(), num_candidates=num_candidates) * texts).sum(1)

    noise = ItemNoise(generators(), 4, torch.device("cpu"))
    drawn = torch.nn.functional.normalize(
        prior.core.sample(texts.repeat_interleave(4, 0), None, noise, 12, 1.0), dim=-1
    ).view(3, 4, -1)
    expected = torch.einsum("nce,ne->nc", drawn, texts).max(1).values
    assert (likeness(4) - expected).abs().max() < 1e-6  # the same sums


def test_nothing_global_is_changed_and_nothing_is_printed(prior, texts, capfd):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    before = texts.clone()
    prior(texts, generators())
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(texts, before)
    assert capfd.readouterr() == ("", "")


def test_the_loss_leaves_its_arguments_alone_and_is_the_packages_own(prior, texts):
    images = torch.nn.functional.normalize(texts.flip(0) + 0.1, dim=-1)
    kept, times, noise = images.clone(), torch.tensor([0, 5, 11]), torch.randn(3, 32, generator=generators(1)[0])
    loss = prior.loss(texts, images, times, noise)
    assert torch.equal(images, kept)
    scheduler = prior.core.diffusion.noise_scheduler
    noisy = scheduler.q_sample(images * 32**0.5, times, noise)
    said = prior.core.diffusion.net(noisy, times, text_embed=texts)
    expected = torch.nn.functional.mse_loss(said, images * 32**0.5)
    assert loss.shape == (3,)
    assert abs(float(loss.mean() / expected) - 1.0) < 1e-6  # the same sum in another order


def test_a_saved_prior_is_read_back_with_equal_samples(prior, texts, tmp_path):
    prior.save(tmp_path)
    first = TextPrior.from_folder(tmp_path)
    first.save(tmp_path / "again")
    second = TextPrior.from_folder(tmp_path / "again")
    assert first.fingerprint == second.fingerprint == "toy/abc"
    assert torch.equal(first(texts, generators()), second(texts, generators()))
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == (tmp_path / "again" / WEIGHTS_FILE).read_bytes()


def test_the_noise_schedule_keeps_full_precision_when_saved(prior, tmp_path):
    prior.save(tmp_path)
    saved, made = TextPrior.from_folder(tmp_path), made_prior()
    for name, buffer in made.core.diffusion.noise_scheduler.named_buffers():
        assert torch.equal(saved.core.diffusion.noise_scheduler.get_buffer(name), buffer)


def test_broken_folders_get_one_sentence(prior, tmp_path):
    with pytest.raises(CheckpointError, match=r"prior_config\.json is missing"):
        TextPrior.from_folder(tmp_path)
    prior.save(tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, "shape": {**config["shape"], "depth": 2}}))
    with pytest.raises(CheckpointError, match="missing: causal_transformer"):
        TextPrior.from_folder(tmp_path)
    for damaged in ("{}", "[]", "3", "{", '{"shape": [], "fingerprint": "a/b"}'):
        (tmp_path / CONFIG_FILE).write_text(damaged)
        with pytest.raises(CheckpointError, match="is damaged"):
            TextPrior.from_folder(tmp_path)


def test_another_space_is_refused_with_both_names(prior):
    prior.check_space("toy/abc")
    with pytest.raises(FingerprintError, match=r"toy/abc.*other/def"):
        prior.check_space("other/def")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text_embeds": torch.ones(2, 8)}, "do not fit"),
        ({"generators": generators(2)}, "as many generators"),
        ({"num_candidates": 0}, "at least 1 candidate"),
        ({"steps": 1}, "between 2 and its 12"),
        ({"steps": 13}, "between 2 and its 12"),
    ],
)
def test_calls_that_cannot_work_are_wrong_usage(prior, texts, change, words):
    with pytest.raises(UsageError, match=words):
        prior(**{"text_embeds": texts, "generators": generators(), **change})


def test_no_texts_give_no_embeddings(prior):
    assert prior(np.zeros((0, 32), np.float32), []).shape == (0, 32)


def test_an_impossible_shape_does_not_construct():
    with pytest.raises(SpecError, match="impossible"):
        PriorShape(depth=0)


def test_the_bundled_prior_lives_in_the_space_of_the_bundled_clip():
    from clipsonic.clip.open_clip import load_clip
    from clipsonic.resources import bundled_path

    assert TextPrior.from_folder(bundled_path("priors", "tiny", "prior")).fingerprint == load_clip("tiny").fingerprint


def test_a_prior_keeps_how_many_steps_it_is_sampled_with(texts, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        TextPrior(SHAPE, "toy/abc", sample_steps=5).save(tmp_path)
    prior = TextPrior.from_folder(tmp_path)
    assert prior.sample_steps == 5
    assert torch.equal(prior(texts, generators()), prior(texts, generators(), steps=5))
    assert not torch.equal(prior(texts, generators()), prior(texts, generators(), steps=12))
    with pytest.raises(UsageError, match="between 2 and its 12"):
        TextPrior(SHAPE, "toy/abc", sample_steps=13)


@pytest.mark.parametrize(
    "change", [{"sample_steps": "six"}, {"sample_steps": 0}, {"kind": "magic"}, {"kind": "laion"}, {"fingerprint": 3}]
)
def test_a_config_that_says_what_cannot_be_is_damaged(prior, tmp_path, change):
    prior.save(tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    shape = {**config["shape"], "era": "9"} if change.get("kind") == "laion" else config["shape"]
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, "shape": shape, **change}))
    with pytest.raises(CheckpointError, match="is damaged"):
        TextPrior.from_folder(tmp_path)


def test_the_bundled_prior_is_asked_in_as_many_steps_as_its_card_says():
    from clipsonic.resources import bundled_path

    prior = TextPrior.from_folder(bundled_path("priors", "tiny", "prior"))
    assert f"A sample takes {prior.sample_steps} network calls" in prior.card
