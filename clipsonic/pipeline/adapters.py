"""The adapters of a pipeline: one that makes it sound like a corpus, one that makes it need few steps.

Guarantee: the denoiser's own weights are never changed: unloaded, or with few steps off, the pipeline makes what it
made before, bit for bit; what does not fit the denoiser is refused, and what is not saved with it is said. Price: while
an adapter is in use a call is slower by its two small products per layer.
"""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from pathlib import Path
from typing import Any

from clipsonic.clip.weights import content_hash
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.errors import CheckpointError, UsageError
from clipsonic.models.lowrank import remove_adapter, use_adapters
from clipsonic.pipeline.adapter_folder import ADAPTER, CONFIG_FILE, FEW_STEPS, Adapter, inside
from clipsonic.pipeline.origin import WithOrigin


class WithAdapters(WithOrigin):
    """Adapters, for a class that has `config`, `denoiser` and `scheduler`."""

    scheduler: Any
    _adapter: Adapter | None = None
    _few: Adapter | None = None
    _few_steps: int | None = None

    def load_adapter(self, folder: str | Path, weight: float = 1.0) -> None:
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
        self.put_adapter(dataclasses.replace(found, weight=float(weight)), folder)

    def put_adapter(self, adapter: Adapter, where: str | Path) -> None:
        """Use this adapter instead of any other of its kind; one for few steps waits for `set_few_steps`.

        Args:
            where: it came from, for refusals.

        Raises:
            CheckpointError: of another network, or for few steps of one with other weights.
        """
        if adapter.steps:
            return self._put_few_steps(adapter, where)
        self.unload_adapter()
        self._put(adapter, ADAPTER, where)
        self._adapter = adapter
        return self._use()

    def unload_adapter(self) -> None:
        """The pipeline without its adapter; without one, nothing."""
        if self._adapter is not None:
            remove_adapter(self._network, ADAPTER)
            self._adapter = None
            self._use()

    @property
    def adapter_name(self) -> str | None:
        """What its weights are, by their content, and how strongly it acts; None without one."""
        return None if self._adapter is None else f"{content_hash(self._adapter.weights)} x {self._adapter.weight:g}"

    def load_few_steps(self, folder: str | Path | None = None) -> None:
        """Load what lets few steps do, from a folder or the pipeline's own; `set_few_steps` puts it to use.

        Raises:
            UsageError: there is none.
            CheckpointError: damaged, or trained on other weights than the denoiser's.
        """
        own = self._few_steps_folder()
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
        if not found.fits(self._network, self.weight_names()):
            raise CheckpointError(
                f"few-step adapter {where} was not trained on this denoiser's weights (on {found.base}): "
                "train one with --config adapter --config fewstep --init PIPELINE"
            )
        self.set_few_steps(None)
        if self._few is not None:
            remove_adapter(self._network, FEW_STEPS)
            self._few = None
        self._put(found, FEW_STEPS, where)
        self._few = found

    def set_few_steps(self, steps: int | None) -> None:
        """From now on make sounds in so many calls of the network, without guidance; None is as without.

        Raises:
            UsageError: no whole number from 1 to what the adapter was trained for, or no adapter.
        """
        if steps is None:
            self._few_steps = None
            return self._use()
        if self._few is None:
            self.load_few_steps()
        assert self._few is not None
        if not 1 <= steps <= self._few.steps:
            raise UsageError(
                f"few steps {steps} must be a whole number from 1 to {self._few.steps}: give one of these, "
                "or num_inference_steps without few steps"
            )
        self._few_steps = steps
        return self._use()

    @property
    def few_steps(self) -> int | None:
        """The number that was set, or None."""
        return self._few_steps

    @property
    def default_steps(self) -> int:
        """Solver steps of a call that names none."""
        return int(self.config["num_inference_steps"] if self._few_steps is None else self._few_steps)

    @property
    def solver(self) -> Any:
        """The scheduler that a call uses: the pipeline's, or the one that few steps were learned with."""
        if self._few_steps is None or self._few is None:
            return self.scheduler
        return make_scheduler("flow", flow_shift=self._few.flow_shift)

    @property
    def default_guidance(self) -> float:
        """Guidance of a call that names none: few steps have it in their weights."""
        return float(self.config["guidance_scale"]) if self._few_steps is None else 1.0

    def _put(self, found: Adapter, name: str, where: str | Path) -> None:
        try:
            found.put_on(self._network, name, where)
        finally:
            self._use()

    def _use(self) -> None:
        """Turn on what is to act."""
        weights = {} if self._adapter is None else {ADAPTER: self._adapter.weight}
        use_adapters(self._network, weights if self._few_steps is None else {**weights, FEW_STEPS: 1.0})

    def _few_steps_folder(self) -> Path | None:
        folder = None if self._home is None else self._home / FEW_STEPS
        return folder if folder is not None and (folder / CONFIG_FILE).is_file() else None

    def _load_own_adapter(self) -> None:
        """What lies in the pipeline's folder acts from the start, as strongly as it was saved."""
        if self._folder is not None and (self._folder / ADAPTER / CONFIG_FILE).is_file():
            self.load_adapter(self._folder, Adapter.from_folder(self._folder / ADAPTER).weight)

    def _save_adapters(self, folder: Path) -> None:
        """Write the adapter, and the few-step one if it fits the denoiser's weights; if not, say so."""
        if self._adapter is not None:
            self._adapter.save(folder / ADAPTER)
        own = self._few_steps_folder()
        few = self._few if self._few is not None or own is None else Adapter.from_folder(own)
        if few is None:
            return
        if few.fits(self._network, self.weight_names()):
            return few.save(folder / FEW_STEPS)
        warnings.warn(
            f"the few-step adapter is not saved, the denoiser's weights are no longer those it was trained on "
            f"({few.base}): train one for the saved folder with --config adapter --config fewstep --init FOLDER",
            stacklevel=3,
        )

    def _remove_stale(self, folder: Path) -> None:
        """A folder that is saved into again keeps no adapter that is unloaded, nor one of other weights."""
        if self._adapter is None:
            shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        few = folder / FEW_STEPS
        if (few / CONFIG_FILE).is_file() and not Adapter.from_folder(few).fits(self._network, self.weight_names()):
            shutil.rmtree(few)
