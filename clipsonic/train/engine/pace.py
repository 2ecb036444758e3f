"""How busy the hardware is kept: waiting for data, and the share of its peak that the model's arithmetic reaches.

MFU is model FLOPs per second over the peak of a large product of matrices in the run's precision (Chowdhery et al.
2022, arXiv 2204.02311, appendix B): recomputed activations do not count. The matrices are random: of equal numbers a
GPU, whose clock follows its power, makes products faster than it ever does of a model's. Guarantee: none of it touches
a run's draws.
Price: a few products of matrices at the start of a run.
"""

from __future__ import annotations

import time

import torch

from clipsonic.options import device_of
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.config import EngineConfig

_PEAK_TRIALS = 5


class Pace:
    """What has happened since it was last asked.

    Args:
        clock: the run's.
        flops_per_item: of a training step; 0 where nobody counts them.
        num_devices: of all machines.
        dtype: in which the products are computed.
    """

    def __init__(self, clock: Clock, flops_per_item: float, num_devices: int, dtype: torch.dtype) -> None:
        self._clock, self._each, self._num_devices, self._dtype = clock, flops_per_item, num_devices, dtype
        self._peak = float("inf")
        self._before = self._now()

    def start(self, device: torch.device) -> None:
        """Measure the device's peak; what is asked later is since now."""
        self._peak = self._num_devices * peak_flops(device, self._dtype)
        self._before = self._now()

    def since_last(self) -> dict[str, float]:
        """samples_per_s, data_wait_share and, where FLOPs are counted, mfu of the steps since the last call."""
        now = self._now()
        stepping_s, waited_s, samples = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        per_s = samples / stepping_s if stepping_s > 0 else 0.0
        wait = waited_s / stepping_s if stepping_s > 0 else 0.0
        busy = {"mfu": per_s * self._each / self._peak} if self._each else {}
        return {"samples_per_s": per_s, "data_wait_share": wait, **busy}

    def _now(self) -> tuple[float, float, float]:
        return self._clock.stepping_s, self._clock.waited_s, self._clock.num_samples


def make_pace(config: EngineConfig, clock: Clock, flops_per_item: float) -> Pace:
    """Pace of a run on the devices of this config."""
    rounded = device_of(config.run.device).type == "cuda" and config.run.precision != "float32"
    dtype = torch.bfloat16 if rounded else torch.float32
    return Pace(clock, flops_per_item, config.run.devices * config.run.nodes, dtype)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The best of a few products of large square matrices, in FLOPs per second, with the present threads."""
    size = 8192 if device.type == "cuda" else 768
    draw = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=draw, device=device).to(dtype) for _ in range(2))
    best_s = min(_timed_product(left, right) for _ in range(_PEAK_TRIALS))
    return 2.0 * size**3 / best_s


def _timed_product(left: torch.Tensor, right: torch.Tensor) -> float:
    synchronise(left.device)
    begin_s = time.perf_counter()
    torch.mm(left, right)
    synchronise(left.device)
    return time.perf_counter() - begin_s


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was told; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
