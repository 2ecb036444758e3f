"""One `train-vocoder` run: read the sounds, train or continue, save the averaged weights, measure what was saved."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import torch

from clipsonic.audio.load import find_vocoder, load_own, load_vocoder
from clipsonic.audio.spaces import describe
from clipsonic.audio.vocos import Vocos
from clipsonic.errors import UsageError
from clipsonic.files import write_whole
from clipsonic.resumable import CHECKPOINT_FILE
from clipsonic.seeding import seed_for
from clipsonic.train.vocoder import VocoderSettings, VocoderTrainer
from clipsonic.train.vocoder_data import Bank, corpus_bank, real_bank
from clipsonic.train.vocoder_measure import measure_vocoder

_VAL_SHARE = 0.1


def train_vocoder(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command; `args` as its parser makes them."""
    settings = VocoderSettings(args.steps, args.batch_size, learning_rate=args.lr, seed=args.seed,
                               max_minutes=args.max_minutes)  # fmt: skip
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    vocoder = vocoder_from(args.init, args.rounds) if args.init else new_vocoder(args)
    vocoder.to(device)  # type: ignore[arg-type]
    banks = _banks(args, vocoder, settings)
    trainer = VocoderTrainer(
        vocoder, banks, settings, {"sounds": _digest_of(banks), "init": args.init, **_facts_of(vocoder)}
    )
    if args.resume == "auto" and trainer.resume(Path(args.out)):
        print(f"continuing at step {trainer.step}", file=sys.stderr)
    trainer.run(Path(args.out))
    trainer.result().half().save_pretrained(args.out)  # type: ignore[no-untyped-call]
    figures = measure_saved(Path(args.out), banks)
    card = card_text(vocoder, figures, trainer, args)
    write_whole(Path(args.out) / "card.md", card)
    (Path(args.out) / CHECKPOINT_FILE).unlink(missing_ok=True)
    return {"message": f"{card}\nwritten to {args.out}", "out": str(args.out), **figures}


def new_vocoder(args: argparse.Namespace) -> Vocos:
    """An untrained one, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(args.seed, "vocoder.weights"))
        vocoder: Vocos = Vocos(
            sample_rate_hz=args.sample_rate_hz, n_fft=args.n_fft, hop_length=args.hop_length, num_mels=args.num_mels,
            f_max_hz=args.sample_rate_hz / 2, width=args.width, hidden=3 * args.width, depth=args.depth,
            rounds=args.rounds,
        )  # fmt: skip
        return vocoder


def vocoder_from(folder: str, rounds: int) -> Vocos:
    """The vocoder in this folder, in float32, to be trained on.

    Raises:
        UsageError: there is none, or it is a published one.
        CheckpointError: it is damaged.
    """
    saved = load_vocoder(find_vocoder(folder))
    if not isinstance(saved, Vocos):
        raise UsageError(f"--init {folder} is a published vocoder: give one that clipsonic train-vocoder wrote")
    vocoder: Vocos = Vocos(**{**_facts_of(saved), "rounds": rounds})
    vocoder.load_state_dict(saved.float().state_dict())
    return vocoder.requires_grad_(True)


def _facts_of(vocoder: Vocos) -> dict[str, Any]:
    """What makes a vocoder of this kind."""
    return {name: value for name, value in dict(vocoder.config).items() if not name.startswith("_")}


def measure_saved(folder: Path, banks: list[Bank]) -> dict[str, dict[str, float]]:
    """Figures of the weights as they lie on disk, per bank that holds sounds back."""
    vocoder = load_own(folder)
    return {bank.name: measure_vocoder(vocoder, bank.val) for bank in banks if bank.val}


def _banks(args: argparse.Namespace, vocoder: Vocos, settings: VocoderSettings) -> list[Bank]:
    rate_hz = vocoder.spec.sample_rate_hz
    num_samples = round(settings.crop_s * rate_hz)
    banks = [corpus_bank(Path(args.corpus), rate_hz, num_samples, _VAL_SHARE, args.max_hours)]
    if args.real_audio:
        banks.append(real_bank(Path(args.real_audio), rate_hz, num_samples, _VAL_SHARE))
    for bank in banks:
        hours = sum(map(len, bank.train)) / rate_hz / 3600
        print(f"{bank.name}: {len(bank.train)} sounds ({hours:.2f} h), {len(bank.val)} held out", file=sys.stderr)
    return banks


def _digest_of(banks: list[Bank]) -> str:
    """Names the sounds, so that a checkpoint is never continued on others."""
    digest = hashlib.blake2b(digest_size=8)
    for bank in banks:
        for sound in bank.train:
            digest.update(sound[:: max(1, len(sound) // 64)].tobytes())
    return digest.hexdigest()


def card_text(vocoder: Vocos, figures: dict[str, Any], trainer: VocoderTrainer, args: argparse.Namespace) -> str:
    """card.md of a trained vocoder."""
    count = sum(weights.numel() for weights in vocoder.parameters())
    names = sorted({name for one in figures.values() for name in one})
    header = " | ".join(figures)
    cells = {name: " | ".join(f"{one[name]:.2f}" for one in figures.values()) for name in names}
    rows = "\n".join(f"| {name} | {values} |" for name, values in cells.items())
    begun = f"Trained on from `{Path(args.init).name}`" if args.init else "Trained from random weights"
    real = f" and the recordings of `{Path(args.real_audio).name}`" if args.real_audio else ""
    effort = f"{trainer.step} steps of {trainer.settings.batch_size} crops of {trainer.settings.crop_s:g} s"
    return f"""# A neural vocoder

Mel space: {describe(vocoder.spec)}.
{count / 1e6:.1f} M weights in float16: ConvNeXt blocks and an inverse STFT (after Vocos, arXiv 2306.00814).
{begun} on the sound of corpus `{Path(args.corpus).name}`{real}:
{effort} in {trainer.seconds / 60:.0f} minutes. Licence: Apache-2.0.

Measured on sounds held out by source:

| figure | {header} |
|---|{"---|" * len(figures)}
{rows}

`mel_db`: mean distance of log-mels. `lsd_db`: log-spectral distance; `lsd_db_floor` is that of the mel's own magnitudes
with the true phases, which no vocoder is asked to beat.
"""
