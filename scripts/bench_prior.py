"""A published prior's shape on this machine: files of its keys with random weights, converted, loaded, sampled.

    python scripts/bench_prior.py --recipe laion-vit-l-14 --texts 2 --steps 4

Guarantee: the files are those of the recipe's shape in the publisher's layout, and go through `convert_prior` and
`TextPrior.from_folder` as the real ones would. Price: 2 to 4 times the weights on disk and in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from clipsonic.clip.encodings import TextEncodings
from clipsonic.prior.adapter import KINDS, TextPrior
from clipsonic.prior.convert import convert_prior
from clipsonic.prior.core import Spoken
from clipsonic.prior.dalle2 import Dalle2Core, LaionShape
from clipsonic.resources import bundled_path

SPACE = "random/000000000000"


def main() -> None:
    """Make, convert, load, sample; print seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="laion-vit-l-14", help="of priors/recipes")
    parser.add_argument("--texts", type=int, default=2)
    parser.add_argument(
        "--steps", type=int, default=4, help="network calls; a call of the prior costs as many times more"
    )
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = yaml.safe_load(bundled_path("priors", "recipes", f"{args.recipe}.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(recipe, Path(folder), args.texts, args.steps), indent=1))


def run(recipe: dict[str, Any], folder: Path, num_texts: int, steps: int) -> dict[str, Any]:
    """The figures."""
    write_files(recipe, folder / "published")
    start_s = time.perf_counter()
    facts = convert_prior(folder / "published", folder / "ours", clip=SPACE)
    converted_s = time.perf_counter()
    prior = TextPrior.from_folder(folder / "ours")
    loaded_s = time.perf_counter()
    steps = 1 if recipe["sample_steps"] == 1 else steps
    spoken = random_captions(prior, num_texts)
    before_s = time.process_time()
    made = prior(spoken.captions.embeds, torch.Generator().manual_seed(0), steps=steps, encodings=spoken)
    sampled_s, cpu_s = time.perf_counter(), time.process_time() - before_s
    assert made.shape == (num_texts, prior.core.width)
    assert bool(torch.isfinite(made).all())
    return {
        "kind": facts["kind"], "numbers_M": round(facts["num_parameters"] / 1e6, 1), "keys": facts["num_keys"],
        "convert_s": round(converted_s - start_s, 1), "load_s": round(loaded_s - converted_s, 1),
        "s_per_text_and_step": round((sampled_s - loaded_s) / num_texts / steps, 2),
        "core_s_per_text_and_step": round(cpu_s / num_texts / steps, 2),
        "core_s_per_text": round(cpu_s / num_texts / steps * recipe["sample_steps"], 1),
        "peak_GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),
    }  # fmt: skip


def write_files(recipe: dict[str, Any], folder: Path) -> None:
    """Random float16 weights in the publisher's layout."""
    shape = KINDS[recipe["kind"]](**recipe["shape"])
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in TextPrior(shape, SPACE).core.network.state_dict().items()}
    state = {key: 0.02 * torch.randn(size, dtype=torch.float16) for key, size in shapes.items()}
    folder.mkdir(parents=True)
    if isinstance(shape, LaionShape):
        write_laion(shape, state, folder)
    else:
        write_unclip(recipe["shape"], state, folder)


def write_laion(shape: LaionShape, state: dict[str, torch.Tensor], folder: Path) -> None:
    """`latest.pth` and `prior_config.json` with the keys of version 1.1."""
    for unused in ("null_text_embeds", "null_image_embed"):
        del state[unused]
    state["null_text_embed"] = state.pop("null_text_encodings")
    small = Dalle2Core(LaionShape(8, 1, 1, 8, shape.num_timesteps)).diffusion.noise_scheduler
    schedule = {f"noise_scheduler.{key}": value for key, value in small.named_buffers()}
    torch.save({**{f"net.{key}": value for key, value in state.items()}, **schedule}, folder / "latest.pth")
    net = {"dim": shape.width, "depth": shape.depth, "heads": shape.heads, "dim_head": shape.head_width}
    net |= {"num_timesteps": shape.num_timesteps, "max_text_len": shape.max_text_len, "normformer": shape.normformer}
    config = {"net": net, "image_embed_dim": shape.width, "timesteps": shape.num_timesteps, "cond_drop_prob": 0.1}
    (folder / "prior_config.json").write_text(json.dumps({"prior": config}))


def write_unclip(shape: dict[str, Any], state: dict[str, torch.Tensor], folder: Path) -> None:
    """A folder of diffusers."""
    config = {"_class_name": "PriorTransformer", **shape["network"]}
    (folder / "config.json").write_text(json.dumps(config))
    if "scheduler" in shape:
        (folder / "scheduler_config.json").write_text(json.dumps(shape["scheduler"]))
    save_file(state, folder / "diffusion_pytorch_model.safetensors")


def random_captions(prior: TextPrior, count: int) -> Spoken:
    """What ViT-L/14's text tower could say of captions of ten tokens."""
    generator = torch.Generator().manual_seed(0)
    embeds = torch.nn.functional.normalize(torch.randn(count + 1, prior.core.width, generator=generator), dim=-1)
    tokens = torch.randn(count + 1, 77, prior.core.width, generator=generator)
    said = TextEncodings(embeds, embeds, tokens, torch.arange(77).expand(count + 1, -1) < 10)
    return Spoken(said.rows(slice(1, None)), said.rows(slice(0, 1)))


if __name__ == "__main__":
    main()
