"""A pipeline on disk and what must go together in it: found, checked before it is believed, written whole.

Guarantee: a folder that passes has exactly the weights its config asks for, is ours, and names no class or setting but
those listed here, with plain values only, and no weight file but safetensors of the same folder; so it does not matter
what some version of diffusers makes of anything else, and nothing is ever unpickled. A folder is built beside its place
and moved in, `model_index.json` last. Price: the headers of the weight files are read twice, and a new scheduler of
diffusers has to be listed.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from clipsonic.clip.embedder import CONFIG_FILE as CLIP_CONFIG
from clipsonic.ear.tower import CONFIG_FILE as EAR_CONFIG
from clipsonic.errors import CheckpointError, FingerprintError, SpecError, UsageError, first_line
from clipsonic.files import flush, is_plain_name
from clipsonic.prior.adapter import CONFIG_FILE as PRIOR_CONFIG
from clipsonic.resources import bundled_path, bundled_root
from clipsonic.settings import NOTHING, NUMBER, OBJECT, PLAIN, TEXT, WHOLE, Kind, arguments_of, either, list_of, taken
from clipsonic.specs import MelSpec, SegmentSpec
from clipsonic.weights import check_shapes, read_weights, shapes_in, shapes_of

INDEX_FILE = "model_index.json"
PIPELINE = "ClipSonicPipeline"
DENOISERS = {"DiT1D": "clipsonic.models.dit", "MelUNet": "clipsonic.models.unet"}
SCHEDULERS = (
    "DDIMParallelScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDPMScheduler", "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler", "HeunDiscreteScheduler", "IPNDMScheduler",
    "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler", "LMSDiscreteScheduler",
    "PNDMScheduler", "SASolverScheduler", "TCDScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
"""Of diffusers: those that walk from noise to data under a prediction type of ours."""
_CONFIGS = {"denoiser": "config.json", "scheduler": "scheduler_config.json"}
_PAIR = list_of(TEXT)
_INDEX: dict[str, Kind] = {
    "denoiser": _PAIR, "scheduler": _PAIR, "segment": either(OBJECT, NOTHING), "mel_mean": list_of(NUMBER),
    "mel_std": list_of(NUMBER), "clip_name": TEXT, "num_inference_steps": WHOLE, "guidance_scale": NUMBER,
    "guidance_interval": list_of(NUMBER), "guidance_rescale": NUMBER,
}  # fmt: skip
CARD_FILE = "card.md"
HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download")
NEVER_ASKED = ("trust_remote_code", "custom_pipeline")
"""Arguments of diffusers by which code that lies beside a model would run."""
_NEVER = ["*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.py"]
_PART_CONFIGS = {
    "clip": (CLIP_CONFIG, "fingerprint"), "prior": (PRIOR_CONFIG, "fingerprint"), "ear": (EAR_CONFIG, "space"),
}  # fmt: skip
"""The file that names a part's CLIP space, and where in it."""
_VOCODER_CONFIG = "config.json"


def find_pipeline(name: str | Path, hub_options: dict[str, Any]) -> Path:
    """The folder that a name stands for: `tiny`, a folder, or a hub id, which is downloaded.

    Raises:
        UsageError: none of these.
        CheckpointError: the hub does not give it.
    """
    if str(name) == "tiny":
        return bundled_path("priors", "tiny")
    if Path(name).is_dir():
        return Path(name)
    if str(name).count("/") != 1 or Path(name).exists() or str(name).startswith((".", "/", "~")):
        raise UsageError(f"model {str(name)!r} does not exist: give 'tiny', a pipeline folder, or a hub id OWNER/NAME")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), ignore_patterns=_NEVER, **hub_options))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"model {str(name)!r} is no folder here and cannot be downloaded ({first_line(error)}): "
            "give 'tiny', a pipeline folder, or a hub id that can be reached"
        ) from None


def check_index(folder: Path) -> None:
    """Refuse a folder that is no pipeline of ours.

    Raises:
        CheckpointError: a missing or damaged index, a class or setting that is not known, or no weights.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is no pipeline folder: {INDEX_FILE} is missing, give what `clipsonic train` wrote"
        )
    check_components(folder)
    if not any((folder / "denoiser").glob("*.safetensors")):
        raise CheckpointError(
            f"{folder}/denoiser holds no .safetensors weights: the folder is incomplete, bring it again"
        )


def check_components(folder: Path) -> None:
    """Refuse a pipeline folder that names anything but classes and settings of the lists.

    Raises:
        CheckpointError: with the value and what may stand there; a damaged file.
    """
    index = _read(folder / INDEX_FILE)
    denoiser, scheduler = _classes(index, folder / INDEX_FILE)
    taken(index, _INDEX, folder / INDEX_FILE)
    network = getattr(importlib.import_module(DENOISERS[denoiser]), denoiser)  # diffusers will not import it
    check_component(folder / "denoiser" / _CONFIGS["denoiser"], denoiser, arguments_of(network))
    check_weight_lists(folder / "denoiser")
    path = folder / "scheduler" / _CONFIGS["scheduler"]
    if path.is_file():
        check_component(path, scheduler, _scheduler_settings(scheduler, _read(path)))


def check_component(path: Path, class_name: str, known: dict[str, Kind]) -> None:
    """Refuse a component's config that is of another class or has other settings; a missing one is refused later."""
    if not path.is_file():
        return
    config = _read(path)
    if (found := config.get("_class_name", class_name)) != class_name:
        raise CheckpointError(
            f"{path} names the class {found!r}, it must be {class_name}: bring the files of one folder"
        )
    taken(config, known, path)


