"""The lesson `vocoder`: true mels in, and the wave that comes out held against the true one.

    loss = multi-resolution STFT loss + mel_weight * mel loss [+ passing as true + distance inside the judges]

Guarantee: only `vocoder/` weights and its mel space are left, in float16, with figures of the weights as they were
saved. Price: about 0.4 s of one core per step of 16 one-second crops, and what an adversary takes beside it.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipsonic.audio.load import find_vocoder, load_own, load_vocoder
from clipsonic.audio.mel import LogMel
from clipsonic.audio.picture import spectrogram_png
from clipsonic.audio.spaces import describe
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.audio.vocos import Vocos
from clipsonic.errors import SpecError, UsageError
from clipsonic.files import write_whole
from clipsonic.seeding import seed_for
from clipsonic.specs import MelSpec
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.adversary import Adversary, Game
from clipsonic.train.engine.config import require
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Course, Held, Lesson, Losses, Shown
from clipsonic.train.lessons.configs import VocoderConfig
from clipsonic.train.lessons.discriminators import wave_judges
from clipsonic.train.lessons.vocoder_loss import RESOLUTIONS, mel_loss, spectral_loss
from clipsonic.train.lessons.vocoder_measure import Yardstick, measure_vocoder
from clipsonic.train.streams.waves import open_waves

NUM_SHOWN = 2
"""Held-out sounds of each origin that are shown."""
_SHOWN_S = 4.0
_JUDGED_RMS = 0.1
_SMALLEST_RMS = 1e-3


def course(config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None) -> Course:
    """A vocoder, new or of the folder `init`, and the sounds of `sources`.

    Raises:
        UsageError: no sounds, or an `init` that is no vocoder of ours.
        SpecError: an `init` of another mel space, or an impossible one.
        CorpusError, CheckpointError: what is given is damaged or does not fit.
    """
    spec = MelSpec.of(config.segment)
    check_crops(config, spec)
    vocoder = new_vocoder(config, spec) if init is None else vocoder_from(init, spec, config.vocoder)
    waves = open_waves(config, sources)
    lesson = VocoderLesson(config, vocoder, waves.sounds, begun_with=init)
    summary = {**waves.stream.report, "notes": waves.notes}
    return Course(lesson, waves.stream, waves.held_out, waves.notes, summary, init)


class VocoderLesson(Lesson):
    """A vocoder in training.

    Args:
        config: the run.
        vocoder: what learns.
        sounds: held-out sounds by origin, (T,) int16, that it is measured on.
        begun_with: the folder that its weights are from, if they are.
    """

    def __init__(
        self,
        config: TrainConfig,
        vocoder: Vocos,
        sounds: dict[str, list[np.ndarray]],
        begun_with: str | None = None,
    ) -> None:
        super().__init__()
        self.config, self.vocoder, self.sounds, self.begun_with = config, vocoder, sounds, begun_with
        self.log_mel = LogMel(vocoder.spec)
        self._yardsticks: dict[str, Yardstick] = {}
        if config.adversary.weight > 0.0:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed_for(config.run.seed, "vocoder.judges"))
                judges = wave_judges(config.adversary.width)
            self.adversary = Adversary(judges, config.adversary, vocoder.bins_out.weight)

    @property
    def learner(self) -> Vocos:
        """The vocoder."""
        return self.vocoder

    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """Distance of magnitudes and of log-mels, and in training what an adversary asks that has joined."""
        true_BT = batch["wave"]
        true_BMF = self.log_mel(true_BT)
        made_BT = self.vocoder.wave(true_BMF)
        spectral_B = spectral_loss(made_BT, true_BT)
        mel_B = mel_loss(self.log_mel, made_BT, true_BMF)
        loss_B, ones_B = spectral_B + self.config.vocoder.mel_weight * mel_B, torch.ones_like(mel_B)
        logged = {"loss_spectral": (spectral_B, ones_B), "loss_mel": (mel_B, ones_B)}
        if self.adversary is None:
            return Losses(loss_B, logged)
        if not self.training or not self.adversary.plays:
            return Losses(loss_B, {**logged, **self.adversary.no_toll(loss_B).logged})
        game = self._game(true_BT, made_BT, draws)
        toll = self.adversary.toll(game, loss_B)
        return Losses(loss_B + toll.per_item, {**logged, **toll.logged}, game)

    def _game(self, true_BT: Tensor, made_BT: Tensor, draws: Draws) -> Game:
        """The same window of each pair, both scaled to the true one's level, so that quiet sounds are judged too."""
        length = true_BT.shape[1]
        if (columns := self.config.vocoder.judged_columns) is not None:
            length = min(length, self.vocoder.spec.num_samples(columns))
        start_B = (draws.uniform() * (true_BT.shape[1] - length + 1)).long()
        place_BL = start_B[:, None] + torch.arange(length, device=start_B.device)
        true_BL, made_BL = true_BT.gather(1, place_BL), made_BT.gather(1, place_BL)
        level_B1 = true_BL.square().mean(dim=1, keepdim=True).sqrt().clamp_min(_SMALLEST_RMS) / _JUDGED_RMS
        return Game(true_BL / level_B1, made_BL / level_B1)

    def identity(self) -> dict[str, Any]:
        """What makes a vocoder of this kind, and its judges."""
        width = self.config.adversary.width if self.adversary is not None else 0
        return {"vocoder": facts_of(self.vocoder), "judges": width}

    def figures(self, held: Held) -> dict[str, float]:
        """Distances of log-mels and of spectra on whole held-out sounds, beside Griffin-Lim's and the floor."""
        figures: dict[str, float] = {}
        for name in self.sounds:
            yardstick = self._yardstick(name)
            own, _ = yardstick.figures(self._on_cpu)
            figures |= {f"{name}/{key}": value for key, value in {**own, **yardstick.others}.items()}
        return figures

    def show(self, held: Held) -> Iterator[Shown]:
        """Held-out sounds through the vocoder."""
        for name, wave_1T in self._shown():
            yield self._picture(f"made/{name}", self._on_cpu(self._log_mel_of(wave_1T)))

    def truth(self, batches: Sequence[Batch]) -> Iterator[Shown]:
        """The sounds themselves, and through Griffin-Lim."""
        griffin_lim = GriffinLim(self.vocoder.spec)
        for name, wave_1T in self._shown():
            yield self._picture(f"truth/{name}", wave_1T)
            yield self._picture(f"griffin_lim/{name}", griffin_lim(self._log_mel_of(wave_1T)))

    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """The vocoder folder in float16, and its card with figures of the weights as they were saved."""
        self.vocoder.cpu().load_state_dict(weights)
        self.vocoder.eval().half().save_pretrained(out)  # type: ignore[no-untyped-call]
        saved = load_own(out)
        figures = {name: measure_vocoder(saved, sounds) for name, sounds in self.sounds.items()}
        write_whole(out / "card.md", self._card(figures, told))
        return {
            "figures": figures,
            "next": f'clipsonic generate --model PIPELINE --vocoder {out} --text "a small glass bell" --out bell.wav',
        }

    def _yardstick(self, name: str) -> Yardstick:
        if name not in self._yardsticks:
            self._yardsticks[name] = Yardstick(self.vocoder.spec, self.sounds[name])
        return self._yardsticks[name]

    def _on_cpu(self, log_mel_BMF: Tensor) -> Tensor:
        """The vocoder's waves of mels that lie on the CPU, there again."""
        made: Tensor = self.vocoder(log_mel_BMF.to(self.vocoder.device)).cpu()
        return made

    def _log_mel_of(self, wave_1T: Tensor) -> Tensor:
        mel: Tensor = LogMel(self.vocoder.spec)(wave_1T)
        return mel

    def _shown(self) -> Iterable[tuple[str, Tensor]]:
        longest = round(_SHOWN_S * self.vocoder.spec.sample_rate_hz)
        for name in self.sounds:
            for number, wave_1T in enumerate(self._yardstick(name).waves[:NUM_SHOWN]):
                yield f"{name}/{number}", wave_1T[:, :longest]

    def _picture(self, name: str, wave_1T: Tensor) -> Shown:
        spec = self.vocoder.spec
        png = spectrogram_png(self._log_mel_of(wave_1T)[0].numpy(), spec)
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        return Shown(name, pixels, wave_1T[0].numpy(), spec.sample_rate_hz)

    def _card(self, figures: dict[str, dict[str, float]], told: dict[str, Any]) -> str:
        config, spec = self.config, self.vocoder.spec
        count = sum(weights.numel() for weights in self.vocoder.parameters())
        header, names = " | ".join(figures), sorted({name for one in figures.values() for name in one})
        rows = "\n".join(f"| {name} | {' | '.join(f'{one[name]:.2f}' for one in figures.values())} |" for name in names)
        begun = f"Trained on from `{Path(self.begun_with).name}`" if self.begun_with else "Trained from random weights"
        crop_s = spec.num_samples(config.segment.num_mel_frames) / spec.sample_rate_hz
        judges = " against judges of periods and of spectrograms" if self.adversary is not None else ""
        effort = (
            f"{told['steps']} steps of {config.optim.batch_size} crops of {crop_s:g} s in {told['minutes']:.0f} minutes"
        )
        return f"""# A neural vocoder

Mel space: {describe(spec)}.
{count / 1e6:.1f} M weights in float16: ConvNeXt blocks and an inverse STFT (after Vocos, arXiv 2306.00814).
{begun} on the sounds of {" and ".join(figures)}{judges}:
{effort}. Licence: Apache-2.0.

Measured on sounds held out by source:

| figure | {header} |
|---|{"---|" * len(figures)}
{rows}

`mel_db`: mean distance of log-mels. `lsd_db`: log-spectral distance; `lsd_db_floor` is that of the mel's own magnitudes
with the true phases, which no vocoder is asked to beat.
"""


