"""What goes along with a denoiser in its pipeline: CLIP, text prior, picture bank and vocoder, each loaded when needed.

Guarantee: a part of another CLIP or mel space is refused with both sides named; what was given wins over what lies in
the pipeline's folder, that over what is bundled. Price: the first use of a part takes as long as its loading.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clipsonic.audio.load import find_vocoder, load_vocoder
from clipsonic.audio.published import PublishedVocoder
from clipsonic.audio.vocoder import GriffinLim, Vocoder
from clipsonic.audio.vocos import Vocos
from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.errors import SpecError, UsageError
from clipsonic.pipeline import folder as saved
from clipsonic.pipeline.origin import WithOrigin
from clipsonic.prior.adapter import TextPrior
from clipsonic.prior.bank import EmbedBank
from clipsonic.prior.closer_names import CHOICES, unknown
from clipsonic.prior.closers import automatic, why_not
from clipsonic.prior.config import read_facts
from clipsonic.prior.core import Spoken
from clipsonic.specs import SegmentSpec


class WithParts(WithOrigin):
    """The parts of a pipeline, for a class that has `config`, `segment` and `_execution_device` of its own."""

    _execution_device: torch.device
    _clip: ClipEmbedder | None = None
    _prior: TextPrior | None = None
    _bank: EmbedBank | None = None
    _vocoder: Vocoder | None = None

    @property
    def segment(self) -> SegmentSpec:
        """Geometry and CLIP space of what the pipeline makes; the pipeline says which."""
        raise NotImplementedError

    @property
    def vocoder(self) -> Vocoder:
        """Log-mel to wave: the one in the pipeline's folder, else the bundled one of its mel space, else Griffin-Lim.

        Another one of the same mel space may be assigned.
        """
        if self._vocoder is None:
            folder = self._part("vocoder")
            self.vocoder = GriffinLim(self.segment.mel) if folder is None else load_vocoder(folder)
        assert self._vocoder is not None
        return self._vocoder

    @vocoder.setter
    def vocoder(self, vocoder: Vocoder) -> None:
        if vocoder.spec != self.segment.mel:
            its, ours = vocoder.spec.difference(self.segment.mel)
            raise SpecError(
                f"the vocoder is for mels with {its}, the pipeline makes mels with {ours}: take a vocoder for those, "
                "or train a pipeline with the overlay of the vocoder's family"
            )
        if isinstance(vocoder, torch.nn.Module):
            vocoder.to(self._execution_device)
        self._vocoder = vocoder

    def set_vocoder(self, name: str | Path) -> None:
        """Use `griffin-lim`, or the vocoder in this folder or of this hub id, ours or a published one.

        Raises:
            UsageError: no such folder, or a package that it needs is not installed.
            CheckpointError: a folder that is damaged, of an unknown kind, or cannot be downloaded.
            SpecError: a vocoder of another mel space.
        """
        if name == "griffin-lim":
            self.vocoder = GriffinLim(self.segment.mel)
        else:
            self.vocoder = load_vocoder(find_vocoder(name))

    @property
    def clip(self) -> ClipEmbedder:
        """The CLIP, loaded on first use from the pipeline's folder or by its name."""
        if self._clip is None:
            from clipsonic.clip.open_clip import load_clip

            self.set_clip(load_clip(self._part("clip") or self.config["clip_name"], self._execution_device))
        assert self._clip is not None
        return self._clip

    def set_clip(self, clip: ClipEmbedder) -> None:
        """Use this CLIP.

        Raises:
            FingerprintError: it is another one than the model was trained with.
        """
        saved.check_fingerprint("CLIP", clip.fingerprint, self.segment)
        self._clip = clip

    @property
    def prior(self) -> TextPrior | None:
        """The text prior, loaded on first use from the pipeline's folder; None where there is none."""
        folder = self._part("prior")
        if self._prior is None and folder is not None:
            self.set_prior(folder)
        return self._prior

    def set_prior(self, prior: TextPrior | str | Path) -> None:
        """Use this text prior, or the one in this folder.

        Raises:
            FingerprintError: it belongs to another CLIP; of a folder this is said before its weights are read.
            CheckpointError: a folder that is damaged, or is a publisher's own.
        """
        facts = read_facts(Path(prior)) if isinstance(prior, str | Path) else prior
        saved.check_fingerprint("text prior", facts.fingerprint, self.segment)
        self._prior = TextPrior.from_folder(prior, self._execution_device) if isinstance(prior, str | Path) else prior

    @property
    def bank(self) -> EmbedBank | None:
        """Picture embeddings of the corpus, loaded on first use from the pipeline's folder; None if there are none."""
        folder = self._part("bank")
        if self._bank is None and folder is not None:
            self.set_bank(EmbedBank.from_folder(folder))
        return self._bank

    def set_bank(self, bank: EmbedBank) -> None:
        """Use these picture embeddings.

        Raises:
            FingerprintError: they are of another CLIP.
        """
        saved.check_fingerprint("bank", bank.fingerprint, self.segment)
        self._bank = bank

    def load_parts(self, kind: str, closer: str = "auto") -> None:
        """Load now what prompts of this kind (text, image, video, frames, embeds) need: the first sound waits for less.

        Raises:
            UsageError: an unknown closer.
            CheckpointError, FingerprintError, SpecError: a part that is damaged or of another space.
        """
        assert self.vocoder is not None
        if kind != "embeds":
            assert self.clip is not None
        if kind == "text":
            self._closing_parts(self._closer_name(closer))

    def why_no_closer(self, name: str) -> str | None:
        """Why this pipeline cannot close the gap that way, as a sentence, or None."""
        return why_not(name, *self._closing_parts(name))

    def _closing_parts(self, closer: str) -> tuple[TextPrior | None, EmbedBank | None]:
        """The prior and the bank, each loaded only for the closers that need it."""
        prior = self.prior if closer in ("prior", "mean-shift") else None
        return prior, self.bank if closer in ("neighbours", "mean-shift") else None

    def _encodings(self, closer: str, captions: Sequence[str]) -> Spoken | None:
        """What the prior must know of captions beyond their embeddings; None where that is all it needs."""
        prior = self.prior if closer == "prior" else None
        return prior.encodings_of(self.clip, captions) if isinstance(prior, TextPrior) else None

    def _closer_name(self, name: str) -> str:
        if name not in CHOICES:
            raise UsageError(unknown(name))
        has_prior = self._prior is not None or self._part("prior") is not None
        has_bank = self._bank is not None or self._part("bank") is not None
        return name if name != "auto" else automatic(has_prior, has_bank)

    def _save_parts(self, folder: Path) -> None:
        """Write or copy every part there is; a published CLIP stays a name in the config, of others it is said."""
        for name in ("clip", "prior", "bank", "vocoder"):
            given, source = getattr(self, f"_{name}"), self._part(name)
            if isinstance(given, Vocos | PublishedVocoder):
                given.save_pretrained(folder / name)
            elif isinstance(given, TextPrior | ClipEmbedder | EmbedBank) and not self._is_published(name):
                given.save(folder / name)
            elif given is None and source is not None:
                shutil.copytree(source, folder / name)
            elif given is not None and not self._comes_back(name, given):
                warnings.warn(
                    f"the {name} is not saved, a {type(given).__name__} has no folder of its own: "
                    "give it again to the pipeline that is loaded",
                    stacklevel=3,
                )

    def _move_parts(self, device: torch.device) -> None:
        """Move those that are loaded."""
        vocoder = self._vocoder if isinstance(self._vocoder, torch.nn.Module) else None
        for part in (self._clip, self._prior, vocoder):
            if part is not None:
                part.to(device)

    def _comes_back(self, name: str, given: Any) -> bool:
        """Whether a part that is not written is there again without it: by its name, or as what is used without any."""
        return self._is_published(name) or (isinstance(given, GriffinLim) and self._part(name) is None)

    def _is_published(self, name: str) -> bool:
        """Whether this part is a CLIP that has a name everywhere, ARCH:WEIGHTS."""
        return name == "clip" and ":" in self.config["clip_name"]

    def _part(self, name: str) -> Path | None:
        """Where a part lies: in the pipeline's folder, else as a CLIP named by its folder, else bundled."""
        if self._home is not None and (self._home / name).is_dir():
            return self._home / name
        if name == "vocoder":
            return saved.vocoder_of_space(self.segment.mel)
        if name == "bank":  # it belongs to the corpus that the denoiser has heard
            return None
        return saved.part_of_space(name, self.segment, self.config["clip_name"])
