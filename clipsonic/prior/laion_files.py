"""Reads what dalle2-pytorch's prior trainer wrote: a `.pth` (or safetensors) and its `prior_config.json`.

Guarantee: every key is used, or is one of those that are said to be left out (the frozen CLIP inside, the schedule,
which must be the config's own); weights that were averaged in training win over the last ones. Price: the file is
mapped, not read, until its tensors are copied.

The published prior (laion/DALLE2-PyTorch, July 2022) was made by the package of about version 1.1.0. Later packages
renamed a key and changed the attention, so that loading loosely gives a prior of near-random vectors
(lucidrains/DALLE2-pytorch, issues 282 and 300): the era decides the arithmetic, and is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clipsonic.errors import CheckpointError, SpecError
from clipsonic.prior.dalle2 import Dalle2Core, LaionShape
from clipsonic.prior.published import Published, read_json, with_defaults
from clipsonic.settings import ANYTHING, PLAIN, Kind
from clipsonic.weights import read_plain

CONFIG_FILE = "prior_config.json"
_NAMES = ("ema_model", "model", "state_dict")  # of the weights in a trainer's file, the better ones first
_FILES = ("latest.pth", "best.pth", "prior_latest.pth", "prior_best.pth")
_OLD_KEY, _NEW_KEY = "null_text_embed", "null_text_encodings"
_STEPS = 64  # what the trainer's own evaluation used, of 1000
_DROPPED = {
    "attn_dropout": 0.0,
    "ff_dropout": 0.0,
    "self_cond": False,
}  # of no effect in sampling; no self-conditioning
_NET = {
    "dim": None, "depth": None, "dim_head": 64, "heads": 8, "ff_mult": 4, "num_timesteps": None, "max_text_len": 256,
    "num_time_embeds": 1, "num_image_embeds": 1, "num_text_embeds": 1, "norm_in": False, "norm_out": True,
    "final_proj": True, "normformer": False, "rotary_emb": True, **_DROPPED,
}  # fmt: skip
_TODAY = ("text_cond_drop_prob", "image_cond_drop_prob", "predict_v")  # settings that 1.1 did not have
_PRIOR = {
    "clip": None, "net": None, "image_embed_dim": None, "image_size": 224, "image_channels": 3, "timesteps": 1000,
    "sample_timesteps": None, "cond_drop_prob": 0.0, "loss_type": "l2", "predict_x_start": True,
    "beta_schedule": "cosine", "condition_on_text_encodings": True, "sampling_clamp_l2norm": False,
    "sampling_final_clamp_l2norm": False, "training_clamp_l2norm": False, "init_image_embed_l2norm": False,
    "image_embed_scale": None, "clip_adapter_overrides": None, **dict.fromkeys(_TODAY),
}  # fmt: skip
_NET_KINDS: dict[str, Kind] = dict.fromkeys(_NET, PLAIN)
_PRIOR_KINDS: dict[str, Kind] = {
    **dict.fromkeys(_PRIOR, PLAIN),
    **dict.fromkeys(("clip", "net", "clip_adapter_overrides"), ANYTHING),  # looked into here, or of no use
}


def find_laion(source: Path) -> Path | None:
    """The weights' file that `source` (a file, or a folder of both files) stands for, or None."""
    if source.is_file():
        return source if (source.parent / CONFIG_FILE).is_file() or source.suffix in (".pth", ".pt") else None
    found = [source / name for name in _FILES if (source / name).is_file()] or sorted(source.glob("*.pth"))
    return found[0] if found else None


def read_laion(weights: Path) -> Published:
    """Read a prior of the package's trainer; its config lies beside it.

    Raises:
        CheckpointError: a file that is missing, damaged, no plain weights, or of settings that are not known.
    """
    config = read_json(weights.parent / CONFIG_FILE, "the config")
    stated = with_defaults(config.get("prior", config), _PRIOR, _PRIOR_KINDS, weights.parent / CONFIG_FILE)
    state, notes = _weights_in(read_plain(weights))
    num_keys = len(state)
    era, why = _era(stated, state)
    shape = _shape(stated, era, weights.parent / CONFIG_FILE)
    notes.append(f"era {era} of dalle2-pytorch, {why}")
    inside = [key for key in state if key.startswith("clip.")]
    if inside:
        notes.append(f"the CLIP inside ({len(inside)} keys) is left out: it is not the prior's own")
    _check_schedule(state, shape, weights)
    network = {_renamed(key, era): value for key, value in state.items() if not _is_beside(key)}
    if era == "1.1":
        network |= _unused(shape)
    steps = min(stated["sample_timesteps"] or _STEPS, shape.num_timesteps)
    notes.append(f"{steps} of {shape.num_timesteps} steps per sample")
    return Published("laion", shape, network, weights, num_keys, notes, steps, _clip_of(stated["clip"]))


