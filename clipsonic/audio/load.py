"""A vocoder by its folder or its name on the hub: which kind it is, read from its config, and loaded strictly.

Guarantee: what loads is a vocoder of ours, of this command's conversion, or of a publisher's own layout (BigVGAN,
HiFi-GAN in transformers' or the original's, Vocos), with exactly the keys and shapes that its config asks for; no code
of a file runs, no class is imported by a name that a file gives, no setting reaches a library that is not listed.
Price: weights are read whole before they are used.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError

from clipsonic.audio.published import CONFIG_FILE, Family, Provenance, Published, PublishedVocoder
from clipsonic.audio.vocoder import Vocoder
from clipsonic.audio.vocos import Vocos
from clipsonic.audio.weights import read_state, resolved
from clipsonic.errors import CheckpointError, SpecError, UsageError, first_line
from clipsonic.settings import arguments_of, taken
from clipsonic.specs import MelSpec
from clipsonic.weights import check_shapes, load_strictly, shapes_in, shapes_of

FAMILIES = {
    "bigvgan": "clipsonic.audio.bigvgan",
    "hifigan": "clipsonic.audio.hifigan",
    "vocos": "clipsonic.audio.vocos_published",
}
YAML_FILE = "config.yaml"
_PART = "vocoder"
_HUB_CONFIGS = [f"{place}{name}" for place in ("", f"{_PART}/") for name in (CONFIG_FILE, YAML_FILE)]
_HUB_WEIGHTS = ("*.safetensors", "bigvgan_generator.pt", "pytorch_model.bin")
_Value = TypeVar("_Value")


def find_vocoder(name: str | Path) -> Path:
    """The folder that a name stands for: a folder, or a hub id OWNER/NAME, which is downloaded.

    Raises:
        UsageError: neither.
        CheckpointError: the hub does not give it; the message says which files to bring.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if str(name).count("/") != 1 or path.exists() or str(name).startswith((".", "/", "~")):
        raise UsageError(
            f"vocoder {str(name)!r} does not exist: give griffin-lim or what clipsonic train --config vocoder or "
            "convert wrote, a publisher's folder, or a hub id OWNER/NAME"
        )
    return _downloaded(str(name))


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(name, allow_patterns=[*_HUB_CONFIGS, _HUB_WEIGHTS[0], f"{_PART}/*.safetensors"])
        )
        if not any(folder.rglob(_HUB_WEIGHTS[0])):
            others = [f"{place}{file}" for place in ("", f"{_PART}/") for file in _HUB_WEIGHTS[1:]]
            folder = Path(snapshot_download(name, allow_patterns=[*_HUB_CONFIGS, *others]))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"vocoder {name!r} is no folder here and cannot be downloaded ({first_line(error)}): bring its "
            f"{CONFIG_FILE} or {YAML_FILE} and its weights ({', '.join(_HUB_WEIGHTS)}), and give their folder"
        ) from None
    return folder


def load_vocoder(folder: Path) -> Vocoder:
    """The vocoder in a folder, in float32; of a whole pipeline's folder its part `vocoder`.

    Raises:
        UsageError: there is none, or a package that it needs is not installed.
        CheckpointError: damaged, of an unknown kind, or with other weights than its config says.
    """
    if not _has_config(folder) and _has_config(folder / _PART):
        folder = folder / _PART
    config = read_config(folder)
    if config.get("_class_name") == "Vocos":
        return load_own(folder)
    return load_published(folder, config)


