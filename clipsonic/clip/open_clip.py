"""The door to open_clip: builds its architectures, reads its checkpoints, and names what cannot be had.

Guarantee: what loads is complete (strict keys and shapes), has the activation its weights were trained with, and
carries a fingerprint of its content. A config (`open_clip_config.json` of a folder or a hub) reaches a library only
after every setting in it is known: what passes builds open_clip's own architectures, timm's registered ones and text
towers of a hub by name; no path, no code of its author, no argument of a library that is not listed.
Price: importing open_clip takes 2 to 4 seconds, so import this module late; a setting that a later open_clip adds is
refused until it is listed here; CoCa's second text tower never was one of ours.

Quirks of open_clip 2.32 hidden here: `create_model("ViT-L-14", "openai")` keeps GELU although these weights were
trained with QuickGELU, and only warns; `load_checkpoint` resizes positional embeddings of another size silently;
without a network its downloads retry for a minute.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.tokenizer import SimpleTokenizer, default_bpe, get_clean_fn
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from safetensors import SafetensorError
from torchvision.transforms import Compose

from clipsonic.clip.embedder import CARD_FILE, CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE, ClipEmbedder
from clipsonic.clip.hub import PICKLED_FILE, PREFIX, check_resolves, hub_folder
from clipsonic.clip.hub_text import HubTokenizer, check_text_model
from clipsonic.errors import CheckpointError, UsageError, first_line
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
from clipsonic.weights import load_strictly, read_weights

BUNDLED_NAME = "tiny"
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
_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, pickle.UnpicklingError)


def load_clip(name: str | Path = BUNDLED_NAME, device: str | torch.device = "cpu") -> ClipEmbedder:
    """Load a CLIP by name.

    Args:
        name: `tiny` (the bundled one); a folder with `open_clip_config.json` and `open_clip_model.safetensors`;
            `ARCH:TAG` of open_clip or `hf-hub:OWNER/NAME`, downloaded if need be; or `ARCH:FILE` with weights on disk
            (a file whose name open_clip does not know has the architecture's own activation: for OpenAI's weights
            under another name give `ViT-L-14-quickgelu:FILE`).

    Raises:
        UsageError: no such name.
        CheckpointError: the weights are broken, do not fit, or cannot be downloaded.
    """
    folder = _folder_of(name)
    if folder is not None:
        return _load_folder(folder).to(device)
    architecture, weights = str(name).split(":", 1)
    return _load_published(architecture.replace("/", "-"), weights).to(device)


def new_clip(recipe: dict[str, Any], merges: bytes) -> ClipEmbedder:
    """An untrained CLIP of our own: `recipe` as in priors/recipes, `merges` its gzipped BPE list.

    Weights come from torch's current random state; fork and seed it around this call.
    """
    check_config(recipe, "the recipe")
    model_cfg = json.loads(json.dumps(recipe["model_cfg"]))
    model_cfg["text_cfg"]["vocab_size"] = _own_tokenizer(merges, 1).vocab_size
    preprocess = merge_preprocess_dict(PreprocessCfg(), recipe["preprocess_cfg"])
    config = {"architecture": recipe["architecture"], "model_cfg": model_cfg, "preprocess_cfg": preprocess}
    return _embedder(_build(model_cfg, recipe["architecture"]), config, merges=merges)


def recipe_of(name: str | Path) -> dict[str, Any]:
    """The recipe of a CLIP folder, to train it on: its architecture and preprocessing.

    Raises:
        UsageError: not a folder of ours, whose text tower this package can train.
        CheckpointError: a damaged folder.
    """
    folder = _folder_of(name)
    if folder is None or not (folder / MERGES_FILE).is_file():
        raise UsageError(
            f"--init {name} is not a CLIP that `clipsonic train --config clip` wrote ({MERGES_FILE} is missing): "
            "give tiny or such a folder"
        )
    stored = _read_config(folder)
    return {key: stored[key] for key in ("architecture", "model_cfg", "preprocess_cfg")}


def published_merges() -> list[str]:
    """CLIP's own BPE merges, the most frequent first ("t h")."""
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")
    return lines[1 : 49152 - 256 - 2 + 1]


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


