"""Small random weights and samples of dalle2-pytorch 1.1.0, in the files its users publish: what tests/prior holds to.

Run it with a Python that has `dalle2-pytorch==1.1.0`, in an environment of its own (it cannot stand beside today's):

    python -m venv old && old/bin/pip install dalle2-pytorch==1.1.0 einops-exts safetensors
    old/bin/python scripts/make_laion_reference.py --out tests/prior/data/laion

Guarantee: equal arguments and versions give equal files. Price: seconds; 0.25 MB.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from dalle2_pytorch import DiffusionPrior, DiffusionPriorNetwork
from dalle2_pytorch.dalle2_pytorch import l2norm
from dalle2_pytorch.version import __version__
from safetensors.torch import save_file

NET = {"dim": 32, "depth": 2, "num_timesteps": 12, "max_text_len": 8, "dim_head": 16, "heads": 2, "ff_mult": 2}
NET |= {"num_time_embeds": 1, "num_image_embeds": 1, "num_text_embeds": 1, "attn_dropout": 0.05, "ff_dropout": 0.05}
NET |= {"normformer": True}
PRIOR = {"image_embed_dim": 32, "image_size": 224, "image_channels": 3, "timesteps": 12, "cond_drop_prob": 0.1}
PRIOR |= {"loss_type": "l2", "predict_x_start": True, "beta_schedule": "cosine", "condition_on_text_encodings": True}
DDIM_STEPS = 5


def main() -> None:
    """Write the weights, their config, and what they make of three captions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    if __version__ != "1.1.0":
        raise SystemExit(f"dalle2-pytorch is {__version__}: this needs 1.1.0")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    prior = shaken(DiffusionPrior(net=DiffusionPriorNetwork(**NET), **without(PRIOR, "image_size")).eval())
    torch.save(prior.state_dict(), out / "latest.pth")
    clip = {"make": "openai", "model": "ViT-L/14"}
    (out / "prior_config.json").write_text(json.dumps({"prior": {"clip": clip, "net": NET, **PRIOR}}, indent=1))
    save_file(samples(prior), out / "samples.safetensors")
    print(f"{sum(path.stat().st_size for path in out.iterdir()) / 1e3:.0f} kB in {out}")


def shaken(prior: Any) -> Any:
    """Every weight moved away from its start, so that none is without effect."""
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        prior.net.causal_transformer.rel_pos_bias.relative_attention_bias.weight.mul_(0.01)  # times 128 in the softmax
    return prior


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    """All but one entry."""
    return {key: value for key, value in values.items() if key != name}


def samples(prior: Any) -> dict[str, torch.Tensor]:
    """Captions, their tokens (zero after the end, as the package's adapter makes them), and samples from seed 7."""
    texts = l2norm(torch.randn(3, NET["dim"]))
    tokens = torch.randn(3, NET["max_text_len"], NET["dim"])
    mask = torch.arange(NET["max_text_len"]) < torch.tensor([[3], [8], [5]])
    made = {"texts": texts, "tokens": tokens, "mask": mask}
    for name, steps in (("ancestral", PRIOR["timesteps"]), ("ddim", DDIM_STEPS)):
        for clamped in (False, True):
            prior.sampling_clamp_l2norm = prior.init_image_embed_l2norm = clamped
            rows = [one(prior, texts[row], tokens[row] * mask[row, :, None], steps) for row in range(3)]
            made[f"{name}{'_clamped' if clamped else ''}"] = torch.cat(rows)
    return made


def one(prior: Any, text: torch.Tensor, tokens: torch.Tensor, steps: int) -> torch.Tensor:
    """(1, E), scaled by sqrt(E) as the package leaves it."""
    torch.manual_seed(7)
    condition = {"text_embed": text[None], "text_encodings": tokens[None]}
    made: torch.Tensor = prior.p_sample_loop((1, len(text)), text_cond=condition, timesteps=steps)
    return made


if __name__ == "__main__":
    main()
