"""A vocoder held against Griffin-Lim on sounds that it never learned from: distances to the true sound, and time.

    python scripts/bench_vocoder.py VOCODER --corpus HELD_OUT_CORPUS [--real-audio FOLDER]

Every sound goes through its own mel and back. Frechet distance and divergence of posteriors are the judge's, over
pieces of about two seconds; of the real recordings only the sources that `train-vocoder` holds back are used. Prints a
Markdown table; the times are of this machine, both vocoders in turns, and only their ratio lasts.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from clipsonic.audio.mel import LogMel
from clipsonic.audio.vocoder import GriffinLim, Vocoder
from clipsonic.audio.vocos import Vocos
from clipsonic.evaluate.distances import frechet_distance, posterior_kl
from clipsonic.soundstage.judge import Judge, Verdicts, load_judge
from clipsonic.train.vocoder import VocoderSettings
from clipsonic.train.vocoder_data import corpus_bank, real_bank
from clipsonic.train.vocoder_measure import measure_vocoder

PIECE_COLUMNS = 128
VAL_SHARE = 0.1
FIGURES = ("mel_db", "lsd_db")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocoder", type=Path, help="a folder of train-vocoder")
    parser.add_argument("--corpus", type=Path, help="a corpus that it did not learn from: all of it is used")
    parser.add_argument("--real-audio", type=Path, help="what it learned from: only held-out sources are used")
    parser.add_argument("--max-pieces", type=int, default=500)
    args = parser.parse_args(argv)
    vocoder: Vocos = Vocos.from_pretrained(str(args.vocoder), torch_dtype=torch.float32).eval()
    for name, sounds in sound_sets(args, vocoder).items():
        print(f"{name}\n\n{table(vocoder, sounds, args.max_pieces)}\n", flush=True)


def sound_sets(args: argparse.Namespace, vocoder: Vocos) -> dict[str, list[np.ndarray]]:
    """int16 sounds by where they come from."""
    rate_hz = vocoder.spec.sample_rate_hz
    length = round(VocoderSettings().crop_s * rate_hz)  # as in training, or the split would be another
    sets = {}
    if args.corpus:
        bank = corpus_bank(args.corpus, rate_hz, length, 0.0, 1e9)
        sets["soundstage"] = bank.train + bank.val
    if args.real_audio:
        sets["real, held out by source recording"] = real_bank(args.real_audio, rate_hz, length, VAL_SHARE).val
    return sets


def table(vocoder: Vocos, sounds: list[np.ndarray], max_pieces: int) -> str:
    """Both vocoders' figures on these sounds."""
    waves = pieces(sounds, vocoder.spec.num_samples(PIECE_COLUMNS))[:max_pieces]
    made, seconds = resynthesised({"network": vocoder, "griffin_lim": GriffinLim(vocoder.spec)}, waves)
    judge, figures = load_judge(), measure_vocoder(vocoder, sounds)
    true = judge.verdicts(waves)
    rows = [
        row("network", judge, true, made["network"], [figures[name] for name in FIGURES]),
        row("Griffin-Lim", judge, true, made["griffin_lim"], [figures[f"{name}_griffin_lim"] for name in FIGURES]),
    ]
    header = "| vocoder | Frechet distance | KL | named as the true sound, % | log-mel, dB | log-spectral, dB |"
    ratio = seconds["griffin_lim"] / seconds["network"]
    real_time = waves.size / vocoder.spec.sample_rate_hz / seconds["network"]
    facts = (
        f"{len(waves)} pieces; floor of the log-spectral distance {figures['lsd_db_floor']:.2f} dB; the network is "
        f"{ratio:.1f} times faster than Griffin-Lim, {real_time:.0f} times faster than real time"
    )
    return "\n".join([header, f"|{'---|' * 6}", *rows, "", facts])


def row(name: str, judge: Judge, true: Verdicts, waves: np.ndarray, figures: list[float]) -> str:
    """One line of the table."""
    heard = judge.verdicts(waves)
    distance = frechet_distance(true.features, heard.features)
    kl = float(posterior_kl(true.probabilities, heard.probabilities).mean())
    same = 100.0 * float((heard.named == true.named).mean())
    return f"| {name} | {distance:.3f} | {kl:.4f} | {same:.1f} | " + " | ".join(f"{v:.2f}" for v in figures) + " |"


def pieces(sounds: list[np.ndarray], length: int) -> np.ndarray:
    """Whole pieces of `length` samples, (N, length) float32; silent ones are left out."""
    cut = [sound[at : at + length] for sound in sounds for at in range(0, len(sound) - length + 1, length)]
    return np.stack([piece for piece in cut if np.abs(piece).max() > 33]).astype(np.float32) / 32768.0


def resynthesised(vocoders: dict[str, Vocoder], waves: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The waves through their mels and back by each vocoder, one at a time and in turns, and the seconds each took."""
    made: dict[str, list[np.ndarray]] = {name: [] for name in vocoders}
    seconds = dict.fromkeys(vocoders, 0.0)
    log_mel = LogMel(next(iter(vocoders.values())).spec)
    for wave in tqdm(waves, desc="resynthesising", file=sys.stderr):
        mel = log_mel(torch.from_numpy(wave)[None])
        for name, vocoder in vocoders.items():
            started = time.perf_counter()
            with torch.inference_mode():
                made[name].append(vocoder(mel)[0].numpy())
            seconds[name] += time.perf_counter() - started
    return {name: np.stack(parts) for name, parts in made.items()}, seconds


if __name__ == "__main__":
    main()
