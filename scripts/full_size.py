"""Does the path hold at full size? Random weights of published shapes, from an embedding or a text to a WAV.

    python scripts/full_size.py [--case audioldm|bigvgan|vocos] [--steps 10] [--out out/full_size]
    python scripts/full_size.py --whole [--case audioldm|bigvgan] [--steps 2] [--prior-steps 2]
        [--vocoder-columns 172]

Each case builds `base` (with its family's overlay) at random, writes a vocoder of the published size in its publisher's
own layout, loads both as a user would, and makes one sound of an embedding. Every case runs in a process of its own, so
the peak is its own; seconds are of the CPU, so that other work on the machine does not count. Random weights make
noise: what is shown is that everything fits, in keys, shapes, lengths and memory.

With --whole the sound is of a text: ViT-L/14 from a file, LAION's prior converted, `base`, the vocoder. Then the
pipeline is saved, its folder copied, and a fresh process makes the sound again from the copy: the wave must be the
same, bit for bit. The CLIP stays a file that both name. Price: 5 GB on the disk, and fewer steps than a listener
would take; the row says how many.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from clipsonic.audio.formats import encode_sound
from clipsonic.audio.wave import rms_db
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.vocoding import vocode
from clipsonic.prior.convert import convert_prior
from clipsonic.resources import bundled_path
from clipsonic.seeding import numpy_rng
from clipsonic.train.command import load_config
from clipsonic.train.lessons.denoiser import make_denoiser

OVERLAYS = {"audioldm": [], "bigvgan": ["bigvgan"], "vocos": ["vocos"]}
WHOLE = ["audioldm", "bigvgan"]
TEXT = "a dog barking in a kitchen"
HEADS = {
    False: "| case | denoiser | vocoder | sound | loading | making | peak memory |\n|---|---|---|---|---|---|---|",
    True: "| case | CLIP + prior + denoiser + vocoder | steps of prior + denoiser | sound | text to WAV: CPU, peak "
    "| sound of the saved and copied folder | its CPU, peak |\n|---|---|---|---|---|---|---|",
}
CLIP_WIDTH = 768
MOST_GB = 12.0
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
    """One case, or all of them, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=list(OVERLAYS))
    parser.add_argument("--steps", type=int, default=10, help="of the denoiser")
    parser.add_argument("--out", type=Path, default=Path("out/full_size"))
    parser.add_argument("--whole", action="store_true", help="from a text, and again from a copy of the saved folder")
    parser.add_argument("--prior-steps", type=int, default=2, help="network calls of the prior (the publisher's: 64)")
    parser.add_argument("--vocoder-columns", type=int, help="make sound of so many mel columns only (default: all)")
    args = parser.parse_args()
    if args.case is None:
        print(HEADS[args.whole], flush=True)
        for case in WHOLE if args.whole else OVERLAYS:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--case", case], check=True, timeout=1800)
    elif args.whole:
        whole(args.case, args.out.resolve(), args)
    else:
        apart("build", args.case, str(args.out / args.case))
        print(row(args.case, args.out / args.case, args.steps), flush=True)


