"""Small priors of the unCLIP family, in folders as their publishers have them, and captions for them."""

import json
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from safetensors.torch import save_file

from clipsonic.clip.encodings import TextEncodings
from clipsonic.prior.core import Spoken
from clipsonic.prior.unclip import OnePassTransformer

WIDTH, LENGTH = 24, 6
NETWORK = {
    "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "embedding_dim": WIDTH,
    "num_embeddings": LENGTH, "additional_embeddings": 4,
}  # fmt: skip
SCHEDULER = {"clip_sample": True, "clip_sample_range": 5.0, "prediction_type": "sample", "num_train_timesteps": 50}


def made_network(one_pass=False):
    """A network all of whose weights have an effect, its statistics too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = (
            OnePassTransformer(**{**NETWORK, "additional_embeddings": 3}) if one_pass else PriorTransformer(**NETWORK)
        )
        for parameter in network.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return network.eval().requires_grad_(False)


def made_folder(root, kind):
    """The publisher's folder of this kind; returns the pipeline's."""
    network = made_network(kind == "eclipse")
    folder = root if kind == "eclipse" else root / "prior"
    folder.mkdir(parents=True, exist_ok=True)
    config = {"_class_name": "PriorTransformer", "_diffusers_version": "0.17", **NETWORK}
    if kind == "eclipse":
        config["additional_embeddings"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "diffusion_pytorch_model.safetensors")
    if kind != "eclipse":
        UnCLIPScheduler(**SCHEDULER).save_pretrained(root / {"karlo": "prior_scheduler"}.get(kind, "scheduler"))
    return root


def made_spoken(count=3):
    """What a text tower could say of the empty caption and of `count` others."""
    generator = torch.Generator().manual_seed(4)
    projected = 2.0 * torch.randn(count + 1, WIDTH, generator=generator)
    tokens = torch.randn(count + 1, LENGTH, WIDTH, generator=generator)
    lengths = torch.tensor([2, 3, LENGTH, 4, 5][: count + 1])
    said = TextEncodings(
        torch.nn.functional.normalize(projected, dim=-1), projected, tokens, torch.arange(LENGTH) < lengths[:, None]
    )
    return Spoken(said.rows(slice(1, None)), said.rows(slice(0, 1)))


@pytest.fixture(scope="session")
def unclip():
    """The makers of this file."""
    return SimpleNamespace(
        network=made_network, folder=made_folder, spoken=made_spoken, scheduler=SCHEDULER, width=WIDTH
    )
