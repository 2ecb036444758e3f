"""A CUDA device on a machine that has none: shapes, dtypes and devices are true, and there are no values.

Inside `rehearsed()` tensors on `cuda` are torch's fake ones and those on the CPU are real, so `.to("cuda")` of a
module, of a pipeline or of a batch works, and what the host computes it really computes. Guarantee: an operation that
mixes devices raises as on a GPU; every wait for the device and every copy between it and the host is noted with the
line of the package that asked for it. Price: nothing on the device has a value (whatever comes back to
the host is all ones, and what depends on values has the shape as if all were true), there is no backward pass, and
kernels are not chosen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

import clipsonic

PACKAGE = Path(clipsonic.__file__).parent
MEMORY_BYTES = 80 * 2**30
aten = torch.ops.aten


class Noted(NamedTuple):
    """Something that the device or the host waited for: where in the package, as `file:line`, and what it was."""

    where: str
    what: str

    @property
    def file(self) -> str:
        """Of the package, such as `diffusion/sampling.py`."""
        return self.where.rsplit(":", 1)[0]

    def __str__(self) -> str:
        return f"{self.where} {self.what}"


@dataclass
class Report:
    """What was seen: host waits (values read, shapes that depend on values), and copies between host and device."""

    syncs: list[Noted] = field(default_factory=list)
    copies: list[Noted] = field(default_factory=list)

    def unexpected(self, allowed: Mapping[str, str]) -> list[str]:
        """All that was seen in other files than those of `allowed` (file: the reason why it may), in order."""
        return [str(noted) for noted in [*self.syncs, *self.copies] if noted.file not in allowed]

    def clear(self) -> None:
        """Forget what was seen, as after setting up."""
        self.syncs.clear()
        self.copies.clear()


@contextmanager
def rehearsed(root: Path = PACKAGE) -> Iterator[Report]:
    """Inside there is a CUDA device; places are reported by their file under `root`.

    Raises:
        RuntimeError: inside, by an operation that mixes devices.
    """
    report = Report()
    device = _Device(report, root)
    lifting = torch._C._only_lift_cpu_tensors()
    swapping = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifting)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, swapping)
        torch._C._ensureCUDADeviceGuardSet()  # by none that asks the driver
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") makes it here, and copies
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a weight's data cannot change its device
        stack.enter_context(mock.patch.multiple(torch.cuda, **_stubs(device.note_sync)))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.enter_context(_Draws())
        stack.enter_context(device)
        yield report


class _Generator(torch.Generator):
    """Says that it is on the device that it was asked for; a CPU build makes none on `cuda`."""

    _device: torch.device

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        made._device = torch.device(device)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self._device


class _Fake(FakeTensorMode):
    """Believes that there is no device, whatever the stubs say."""

    avoid_device_init = True


class _Draws(TorchFunctionMode):
    """Refuses a generator of another device than what it draws for; below, a generator is what it is in C++."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (generator := kwargs.get("generator")) is not None:
            drawn = next((leaf.device for leaf in tree_iter(args) if isinstance(leaf, Tensor)), "cpu")
            kind = torch.device(kwargs.get("device") or drawn).type
            if generator.device.type != kind:
                raise RuntimeError(f"a generator on the device {generator.device.type} draws for {kind}")
        return func(*args, **kwargs)


class _Device(TorchDispatchMode):
    """Runs what touches the device on fake tensors, all else as it is."""

    def __init__(self, report: Report, root: Path) -> None:
        super().__init__()
        self._report, self._root = report, root
        self._fake = _Fake(allow_non_fake_inputs=True)

    def note_sync(self, what: str) -> None:
        self._report.syncs.append(Noted(_place(self._root), what))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        on_device = any(_is_on_device(leaf) for leaf in tree_iter((args, kwargs)))
        if not on_device:
            return _on_host(func, args, kwargs)
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        if "generator" in kwargs:
            kwargs["generator"] = None
        if (answer := _ANSWERS.get(func.overloadpacket)) is not None:
            self.note_sync(str(func.overloadpacket))
            with self._fake:
                return answer(*args, **kwargs)
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):
            args = self._indexed(func, args)
        if func.overloadpacket is aten.copy_:
            return self._copied_into(args[0], args[1], kwargs)
        with self._fake:
            result = func(*args, **kwargs)
        if func.overloadpacket is aten._to_copy and not (isinstance(args[0], FakeTensor) and _here(result) is result):
            self._report.copies.append(Noted(_place(self._root), "to the host" if _is_on_host(result) else "to CUDA"))
        return tree_map(_here, result)

    def _copied_into(self, target: Tensor, source: Tensor, kwargs: dict[str, Any]) -> Tensor:
        if isinstance(target, FakeTensor) and isinstance(source, FakeTensor):
            with self._fake:
                return aten.copy_(target, source, **kwargs)
        to_host = not isinstance(target, FakeTensor)
        self._report.copies.append(Noted(_place(self._root), "to the host" if to_host else "to CUDA"))
        return target.fill_(1) if to_host else target

    def _indexed(self, func: Any, args: Any) -> Any:
        """Arguments of an indexing, in which masks are indices as if all were true, and those of the host copied."""
        masked = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        filled = len(args) > 2 and args[2].numel() == 1  # a mask that is filled with one value is no wait
        if masked and not filled:
            self.note_sync(f"{func.overloadpacket} by a mask")
        self._report.copies += [
            Noted(_place(self._root), "an index to CUDA")
            for index in args[1] if isinstance(args[0], FakeTensor) and index is not None and _is_on_host(index)
        ]  # fmt: skip
        if func.overloadpacket is not aten.index:
            return args
        indices: list[Tensor | None] = []
        for index in args[1]:
            bare = index is None or index.dtype not in (torch.bool, torch.uint8)
            with self._fake:
                indices += [index] if bare else list(_all_true(index).unbind(1))
        return (args[0], indices, *args[2:])


