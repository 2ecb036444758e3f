"""The lesson `ear`: a sound to the CLIP embedding of its own frames, and away from those of other records.

    loss = contrast of sounds and frames (InfoNCE, both ways) + near_weight * (1 - cosine to an own frame)

No caption and no label is read. Guarantee: several processes contrast all rows of a batch with each other, so they
learn what one would; frames that are nearly equal are never called wrong; figures are those of held-out videos. Price:
about 9 ms of a core per sound of four seconds and step at the size of the preset.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipsonic.audio.mel import LogMel
from clipsonic.ear.tower import LEAST_S, Ear, facts_of
from clipsonic.errors import SpecError, UsageError
from clipsonic.files import write_whole
from clipsonic.seeding import seed_for
from clipsonic.shards.crops import as_float
from clipsonic.specs import MelSpec, SegmentSpec
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Course, Held, Lesson, Losses, Shown
from clipsonic.train.engine.norm import over_processes
from clipsonic.train.lessons.contrast import Weighing, of_all, sounds_and_frames
from clipsonic.train.lessons.figures_of_sound import picture_of
from clipsonic.train.streams.records import data_of

NUM_JUDGED = 200
"""Held-out records among which a sound's own frame is looked for."""
NUM_SHOWN = 3


class EarLesson(Lesson):
    """An ear in training.

    Args:
        config: the run.
        ear: what learns.
        held_out: batches for the figures of the card.
    """

    def __init__(self, config: TrainConfig, ear: Ear, held_out: list[Batch]) -> None:
        super().__init__()
        self.config, self.ear, self._held_out = config, ear, held_out
        over_processes(ear)

    @property
    def learner(self) -> Ear:
        """The ear."""
        return self.ear

    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """Contrast and distance of each record; in training a part of its sound may be all that is heard."""
        how = self.config.ear
        frames_BKE = nn.functional.normalize(_drawn_frames(batch, how.num_frames, draws), dim=-1)
        sounds_BE = self.ear(self.ear.picture(as_float(batch["wave"])), self._seen(draws) if self.training else None)
        sounds_NE, frames_NKE = of_all(sounds_BE, draws), of_all(frames_BKE, draws)
        own_B = draws.rank * len(sounds_BE) + torch.arange(len(sounds_BE), device=sounds_BE.device)
        with torch.autocast(sounds_BE.device.type, enabled=False):
            weighing = Weighing(how.temperature, how.twins, how.hardness, how.doubt)
            contrast_B, first_B = sounds_and_frames(sounds_NE.float(), frames_NKE.float(), own_B, weighing)
            cosine_B = (sounds_BE.float()[:, None] * frames_BKE).sum(dim=-1).mean(dim=1)
        ones_B = torch.ones_like(cosine_B)
        logged = {"own_frame_first": (first_B, ones_B), "cosine": (cosine_B.detach(), ones_B)}
        return Losses(contrast_B + how.near_weight * (1.0 - cosine_B), logged)

    def _seen(self, draws: Draws) -> Tensor:
        """(B,), shares of the crops that are heard: half of them whole, the others from `LEAST_S` up."""
        whole_s = self.ear.spec.num_samples(self.ear.config["window_columns"]) / self.ear.spec.sample_rate_hz
        least = min(1.0, LEAST_S / whole_s)
        return (least + 2.0 * (1.0 - least) * draws.uniform()).clamp_max(1.0)

    def identity(self) -> dict[str, Any]:
        """What makes an ear of this kind, its CLIP space among it."""
        return {"ear": facts_of(self.ear)}

    def figures(self, held: Held) -> dict[str, float]:
        """How often a held-out sound's own frame comes first, and among the first five."""
        return {f"val_{name}": value for name, value in retrieval(self.ear, held.batches).items()}

    def show(self, held: Held) -> Iterable[Shown]:
        """Held-out sounds, and which place their own frames take among the held-out."""
        sounds_NE, frames_NE = judged(self.ear, held.batches)
        places = ranks(sounds_NE, frames_NE)
        batch, spec = held.batches[0], self.ear.spec
        for item in itertools.islice(range(len(batch["keys"])), NUM_SHOWN):
            wave_T = as_float(batch["wave"][item])
            text = f"{batch['keys'][item]}: its own frame is number {places[item] + 1} of {len(places)}"
            picture = picture_of(LogMel(spec)(wave_T[None])[0], spec)
            yield Shown(f"heard/{item}", picture, wave_T.numpy(), spec.sample_rate_hz, text)

    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """The ear's folder in float16, and its card with figures of the weights as they were saved."""
        ear = self.ear.cpu()
        ear.load_state_dict({**ear.state_dict(), **weights})
        ear.eval().half().save_pretrained(out)  # type: ignore[no-untyped-call]
        saved = Ear.load(out)
        figures = retrieval(saved, self._held_out)
        write_whole(out / "card.md", _card(saved, figures, told))
        return {"figures": figures, "fingerprint": saved.fingerprint, "next": f"its figures are in {out / 'card.md'}"}


