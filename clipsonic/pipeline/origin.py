"""Where a pipeline comes from: its folder, and the names of the weights that it has or that these were rounded from.

A name is `base_hash` of a denoiser's weights. Rounded to bfloat16 they have another one, and what belongs to them still
does. Guarantee: weights keep their names through `to`, loading in another type, saving and copying; weights that were
changed in any other way have none but their own. Price: two passes over the weights when their type changes; the
folder's weights are read again where they were rounded without the pipeline's knowledge.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from clipsonic.clip.weights import content_hash
from clipsonic.errors import CheckpointError
from clipsonic.files import write_json
from clipsonic.models.lowrank import without_adapters
from clipsonic.pipeline.adapter_folder import base_hash, uncompiled
from clipsonic.pipeline.components import INDEX_FILE
from clipsonic.pipeline.folder import stored_weights

ROUNDED_FILE = "rounded_from.json"
"""`weights`: the name of the denoiser's weights beside it; `rounded_from`: those that they had before."""

Older = Mapping[str, frozenset[str]]
"""From the name of weights to the names of those that they were rounded from."""


class WithOrigin:
    """Folder and names, for a class that has `config` and `denoiser`."""

    config: Any
    denoiser: Any
    _folder: Path | None = None
    _variant: str | None = None
    _older: Older = MappingProxyType({})

    @property
    def _network(self) -> Any:
        """The denoiser itself, also if it is compiled."""
        return uncompiled(self.denoiser)

    @property
    def _home(self) -> Path | None:
        """The folder it was loaded from, by us or by plain diffusers; None for one that was made in memory."""
        name = self._folder or self.config.get("_name_or_path")
        return Path(name) if name and (Path(name) / INDEX_FILE).is_file() else None

    def weight_names(self) -> frozenset[str]:
        """The name of the denoiser's own weights, and those of the weights that they were rounded from."""
        own = base_hash(self._network)
        known = {**_read(self._home), **self._older}
        older = known.get(own, frozenset())
        return frozenset({own}) | (older or self._older_in_folder(own, known))

    def _older_in_folder(self, own: str, known: Older) -> frozenset[str]:
        """The names of the folder's weights, if the present ones are these in another type."""
        with without_adapters(self._network):
            types = {key: value.dtype for key, value in self._network.state_dict().items()}
        if self._home is None or all(_keeps_name(type_) for type_ in types.values()):
            return frozenset()
        stored = stored_weights(self._home / "denoiser", self._variant)
        if stored.keys() != types.keys() or own != content_hash({key: stored[key].to(types[key]) for key in types}):
            return frozenset()
        name = content_hash(stored)
        return frozenset({name}) | known.get(name, frozenset())

    @contextmanager
    def _names_kept(self, wanted: torch.dtype | None) -> Iterator[None]:
        """Around what makes the weights of this type: they are still those they were."""
        if wanted is None or wanted == self.denoiser.dtype:
            yield
            return
        names = self.weight_names()
        yield
        own = base_hash(self._network)
        self._older = {**self._older, own: names - {own}}

    def _save_names(self, folder: Path) -> None:
        """Write what the weights were rounded from, if they were."""
        own = base_hash(self._network)
        if older := self.weight_names() - {own}:
            write_json(folder / ROUNDED_FILE, {"weights": own, "rounded_from": sorted(older)})


def _keeps_name(type_: torch.dtype) -> bool:
    """Whether weights in this type have the name they have in float32: a name is of what float16 tells apart."""
    return type_ in (torch.float16, torch.float32, torch.float64) or not type_.is_floating_point


def _read(folder: Path | None) -> Older:
    """What a folder says its weights were rounded from."""
    path = None if folder is None else folder / ROUNDED_FILE
    if path is None or not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return {str(facts["weights"]): frozenset(str(name) for name in facts["rounded_from"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): bring the file again, or remove it") from None