def _has_config(folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file() or (folder / YAML_FILE).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, or else config.yaml, as plain values.

    Raises:
        UsageError: there is none.
        CheckpointError: it is no object.
    """
    for name, read in ((CONFIG_FILE, json.loads), (YAML_FILE, _read_yaml)):
        path = folder / name
        if path.is_file():
            values = _believed(lambda: read(path.read_text(encoding="utf-8")), f"{path} is damaged")  # noqa: B023
            if not isinstance(values, dict):
                raise CheckpointError(f"{path} is damaged (it is no object): bring the file again")
            return values
    raise UsageError(
        f"vocoder {folder} does not exist or has no {CONFIG_FILE}: give griffin-lim or what clipsonic train "
        "--config vocoder or convert wrote, or a publisher's folder"
    )


def _read_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(first_line(error)) from None


def load_own(folder: Path) -> Vocos:
    """What `clipsonic train --config vocoder` wrote.

    Raises:
        CheckpointError: damaged, or with settings or weights that are not a Vocos's.
    """
    taken(read_config(folder), arguments_of(Vocos), folder / CONFIG_FILE)
    if lists := sorted(folder.glob("*.index*.json")):
        raise CheckpointError(f"vocoder {folder} has its weights in several files ({lists[0].name}): bring it as one")
    try:
        vocoder = Vocos.from_pretrained(str(folder), torch_dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"vocoder {folder} cannot be loaded ({first_line(error)}): bring it again") from None
    check_shapes(shapes_of(vocoder.state_dict()), shapes_in(folder.glob("*.safetensors")), folder)
    own: Vocos = vocoder.eval().requires_grad_(False)
    return own


def load_published(folder: Path, config: dict[str, Any]) -> PublishedVocoder:
    """A published vocoder, in its publisher's layout or as `clipsonic convert vocoder` wrote it."""
    where = f"the config of vocoder {folder} is damaged"
    if (name := config.get("family")) is not None:
        family = family_of(str(name), folder)
        facts = _believed(lambda: _facts_of(config), where)
    else:
        family = _recognised(config, folder)
        facts = _believed(
            lambda: Published(family.NAME, family.mel_space(config), family.network_config(config)), where
        )
    taken(facts.network, family.SETTINGS, f"the network of vocoder {folder}")
    if (found := _believed(lambda: family.geometry(facts.network), where)) != (
        facts.spec.hop_length,
        facts.spec.num_mels,
    ):
        raise SpecError(
            f"the network of vocoder {folder} has hop {found[0]} and {found[1]} mels, its mel space hop "
            f"{facts.spec.hop_length} and {facts.spec.num_mels}: bring the config that belongs to it"
        )
    return _with_weights(folder, family, facts)


def family_of(name: str, folder: Path) -> Family:
    """The module that knows a family.

    Raises:
        CheckpointError: an unknown name.
    """
    if name not in FAMILIES:
        raise CheckpointError(f"vocoder {folder} is of the unknown family {name!r}: known are {', '.join(FAMILIES)}")
    return cast(Family, importlib.import_module(FAMILIES[name]))


def _recognised(config: dict[str, Any], folder: Path) -> Family:
    for name in FAMILIES:
        if (family := family_of(name, folder)).recognises(config):
            return family
    raise CheckpointError(
        f"vocoder {folder} is of no kind that is known here (its config has "
        f"{', '.join(sorted(map(str, config))[:6])}): known are "
        f"{', '.join(FAMILIES)} in their publishers' layouts, and what clipsonic wrote"
    )


def _facts_of(config: dict[str, Any]) -> Published:
    return Published(
        str(config["family"]),
        MelSpec.from_dict(config["mel"]),
        dict(config["network"]),
        Provenance(**config.get("provenance", {})),
    )


def _with_weights(folder: Path, family: Family, facts: Published) -> PublishedVocoder:
    path = weights_of(folder, family)
    read = read_state(path, family.INSIDE)
    plain, num_pairs = resolved(read)
    state, num_compared = family.own_state(plain, facts.spec)
    where = f"the config of vocoder {folder} is damaged"
    network = _believed(lambda: family.network(facts.network, facts.spec), where)
    load_strictly(network, state, path, assign=True)
    network.eval().requires_grad_(False)
    if not facts.provenance.source:
        origin = Provenance(folder.resolve().name, path.name, len(read), num_pairs, num_compared)
        facts = Published(facts.family, facts.spec, facts.network, origin)
    return PublishedVocoder(facts, network)


def weights_of(folder: Path, family: Family) -> Path:
    """Its weight file; of several the first kind in the family's list.

    Raises:
        CheckpointError: there is none.
    """
    for pattern in family.WEIGHT_FILES:
        if found := sorted(folder.glob(pattern)):
            return found[-1]
    raise CheckpointError(f"vocoder {folder} has no weights: bring its {' or '.join(family.WEIGHT_FILES)}")


def _believed(read: Callable[[], _Value], fault: str) -> _Value:
    """What a config says, or one sentence about what it lacks."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{fault} ({type(error).__name__}: {first_line(error)}): bring the file again") from None