def apart(function: str, *values: Any) -> None:
    """Call a function of this file in another process, whose memory is its own."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import full_size; full_size.{function}"
    subprocess.run([sys.executable, "-c", f"{code}{values!r}"], check=True, timeout=1800)


def build(case: str, folder: str, fingerprint: str = "ViT-L-14:openai/random", clip: str = "ViT-L-14:openai") -> None:
    """A pipeline and a vocoder, with random weights drawn from the seed 0, where there are none yet."""
    if (Path(folder) / "vocoder" / "config.json").is_file() or (Path(folder) / "vocoder" / "config.yaml").is_file():
        return
    config = load_config("base", *OVERLAYS[case])
    segment = config.segment.spec(CLIP_WIDTH, fingerprint)
    kind = config.objective.prediction_type
    mels = segment.mel.num_mels
    pipeline = ClipSonicPipeline(
        make_denoiser(config.model, kind, segment, 0), make_scheduler(kind, flow_shift=config.objective.flow_shift),
        segment=segment, mel_mean=[-5.0] * mels, mel_std=[2.0] * mels, clip_name=clip,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in pipeline.denoiser.parameters():  # some begin at zero, and then no prompt has an effect
            weights.add_(0.02 * torch.randn_like(weights))
    pipeline.save_pretrained(Path(folder) / "pipeline")
    {"audioldm": write_hifigan, "bigvgan": write_bigvgan, "vocos": write_vocos}[case](Path(folder) / "vocoder")


def build_text(clip: str, prior: str) -> None:
    """ViT-L/14 in a file, and LAION's prior in its publisher's files, converted as `clipsonic convert prior` does."""
    import open_clip
    from bench_prior import write_files

    torch.manual_seed(0)
    network = open_clip.create_model("ViT-L-14", precision="fp16")
    Path(clip).parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.half().state_dict(), clip)
    del network
    source = Path(prior).with_name("published_prior")
    shutil.rmtree(source, ignore_errors=True)
    write_files(yaml.safe_load(bundled_path("priors", "recipes", "laion-vit-l-14.yaml").read_text()), source)
    convert_prior(source, Path(prior), clip=f"ViT-L-14:{clip}")
    shutil.rmtree(source)


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
    (folder / "sound.wav").write_bytes(encode_sound(wave, output.sample_rate_hz, ".wav"))
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


def whole(case: str, out: Path, args: argparse.Namespace) -> None:
    """Build, make, save; copy; make again in a fresh process; print the row. The two waves are compared here."""
    folder, clip, prior = out / f"whole_{case}", out / "vit_l_14_random.pt", out / "prior"
    if not (prior / "prior_config.json").is_file():
        apart("build_text", str(clip), str(prior))
    fingerprint = json.loads((prior / "prior_config.json").read_text())["fingerprint"]
    apart("build", case, str(folder), fingerprint, f"ViT-L-14:{clip}")
    for name in ("complete", "copy"):
        shutil.rmtree(folder / name, ignore_errors=True)
    apart("first_sound", str(folder), str(prior), args.steps, args.prior_steps, args.vocoder_columns)
    shutil.copytree(folder / "complete", folder / "copy")
    shutil.rmtree(folder / "complete")
    apart("same_sound", str(folder), args.steps, args.vocoder_columns)
    first, again = (np.load(folder / f"{name}.npz") for name in ("first", "again"))
    for key in ("embed", "wave"):  # what the prior made of the text, and the sound
        assert np.array_equal(first[key], again[key]), f"{key} of the copy is off by {np.ptp(first[key] - again[key])}"
    facts = {**json.loads((folder / "first.json").read_text()), "case": case}
    facts |= {f"again_{key}": value for key, value in json.loads((folder / "again.json").read_text()).items()}
    assert max(facts["peak_gb"], facts["again_peak_gb"]) < MOST_GB
    print(
        "| {case} | {clip_m:.0f} + {prior_m:.0f} + {denoiser_m:.0f} + {vocoder_m:.0f} M | {prior_steps} + {steps} | "
        "{seconds:.2f} s, {rms_db:.0f} dB | {cpu_s:.0f} s, {peak_gb:.1f} GB | identical | "
        "{again_cpu_s:.0f} s, {again_peak_gb:.1f} GB |".format(**facts),
        flush=True,
    )


def first_sound(folder: str, prior: str, steps: int, prior_steps: int, columns: int | None) -> None:
    """The parts as a user puts them together, a sound of a text, and the folder to share."""
    pipeline = ClipSonicPipeline.from_pretrained(Path(folder) / "pipeline")
    pipeline.set_prior(prior)
    pipeline.set_vocoder(Path(folder) / "vocoder")
    pipeline.prior.sample_steps = prior_steps  # travels with the folder
    say(pipeline, Path(folder) / "first", steps, columns)
    pipeline.save_pretrained(Path(folder) / "complete")


def same_sound(folder: str, steps: int, columns: int | None) -> None:
    """The same from the copy alone."""
    say(ClipSonicPipeline.from_pretrained(Path(folder) / "copy"), Path(folder) / "again", steps, columns)


def say(pipeline: Any, name: Path, steps: int, columns: int | None) -> None:
    """NAME.wav, NAME.npz (wave before rounding, embedding) and NAME.json (CPU seconds and peak since the start)."""
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(text=TEXT, closer="prior", num_inference_steps=steps, seed=0, output_type="mel")
    mel_1MF = torch.as_tensor(output.mels[0])[None, :, :columns]
    with torch.no_grad():
        wave = vocode(pipeline.vocoder, mel_1MF)[0].numpy()
    assert np.isfinite(wave).all()
    assert wave.any()
    name.with_suffix(".wav").write_bytes(encode_sound(wave, output.sample_rate_hz, ".wav"))
    np.savez(name.with_suffix(".npz"), wave=wave, embed=np.asarray(output.embeds[0]))
    networks = {"clip": pipeline.clip.model, "prior": pipeline.prior.core.network}
    networks |= {"denoiser": pipeline.denoiser, "vocoder": pipeline.vocoder}
    facts = {f"{part}_m": millions(network) for part, network in networks.items()}
    facts |= {"steps": steps, "prior_steps": pipeline.prior.sample_steps, "seconds": len(wave) / output.sample_rate_hz}
    facts |= {"rms_db": rms_db(wave), "cpu_s": time.process_time()}
    facts["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    name.with_suffix(".json").write_text(json.dumps(facts, indent=2))


def millions(network: Any) -> float:
    """Weights."""
    return sum(weights.numel() for weights in network.parameters()) / 1e6


if __name__ == "__main__":
    main()
