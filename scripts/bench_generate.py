"""How fast sound is made: `base` against AudioLDM-S, few steps against `base`, and the bundled `tiny`, warm and cold.

    python scripts/bench_generate.py [--rounds 3] [--skip base|tiny|cold]...

The large networks have random weights (nothing can be downloaded, and speed does not depend on them) and are timed
without decoder and vocoder: seconds of network and solver per second of sound. AudioLDM-S is its published U-Net
(185 M, latents of 8 x 256 x 16 for 10.24 s, built from its config by diffusers) at its 200 guided DDIM steps, of which
a few are timed. All sides take turns, the median round counts. One thread; `wall` is what a clock says, `cpu` what
this process used, which says more where the machine is shared. Prints a Markdown table and the targets.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

AUDIOLDM_STEPS, AUDIOLDM_SECONDS, TIMED_STEPS = 200, 10.24, 2
FEW_CALLS = 4
TEXT = "a small glass bell ringing"
IMPORTS = "import torch, diffusers, open_clip, dalle2_pytorch"


class Taken(NamedTuple):
    """Seconds of one turn."""

    wall: float
    cpu: float

    def times(self, factor: float) -> Taken:
        """Scaled, for instance from a few steps to all."""
        return Taken(self.wall * factor, self.cpu * factor)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--skip", action="append", default=[], choices=("base", "tiny", "cold"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    for name, part in (("base", compare_large), ("tiny", time_tiny), ("cold", time_cold)):
        if name not in args.skip:
            print("\n".join(part(args.rounds)) + "\n", flush=True)


def compare_large(rounds: int) -> list[str]:
    """`base` and few steps against AudioLDM-S, in seconds per second of sound."""
    pipeline, unet = random_base(), audioldm_unet()
    embeds, seconds = np.ones(pipeline.segment.embed_width), pipeline.segment.seconds
    few = {"num_inference_steps": FEW_CALLS, "guidance_scale": 1.0}
    latents, clap = torch.randn(2, 8, 256, 16), torch.randn(2, 512)
    sides: dict[str, Callable[[], Any]] = {
        "audioldm": lambda: [unet(latents, 500, None, class_labels=clap) for _ in range(TIMED_STEPS)],
        "base": lambda: pipeline(embeds=embeds, output_type="mel"),
        "few": lambda: pipeline(embeds=embeds, output_type="mel", **few),
    }
    with torch.inference_mode():
        taken = in_turns(sides, rounds)
    audioldm = taken["audioldm"].times(AUDIOLDM_STEPS / TIMED_STEPS / AUDIOLDM_SECONDS)
    base, fast = taken["base"].times(1 / seconds), taken["few"].times(1 / seconds)
    steps, scale, interval = (
        pipeline.config[name] for name in ("num_inference_steps", "guidance_scale", "guidance_interval")
    )
    own = f"{steps} steps, guidance {scale:g} in {interval}"
    return [
        "| network | sampling | s per s of sound, wall | cpu |",
        "|---|---|---|---|",
        f"| AudioLDM-S, {millions(unet):.0f} M | 200 steps, guided | {audioldm.wall:.2f} | {audioldm.cpu:.2f} |",
        f"| base, {millions(pipeline.denoiser):.0f} M | {own} | {base.wall:.2f} | {base.cpu:.2f} |",
        f"| base, few steps | {FEW_CALLS} calls, unguided | {fast.wall:.3f} | {fast.cpu:.3f} |",
        "",
        target("base is faster than AudioLDM-S", audioldm.wall / base.wall, audioldm.cpu / base.cpu, 20.0),
        target("few steps are faster than base", base.wall / fast.wall, base.cpu / fast.cpu, 5.0),
    ]


def time_tiny(rounds: int) -> list[str]:
    """The bundled pipeline, loaded and warm: a segment from a text and from an embedding."""
    from clipsonic.pipeline import ClipSonicPipeline

    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    embeds, seeds = pipeline(text=TEXT).embeds[0][0], iter(range(1000))
    taken = in_turns(
        {
            "text": lambda: pipeline(text=TEXT, seed=next(seeds)),
            "embedding": lambda: pipeline(embeds=embeds, seed=next(seeds)),
        },
        max(5, rounds),
    )
    seconds = pipeline.segment.seconds
    return [
        f"tiny, warm, {seconds:g} s from {name}: {one.wall:.2f} s wall, {one.cpu:.2f} s cpu (target: at most 0.5)"
        for name, one in taken.items()
    ]


def time_cold(rounds: int) -> list[str]:
    """`clipsonic generate` from a shell, beside the bare imports of what it needs."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "clipsonic.cli", "generate", "--text", TEXT, "--out", str(Path(folder) / "a.wav")]
        taken = in_turns(
            {"imports": lambda: run(["-c", IMPORTS]), "generate": lambda: run(command)}, rounds, children=True
        )
    bare, cold = taken["imports"], taken["generate"]
    limit = Taken(1.5 * bare.wall + 3.0, 1.5 * bare.cpu + 3.0)
    return [
        f"cold generate from a text: {cold.wall:.1f} s wall, {cold.cpu:.1f} s cpu; bare imports {bare.wall:.1f} and "
        f"{bare.cpu:.1f} s (target: at most 1.5 x imports + 3 s = {limit.wall:.1f} and {limit.cpu:.1f})"
    ]