def _weights_in(loaded: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The weights of the prior in a file that may be a trainer's, and what was chosen."""
    for name in _NAMES:
        if isinstance(loaded.get(name), dict):
            return dict(loaded[name]), [f"{name} of the trainer's file"]
    return {key: value for key, value in loaded.items() if isinstance(value, torch.Tensor)}, []


def _era(stated: dict[str, Any], state: dict[str, torch.Tensor]) -> tuple[str, str]:
    """Which arithmetic the weights were trained under, and the reason."""
    if any(stated[name] is not None for name in _TODAY):
        return "1.15", "whose settings its config has"
    if f"net.{_OLD_KEY}" in state:
        return "1.1", f"by its config without later settings and its key {_OLD_KEY}"
    return "1.15", f"by its key {_NEW_KEY}"


def _shape(stated: dict[str, Any], era: str, where: Path) -> LaionShape:
    if not isinstance(stated["net"], dict):
        raise CheckpointError(f"{where} does not say the prior's net: bring the publisher's config")
    net = with_defaults(stated["net"], _NET, _NET_KINDS, where)
    kinds = {"predict_x_start": True, "predict_v": None}
    if any(bool(stated[name]) != bool(value) for name, value in kinds.items()) or net["self_cond"]:
        raise CheckpointError(f"{where} is of a prior that predicts no picture, or conditions itself: give another one")
    if net["dim"] != stated["image_embed_dim"]:
        raise CheckpointError(
            f"{where} has dim {net['dim']} but image_embed_dim {stated['image_embed_dim']}: correct it"
        )
    if net["num_timesteps"] not in (None, stated["timesteps"]):
        raise CheckpointError(
            f"{where} has num_timesteps {net['num_timesteps']} but timesteps {stated['timesteps']}: correct it"
        )
    drops = [stated[name] if stated[name] is not None else stated["cond_drop_prob"] for name in _TODAY[:2]]
    renamed = {"width": net["dim"], "head_width": net["dim_head"], "learned_times": net["num_timesteps"] is not None}
    same = {
        key: value for key, value in net.items() if key in LaionShape.__dataclass_fields__ and key != "num_timesteps"
    }
    try:
        return LaionShape(
            **renamed, **same, num_timesteps=stated["timesteps"], era=era, guidable=min(drops) > 0.0,
            text_encodings=stated["condition_on_text_encodings"], clamps=stated["sampling_clamp_l2norm"],
            starts_clamped=stated["init_image_embed_l2norm"], beta_schedule=stated["beta_schedule"],
            image_embed_scale=stated["image_embed_scale"],
        )  # fmt: skip
    except (TypeError, SpecError) as error:
        raise CheckpointError(f"{where} is damaged ({error}): bring the publisher's config") from None


def _check_schedule(state: dict[str, torch.Tensor], shape: LaionShape, where: Path) -> None:
    """The schedule in the file must be that of its config; float16 files are compared as such."""
    own = dict(Dalle2Core(LaionShape(8, 1, 1, 8, shape.num_timesteps, beta_schedule=shape.beta_schedule))
               .diffusion.noise_scheduler.named_buffers())  # fmt: skip
    held = {key.removeprefix("noise_scheduler."): value for key, value in state.items() if "noise_scheduler." in key}
    if not held:
        return
    names = sorted(set(own) ^ set(held))
    alphas = held.get("alphas_cumprod")
    if names or alphas is None or alphas.shape != own["alphas_cumprod"].shape:
        raise CheckpointError(
            f"{where} has another noise schedule than its config says ({', '.join(names)}): bring both"
        )
    if not torch.allclose(alphas.float(), own["alphas_cumprod"], atol=2e-3):
        raise CheckpointError(
            f"{where} has another noise schedule than {shape.beta_schedule} of its config: bring both"
        )


def _is_beside(key: str) -> bool:
    return key.startswith(("clip.", "noise_scheduler.")) or key == "_dummy"


def _renamed(key: str, era: str) -> str:
    name = key.removeprefix("net.")
    return _NEW_KEY if era == "1.1" and name == _OLD_KEY else name


def _unused(shape: LaionShape) -> dict[str, torch.Tensor]:
    """Today's network has two embeddings for guidance that 1.1 had not; nothing reads them."""
    return {
        "null_text_embeds": torch.zeros(1, shape.num_text_embeds, shape.width),
        "null_image_embed": torch.zeros(1, shape.width),
    }


def _clip_of(stated: Any) -> str | None:
    """The CLIP that the config names, as open_clip does."""
    if not isinstance(stated, dict) or not stated.get("model"):
        return None
    model = str(stated["model"]).replace("/", "-")
    return f"{model}:openai" if stated.get("make") == "openai" else None
