"""What a pipeline folder says of its components, checked before diffusers reads it: classes, settings, weight files.

Guarantee: the pipeline is ours, its denoiser and scheduler are of the classes listed here, their configs hold arguments
of these classes and plain values only, and a list of weight files names safetensors of the same folder; so it does not
matter what some version of diffusers makes of anything else. Price: a new scheduler of diffusers has to be listed.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from clipsonic.errors import CheckpointError
from clipsonic.names import is_plain_name
from clipsonic.settings import NOTHING, NUMBER, OBJECT, PLAIN, TEXT, WHOLE, Kind, arguments_of, either, list_of, taken

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
