"""The adapters of a pipeline: one that makes it sound like a corpus, one that makes it need few steps.

Guarantee: the denoiser's own weights are never changed: unloaded, or with few steps off, the pipeline makes what it
made before, bit for bit; what does not fit the denoiser is refused, and what is not saved with it is said. Weights go
by a name, `base_hash`; rounded to bfloat16 they have another one, and what belongs to them still does: they keep their
names through `to`, loading in another type, saving and copying, and weights that were changed in any other way have
none but their own. Price: while an adapter is in use a call is slower by its two small products per layer; two passes
over the weights when their type changes, and the folder's are read again where they were rounded unseen.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch

from clipsonic.errors import CheckpointError, UsageError
from clipsonic.files import write_json
from clipsonic.models.lowrank import remove_adapter, use_adapters, without_adapters
from clipsonic.pipeline.adapter_folder import ADAPTER, CONFIG_FILE, FEW_STEPS, Adapter, base_hash, inside
from clipsonic.pipeline.folder import stored_weights
from clipsonic.weights import content_hash

ROUNDED_FILE = "rounded_from.json"
"""`weights`: the name of the denoiser's weights beside it; `rounded_from`: those that they had before."""

Older = Mapping[str, frozenset[str]]
"""From the name of weights to the names of those that they were rounded from."""


