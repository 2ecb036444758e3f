"""Published priors behind the pipeline: they get the tokens of the captions, and another CLIP's are refused at once."""

import json

import numpy as np
import pytest
import torch

from clipsonic.clip.open_clip import new_clip, published_merges
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.errors import FingerprintError
from clipsonic.models.dit import DiT1D
from clipsonic.pipeline.pipeline import ClipSonicPipeline
from clipsonic.prior.adapter import TextPrior
from clipsonic.prior.dalle2 import LaionShape
from clipsonic.prior.shapes import UnclipShape
from clipsonic.specs import MelSpec, SegmentSpec

WIDTH, CONTEXT = 16, 12
RECIPE = {
    "architecture": "toy-clip",
    "model_cfg": {
        "embed_dim": WIDTH,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 32},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": 0, "width": WIDTH, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"size": 32, "resize_mode": "squash"},
}
NETWORK = {
    "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "embedding_dim": WIDTH,
    "num_embeddings": CONTEXT,
}  # fmt: skip
SCHEDULER = {"clip_sample": True, "clip_sample_range": 5.0, "prediction_type": "sample", "num_train_timesteps": 50}
SHAPES = {
    "laion": LaionShape(WIDTH, 1, 2, 8, num_timesteps=6, max_text_len=CONTEXT, guidable=True),
    "karlo": UnclipShape({**NETWORK, "additional_embeddings": 4}, SCHEDULER),
    "eclipse": UnclipShape({**NETWORK, "additional_embeddings": 3}),
}


@pytest.fixture(scope="module")
def clip():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = new_clip(RECIPE, packed(short_merges(["a bell rings"], published_merges(), 60)))
    for parameter in made.model.parameters():
        parameter.data = parameter.data.half().float()  # as it will be saved
    return made


