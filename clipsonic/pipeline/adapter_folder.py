"""An adapter on disk: its weights, its shape, and the network they belong to.

Guarantee: an adapter of another network is refused before a weight is touched, with what differs on both sides.
Price: weights are kept in float16, so loading rounds what was trained to 11 bits once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from clipsonic.errors import CheckpointError, SpecError, UsageError
from clipsonic.files import write_json
from clipsonic.models.lowrank import (
    LowRank,
    adapter_weights,
    add_adapter,
    remove_adapter,
    set_adapter_weights,
    without_adapters,
)
from clipsonic.pipeline.folder import uncompiled
from clipsonic.weights import content_hash, read_weights, save_weights

ADAPTER = "adapter"
FEW_STEPS = "fewstep"
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter.safetensors"
SAMPLING_FILE = "sampling.json"


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter and whose it is.

    Args:
        shape: rank, strength and layers.
        network: class and settings of the denoiser it was trained on, as `network_facts` gives them.
        base: the name of that denoiser's weights, as `base_hash` gives it.
        weights: A and B of each layer, as `adapter_weights` gives them.
        weight: how strongly it acts unless told otherwise; 1 is as trained.
        steps: of a few-step adapter, the most network calls it was trained for; 0 for any other.
        flow_shift: of a few-step adapter, how much these lean to high noise.
    """

    shape: LowRank
    network: dict[str, Any]
    base: str
    weights: Mapping[str, Tensor]
    weight: float = 1.0
    steps: int = 0
    flow_shift: float = 1.0

    @classmethod
    def taken_from(cls, network: nn.Module, name: str, shape: LowRank) -> Self:
        """The adapter of that name on the network, with its weights as they are now."""
        copied = {key: value.detach().cpu().clone() for key, value in adapter_weights(network, name).items()}
        return cls(shape, network_facts(network), base_hash(network), copied)

    def put_on(self, network: nn.Module, name: str, where: str | Path) -> None:
        """Add it to the network, turned off like all others there; `where` it came from is for refusals.

        Raises:
            CheckpointError: the network is another one, or the weights are not those of the shape.
        """
        if differing := _differing(self.network, network_facts(network)):
            raise CheckpointError(
                f"adapter {where} is for another network ({differing}): give one that was trained on this pipeline"
            )
        add_adapter(network, self.shape, name)
        try:
            set_adapter_weights(network, name, self.weights, str(where))
        except CheckpointError:
            remove_adapter(network, name)
            raise

    def fits(self, network: nn.Module, names: Collection[str]) -> bool:
        """Whether a network with these names for its weights has the very ones that the adapter was trained on."""
        return not _differing(self.network, network_facts(network)) and self.base in names

    def save(self, folder: Path) -> None:
        """Write the folder that `from_folder` reads."""
        facts = {**asdict(self.shape), "weight": self.weight, "network": self.network, "base": self.base}
        save_weights(folder / WEIGHTS_FILE, self.weights)
        write_json(folder / CONFIG_FILE, facts)
        if self.steps:
            sampling = {"num_inference_steps": self.steps, "guidance_scale": 1.0, "flow_shift": self.flow_shift}
            write_json(folder / SAMPLING_FILE, sampling)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read a saved adapter.

        Raises:
            UsageError: there is none.
            CheckpointError: damaged.
        """
        if not (folder / CONFIG_FILE).is_file():
            raise UsageError(f"adapter {folder} does not exist: give what clipsonic train --config adapter wrote")
        try:
            facts = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            shape = LowRank(int(facts["rank"]), float(facts["alpha"]), tuple(facts["modules"]))
            sampling = _sampling(folder / SAMPLING_FILE)
            network, base, weight = dict(facts["network"]), str(facts["base"]), float(facts.get("weight", 1.0))
        except (OSError, ValueError, KeyError, TypeError, SpecError) as error:
            raise CheckpointError(f"adapter {folder} is damaged ({error}): bring it again") from None
        return cls(shape, network, base, read_weights(folder / WEIGHTS_FILE), weight, *sampling)


def _sampling(path: Path) -> tuple[int, float]:
    """Steps and shift of a few-step adapter; 0 and 1 where the file is missing."""
    if not path.is_file():
        return 0, 1.0
    values = json.loads(path.read_text(encoding="utf-8"))
    return int(values["num_inference_steps"]), float(values["flow_shift"])


def inside(folder: Path, *names: str) -> Path:
    """The adapter of a pipeline folder (of these names, `adapter` or `fewstep`), else the folder itself."""
    candidates = [folder / name for name in names or (ADAPTER, FEW_STEPS)]
    return next((candidate for candidate in candidates if (candidate / CONFIG_FILE).is_file()), folder)


def network_facts(network: Any) -> dict[str, Any]:
    """Class and settings of a denoiser: all that decides whether weights of one fit another."""
    config = {name: value for name, value in dict(network.config).items() if not name.startswith("_")}
    facts: dict[str, Any] = json.loads(json.dumps({"network": type(network).__name__, **config}))
    return facts


def base_hash(network: nn.Module) -> str:
    """`content_hash` of the network's own weights, whatever adapters sit on it, compiled or not."""
    plain = uncompiled(network)
    with without_adapters(plain):
        return content_hash(plain.state_dict())


def _differing(there: Mapping[str, Any], here: Mapping[str, Any], most: int = 3) -> str:
    names = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
    return "; ".join(f"{name} is {there.get(name)} there and {here.get(name)} here" for name in names[:most])
