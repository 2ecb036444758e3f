"""A vocoder held against Griffin-Lim on sounds that it never learned from: distances to the true sound, and time.

    python scripts/bench_vocoder.py VOCODER --corpus HELD_OUT_CORPUS [--recordings FOLDER | --unheard FOLDER]

Every piece of about two seconds goes through its own mel and back. Frechet distance and divergence of posteriors are
the judge's. Of `--recordings` only the sources are used that `clipsonic train --config vocoder` holds back; a vocoder
that learned from no recording is measured on all of `--unheard`, every source left out. Prints Markdown: each figure
with its 95 % interval, resampled over sources, since pieces of one source are alike; the times are of this machine,
both vocoders in turns, and only their ratio lasts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from clipsonic.audio.load import load_own
from clipsonic.audio.mel import LogMel
from clipsonic.audio.vocoder import GriffinLim, Vocoder
from clipsonic.measure.distances import frechet_distance, posterior_kl
from clipsonic.measure.judge import load_judge
from clipsonic.measure.metrics import mean_abs_log_mel, resampled_interval
from clipsonic.seeding import numpy_rng
from clipsonic.shards.corpus import open_corpora
from clipsonic.shards.loader import SegmentLoader
from clipsonic.specs import MelSpec, SegmentSpec
from clipsonic.train.lessons.vocoder_measure import log_spectral_distance_db
from clipsonic.train.streams.recordings import RecordingFolder, RecordingLoader

PIECE_COLUMNS = 128
CROP_COLUMNS, VAL_SHARE = 64, 0.1
"""Those of configs/vocoder.yaml: other ones would hold back other sources."""
NUM_RESAMPLES = 1000
NETWORK, GRIFFIN_LIM = "network", "Griffin-Lim"


@dataclass(frozen=True)
class Pieces:
    """Sounds of one length: waves (N, T) float32, and the source of each."""

    waves: np.ndarray
    sources: list[str]

    def resampled(self, of: Callable[[np.ndarray], float]) -> str:
        """`of(places)` over all pieces, with its interval over resampled sources."""
        names = sorted(set(self.sources))
        places = [np.flatnonzero([source == name for source in self.sources]) for name in names]
        value, rng = of(np.arange(len(self.waves))), numpy_rng(0, "bench.vocoder")
        found = resampled_interval(
            value, lambda picks: of(np.concatenate([places[pick] for pick in picks])), len(names), rng, NUM_RESAMPLES
        )
        return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocoder", type=Path, help="a folder that clipsonic train --config vocoder left")
    parser.add_argument("--corpus", help="a corpus that it did not learn from: all of it is used")
    real = parser.add_mutually_exclusive_group()
    real.add_argument("--recordings", type=Path, help="what it learned from: only held-out sources are used")
    real.add_argument("--unheard", type=Path, help="recordings that it did not learn from: all of them are used")
    parser.add_argument("--max-pieces", type=int, default=500)
    args = parser.parse_args(argv)
    vocoder = load_own(args.vocoder).eval()
    for name, loader in loaders(args, vocoder.spec).items():
        cut = pieces(loader, vocoder.spec.num_samples(PIECE_COLUMNS), args.max_pieces)
        made, seconds = resynthesised({NETWORK: vocoder, GRIFFIN_LIM: GriffinLim(vocoder.spec)}, cut.waves)
        print(f"{name}\n\n{table(vocoder.spec, cut, made)}\n\n{speed(vocoder.spec, cut, seconds)}\n", flush=True)


def loaders(args: argparse.Namespace, spec: MelSpec) -> dict[str, SegmentLoader | RecordingLoader]:
    """What the sounds come from, by what it is called."""
    found: dict[str, SegmentLoader | RecordingLoader] = {}
    if args.corpus:
        corpora = open_corpora(args.corpus)
        index = corpora[0].index
        found["soundstage"] = SegmentLoader(
            corpora, SegmentSpec(spec, CROP_COLUMNS, index.width, index.fingerprint), 1, 0, "all", cache_mb=0
        )
    if args.recordings or args.unheard:
        folder = RecordingFolder(args.recordings or args.unheard, spec.sample_rate_hz, spec.num_samples(CROP_COLUMNS))
        name, part = ("real, held out by source", "val") if args.recordings else ("real, none of it heard", "all")
        found[name] = RecordingLoader(folder, 0, part, VAL_SHARE)
    return found


def pieces(loader: SegmentLoader | RecordingLoader, length: int, most: int) -> Pieces:
    """Whole pieces of `length` samples in the order of the records; silent ones are left out."""
    waves, sources = list[np.ndarray](), list[str]()
    for record in loader.records:
        sound = loader.sound_of(record)
        for start in range(0, len(sound) - length + 1, length):
            if np.abs(sound[start : start + length]).max() > 33 and len(waves) < most:
                waves.append(sound[start : start + length].astype(np.float32) / 32768.0)
                sources.append(record.source)
        if len(waves) == most:
            break
    return Pieces(np.stack(waves), sources)


def table(spec: MelSpec, true: Pieces, made: dict[str, np.ndarray]) -> str:
    """Every figure of the made pieces, and how far the first vocoder's is from the second's."""
    figures = {name: figures_of(spec, true.waves, waves) for name, waves in made.items()}
    first, second = figures.values()
    rows = []
    for name, of in first.items():
        other = second[name]
        cells = [true.resampled(of), true.resampled(other)]
        rows.append(f"| {name} | {' | '.join(cells)} | {true.resampled(lambda p, a=of, b=other: a(p) - b(p))} |")
    return "\n".join([f"| figure | {' | '.join(made)} | difference |", f"|{'---|' * 4}", *rows])


def figures_of(spec: MelSpec, true: np.ndarray, made: np.ndarray) -> dict[str, Callable[[np.ndarray], float]]:
    """By name, a figure of the pieces at some places."""
    judge, log_mel = load_judge(), LogMel(spec)
    expected, heard = judge.verdicts(true), judge.verdicts(made)
    waves = [(torch.from_numpy(one), torch.from_numpy(other)) for one, other in zip(made, true, strict=True)]
    mels = [(log_mel(one[None]).numpy(), log_mel(other[None]).numpy()) for one, other in waves]
    per_piece = {
        "KL of posteriors": posterior_kl(expected.probabilities, heard.probabilities),
        "named as the true sound, %": 100.0 * (heard.named == expected.named),
        "log-mel distance, dB": np.array([mean_abs_log_mel(one, other, spec)[0] for one, other in mels]),
        "log-spectral distance, dB": np.array([log_spectral_distance_db(a[None], b[None], spec) for a, b in waves]),
    }
    return {
        "Frechet distance": lambda places: frechet_distance(expected.features[places], heard.features[places]),
        **{name: lambda places, of=values: float(of[places].mean()) for name, values in per_piece.items()},
    }


def speed(spec: MelSpec, true: Pieces, seconds: dict[str, float]) -> str:
    """How many pieces of how many sources, and how fast."""
    ratio = seconds[GRIFFIN_LIM] / seconds[NETWORK]
    real_time = true.waves.size / spec.sample_rate_hz / seconds[NETWORK]
    return (
        f"{len(true.waves)} pieces of {len(set(true.sources))} sources; the network is {ratio:.1f} times faster than "
        f"Griffin-Lim, {real_time:.0f} times faster than real time"
    )


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
