"""Does the path hold at full size? Random weights of published shapes, from an embedding to a WAV, time and memory.

    python scripts/full_size.py [--case audioldm|bigvgan|vocos] [--steps 10] [--out out/full_size]

Each case builds `base` (with its family's overlay) at random, writes a vocoder of the published size in its publisher's
own layout, loads both as a user would, and makes one sound of an embedding. Every case runs in a process of its own, so
the peak is its own; seconds are of the CPU, so that other work on the machine does not count. Random weights make
noise: what is shown is that everything fits, in keys, shapes, lengths and memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsonic.audio.wave import rms_db, write_audio
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.seeding import numpy_rng
from clipsonic.train.command import load_config
from clipsonic.train.network import make_denoiser

OVERLAYS = {"audioldm": [], "bigvgan": ["bigvgan"], "vocos": ["vocos"]}
CLIP_WIDTH = 768
HIFIGAN = {
    "model_in_dim": 64, "sampling_rate": 16000, "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2], "upsample_kernel_sizes": [16, 16, 8, 4, 4], "normalize_before": False,
}  # fmt: skip
BIGVGAN = {
    "resblock": "1", "activation": "snakebeta", "snake_logscale": True, "upsample_initial_channel": 1536,
    "upsample_rates": [4, 4, 2, 2, 2, 2], "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "use_tanh_at_final": False, "use_bias_at_final": False,
    "num_mels": 80, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "sampling_rate": 22050, "fmin": 0, "fmax": None,
}  # fmt: skip
VOCOS = """\
feature_extractor: {class_path: vocos.feature_extractors.MelSpectrogramFeatures, init_args: {padding: center}}
backbone:
  class_path: vocos.models.VocosBackbone
  init_args: {input_channels: 100, dim: 512, intermediate_dim: 1536, num_layers: 8}
head: {class_path: vocos.heads.ISTFTHead, init_args: {dim: 512, n_fft: 1024, hop_length: 256, padding: center}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=list(OVERLAYS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("out/full_size"))
    args = parser.parse_args()
    if args.case is None:
        print("| case | denoiser | vocoder | sound | loading | making | peak memory |\n|---|---|---|---|---|---|---|")
        for case in OVERLAYS:
            words = ["--case", case, "--steps", str(args.steps), "--out", str(args.out)]
            subprocess.run([sys.executable, __file__, *words], check=True, timeout=1800)
        return
    prepare(args.case, args.out / args.case)
    print(row(args.case, args.out / args.case, args.steps), flush=True)


def prepare(case: str, folder: Path) -> None:
    """Write the pipeline and the vocoder, in another process, whose memory is not counted."""
    if not (folder / "pipeline" / "model_index.json").is_file():
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import full_size; full_size.build"
        call = f"{code}({case!r}, {str(folder)!r})"
        subprocess.run([sys.executable, "-c", call], check=True, timeout=1800)


def build(case: str, folder: str) -> None:
    """Both, with random weights drawn from the seed 0."""
    config = load_config("base", *OVERLAYS[case])
    segment = config.segment.spec(CLIP_WIDTH, "ViT-L-14:openai/random")
    kind = config.objective.prediction_type
    mels = segment.mel.num_mels
    pipeline = ClipSonicPipeline(
        make_denoiser(config.model, kind, segment, 0), make_scheduler(kind, flow_shift=config.objective.flow_shift),
        segment=segment, mel_mean=[-5.0] * mels, mel_std=[2.0] * mels, clip_name="ViT-L-14:openai",
    )  # fmt: skip
    pipeline.save_pretrained(Path(folder) / "pipeline")
    torch.manual_seed(0)
    {"audioldm": write_hifigan, "bigvgan": write_bigvgan, "vocos": write_vocos}[case](Path(folder) / "vocoder")


def write_hifigan(folder: Path) -> None:
    """In transformers' layout."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    SpeechT5HifiGan(SpeechT5HifiGanConfig(**HIFIGAN)).save_pretrained(folder)


def write_bigvgan(folder: Path) -> None:
    """In NVIDIA's layout."""
    from bigvgan.bigvgan import BigVGAN
    from bigvgan.env import AttrDict

    folder.mkdir(parents=True, exist_ok=True)
    BigVGAN(AttrDict(BIGVGAN))._save_pretrained(folder)


def write_vocos(folder: Path) -> None:
    """In the layout of the package `vocos`, under its names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(VOCOS)
    shapes = {"backbone.embed": (512, 100, 7), "head.out": (1026, 512)}
    shapes |= dict.fromkeys(("backbone.norm", "backbone.final_layer_norm"), (512,))
    for block in range(8):
        name = f"backbone.convnext.{block}"
        shapes |= {f"{name}.dwconv": (512, 1, 7), f"{name}.norm": (512,)}
        shapes |= {f"{name}.pwconv1": (1536, 512), f"{name}.pwconv2": (512, 1536)}
    state = {f"{name}.weight": 0.02 * torch.randn(shape) for name, shape in shapes.items()}
    state |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    state |= {f"backbone.convnext.{block}.gamma": torch.full((512,), 0.125) for block in range(8)}
    torch.save(state, folder / "pytorch_model.bin")


def row(case: str, folder: Path, steps: int) -> str:
    """Load, make one sound, write it, and say what it took."""
    started = time.process_time()
    pipeline = ClipSonicPipeline.from_pretrained(folder / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.set_vocoder(folder / "vocoder")
    loaded = time.process_time()
    prompt = numpy_rng(0, "full_size").standard_normal(CLIP_WIDTH)
    output = pipeline(embeds=prompt, num_inference_steps=steps)
    done = time.process_time()
    wave = output.audios[0]
    assert wave.shape == (pipeline.segment.num_samples,)
    assert np.isfinite(wave).all()
    assert wave.any()
    write_audio(folder / "sound.wav", wave, output.sample_rate_hz)
    facts = {
        "case": case,
        "denoiser_m": millions(pipeline.denoiser),
        "vocoder_m": millions(pipeline.vocoder),
        "seconds": output.seconds,
        "rms_db": rms_db(wave),
        "loading_s": loaded - started,
        "making_s": done - loaded,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=2))
    return (
        "| {case} | {denoiser_m:.0f} M | {vocoder_m:.0f} M | {seconds:.2f} s, {rms_db:.0f} dB | {loading_s:.1f} s | "
        "{making_s:.1f} s | {peak_gb:.1f} GB |".format(**facts)
    )


def millions(network: Any) -> float:
    """Weights."""
    return sum(weights.numel() for weights in network.parameters()) / 1e6


if __name__ == "__main__":
    main()