def run(words: list[str]) -> None:
    """A fresh Python that ends well within ten minutes."""
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=600, env=dict(os.environ))


def in_turns(sides: dict[str, Callable[[], Any]], rounds: int, *, children: bool = False) -> dict[str, Taken]:
    """The median of `rounds` turns of each side, after one that does not count."""
    taken: dict[str, list[Taken]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            started, used = time.perf_counter(), cpu_seconds(children)
            side()
            if turn:
                taken[name].append(Taken(time.perf_counter() - started, cpu_seconds(children) - used))
    medians = {name: np.median(np.array(turns), axis=0) for name, turns in taken.items()}
    return {name: Taken(float(wall), float(cpu)) for name, (wall, cpu) in medians.items()}


def cpu_seconds(children: bool) -> float:
    """Used so far by this process, or by its children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def random_base() -> Any:
    """The preset `base` as it would be saved, with random weights."""
    from clipsonic.diffusion.schedulers import make_scheduler
    from clipsonic.pipeline import ClipSonicPipeline
    from clipsonic.train.command import load_config
    from clipsonic.train.lessons.denoiser import make_denoiser

    config = load_config("base")
    segment = config.segment.spec(768, "random/0")
    objective, num_mels = config.objective, segment.mel.num_mels
    pipeline = ClipSonicPipeline(
        make_denoiser(config.model, objective.prediction_type, segment, 0).eval(),
        make_scheduler(objective.prediction_type, flow_shift=objective.flow_shift),
        segment, [0.0] * num_mels, [1.0] * num_mels, **objective.sampling,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def audioldm_unet() -> Any:
    """AudioLDM-S's U-Net in the shape of its published config: attention to itself only, the text joins the time."""
    from diffusers import UNet2DConditionModel

    widths = (128, 256, 384, 640)
    return UNet2DConditionModel(  # type: ignore[no-untyped-call]
        in_channels=8, out_channels=8, layers_per_block=2, attention_head_dim=8,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
        up_block_types=(*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
        block_out_channels=widths, cross_attention_dim=widths,
        class_embed_type="simple_projection", class_embeddings_concat=True, projection_class_embeddings_input_dim=512,
    ).eval()  # fmt: skip


def millions(network: Any) -> float:
    """Parameters, in millions."""
    return sum(weight.numel() for weight in network.parameters()) / 1e6


def target(what: str, wall: float, cpu: float, least: float) -> str:
    """A ratio and what it should be."""
    return f"{what}: {wall:.1f} times by the clock, {cpu:.1f} by cpu (target: at least {least:g})"


if __name__ == "__main__":
    main()