def _folder_of(name: str | Path) -> Path | None:
    """The folder a name stands for, or None for `ARCH:WEIGHTS`."""
    if str(name) == BUNDLED_NAME:
        return bundled_path("priors", "tiny", "clip")
    if str(name).startswith(PREFIX):
        return hub_folder(str(name).removeprefix(PREFIX))
    if Path(name).is_dir():
        return Path(name)
    architecture = str(name).split(":", 1)[0].replace("/", "-")
    if ":" in str(name) and architecture in open_clip.list_models():
        return None
    if architecture in open_clip.list_models():
        tags = ", ".join(list_pretrained_tags_by_model(architecture)[:4]) or "none"
        raise UsageError(f"CLIP {str(name)!r} lacks its weights: give {name}:TAG (tags: {tags}, ...) or {name}:FILE")
    raise UsageError(
        f"CLIP {str(name)!r} is neither {BUNDLED_NAME!r}, nor a folder, nor ARCH:WEIGHTS of open_clip, nor {PREFIX}: "
        "give for instance ViT-L-14:openai or a folder with open_clip_config.json"
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} is no CLIP folder: {CONFIG_FILE} is missing, bring it or train a CLIP there")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        config["model_cfg"]["embed_dim"], config["preprocess_cfg"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): it must hold model_cfg and preprocess_cfg") from None
    check_config(config, path)
    return config


def _load_folder(folder: Path) -> ClipEmbedder:
    stored = _read_config(folder)
    model_cfg = stored["model_cfg"]
    architecture = stored.get("architecture") or _architecture_of(model_cfg)
    preprocess = merge_preprocess_dict(PreprocessCfg(), stored["preprocess_cfg"])
    preprocess["size"] = model_cfg["vision_cfg"].get("image_size", 224)
    with torch.random.fork_rng(devices=[]):
        model = _build(model_cfg, architecture)
    _take_weights(model, folder, ours="fingerprint" in stored)
    config = {"architecture": architecture, "model_cfg": model_cfg, "preprocess_cfg": preprocess}
    merges, card = folder / MERGES_FILE, folder / CARD_FILE
    embedder = _embedder(
        model,
        config,
        merges=merges.read_bytes() if merges.is_file() else None,
        card=card.read_text(encoding="utf-8") if card.is_file() else None,
    )
    if stored.get("fingerprint", embedder.fingerprint) != embedder.fingerprint:
        raise CheckpointError(
            f"{folder} says it is {stored['fingerprint']} but its weights are {embedder.fingerprint}: "
            "bring both files again"
        )
    return embedder


def _take_weights(model: Any, folder: Path, ours: bool) -> None:
    """Those of a folder; a publisher's may be pickled, or have the keys of another package."""
    path = folder / WEIGHTS_FILE
    if not ours and not path.is_file() and (folder / PICKLED_FILE).is_file():
        path = folder / PICKLED_FILE
    elif not path.is_file():
        ours = True  # says what is missing
    load_strictly(model, read_weights(path) if ours else _read_published(model, path), path)


def _load_published(architecture: str, weights: str) -> ClipEmbedder:
    """Weights by tag or file. A file from a hub folder takes that folder's config, which knows its activation."""
    path, facts = Path(weights), get_pretrained_cfg(architecture, weights)
    if path.is_file():
        if (path.parent / CONFIG_FILE).is_file() and path.name == WEIGHTS_FILE:
            return _load_folder(path.parent)
        facts = _facts_of_file(architecture, path.name)
    elif facts:
        path = Path(_download(architecture, weights, facts))
    else:
        tags = ", ".join(list_pretrained_tags_by_model(architecture)) or "none"
        raise UsageError(f"weights {weights!r} of {architecture} are neither a file nor a tag: known tags are {tags}")
    return _load_file(architecture, path, facts)


def _load_file(architecture: str, path: Path, facts: dict[str, Any]) -> ClipEmbedder:
    model_cfg: dict[str, Any] = open_clip.get_model_config(architecture)
    if facts.get("quick_gelu") and not model_cfg.get("quick_gelu"):
        model_cfg["quick_gelu"] = True
        architecture += "-quickgelu"
    preprocess = merge_preprocess_dict(PreprocessCfg(), facts)
    preprocess["size"] = model_cfg["vision_cfg"].get("image_size", 224)
    with torch.random.fork_rng(devices=[]):
        model = _build(model_cfg, architecture)
    load_strictly(model, _read_published(model, path), path)
    return _embedder(model, {"architecture": architecture, "model_cfg": model_cfg, "preprocess_cfg": preprocess})


def _read_published(model: Any, path: Path) -> dict[str, torch.Tensor]:
    """A published checkpoint under today's key names; never unpickled beyond tensors."""
    try:
        state: dict[str, torch.Tensor] = convert_state_dict(model, load_state_dict(str(path), weights_only=True))
    except (*_UNREADABLE, SafetensorError) as error:
        raise CheckpointError(
            f"{path} holds no plain weights ({first_line(error)}): bring a safetensors file"
        ) from None
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    if "logit_scale" in state:
        state["logit_scale"] = state["logit_scale"].reshape(model.logit_scale.shape)
    state.pop("text.transformer.embeddings.position_ids", None)  # dropped by transformers 4.31
    return state