def check_crops(config: TrainConfig, spec: MelSpec) -> None:
    """Refuse crops shorter than the longest transform of the loss.

    Raises:
        UsageError: with the least number of columns.
    """
    longest = max(n_fft for n_fft, _ in RESOLUTIONS)
    judged = config.vocoder.judged_columns or config.segment.num_mel_frames
    for name, columns in (
        ("segment.num_mel_frames", config.segment.num_mel_frames),
        ("vocoder.judged_columns", judged),
    ):
        enough = spec.num_samples(columns) >= longest
        require(enough, name, columns, f"at least {spec.enough_mel_frames(longest)} for a vocoder")


def new_vocoder(config: TrainConfig, spec: MelSpec) -> Vocos:
    """An untrained one, its weights drawn from the seed."""
    how = config.vocoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.run.seed, "vocoder.weights"))
        vocoder: Vocos = Vocos(
            width=how.width,
            hidden=3 * how.width,
            depth=how.depth,
            rounds=how.rounds,
            relaxation=how.relaxation,
            **dataclasses.asdict(spec),
        )
        return vocoder


def vocoder_from(folder: str, spec: MelSpec, how: VocoderConfig) -> Vocos:
    """The vocoder in this folder, in float32, to be trained on; its size stays, its rounds are those of `how`.

    Raises:
        UsageError: there is none, or it is a published one.
        SpecError: it is of another mel space.
        CheckpointError: it is damaged.
    """
    saved = load_vocoder(find_vocoder(folder))
    if not isinstance(saved, Vocos):
        raise UsageError(f"--init {folder} is a published vocoder: give one that clipsonic train --config vocoder left")
    if saved.spec != spec:
        theirs, ours = saved.spec.difference(spec)
        raise SpecError(f"--init {folder} is a vocoder of {theirs}, the run's segment has {ours}: give the same")
    vocoder: Vocos = Vocos(**{**facts_of(saved), "rounds": how.rounds, "relaxation": how.relaxation})
    vocoder.load_state_dict(saved.float().state_dict())
    return vocoder.requires_grad_(True)


def facts_of(vocoder: Vocos) -> dict[str, Any]:
    """What makes a vocoder of this kind."""
    return {name: value for name, value in dict(vocoder.config).items() if not name.startswith("_")}