def _drawn_frames(batch: Batch, count: int, draws: Draws) -> Tensor:
    """`count` frames (B, K, E) of each record, drawn from those of its crop."""
    num_B = batch["frame_mask"].sum(dim=1)
    shares_BK = torch.stack([draws.uniform() for _ in range(count)], dim=1)
    place_BK = (shares_BK * num_B[:, None]).long()
    frames_BSE: Tensor = batch["frames"]
    return frames_BSE.gather(1, place_BK[..., None].expand(-1, -1, frames_BSE.shape[2]))


@torch.no_grad()
def judged(ear: Ear, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    """Unit vectors (N, E) of at most `NUM_JUDGED` held-out sounds, and of the middle frame of each."""
    sounds, frames = [], []
    for batch in batches:
        sounds.append(ear(ear.picture(as_float(batch["wave"].to(ear.outer.weight.device)))).float().cpu())
        middle_B = batch["frame_mask"].sum(dim=1).cpu() // 2
        rows_B = torch.arange(len(middle_B))
        frames.append(nn.functional.normalize(batch["frames"].cpu()[rows_B, middle_B].float(), dim=-1))
    return torch.cat(sounds)[:NUM_JUDGED], torch.cat(frames)[:NUM_JUDGED]


def ranks(sounds_NE: Tensor, frames_NE: Tensor) -> np.ndarray:
    """For each sound, how many other frames are nearer to it than its own, (N,)."""
    cosines_NN = sounds_NE @ frames_NE.T
    return np.asarray((cosines_NN > cosines_NN.diagonal()[:, None]).sum(dim=1))


def retrieval(ear: Ear, batches: Iterable[Batch]) -> dict[str, float]:
    """Shares of held-out sounds whose own frame comes first and among five, and their number."""
    places = ranks(*judged(ear, batches))
    return {"first": float((places < 1).mean()), "in_five": float((places < 5).mean()), "judged": float(len(places))}


def _card(ear: Ear, figures: dict[str, float], told: dict[str, Any]) -> bytes:
    count = sum(weights.numel() for weights in ear.parameters())
    return f"""# An ear

{count / 1e6:.2f} M weights in float16: from a sound to the CLIP space `{ear.space}` of its frames.
Taught on {told["corpus"]["used"]} records of videos with sound, without a caption: {told["steps"]} steps in
{told["minutes"]:.0f} minutes. Licence: Apache-2.0.

Of {figures["judged"]:.0f} held-out sounds {figures["first"]:.1%} find their own frame first among as many, and
{figures["in_five"]:.1%} among the first five. Sounds that go with equal pictures cannot be told apart by this.
""".encode()


def course(config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None) -> Course:
    """An ear, new or of the folder `init`, and the corpora of `sources`.

    Raises:
        UsageError: no corpus, or a batch of one.
        SpecError: an `init` of another shape or CLIP space, or a segment below what an ear needs.
        CorpusError, FingerprintError, CheckpointError: what is given is damaged or does not fit.
    """
    if config.optim.batch_size < 2:
        raise UsageError(f"optim.batch_size {config.optim.batch_size} must be at least 2: records are told from others")
    data = data_of(config, sources)
    ear = new_ear(config, data.segment)
    if init is not None:
        begun = Ear.load(Path(init))
        if facts_of(begun) != facts_of(ear):
            raise SpecError(f"--init {init} is another kind of ear than the config's: give one of the same, or none")
        ear.load_state_dict(begun.state_dict())
    lesson = EarLesson(config, ear, data.val_batches)
    return Course(lesson, data.loader, data.val_batches, data.notes, data.summary(), init)


def new_ear(config: TrainConfig, segment: SegmentSpec) -> Ear:
    """An untrained one for the records' CLIP space, its weights drawn from the seed."""
    how, mel = config.ear, MelSpec.of(config.segment)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.run.seed, "ear.weights"))
        ear: Ear = Ear(
            embed_width=segment.embed_width,
            space=segment.fingerprint,
            window_columns=segment.num_mel_frames,
            channels=how.channels,
            depths=how.depths,
            hidden=how.hidden,
            half=config.data.half,
            **dataclasses.asdict(mel),
        )
        return ear
