"""How fast training is, and what the loop around the network costs.

    python scripts/bench_train.py                   every preset at full size; hours on a CPU, minutes on a GPU
    python scripts/bench_train.py --small           tiny, a hundred steps: a few minutes on two cores

Three steps are timed in turns, block by block, so that what else the machine does falls on all of them: the plain one
(network, loss and AdamW on tensors in memory, float32, eager), ours in memory (mels, draws, clipping and averaging as
well, on one batch), and ours as trained (Lightning, loader and log too). Ratios last, times are this machine's.
On a GPU also: MFU of `base` in bfloat16, compiled. The corpus is noise, written for the occasion, or --corpus.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import psutil
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from clipsonic.models.conditioner import timed_condition
from clipsonic.options import add_device, device_of
from clipsonic.shards.crops import as_float
from clipsonic.shards.record import Record
from clipsonic.shards.writer import CorpusIndex, write_facts, write_shard
from clipsonic.specs import CorpusSpec, SegmentSpec
from clipsonic.train.command import load_config
from clipsonic.train.config import TrainConfig
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.engine.optim import make_optimizer
from clipsonic.train.engine.pace import peak_flops, synchronise
from clipsonic.train.engine.steps import BareSteps
from clipsonic.train.lessons.denoiser import flops_per_sample, make_denoiser
from clipsonic.train.lessons.denoising import Denoising
from clipsonic.train.lessons.sound import SoundLesson
from clipsonic.train.run import train
from clipsonic.train.streams.records import TrainData

PRESETS = ("tiny", "base", "clipsonic")
NUM_RECORDS = 128
WIDTH = 768


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny only, few steps")
    parser.add_argument("--presets", nargs="*", default=None, help="default: tiny, base, clipsonic")
    parser.add_argument("--corpus", type=Path, help="a corpus to read instead of noise")
    parser.add_argument("--blocks", type=int, default=10, help="how often the three steps take turns")
    parser.add_argument("--block", type=int, help="steps per turn (default: 10 for tiny, 2 for others)")
    parser.add_argument("--batch", type=int, help="records per step (default: the preset's; 1 for large ones on a CPU)")
    add_device(parser)
    args = parser.parse_args(argv)
    presets = args.presets or (("tiny",) if args.small else PRESETS)
    print(f"| preset | step | steps/s | samples/s | of plain | waiting for data |\n|{'---|' * 6}")
    for preset in presets:
        print("\n".join(measure(preset, args)), flush=True)


def measure(preset: str, args: argparse.Namespace) -> list[str]:
    """Lines of the table for one preset, and what it took."""
    device = device_of(args.device)
    config = config_of(preset, args, device.type == "cuda")
    block = args.block or (10 if preset == "tiny" else 2)
    config = with_run(config, max_steps=(args.blocks + 1) * block)
    with tempfile.TemporaryDirectory() as folder:
        corpus = args.corpus or noise_corpus(Path(folder) / "corpus", config)
        turns = Turns(config, block)
        report = train(config, corpus, Path(folder) / "out", callbacks=[turns])
    batch = report["corpus"]["batch_size"]
    lines = [row(preset, name, turns.seconds, block, batch, report["data_wait_share"]) for name in turns.seconds]
    ratio = statistics.median(
        mine / trained for mine, trained in zip(turns.seconds["in memory"], turns.seconds["as trained"], strict=True)
    )
    lines.append(
        f"\n{preset}: as trained reaches {100 * ratio:.1f} % of the same step on tensors in memory (median of "
        f"{len(turns.seconds['plain'])} turns of {block} steps of {batch}); peak memory {peak_gib(device):.1f} GiB"
    )
    if device.type == "cuda":
        lines.append(mfu_line(config, turns, block, batch, device))
    return lines


def config_of(preset: str, args: argparse.Namespace, on_gpu: bool) -> TrainConfig:
    """The preset, without validation, previews and checkpoints in between; large ones a record at a time on a CPU."""
    config, large = load_config(preset), preset != "tiny"
    size = args.batch or (1 if large and not on_gpu else config.optim.batch_size)
    model = dataclasses.replace(config.model, checkpoint_blocks=large and not on_gpu)
    optim = dataclasses.replace(config.optim, batch_size=size)
    config = dataclasses.replace(config, model=model, optim=optim)
    compiled = on_gpu and preset == "base"
    return with_run(config, val_every=0, ckpt_every=0, preview_every=0, compile=compiled, device=args.device)


def with_run(config: TrainConfig, **change: Any) -> TrainConfig:
    return dataclasses.replace(config, run=dataclasses.replace(config.run, **change))


class Turns(Callback):
    """After every `block` steps of the run, as many of the other two kinds; the first turn does not count."""

    def __init__(self, config: TrainConfig, block: int) -> None:
        self._config, self._block = config, block
        self.seconds: dict[str, list[float]] = {"plain": [], "in memory": [], "as trained": []}
        self._others: dict[str, Any] = {}
        self._began_s = 0.0

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        if (index + 1) % self._block:
            return
        synchronise(module.device)
        took_s = time.perf_counter() - self._began_s
        with module.clock.pause():
            first = not self._others
            if first:
                self._others = others(self._config, module, batch)
            for name, step in self._others.items():
                seconds = timed(step, self._block, module.device)
                if not first:
                    self.seconds[name].append(seconds)
            if not first:
                self.seconds["as trained"].append(took_s)
        self._began_s = time.perf_counter()


def others(config: TrainConfig, module: LessonModule, batch: dict[str, Any]) -> dict[str, Any]:
    """Steps of the same network on this batch: plain, and ours."""
    sound: Any = module.lesson.sound
    network = make_denoiser(config.model, config.objective.prediction_type, sound.segment, config.run.seed)
    again = Denoising(config, sound.segment, network, sound.mel_mean.cpu(), sound.mel_std.cpu())
    own = LessonModule(config, SoundLesson(again, TrainData(None, [])), Clock(config.run))  # type: ignore[arg-type]
    own = own.to(module.device)
    own.average.place(module.device, None)
    steps = BareSteps(own, rounded=module.device.type == "cuda" and config.run.precision != "float32")
    return {"plain": plain_step(config, module.lesson, batch), "in memory": lambda: steps.step(batch)}


def plain_step(config: TrainConfig, lesson: Any, batch: dict[str, Any]) -> Any:
    """Network, squared error and AdamW on tensors that are there already."""
    sound = lesson.sound
    network: nn.Module = make_denoiser(config.model, sound.objective.prediction_type, sound.segment, 0)
    network = network.to(sound.device)
    optimizer = make_optimizer(list(network.parameters()), [], config.optim)
    x_BMF = sound.to_model_space(sound.log_mel(as_float(batch["wave"])))
    timestep_B = torch.linspace(1, 999, len(x_BMF), device=sound.device)
    condition = timed_condition(batch["frames"], batch["frame_times_s"], batch["frame_mask"])

    def step() -> None:
        torch.autograd.backward((network(x_BMF, timestep_B, condition) - x_BMF).square().mean())
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(step: Any, count: int, device: torch.device) -> float:
    synchronise(device)
    began_s = time.perf_counter()
    for _ in range(count):
        step()
    synchronise(device)
    return time.perf_counter() - began_s


def row(preset: str, name: str, seconds: dict[str, list[float]], block: int, batch: int, waited: float) -> str:
    """One line of the table."""
    per_s = block / statistics.median(seconds[name])
    share = statistics.median(plain / mine for plain, mine in zip(seconds["plain"], seconds[name], strict=True))
    wait = f"{100 * waited:.1f} %" if name == "as trained" else "-"
    return f"| {preset} | {name} | {per_s:.3g} | {per_s * batch:.3g} | {100 * share:.0f} % | {wait} |"


def mfu_line(config: TrainConfig, turns: Turns, block: int, batch: int, device: torch.device) -> str:
    """Share of the GPU's measured peak that the run's arithmetic reaches."""
    segment = config.segment.spec(WIDTH, "noise/1")
    flops = flops_per_sample(config, segment, 10) * batch * block / statistics.median(turns.seconds["as trained"])
    peak = peak_flops(device, torch.bfloat16)
    name = torch.cuda.get_device_name(device)
    return f"{name}: MFU {100 * flops / peak:.1f} % of {peak / 1e12:.0f} TFLOP/s in bfloat16"


def noise_corpus(folder: Path, config: TrainConfig) -> Path:
    """Records of noise under random unit vectors, as long as the segment and a second."""
    segment: SegmentSpec = config.segment.spec(WIDTH, "noise/1")
    rate_hz, seconds = segment.mel.sample_rate_hz, segment.seconds + 1.0
    times_s = CorpusSpec.frame_times_s(seconds, 10)
    rng, records = np.random.default_rng(0), []
    for number in range(NUM_RECORDS):
        frames = rng.standard_normal((10, WIDTH))
        frames = (frames / np.linalg.norm(frames, axis=1, keepdims=True)).astype(np.float16)
        wave = (0.1 * rng.standard_normal(round(seconds * rate_hz))).astype(np.float32)
        facts = {"source": f"v{number}", "seconds": seconds, "valid_seconds": seconds, "frame_times_s": list(times_s)}
        records.append(Record(f"k{number:03d}", wave, frames, {**facts, "sample_rate": rate_hz, "has_audio": True}))
    folder.mkdir(parents=True)
    shard = write_shard(folder / "shard-000000.tar", records)
    write_facts(folder, [{**record.facts, "key": record.key, "shard": shard["name"]} for record in records])
    spec = CorpusSpec(rate_hz, seconds=seconds, min_seconds=0.1)
    CorpusIndex(spec, "noise/1", "tiny", WIDTH, [shard]).save(folder)
    return folder


def peak_gib(device: torch.device) -> float:
    """Of the GPU, or of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**30
    import resource

    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return max(peak, psutil.Process().memory_info().rss) / 2**30


if __name__ == "__main__":
    main()
