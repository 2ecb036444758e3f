"""Priors of the unCLIP family: equal to their publishers' own pipelines, and read strictly from their folders."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from clipsonic.errors import CheckpointError, UsageError
from clipsonic.prior.adapter import TextPrior
from clipsonic.prior.core import ItemNoise
from clipsonic.prior.unclip_files import find_unclip, read_unclip

CPU = torch.device("cpu")


def prior_of(published):
    prior = TextPrior(published.shape, "toy/abc", kind=published.kind)
    prior.load_state(published.state, published.where)
    return prior


def sampled(prior, spoken, steps, guidance, seed=3):
    """Embeddings of all captions from one generator, before their lengths are made 1."""
    noise = ItemNoise([torch.Generator().manual_seed(seed + row) for row in range(len(spoken.captions))], 1, CPU)
    with torch.no_grad():
        return prior.core.sample(spoken.captions.embeds, spoken, noise, steps, guidance)


def encoded(spoken, guided):
    """What `_encode_prompt` of the pipelines gives: for guidance the empty caption's rows come first."""
    said, nothing = spoken.captions, spoken.nothing.repeated(len(spoken.captions))
    pairs = ((nothing.projected, said.projected), (nothing.tokens, said.tokens), (nothing.mask, said.mask))
    return tuple(torch.cat(pair) if guided else pair[1] for pair in pairs)


class EnoughError(Exception):
    """Leaves the publisher's pipeline with what its prior made."""