@pytest.fixture
def pipeline(clip):
    mel = MelSpec(16000, 512, 128, 32, 0.0, 8000.0)
    denoiser = DiT1D(num_mels=32, num_mel_frames=32, patch=4, width=32, depth=1, heads=2, embed_width=WIDTH)
    made = ClipSonicPipeline(
        denoiser.eval(), make_scheduler("flow"), segment=SegmentSpec(mel, 32, WIDTH, clip.fingerprint),
        mel_mean=[-4.0] * 32, mel_std=[2.0] * 32, num_inference_steps=1,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    made.set_clip(clip)
    return made


def made_prior(kind, fingerprint):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        prior = TextPrior(SHAPES[kind], fingerprint, kind=kind)
        for parameter in prior.core.network.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        if kind == "laion":  # its softmax multiplies the bias by 128
            prior.core.network.causal_transformer.rel_pos_bias.relative_attention_bias.weight.data *= 0.01
    prior.load_state(prior.core.network.state_dict(), "memory")
    return prior


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_the_pipeline_gives_a_published_prior_what_it_reads(pipeline, clip, tmp_path, kind):
    prior = made_prior(kind, clip.fingerprint)
    prior.save(tmp_path / "prior")
    pipeline.set_prior(tmp_path / "prior")
    captions = ["a bell", "a bell rings"]
    used = pipeline(text=captions, closer="prior", num_sounds=2, output_type="mel").embeds
    assert len(used) == 4
    assert not torch.equal(used[0], used[1])  # each sound has its own generator
    pipeline.save_pretrained(tmp_path / "P")
    again = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    again.set_progress_bar_config(disable=True)
    for one, other in zip(again(text=captions, num_sounds=2, output_type="mel").embeds, used, strict=True):
        assert torch.equal(one, other)
    assert json.loads((tmp_path / "P" / "prior" / "prior_config.json").read_text())["kind"] == kind


@pytest.mark.parametrize("kind", ["laion", "karlo"])
def test_the_tokens_of_a_caption_decide_not_only_its_embedding(clip, kind):
    prior = made_prior(kind, clip.fingerprint)
    one, other = (prior.encodings_of(clip, [caption]) for caption in ("a bell", "rings rings rings"))
    texts = one.captions.embeds
    closed = [prior(texts, [torch.Generator().manual_seed(0)], encodings=said) for said in (one, other)]
    assert (closed[0] - closed[1]).abs().max() > 1e-3


def test_a_prior_of_another_clip_is_refused_before_its_weights_are_read(pipeline, tmp_path):
    made_prior("karlo", "other-clip/000000000000").save(tmp_path)
    (tmp_path / "prior.safetensors").write_bytes(b"")
    with pytest.raises(FingerprintError, match=r"other-clip/000000000000.*toy-clip/"):
        pipeline.set_prior(tmp_path)


def test_a_prior_asks_no_other_clip_for_its_tokens(clip):
    with pytest.raises(FingerprintError, match="other-clip"):
        made_prior("karlo", "other-clip/000000000000").encodings_of(clip, ["a bell"])


def test_encodings_are_what_embedding_gives_and_end_with_the_caption(clip):
    captions = ["a bell", "", "a bell rings and rings and rings and rings and rings"]
    said = clip.encode_texts(captions)
    assert np.abs(said.embeds.numpy() - clip.embed_texts(captions)).max() < 1e-6
    assert said.tokens.shape == (3, CONTEXT, WIDTH)
    assert said.mask[1].tolist() == [True, True] + [False] * (CONTEXT - 2)  # begin and end
    assert said.mask[2].all()  # cut
    lengths = said.mask.sum(1)
    pooled = torch.stack([said.tokens[row, lengths[row] - 1] for row in range(3)]) @ clip.model.text_projection
    assert (pooled - said.projected).abs().max() < 1e-5


def test_encodings_are_those_of_transformers_text_model(clip):
    """The publishers of the unCLIP family encode with CLIPTextModelWithProjection: same weights, same answers."""
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = transformers.CLIPTextConfig(
        vocab_size=clip.config["model_cfg"]["text_cfg"]["vocab_size"], hidden_size=WIDTH, intermediate_size=4 * WIDTH,
        projection_dim=WIDTH, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=CONTEXT,
        hidden_act="gelu", eos_token_id=2,
    )  # fmt: skip
    theirs = transformers.CLIPTextModelWithProjection(config).eval()
    theirs.load_state_dict(_transformers_state(clip.model), strict=True)
    captions = ["a bell", "", "rings a bell rings"]
    said = clip.encode_texts(captions)
    with torch.no_grad():
        answer = theirs(clip.tokenize(captions))
    assert (answer.text_embeds - said.projected).abs().max() < 1e-5
    assert (answer.last_hidden_state - said.tokens)[said.mask].abs().max() < 1e-5


def _transformers_state(model):
    """open_clip's text tower under the names of transformers."""
    block = model.transformer.resblocks[0]
    inner = "text_model.encoder.layers.0"
    state = {
        "text_model.embeddings.token_embedding.weight": model.token_embedding.weight,
        "text_model.embeddings.position_embedding.weight": model.positional_embedding,
        "text_projection.weight": model.text_projection.T,
    }
    pairs = {"text_model.final_layer_norm": model.ln_final, f"{inner}.layer_norm1": block.ln_1}
    pairs |= {f"{inner}.layer_norm2": block.ln_2, f"{inner}.self_attn.out_proj": block.attn.out_proj}
    pairs |= {f"{inner}.mlp.fc1": block.mlp.c_fc, f"{inner}.mlp.fc2": block.mlp.c_proj}
    for name, module in pairs.items():
        state |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
    for place, name in enumerate(("q_proj", "k_proj", "v_proj")):
        state[f"{inner}.self_attn.{name}.weight"] = block.attn.in_proj_weight.chunk(3)[place]
        state[f"{inner}.self_attn.{name}.bias"] = block.attn.in_proj_bias.chunk(3)[place]
    return state
