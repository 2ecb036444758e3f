"""A toy vocoder lesson with an adversary: tones of a corpus and of a folder of recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from makers_train import RATE_HZ, SECONDS, WIDTH, make_corpus, make_record

from clipsonic.seeding import numpy_rng

COLUMNS = 40
NUM_SAMPLES = COLUMNS * 64
OVERRIDES = {
    "segment.sample_rate_hz": RATE_HZ, "segment.n_fft": 256, "segment.hop_length": 64, "segment.num_mels": 16,
    "segment.f_max_hz": RATE_HZ / 2, "segment.num_mel_frames": COLUMNS,
    "vocoder.width": 16, "vocoder.depth": 1, "vocoder.judged_columns": 32,
    "adversary.width": 4, "optim.batch_size": 4, "optim.lr": 1e-4, "optim.warmup_steps": 2, "data.val_share": 0.3,
}  # fmt: skip
WORDS = ["--config", "vocoder", "--config", "adversary", *(str(w) for k, v in OVERRIDES.items() for w in (f"--{k}", v))]


def noisy_tone(number: int, seconds: float, rate_hz: int = RATE_HZ, noise: float = 0.03) -> np.ndarray:
    """A decaying tone over a little noise."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    rest = numpy_rng(0, "test.recordings", number).normal(0, noise, len(time_s))
    return (0.3 * np.sin(2 * np.pi * 220 * (1 + number) * time_s) * np.exp(-time_s) + rest).astype(np.float32)


def recordings(folder: Path, count: int = 6, seconds: float = 3.0, rate_hz: int = RATE_HZ) -> Path:
    """Decaying tones over a little noise, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        soundfile.write(folder / f"tone-{number}.flac", noisy_tone(number, seconds, rate_hz), rate_hz)
    return folder


def noisy_corpus(folder: Path, count: int = 12) -> Path:
    """The same as records, each of its own video."""
    waves = [noisy_tone(number % 8, 2 * SECONDS) for number in range(count)]
    return make_corpus(folder, [make_record(n, wave, np.eye(WIDTH)[0], f"v{n}") for n, wave in enumerate(waves)])


def tiny_vocoder(folder: Path) -> list[str]:
    """Words of the command for a run on toy data made under `folder`."""
    return [
        *WORDS,
        "--corpus",
        str(noisy_corpus(folder / "corpus")),
        "--recordings",
        str(recordings(folder / "recordings")),
    ]