def karlo_pipelines(network, scheduler, spoken, steps, guidance):
    """The prior's part of diffusers' UnCLIPPipeline."""
    pytest.importorskip("transformers", reason="needs transformers, which diffusers' pipelines import")
    from diffusers import UnCLIPPipeline, UnCLIPScheduler

    class Stopping(type(network)):
        def post_process_latents(self, latents):
            raise EnoughError(super().post_process_latents(latents))

    network.__class__ = Stopping
    rest = dict.fromkeys(("decoder", "text_encoder", "tokenizer", "text_proj", "super_res_first", "super_res_last"))
    pipeline = UnCLIPPipeline(
        prior=network,
        prior_scheduler=UnCLIPScheduler(**scheduler),
        decoder_scheduler=None,
        super_res_scheduler=None,
        **rest,
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline._encode_prompt = lambda *given: encoded(spoken, given[3])
    generators = [torch.Generator().manual_seed(3 + row) for row in range(3)]
    with pytest.raises(EnoughError) as stop:
        pipeline(["a", "b", "c"], prior_num_inference_steps=steps, prior_guidance_scale=guidance,
                 decoder_guidance_scale=1.0, generator=generators)  # fmt: skip
    return stop.value.args[0]


def kandinsky_pipelines(network, scheduler, spoken, steps, guidance):
    """diffusers' KandinskyV22PriorPipeline."""
    pytest.importorskip("transformers", reason="needs transformers, which diffusers' pipelines import")
    from diffusers import KandinskyV22PriorPipeline, UnCLIPScheduler

    rest = dict.fromkeys(("image_encoder", "text_encoder", "tokenizer", "image_processor"))
    pipeline = KandinskyV22PriorPipeline(prior=network, scheduler=UnCLIPScheduler(**scheduler), **rest)
    pipeline.set_progress_bar_config(disable=True)
    pipeline._encode_prompt = lambda *given: encoded(spoken, given[3])
    pipeline.get_zero_embed = lambda *given, **named: None
    generators = [torch.Generator().manual_seed(3 + row) for row in range(3)]
    return pipeline(
        ["a", "b", "c"], num_inference_steps=steps, guidance_scale=guidance, generator=generators
    ).image_embeds


@pytest.mark.parametrize(("steps", "guidance"), [(25, 4.0), (7, 1.0)])
@pytest.mark.parametrize(
    ("kind", "oracle"), [("karlo", karlo_pipelines), ("kandinsky", kandinsky_pipelines)], ids=["karlo", "kandinsky"]
)
def test_samples_are_those_of_the_publishers_pipeline(unclip, tmp_path, kind, oracle, steps, guidance):
    published = read_unclip(find_unclip(unclip.folder(tmp_path, kind)))
    assert published.kind == kind
    spoken = unclip.spoken()
    expected = oracle(unclip.network(), unclip.scheduler, spoken, steps, guidance)
    made = sampled(prior_of(published), spoken, steps, guidance)
    assert (made - expected).abs().max() < 1e-5  # 0 measured; values reach 1


def test_a_prior_of_the_family_is_asked_as_its_publisher_does_it(unclip, tmp_path):
    prior = prior_of(read_unclip(find_unclip(unclip.folder(tmp_path, "karlo"))))
    assert (prior.core.default_steps, prior.core.default_guidance) == (25, 4.0)
    spoken = unclip.spoken()
    expected = torch.nn.functional.normalize(sampled(prior, spoken, 25, 4.0), dim=-1)
    generators = [torch.Generator().manual_seed(3 + row) for row in range(3)]
    made = prior(spoken.captions.embeds, generators, num_candidates=1, encodings=spoken)
    assert (made - expected).abs().max() < 1e-6  # the same sums


def test_a_network_of_one_pass_is_the_known_network_without_its_time_token(unclip, tmp_path):
    """Against diffusers' PriorTransformer with the time token masked out of every row."""
    from diffusers.models.transformers.prior_transformer import PriorTransformer

    one_pass = unclip.network(one_pass=True)
    length = one_pass.config.num_embeddings
    timed = PriorTransformer(**{**one_pass.config, "additional_embeddings": 4}).eval()
    state = {key: value for key, value in one_pass.state_dict().items() if key != "positional_embedding"}
    places = one_pass.positional_embedding
    positions = torch.cat([places[:, : length + 1], places[:, length : length + 1], places[:, length + 1 :]], dim=1)
    left = timed.load_state_dict({**state, "positional_embedding": positions}, strict=False)
    assert all(key.startswith("time_embedding.") for key in left.missing_keys)
    assert not left.unexpected_keys
    timed.causal_attention_mask[:, :, length + 1] = -10000.0  # nobody looks at the time token
    timed.causal_attention_mask[:, length + 1, length + 1] = 0.0
    spoken, noise = unclip.spoken(), torch.randn(3, unclip.width, generator=torch.Generator().manual_seed(1))
    said = (spoken.captions.projected, spoken.captions.tokens, spoken.captions.mask)
    with torch.no_grad():
        expected = timed(noise, 0, *said).predicted_image_embedding
        made = one_pass(noise, *said).predicted_image_embedding
    assert (made - expected).abs().max() < 1e-5  # 0 measured; values reach 3


def test_a_prior_of_one_pass_takes_one_step_and_no_guidance(unclip, tmp_path):
    published = read_unclip(find_unclip(unclip.folder(tmp_path, "eclipse")))
    prior, spoken = prior_of(published), unclip.spoken()
    assert published.kind == "eclipse"
    generators = [torch.Generator().manual_seed(row) for row in range(3)]
    made = prior(spoken.captions.embeds, generators, encodings=spoken)
    assert (made.norm(dim=1) - 1).abs().max() < 1e-6
    for options in ({"steps": 2}, {"guidance": 4.0}):
        with pytest.raises(UsageError, match="one pass"):
            prior(spoken.captions.embeds, generators, encodings=spoken, **options)


@pytest.mark.parametrize("kind", ["karlo", "eclipse"])
def test_what_follows_the_end_of_a_caption_has_no_influence_and_what_precedes_it_has(unclip, tmp_path, kind):
    """So it is no matter that this text tower pads with zeros and the publishers' with end tokens."""
    prior, spoken = prior_of(read_unclip(find_unclip(unclip.folder(tmp_path, kind)))), unclip.spoken()
    steps, guidance = prior.core.default_steps, prior.core.default_guidance
    expected = sampled(prior, spoken, steps, guidance)
    for side, equal in ((~spoken.captions.mask, True), (spoken.captions.mask, False)):
        tokens = torch.where(side[..., None], spoken.captions.tokens + 1, spoken.captions.tokens)
        changed = dataclasses.replace(spoken, captions=dataclasses.replace(spoken.captions, tokens=tokens))
        assert torch.equal(sampled(prior, changed, steps, guidance)[0], expected[0]) == equal


@pytest.mark.parametrize("kind", ["karlo", "eclipse"])
def test_a_batch_equals_its_items_one_by_one(unclip, tmp_path, kind):
    prior, spoken = prior_of(read_unclip(find_unclip(unclip.folder(tmp_path, kind)))), unclip.spoken()

    def close(rows):
        said = type(spoken)(spoken.captions.rows(rows), spoken.nothing)
        generators = [torch.Generator().manual_seed(seed) for seed in range(rows.start, rows.stop)]
        return prior(said.captions.embeds, generators, encodings=said)

    together, alone = close(slice(0, 3)), [close(slice(row, row + 1)) for row in range(3)]
    assert (together - torch.cat(alone)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.__delitem__("clip_mean"), "missing: clip_mean"),
        (lambda state: state.update({"extra": torch.ones(2)}), "unknown: extra"),
        (lambda state: state.update({"clip_avg": state.pop("clip_mean")}), "missing: clip_mean; unknown: clip_avg"),
        (lambda state: state.update({"clip_mean": torch.ones(1, 5)}), r"clip_mean \(1, 5\) instead of \(1, 24\)"),
    ],
    ids=["missing", "extra", "renamed", "misshapen"],
)
def test_keys_that_do_not_fit_are_listed(unclip, tmp_path, change, words):
    folder = find_unclip(unclip.folder(tmp_path, "kandinsky"))
    path = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)
    with pytest.raises(CheckpointError, match=words):
        prior_of(read_unclip(folder))


def test_a_pickle_of_tensors_is_read_and_one_with_code_is_refused(unclip, tmp_path):
    folder = find_unclip(unclip.folder(tmp_path, "karlo"))
    path = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    path.unlink()
    torch.save(state, folder / "diffusion_pytorch_model.bin")
    assert read_unclip(folder).state.keys() == state.keys()
    torch.save({"harm": print}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no plain weights"):
        read_unclip(folder)


def test_nothing_is_guessed_where_a_config_is_missing_or_not_understood(unclip, tmp_path):
    folder = find_unclip(unclip.folder(tmp_path, "karlo"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "magic": 1}))
    with pytest.raises(CheckpointError, match=r"not known .magic"):
        read_unclip(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "prior_scheduler" / "scheduler_config.json").rename(folder / "scheduler_config.json")
    assert read_unclip(folder).shape.scheduler["clip_sample_range"] == 5.0
    (folder / "scheduler_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"bring scheduler_config\.json"):
        read_unclip(folder)