def _is_on_device(leaf: Any) -> bool:
    return isinstance(leaf, FakeTensor) or (isinstance(leaf, torch.device) and leaf.type == "cuda")


def _is_on_host(leaf: Tensor) -> bool:
    return not isinstance(leaf, FakeTensor) or leaf.fake_device.type == "cpu"


def _here(leaf: Any) -> Any:
    """A result; one on the host as a real tensor."""
    if isinstance(leaf, FakeTensor) and leaf.fake_device.type == "cpu":
        return torch.ones(leaf.shape, dtype=leaf.dtype)
    return leaf


def _on_host(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Memory of the host is not pinned here."""
    if func.overloadpacket is aten._pin_memory:
        return args[0].clone()
    if func.overloadpacket is aten.is_pinned:
        return False
    if kwargs.get("pin_memory"):
        kwargs["pin_memory"] = False
    return func(*args, **kwargs)


def _place(root: Path) -> str:
    """The innermost line under `root` that is being run."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path != Path(__file__) and path.is_relative_to(root):
            return f"{path.relative_to(root).as_posix()}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere:0"


def _all_true(mask: Tensor) -> Tensor:
    """What `nonzero` gives of a mask that is true everywhere."""
    return torch.zeros(mask.numel(), mask.ndim, dtype=torch.int64, device="cuda")


def _one(x: Tensor) -> bool | float | int:
    return True if x.dtype is torch.bool else 1.0 if x.is_floating_point() else 1


_ANSWERS: dict[Any, Callable[..., Any]] = {
    aten._local_scalar_dense: _one,
    aten.is_nonzero: lambda x: True,
    aten.equal: lambda x, other: True,
    aten.nonzero: _all_true,
    aten.masked_select: lambda x, mask: torch.zeros(x.expand_as(mask + x).numel(), dtype=x.dtype, device="cuda"),
    aten.repeat_interleave: lambda counts, **_: torch.zeros(len(counts), dtype=torch.int64, device="cuda"),
}
"""What waits for the device, and what it says there."""


class _Event:
    """Of the device's work: to wait for it is a wait of the host."""

    note: Callable[[str], None]

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self, *_: Any) -> None:
        pass

    wait = record

    def query(self) -> bool:
        return True

    def elapsed_time(self, _: Any) -> float:
        return 1.0

    def synchronize(self) -> None:
        self.note("Event.synchronize")


class _Stream(_Event):
    """Of operations; here all are done in their order."""

    device = torch.device("cuda", 0)

    def wait_stream(self, *_: Any) -> None:
        pass

    wait_event = wait_stream

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _stubs(note: Callable[[str], None]) -> dict[str, Any]:
    """What stands in for `torch.cuda`."""
    event, stream = (type(kind.__name__, (kind,), {"note": staticmethod(note)}) for kind in (_Event, _Stream))
    facts = mock.Mock(total_memory=MEMORY_BYTES, major=9, minor=0, multi_processor_count=132)
    facts.name = "fake"
    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda *_: None,
        "get_device_name": lambda *_: "fake",
        "get_device_capability": lambda *_: (9, 0),
        "get_device_properties": lambda *_: facts,
        "mem_get_info": lambda *_: (MEMORY_BYTES, MEMORY_BYTES),
        "synchronize": lambda *_: note("torch.cuda.synchronize"),
        "empty_cache": lambda: None,
        "Event": event,
        "Stream": stream,
        "current_stream": lambda *_: stream(),
        "default_stream": lambda *_: stream(),
        "stream": lambda given: given or stream(),
    }