class Adapters:
    """The adapters of one pipeline."""

    def __init__(self) -> None:
        self.network: Any = None
        self.home: Path | None = None
        self.variant: str | None = None
        self.few: Adapter | None = None
        self.few_steps: int | None = None
        self._adapter: Adapter | None = None
        self._older: Older = {}

    def of(self, network: Any, home: Path | None) -> Self:
        """Themselves, on this denoiser (not compiled) and from this folder from now on."""
        self.network, self.home = network, home
        return self

    def load(self, folder: str | Path, weight: float = 1.0) -> None:
        """Use the adapter in this folder, or of the pipeline in it, instead of any other one loaded before.

        Args:
            folder: what `clipsonic train --config adapter` wrote, or the `adapter` folder in it.
            weight: how strongly it acts; 1 is as trained, 0 not at all.

        Raises:
            UsageError: there is none.
            CheckpointError: damaged, or of another network.
        """
        found = Adapter.from_folder(inside(Path(folder), ADAPTER))
        if found.steps:
            raise UsageError(f"adapter {folder} is for few steps: load it with load_few_steps")
        self.put(dataclasses.replace(found, weight=float(weight)), folder)

    def put(self, adapter: Adapter, where: str | Path) -> None:
        """Use this adapter instead of any other of its kind; one for few steps waits for `set_few_steps`.

        Args:
            where: it came from, for refusals.

        Raises:
            CheckpointError: of another network, or for few steps of one with other weights.
        """
        if adapter.steps:
            return self._put_few_steps(adapter, where)
        self.unload()
        self._put(adapter, ADAPTER, where)
        self._adapter = adapter
        return self._use()

    def unload(self) -> None:
        """The pipeline without its adapter; without one, nothing."""
        if self._adapter is not None:
            remove_adapter(self.network, ADAPTER)
            self._adapter = None
            self._use()

    @property
    def name(self) -> str | None:
        """What its weights are, by their content, and how strongly it acts; None without one."""
        return None if self._adapter is None else f"{content_hash(self._adapter.weights)} x {self._adapter.weight:g}"

    def load_few(self, folder: str | Path | None = None) -> None:
        """Load what lets few steps do, from a folder or the pipeline's own; `set_few_steps` puts it to use.

        Raises:
            UsageError: there is none.
            CheckpointError: damaged, or trained on other weights than the denoiser's.
        """
        own = self._few_folder()
        if folder is None and own is None:
            raise UsageError(
                "the pipeline has no few-step adapter: train one with --config adapter --config fewstep, "
                "or leave few steps out"
            )
        where = inside(Path(folder), FEW_STEPS) if folder is not None else own
        assert where is not None
        found = Adapter.from_folder(where)
        if not found.steps:
            raise UsageError(f"adapter {where} is not for few steps: load it with load_adapter")
        self._put_few_steps(found, where)

    def _put_few_steps(self, found: Adapter, where: str | Path) -> None:
        if not found.fits(self.network, self.weight_names()):
            raise CheckpointError(
                f"few-step adapter {where} was not trained on this denoiser's weights (on {found.base}): "
                "train one with --config adapter --config fewstep --init PIPELINE"
            )
        self.set_steps(None)
        if self.few is not None:
            remove_adapter(self.network, FEW_STEPS)
            self.few = None
        self._put(found, FEW_STEPS, where)
        self.few = found

    def set_steps(self, steps: int | None) -> None:
        """From now on make sounds in so many calls of the network, without guidance; None is as without.

        Raises:
            UsageError: no whole number from 1 to what the adapter was trained for, or no adapter.
        """
        if steps is None:
            was, self.few_steps = self.few_steps, None
            return None if was is None else self._use()
        if self.few is None:
            self.load_few()
        assert self.few is not None
        if not 1 <= steps <= self.few.steps:
            raise UsageError(
                f"few steps {steps} must be a whole number from 1 to {self.few.steps}: give one of these, "
                "or num_inference_steps without few steps"
            )
        self.few_steps = steps
        return self._use()

    def _put(self, found: Adapter, name: str, where: str | Path) -> None:
        try:
            found.put_on(self.network, name, where)
        finally:
            self._use()

    def _use(self) -> None:
        """Turn on what is to act."""
        weights = {} if self._adapter is None else {ADAPTER: self._adapter.weight}
        use_adapters(self.network, weights if self.few_steps is None else {**weights, FEW_STEPS: 1.0})

    def _few_folder(self) -> Path | None:
        folder = None if self.home is None else self.home / FEW_STEPS
        return folder if folder is not None and (folder / CONFIG_FILE).is_file() else None

    def load_own(self) -> None:
        """What lies in the pipeline's folder acts from the start, as strongly as it was saved."""
        if self.home is not None and (self.home / ADAPTER / CONFIG_FILE).is_file():
            self.load(self.home, Adapter.from_folder(self.home / ADAPTER).weight)

    def save(self, folder: Path) -> None:
        """Write the adapter, and the few-step one if it fits the denoiser's weights; if not, say so."""
        if self._adapter is not None:
            self._adapter.save(folder / ADAPTER)
        own = self._few_folder()
        few = self.few if self.few is not None or own is None else Adapter.from_folder(own)
        if few is None:
            return
        if few.fits(self.network, self.weight_names()):
            return few.save(folder / FEW_STEPS)
        warnings.warn(
            f"the few-step adapter is not saved, the denoiser's weights are no longer those it was trained on "
            f"({few.base}): train one for the saved folder with --config adapter --config fewstep --init FOLDER",
            stacklevel=3,
        )

    def remove_stale(self, folder: Path) -> None:
        """A folder that is saved into again keeps no adapter that is unloaded, nor one of other weights."""
        if self._adapter is None:
            shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        few = folder / FEW_STEPS
        if (few / CONFIG_FILE).is_file() and not Adapter.from_folder(few).fits(self.network, self.weight_names()):
            shutil.rmtree(few)

    def weight_names(self) -> frozenset[str]:
        """The name of the denoiser's own weights, and those of the weights that they were rounded from."""
        own = base_hash(self.network)
        known = {**_read(self.home), **self._older}
        older = known.get(own, frozenset())
        return frozenset({own}) | (older or self._older_in_folder(own, known))

    def _older_in_folder(self, own: str, known: Older) -> frozenset[str]:
        """The names of the folder's weights, if the present ones are these in another type."""
        with without_adapters(self.network):
            types = {key: value.dtype for key, value in self.network.state_dict().items()}
        if self.home is None or all(_keeps_name(type_) for type_ in types.values()):
            return frozenset()
        stored = stored_weights(self.home / "denoiser", self.variant)
        if stored.keys() != types.keys() or own != content_hash({key: stored[key].to(types[key]) for key in types}):
            return frozenset()
        name = content_hash(stored)
        return frozenset({name}) | known.get(name, frozenset())

    @contextmanager
    def names_kept(self, wanted: torch.dtype | None) -> Iterator[None]:
        """Around what makes the weights of this type: they are still those they were."""
        if wanted is None or wanted == self.network.dtype:
            yield
            return
        names = self.weight_names()
        yield
        own = base_hash(self.network)
        self._older = {**self._older, own: names - {own}}

    def save_names(self, folder: Path) -> None:
        """Write what the weights were rounded from, if they were."""
        own = base_hash(self.network)
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
