"""`open_clip_config.json` of a folder or a hub: which settings may stand there, before one of them reaches a library.

Guarantee: what passes builds open_clip's own architectures, timm's registered ones and text towers of a hub by name; no
path, no code of its author, no argument of a library that is not listed. Price: a setting that a later open_clip adds
is refused until it is listed here; CoCa's second text tower never was one of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clipsonic.errors import CheckpointError, UsageError
from clipsonic.resources import bundled_path
from clipsonic.settings import (
    HUB_NAME,
    NOTHING,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    YES_NO,
    Kind,
    either,
    list_of,
    matching,
    one_of,
    taken,
)

_SIZE = either(WHOLE, list_of(WHOLE))
_MAYBE_NUMBER, _MAYBE_WHOLE = either(NUMBER, NOTHING), either(WHOLE, NOTHING)
_MAYBE_OBJECT = either(OBJECT, NOTHING)
_MAYBE_HUB_NAME = either(HUB_NAME, one_of(None, ""))
_TIMM_NAME = matching(r"[a-z0-9_]+(\.[a-z0-9_]+)?", "the name of an architecture of timm, and no address or path")
_TOWER: dict[str, Kind] = {
    "width": WHOLE, "mlp_ratio": NUMBER, "ls_init_value": _MAYBE_NUMBER, "final_ln_after_pool": YES_NO,
    "output_tokens": YES_NO, "act_kwargs": _MAYBE_OBJECT, "norm_kwargs": _MAYBE_OBJECT,
}  # fmt: skip
VISION: dict[str, Kind] = {
    **_TOWER, "layers": _SIZE, "head_width": WHOLE, "patch_size": _MAYBE_WHOLE, "image_size": _SIZE,
    "patch_dropout": NUMBER, "attentional_pool": one_of(False, True, "parallel", "cascade"),
    "attn_pooler_queries": WHOLE, "attn_pooler_heads": WHOLE, "no_ln_pre": YES_NO,
    "pos_embed_type": one_of("learnable", "sin_cos_2d"), "pool_type": one_of("tok", "avg", "none"),
    "timm_model_name": either(_TIMM_NAME, NOTHING), "timm_model_pretrained": YES_NO,
    "timm_pool": one_of("", None, "avg", "avgmax", "max", "token", "map", "abs_attn", "rot_attn"),
    "timm_proj": one_of("", None, "linear", "mlp", "none"), "timm_proj_bias": YES_NO, "timm_drop": NUMBER,
    "timm_drop_path": _MAYBE_NUMBER,
}  # fmt: skip
TEXT_TOWER: dict[str, Kind] = {
    **_TOWER, "context_length": WHOLE, "vocab_size": WHOLE, "heads": WHOLE, "layers": WHOLE, "embed_cls": YES_NO,
    "pad_id": WHOLE, "no_causal_mask": YES_NO, "pool_type": one_of("first", "last", "argmax", "none"),
    "proj_bias": YES_NO, "proj_type": one_of("linear", "none", None), "tokenizer_kwargs": _MAYBE_OBJECT,
    "hf_tokenizer_name": _MAYBE_HUB_NAME, "hf_model_name": _MAYBE_HUB_NAME, "hf_model_pretrained": YES_NO,
    "hf_proj_type": one_of("linear", "mlp", None),
    "hf_pooler_type": one_of("mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler", None),
}  # fmt: skip
_MODEL: dict[str, Kind] = {
    "embed_dim": WHOLE, "vision_cfg": OBJECT, "text_cfg": OBJECT, "quick_gelu": YES_NO, "custom_text": YES_NO,
    "init_logit_scale": NUMBER, "init_logit_bias": _MAYBE_NUMBER, "nonscalar_logit_scale": YES_NO,
}  # fmt: skip
_INSIDE: dict[str, dict[str, Kind]] = {
    "tokenizer_kwargs": {
        "clean": one_of("canonicalize", "lower", "whitespace"),
        "strip_sep_token": YES_NO,
        "language": either(matching(r"[A-Za-z_-]{2,12}", "the code of a language"), NOTHING),
    },
    "act_kwargs": {"approximate": one_of("none", "tanh")},
    "norm_kwargs": {"eps": NUMBER},
}
"""What may stand in the objects inside of a tower's settings."""
_COLOUR = either(NUMBER, list_of(NUMBER))
PREPROCESS: dict[str, Kind] = {
    "size": _SIZE, "mode": one_of("RGB"), "mean": list_of(NUMBER), "std": list_of(NUMBER),
    "interpolation": one_of("bicubic", "bilinear", "random"),
    "resize_mode": one_of("shortest", "longest", "squash"), "fill_color": _COLOUR,
}  # fmt: skip


def read_recipe(path: str | Path | None = None) -> dict[str, Any]:
    """An architecture file; by default the bundled one.

    Raises:
        UsageError: missing, or without one of its three keys.
    """
    file = Path(path) if path else bundled_path("priors", "recipes", "soundstage-clip.json")
    try:
        recipe: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        missing = [key for key in ("architecture", "model_cfg", "preprocess_cfg") if key not in recipe]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"architecture {file} cannot be read ({error}): give a JSON file as in priors/recipes"
        ) from None
    if missing:
        raise UsageError(f"architecture {file} lacks {', '.join(missing)}: give a JSON file as in priors/recipes")
    return recipe


def check_config(config: dict[str, Any], where: Path | str) -> None:
    """Refuse a config whose settings are not all known; `where` it stands.

    Raises:
        CheckpointError: names the first that is not, with its value.
    """
    if not TEXT.fits(config.get("architecture", "")):
        raise CheckpointError(f"{where} has architecture = {config['architecture']!r}, it must be text: correct it")
    check_model(config["model_cfg"], where)
    preprocess = config["preprocess_cfg"]
    if isinstance(preprocess, dict):  # open_clip drops null and what it does not know
        preprocess = {name: preprocess[name] for name in PREPROCESS if preprocess.get(name) is not None}
    taken(preprocess, PREPROCESS, f"{where}, preprocess_cfg")


def check_model(model_cfg: Any, where: Path | str) -> None:
    """The same for its `model_cfg` alone."""
    model = taken(model_cfg, _MODEL, f"{where}, model_cfg")
    for name, known in (("vision_cfg", VISION), ("text_cfg", TEXT_TOWER)):
        tower = taken(model.get(name), known, f"{where}, {name}")
        for inside, settings in _INSIDE.items():
            if tower.get(inside) is not None:
                taken(tower[inside], settings, f"{where}, {name}.{inside}")