def _facts_of_file(architecture: str, file_name: str) -> dict[str, Any]:
    """What open_clip knows of a published file of this name, or nothing."""
    for tag in list_pretrained_tags_by_model(architecture):
        facts: dict[str, Any] = get_pretrained_cfg(architecture, tag)
        if file_name in (Path(facts.get("url", "")).name, Path(facts.get("hf_hub", "")).name):
            return facts
    return {}


def _download(architecture: str, tag: str, facts: dict[str, Any]) -> str:
    hub = facts.get("hf_hub", "")
    what = f"{CONFIG_FILE} and {WEIGHTS_FILE} of {hub.rstrip('/')}" if hub else Path(facts.get("url", "")).name
    give = "--clip FOLDER" if hub else f"--clip {architecture}:FILE"
    try:
        if hub:
            check_resolves(hub)
        return str(download_pretrained(facts))
    except OSError as error:
        raise CheckpointError(
            f"weights {architecture}:{tag} cannot be downloaded ({first_line(error)}): bring {what} and give {give}"
        ) from None


def _build(model_cfg: dict[str, Any], architecture: str) -> torch.nn.Module:
    """The network, its weights drawn from torch's current random state; nothing is downloaded but a text's config."""
    check_model(model_cfg, architecture)
    arguments = json.loads(json.dumps(model_cfg))
    custom_text = arguments.pop("custom_text", False) or "hf_model_name" in arguments["text_cfg"]
    arguments["vision_cfg"]["timm_model_pretrained"] = arguments["text_cfg"]["hf_model_pretrained"] = False
    if name := arguments["text_cfg"].get("hf_model_name"):
        check_text_model(name)
    try:
        model: torch.nn.Module = (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**arguments)
        return model.float()
    except (TypeError, ValueError, AssertionError, KeyError, RuntimeError, OSError, AttributeError) as error:
        raise CheckpointError(
            f"{architecture} cannot be built from its model_cfg ({error}): correct the config"
        ) from None


def _embedder(
    model: torch.nn.Module, config: dict[str, Any], *, merges: bytes | None = None, card: str | None = None
) -> ClipEmbedder:
    resize = _geometry(config["preprocess_cfg"])
    return ClipEmbedder(model, _tokenizer(config, merges), resize, config, merges=merges, card=card)


def _geometry(preprocess_cfg: dict[str, Any]) -> Compose:
    """The part of open_clip's transform that works on pictures: all but ToTensor and Normalize."""
    return Compose(image_transform_v2(PreprocessCfg(**preprocess_cfg), is_train=False).transforms[:-2])


def _tokenizer(config: dict[str, Any], merges: bytes | None) -> Any:
    text_cfg = config["model_cfg"]["text_cfg"]
    context_length = text_cfg.get("context_length", 77)
    if merges is not None:
        tokenizer = _own_tokenizer(merges, context_length)
        if tokenizer.vocab_size != text_cfg["vocab_size"]:
            raise CheckpointError(
                f"{MERGES_FILE} makes a vocabulary of {tokenizer.vocab_size} but the model has "
                f"{text_cfg['vocab_size']}: bring the merge list it was trained with"
            )
        return tokenizer
    if (known := open_clip.get_model_config(config["architecture"])) is not None:
        text_cfg = known["text_cfg"]
    if name := text_cfg.get("hf_tokenizer_name"):
        given = dict(text_cfg.get("tokenizer_kwargs") or {})
        clean = get_clean_fn(given.pop("clean", "whitespace"))
        return HubTokenizer(name, text_cfg.get("context_length", 77), clean, **given)
    if known is not None:
        return open_clip.get_tokenizer(config["architecture"])
    return SimpleTokenizer(context_length=context_length)


def _own_tokenizer(merges: bytes, context_length: int) -> SimpleTokenizer:
    """open_clip's tokenizer over a shorter merge list, which it reads from a file only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MERGES_FILE
        path.write_bytes(merges)
        try:
            return SimpleTokenizer(bpe_path=str(path), context_length=context_length)
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{MERGES_FILE} is damaged ({error}): bring the file again") from None


def _architecture_of(model_cfg: dict[str, Any]) -> str:
    """open_clip's name for this architecture, or one made of its content."""
    wanted = _canonical(model_cfg)
    for name in open_clip.list_models():
        if _canonical(open_clip.get_model_config(name)) == wanted:
            return str(name)
    return f"custom-{hashlib.blake2b(wanted.encode(), digest_size=4).hexdigest()}"


def _canonical(model_cfg: dict[str, Any]) -> str:
    return json.dumps({"quick_gelu": False, "custom_text": False, **model_cfg}, sort_keys=True)