def check_weight_lists(folder: Path) -> None:
    """Refuse a list of weight files that leads out of the folder, or to anything but safetensors."""
    for path in folder.glob("*.index*.json"):
        files = _read(path).get("weight_map")
        for file in files.values() if isinstance(files, dict) else [files]:
            if not is_plain_name(file) or not str(file).endswith(".safetensors"):
                raise CheckpointError(
                    f"{path} lists the weight file {file!r}, it must be a .safetensors of the same folder: bring the "
                    "files again"
                )


def _classes(index: dict[str, Any], path: Path) -> tuple[str, str]:
    """The denoiser's and the scheduler's, after the pipeline's own."""
    try:
        (module, denoiser), (library, scheduler) = index["denoiser"], index["scheduler"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}): bring the file again") from None
    if [module, denoiser] not in [[place, name] for name, place in DENOISERS.items()] or (
        library != "diffusers" or scheduler not in SCHEDULERS
    ):
        raise CheckpointError(
            f"{path} names the classes {module}.{denoiser} and {library}.{scheduler}: "
            f"only {' or '.join(DENOISERS)} with a scheduler of diffusers are loaded"
        )
    if (found := index.get("_class_name")) != PIPELINE:
        raise CheckpointError(f"{path} names the pipeline {found!r}, it must be {PIPELINE}: give another folder")
    return denoiser, scheduler


def _scheduler_settings(name: str, config: dict[str, Any]) -> dict[str, Kind]:
    """Its arguments and, for one made of another's config, those of the others, which it passes over."""
    import diffusers

    own = arguments_of(getattr(diffusers, name))
    if set(own).issuperset(key for key in config if not key.startswith("_")):
        return own
    return {key: PLAIN for other in SCHEDULERS for key in arguments_of(getattr(diffusers, other))} | own


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): bring the file again") from None
    return values


def uncompiled(network: Any) -> Any:
    """What `torch.compile` was given, or the network as it is: the compiled one has other names for all its parts."""
    return getattr(network, "_orig_mod", network)


def check_weights(network: Any, folder: Path, variant: str | None = None) -> None:
    """Refuse weight files whose keys or shapes are not the network's.

    Raises:
        CheckpointError: the message lists them.
    """
    check_shapes(shapes_of(network.state_dict()), shapes_in(_weight_files(folder, variant)), folder)


def stored_weights(folder: Path, variant: str | None = None) -> dict[str, Tensor]:
    """The weights in a network's folder, as they lie there.

    Raises:
        CheckpointError: damaged.
    """
    return {key: value for path in _weight_files(folder, variant) for key, value in read_weights(path).items()}


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    of_variant = [path for path in sorted(folder.glob("*.safetensors")) if (variant or "") in path.name]
    return [path for path in of_variant if (variant is None) == (path.name.count(".") == 1)]


def vocoder_of_space(spec: MelSpec) -> Path | None:
    """The bundled vocoder's folder, if it is of this mel space, judged by the config it carries."""
    folder = bundled_root() / "priors" / "tiny" / "vocoder"
    try:
        config = json.loads((folder / _VOCODER_CONFIG).read_text(encoding="utf-8"))
        found = MelSpec(**{name: config[name] for name in spec.to_dict() if name in config})
    except (OSError, ValueError, TypeError, SpecError):
        return None
    return folder if found == spec else None


def check_parts(denoiser: Any, spec: SegmentSpec, mel_mean: Sequence[float], mel_std: Sequence[float]) -> None:
    """Refuse a denoiser or statistics of another geometry than the segment's.

    Raises:
        SpecError: the message holds both values.
    """
    for name, wanted in (
        ("num_mels", spec.mel.num_mels),
        ("num_mel_frames", spec.num_mel_frames),
        ("embed_width", spec.embed_width),
    ):
        if (found := denoiser.config[name]) != wanted:
            raise SpecError(f"the denoiser has {name} {found}, the segment {wanted}: make both from one spec")
    if not len(mel_mean) == len(mel_std) == spec.mel.num_mels:
        raise SpecError(
            f"{len(mel_mean)} mel means and {len(mel_std)} deviations for {spec.mel.num_mels} mels: give one for each"
        )
    if not all(map(math.isfinite, (*mel_mean, *mel_std))) or min(mel_std) <= 0.0:
        raise SpecError(
            f"mel deviations (smallest: {min(mel_std)}) must be finite and above 0: use sound that is not silent"
        )


def check_fingerprint(what: str, found: str, spec: SegmentSpec) -> None:
    """Refuse a part of another CLIP space.

    Raises:
        FingerprintError: the message names both.
    """
    if found != spec.fingerprint:
        raise FingerprintError(
            f"the {what} is of the space {found}, the model was trained in {spec.fingerprint}: give one of that space"
        )


def part_of_space(name: str, spec: SegmentSpec, clip_name: str) -> Path | None:
    """The CLIP, prior or ear folder outside the pipeline's own that is of its space, judged by the name it carries."""
    candidates = [bundled_root() / "priors" / "tiny" / name]
    if name == "clip":
        candidates.insert(0, Path(clip_name))
    file, key = _PART_CONFIGS[name]
    return next((folder for folder in candidates if _space(folder / file, key) == spec.fingerprint), None)


def _space(path: Path, key: str) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_card(folder: Path) -> str | None:
    """The text of card.md, if there is one."""
    path = folder / CARD_FILE
    return path.read_text(encoding="utf-8") if path.is_file() else None


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`; on success its entries replace those of the same name, the index last."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        yield temporary
        _flush(temporary)
        folder.mkdir(exist_ok=True)
        (folder / INDEX_FILE).unlink(missing_ok=True)
        for entry in sorted(temporary.iterdir(), key=lambda path: (path.name == INDEX_FILE, path.name)):
            target = folder / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            entry.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            flush(path)
