"""Words for the command line that teach each lesson on toy data in a moment: what the battery runs over.

`scripts/gpu_check` takes a step of each of them too, on the device that it checks.
"""

from __future__ import annotations

from pathlib import Path

import torch
from makers_clip import tiny_clip
from makers_judge import tiny_judge
from makers_prior import tiny_prior
from makers_train import tones
from makers_vocoder import tiny_vocoder

from clipsonic.cli import main
from clipsonic.train.command import build_parser, config_of
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.lesson import Course
from clipsonic.train.run import maker

SOUND = """\
model: {dit: {patch: 4, width: 16, depth: 1, heads: 2}}
segment: {sample_rate_hz: 4000, n_fft: 256, hop_length: 64, num_mels: 16, f_max_hz: 2000.0, num_mel_frames: 32}
optim: {warmup_steps: 3, batch_size: 4}
condition: {embed_noise_std: 0.4}
"""
EAR = """\
learn: ear
ear: {channels: [4, 8], depths: [1, 2], hidden: 8}
segment: {sample_rate_hz: 4000, n_fft: 256, hop_length: 64, num_mels: 16, f_max_hz: 2000.0, num_mel_frames: 63}
optim: {warmup_steps: 3, batch_size: 4}
"""
TAUGHT = {
    "adapter": "adapter: {rank: 2, alpha: 2.0, keep: 2.0}",
    "fewstep": "adapter: {rank: 2, alpha: 2.0}\ndistill: {steps: 2, teacher_steps: 4}",
}


def tiny_toy(folder: Path) -> list[str]:
    return ["--learn", "toy_lesson:course", "--optim.lr", "0.1", "--optim.batch_size", "4"]


def tiny_sound(folder: Path) -> list[str]:
    """Tones, whose records have from 2 to 12 frames."""
    (folder / "sound.yaml").write_text(SOUND)
    corpus = folder / "corpus"
    if not corpus.exists():
        tones(corpus, 43, num_frames=(2, 12, 4, 8))
    return ["--config", str(folder / "sound.yaml"), "--corpus", str(corpus)]


def tiny_ear(folder: Path) -> list[str]:
    """Tones of one second, what an ear needs at least."""
    (folder / "ear.yaml").write_text(EAR)
    corpus = folder / "corpus"
    if not corpus.exists():
        tones(corpus, 43, num_frames=(2, 12, 4, 8))
    return ["--config", str(folder / "ear.yaml"), "--corpus", str(corpus)]


def taught(name: str, folder: Path) -> list[str]:
    """What is taught on top of a pipeline of a few steps."""
    words, base = tiny_sound(folder), folder / "base"
    if not base.exists():
        assert main(["train", *words, "--out", str(base), "--max-steps", "3", "--run.preview_every", "0"]) == 0
    (folder / f"{name}.yaml").write_text(TAUGHT[name])
    return [*words, "--config", str(folder / f"{name}.yaml"), "--init", str(base)]


def tiny_adapter(folder: Path) -> list[str]:
    return taught("adapter", folder)


def tiny_fewstep(folder: Path) -> list[str]:
    return taught("fewstep", folder)


LESSONS = {
    "toy": tiny_toy,
    "sound": tiny_sound,
    "adapter": tiny_adapter,
    "fewstep": tiny_fewstep,
    "clip": tiny_clip,
    "prior": tiny_prior,
    "vocoder": tiny_vocoder,
    "judge": tiny_judge,
    "ear": tiny_ear,
}
"""What makes a lesson's data in a folder and says its words."""


def course_of(words: list[str]) -> tuple[TrainConfig, Course]:
    """What these words of `clipsonic train` teach, at its beginning."""
    args = build_parser("clipsonic train").parse_args(["--out", "-", *words])
    config = config_of(args)
    sources = Sources(tuple(args.corpus), tuple(args.pairs), tuple(args.val_pairs), args.recordings)
    return config, maker(config, sources, args.init)(None)


def awake(course: Course) -> None:
    """Draw what begins at zero, behind which the rest of a network would be hidden."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in course.lesson.learner.parameters():
            if not weight.any():
                weight.normal_(std=0.1)
