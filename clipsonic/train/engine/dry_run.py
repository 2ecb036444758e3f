"""`clipsonic train --dry-run`: what a run would cost on this hardware, without writing anything.

Guarantee: figures are counted (parameters, FLOPs, memory) or measured here by a few steps on records of the corpus;
what is extrapolated to the whole batch, to several devices or to more steps is linear. `run.precision bf16` counts a
GPU's memory where there is none. Price: half a dozen steps.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch

from clipsonic.options import device_of
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.config import EngineConfig
from clipsonic.train.engine.memory import memory_of_step
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.engine.pace import peak_flops
from clipsonic.train.engine.session import Maker
from clipsonic.train.engine.sharding import check_launched
from clipsonic.train.engine.steps import BareSteps, num_parameters, rows
from clipsonic.train.engine.surroundings import restored

LONGEST_STEP_S = 10.0
"""A whole batch that would take longer is extrapolated from batches of one and two."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """Seconds of one optimiser step of one device, and how many records of its batch were really computed."""

    step_s: float
    measured_batch: int


def dry_run(config: EngineConfig, make: Maker) -> dict[str, Any]:
    """Measure, and say what `max_steps` would take.

    Raises:
        UsageError: the config does not go with this machine or the launcher of this process.
        ClipsonicError: what the making of the course refuses.
    """
    with restored():
        return _dry_run(config, make)


def _dry_run(config: EngineConfig, make: Maker) -> dict[str, Any]:
    check_launched(config.run)
    course = make(None)
    batch = next(iter(course.stream))
    device = device_of(config.run.device)
    rounded = device.type == "cuda" and config.run.precision != "float32"
    num_devices = config.run.devices * config.run.nodes
    each = max(1, course.stream.batch_size // num_devices)
    counted = memory_of_step(config, course.lesson, batch, each, rounded or config.run.precision == "bf16")
    memory, there = _memory(config, counted, num_devices), _memory_of(device)
    module = LessonModule(config, course.lesson, Clock(config.run)).to(device)
    module.average.place(device, None)
    if course.lesson.adversary is not None:
        course.lesson.adversary.place(device)
    steps = BareSteps(module, rounded)
    parameters = num_parameters(course.lesson.learner)
    flops = course.lesson.flops_per_item()
    speed = _speed(steps, batch, each, device, LONGEST_STEP_S if memory["sum"] < there else 0.0)
    step_s = speed.step_s * config.optim.accumulate
    peak = peak_flops(device, torch.bfloat16 if rounded else torch.float32)
    answer = {
        "parameters": parameters,
        "flops_per_sample": flops,
        "memory_bytes": memory,
        "memory_there_bytes": there,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, threads {torch.get_num_threads()}",
        "devices": num_devices,
        "batch_per_device": each,
        "measured_batch": speed.measured_batch,
        "step_s": step_s,
        "mfu": flops * each / speed.step_s / peak,
        "peak_flops": peak,
        "steps_per_hour": 3600.0 / step_s,
        "max_steps": config.run.max_steps,
        "hours": config.run.max_steps * step_s / 3600.0,
    }
    return {"message": _message(answer), **answer}


def _memory(config: EngineConfig, counted: dict[str, int], num_devices: int) -> dict[str, int]:
    """Bytes on each device; under FSDP weights and what belongs to them are shared out."""
    shards = num_devices if config.run.strategy == "fsdp" else 1
    parts = {name: size if name == "step" else size // shards for name, size in counted.items()}
    return {**parts, "sum": sum(parts.values())}


def _memory_of(device: torch.device) -> int:
    """Bytes that it has in all."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _speed(
    steps: BareSteps, batch: dict[str, Any], each: int, device: torch.device, longest_s: float = LONGEST_STEP_S
) -> Speed:
    """One device's step, after a first one that does not count; from one and two records if it takes longer."""
    small = rows(batch, 1, device)
    steps.step(small)
    one_s = steps.seconds(small, 2)
    if each == 1 or one_s * each <= longest_s:
        whole = rows(batch, each, device)
        steps.step(whole)
        return Speed(steps.seconds(whole, 2), each)
    two_s = steps.seconds(rows(batch, 2, device), 2)
    return Speed(one_s + max(two_s - one_s, 0.0) * (each - 1), 2)


def _message(answer: dict[str, Any]) -> str:
    memory, flops = answer["memory_bytes"], answer["flops_per_sample"]
    parts = ", ".join(f"{name} {_size(size)}" for name, size in memory.items() if name != "sum")
    how = "measured" if answer["measured_batch"] == answer["batch_per_device"] else "extrapolated from 1 and 2 records"
    return "\n".join(
        [
            f"parameters      {answer['parameters'] / 1e6:.1f} M",
            *([f"FLOPs           {flops / 1e9:.1f} G per sample, forward and backward"] if flops else []),
            f"memory          {_size(memory['sum'])} per device ({parts}), without the allocator's reserve",
            *_too_much(memory["sum"], answer["memory_there_bytes"]),
            f"hardware        {answer['devices']} x {answer['device']}, {answer['peak_flops'] / 1e12:.3g} TFLOP/s each "
            "(measured)" + (f", of which the model reaches {100 * answer['mfu']:.0f} %" if flops else ""),
            f"a step          {answer['step_s']:.3g} s for {answer['batch_per_device']} records per device ({how}), "
            f"{answer['steps_per_hour']:.0f} steps per hour, without data, validation and communication",
            f"the run         {answer['hours']:.3g} hours for {answer['max_steps']} steps; nothing was written",
        ]
    )


def _too_much(needed: int, there: int) -> list[str]:
    if needed <= there:
        return []
    return [
        f"                more than the {_size(there)} that are here: lower optim.batch_size and raise "
        "optim.accumulate, or add --config memory"
    ]


def _size(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"
