"""How much memory a training step needs at its fullest, counted on tensors without values.

The step of the run itself is made, forward and backward, on torch's fake tensors; what the host computes beside it is
real. Guarantee: every storage counts from its making to its end, so what is freed on the way and what is computed again
for the backward pass counts as it does in a run; nothing of the lesson is changed. Price: seconds, 5 for `base`,
whatever the batch; what kernels use inside, and what the allocator keeps in reserve, is not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary

from clipsonic.errors import UsageError
from clipsonic.train.engine.adversary import Adversary
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.config import EngineConfig
from clipsonic.train.engine.lesson import Batch, Lesson
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.engine.steps import BareSteps, rows


def memory_of_step(config: EngineConfig, lesson: Lesson, batch: Batch, count: int, rounded: bool) -> dict[str, int]:
    """Bytes of a step of `count` records: `weights` (all that lies in the lesson), `adamw`, `average`, and `step`
    (gradients, activations and the batch itself when they are most).

    Args:
        batch: any, its rows are taken over and over.
        rounded: compute products in bfloat16.

    Raises:
        UsageError: the loss reads values of its tensors.
    """
    try:
        return _counted(config, lesson, batch, count, rounded)
    except DataDependentOutputException as error:
        raise UsageError(
            f"memory cannot be counted: the loss of this lesson reads values of its tensors ({error.func}), which also "
            "makes a GPU wait at each step: keep them in tensors"
        ) from None


def _counted(config: EngineConfig, lesson: Lesson, batch: Batch, count: int, rounded: bool) -> dict[str, int]:
    live = _Live()
    with live, _without_values(lesson, live.fake):
        weights = live.bytes
        module = LessonModule(config, lesson, Clock(config.run))
        average = live.bytes - weights
        steps = BareSteps(module, rounded)
        steps.begin()
        kept = live.bytes
        items = {name: live.fake(value) if isinstance(value, Tensor) else value for name, value in batch.items()}
        steps.step(rows(items, count, torch.device("cpu")))
    return {"weights": weights, "adamw": kept - weights - average, "average": average, "step": live.peak - kept}


class _Mode(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Does not look for a device at every operation, which takes longer than all else."""

    avoid_device_init = False


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs what has fake tensors on fake ones, all else as it is, and counts the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._mode = _Mode(allow_non_fake_inputs=True)
        self._known = WeakIdKeyDictionary()

    def fake(self, real: Tensor) -> Tensor:
        """The same tensor without values; the same one for the same."""
        made = self._mode.from_tensor(real)
        self._count(made)
        return made

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            return args[0].fake_device
        if any(isinstance(leaf, FakeTensor) for leaf in tree_iter((args, kwargs))):
            with self._mode:
                result = func(*args, **kwargs)
        else:
            result = func(*args, **kwargs)
        for leaf in tree_iter(result):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known[storage] = None
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.bytes -= size


@contextmanager
def _without_values(lesson: Lesson, fake: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the tensors of a lesson and of its adversary, which has joined, are fake ones."""
    adversary = lesson.adversary
    parts = [lesson, *([] if adversary is None else [adversary.judges])]
    tables: list[dict[str, Any]] = [
        table for part in parts for module in part.modules() for table in (module._parameters, module._buffers)
    ]
    before = [dict(table) for table in tables]
    try:
        for table in tables:
            table.update({name: None if value is None else fake(value) for name, value in table.items()})
        if adversary is not None:
            last = None if adversary.last is None else fake(adversary.last)
            lesson.adversary = Adversary(list(adversary.judges), adversary.config, last)
            lesson.adversary.num_steps = adversary.config.start
        yield
    finally:
        for table, values in zip(tables, before, strict=True):
            table.update(values)
        lesson.adversary = adversary
