"""What goes along with a denoiser in its pipeline: CLIP, text prior, picture bank, ear and vocoder, each loaded when
needed.

Guarantee: a part of another CLIP or mel space is refused with both sides named; what was given wins over what lies in
the pipeline's folder, that over what is bundled. What is remembered is the very tensor that was made the first time,
and what is stored for a key never depends on what else was asked with it: so it equals a new one bit for bit. Price:
the first use of a part takes as long as its loading; the last `SIZE` answers stay in memory (a few kB each), and the
bytes of a picture are hashed, about 1 ms per megabyte.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch

import clipsonic.pipeline.folder as saved
from clipsonic.audio.load import find_vocoder, load_vocoder
from clipsonic.audio.published import PublishedVocoder
from clipsonic.audio.vocoder import GriffinLim, Vocoder
from clipsonic.audio.vocos import Vocos
from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.ear.tower import Ear
from clipsonic.errors import SpecError, UsageError
from clipsonic.prior.adapter import TextPrior, read_facts
from clipsonic.prior.bank import EmbedBank
from clipsonic.prior.closer_names import CHOICES, unknown
from clipsonic.prior.closers import automatic, why_not
from clipsonic.prior.core import Spoken
from clipsonic.specs import SegmentSpec

SIZE = 256
"""Answers that are remembered."""

SOUND_CLOSERS = ("zero-shot", "neighbours")
"""From a sound to a picture. Of 200 held-out scenes, what was made like the true sound was of its kind 91.5 % of the
time by the first, 96 % by the second, 95.5 % from the true picture itself."""

V = TypeVar("V")


class Parts:
    """The parts of one pipeline.

    Args:
        spec: geometry and CLIP space of what the pipeline makes.
        clip_name: where the CLIP is when the folder has none.
    """

    def __init__(self, spec: SegmentSpec, clip_name: str) -> None:
        self.spec, self.clip_name = spec, clip_name
        self.home: Path | None = None
        self.device = torch.device("cpu")
        self.memory = Memory()
        self._clip: ClipEmbedder | None = None
        self._prior: TextPrior | None = None
        self._bank: EmbedBank | None = None
        self._ear: Ear | None = None
        self._vocoder: Vocoder | None = None

    def of(self, home: Path | None, device: torch.device) -> Self:
        """Themselves, to be loaded from this folder to this device from now on."""
        self.home, self.device = home, device
        return self

    @property
    def vocoder(self) -> Vocoder:
        """Log-mel to wave: the one in the pipeline's folder, else the bundled one of its mel space, else Griffin-Lim.

        Another one of the same mel space may be assigned.
        """
        if self._vocoder is None:
            folder = self.part("vocoder")
            self.vocoder = GriffinLim(self.spec.mel) if folder is None else load_vocoder(folder)
        assert self._vocoder is not None
        return self._vocoder

    @vocoder.setter
    def vocoder(self, vocoder: Vocoder) -> None:
        if vocoder.spec != self.spec.mel:
            its, ours = vocoder.spec.difference(self.spec.mel)
            raise SpecError(
                f"the vocoder is for mels with {its}, the pipeline makes mels with {ours}: take a vocoder for those, "
                "or train a pipeline with the overlay of the vocoder's family"
            )
        if isinstance(vocoder, torch.nn.Module):
            vocoder.to(self.device)
        self._vocoder = vocoder

    def set_vocoder(self, name: str | Path) -> None:
        """Use `griffin-lim`, or the vocoder in this folder or of this hub id, ours or a published one.

        Raises:
            UsageError: no such folder, or a package that it needs is not installed.
            CheckpointError: a folder that is damaged, of an unknown kind, or cannot be downloaded.
            SpecError: a vocoder of another mel space.
        """
        if name == "griffin-lim":
            self.vocoder = GriffinLim(self.spec.mel)
        else:
            self.vocoder = load_vocoder(find_vocoder(name))

    @property
    def clip(self) -> ClipEmbedder:
        """The CLIP, loaded on first use from the pipeline's folder or by its name."""
        if self._clip is None:
            from clipsonic.clip.open_clip import load_clip

            self.set_clip(load_clip(self.part("clip") or self.clip_name, self.device))
        assert self._clip is not None
        return self._clip

    def set_clip(self, clip: ClipEmbedder) -> None:
        """Use this CLIP.

        Raises:
            FingerprintError: it is another one than the model was trained with.
        """
        saved.check_fingerprint("CLIP", clip.fingerprint, self.spec)
        self._clip = clip

    @property
    def prior(self) -> TextPrior | None:
        """The text prior, loaded on first use from the pipeline's folder; None where there is none."""
        folder = self.part("prior")
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
        saved.check_fingerprint("text prior", facts.fingerprint, self.spec)
        self._prior = TextPrior.from_folder(prior, self.device) if isinstance(prior, str | Path) else prior

    @property
    def bank(self) -> EmbedBank | None:
        """Picture embeddings of the corpus, loaded on first use from the pipeline's folder; None if there are none."""
        folder = self.part("bank")
        if self._bank is None and folder is not None:
            self.set_bank(EmbedBank.from_folder(folder))
        return self._bank

    def set_bank(self, bank: EmbedBank) -> None:
        """Use these picture embeddings.

        Raises:
            FingerprintError: they are of another CLIP.
        """
        saved.check_fingerprint("bank", bank.fingerprint, self.spec)
        self._bank = bank

    @property
    def ear(self) -> Ear | None:
        """From sounds to the CLIP space, loaded on first use from the pipeline's folder, or the bundled one of its
        CLIP; None if there is none."""
        folder = self.part("ear")
        if self._ear is None and folder is not None:
            self.set_ear(folder)
        return self._ear

    @property
    def listening(self) -> Ear:
        """The ear.

        Raises:
            UsageError: there is none.
        """
        if self.ear is None:
            raise UsageError(
                f"the pipeline has no ear for the CLIP space {self.spec.fingerprint}, so it hears no sound: train one "
                "by clipsonic train --config ear, and give its folder"
            )
        return self.ear

    def set_ear(self, ear: Ear | str | Path) -> None:
        """Use this ear, or the one in this folder.

        Raises:
            FingerprintError: it answers in another CLIP's space.
            CheckpointError: a folder that is damaged or holds no ear.
        """
        given: Any = Ear.load(Path(ear)) if isinstance(ear, str | Path) else ear
        saved.check_fingerprint("ear", given.space, self.spec)
        self._ear = given.to(self.device)

    def sound_closer(self, name: str, has_text: bool = False) -> str:
        """How the gap between a sound and pictures is closed: by the bank's pictures, or not at all.

        Args:
            has_text: whether there is a text too, whose closer this may be.

        Raises:
            UsageError: an unknown closer, or one that is for texts where there is none.
        """
        if name not in CHOICES:
            raise UsageError(unknown(name))
        if name == "auto" or (has_text and name not in SOUND_CLOSERS):
            return "zero-shot" if self.bank is None else "neighbours"
        if name not in SOUND_CLOSERS:
            raise UsageError(f"closer {name} is for texts: a sound takes {' or '.join(SOUND_CLOSERS)}, or auto")
        return name

    def load(self, kind: str, closer: str = "auto") -> None:
        """Load now what prompts of this kind (text, image, video, frames, audio, embeds) need: the first sound waits
        for less.

        Raises:
            UsageError: an unknown closer.
            CheckpointError, FingerprintError, SpecError: a part that is damaged or of another space.
        """
        assert self.vocoder is not None
        if kind == "audio":
            assert self.listening is not None
        elif kind != "embeds":
            assert self.clip is not None
        if kind == "text":
            self.closing(self.closer_name(closer))

    def why_no_closer(self, name: str) -> str | None:
        """Why this pipeline cannot close the gap that way, as a sentence, or None."""
        return why_not(name, *self.closing(name))

    def closing(self, closer: str) -> tuple[TextPrior | None, EmbedBank | None]:
        """The prior and the bank, each loaded only for the closers that need it."""
        prior = self.prior if closer in ("prior", "mean-shift") else None
        return prior, self.bank if closer in ("neighbours", "mean-shift") else None

    def encodings(self, closer: str, captions: Sequence[str]) -> Spoken | None:
        """What the prior must know of captions beyond their embeddings; None where that is all it needs."""
        prior = self.prior if closer == "prior" else None
        return prior.encodings_of(self.clip, captions) if isinstance(prior, TextPrior) else None

    def closer_name(self, name: str) -> str:
        """The closer that a word stands for: itself, or what `auto` means here.

        Raises:
            UsageError: an unknown closer.
        """
        if name not in CHOICES:
            raise UsageError(unknown(name))
        has_prior = self._prior is not None or self.part("prior") is not None
        has_bank = self._bank is not None or self.part("bank") is not None
        return name if name != "auto" else automatic(has_prior, has_bank)

    def save(self, folder: Path) -> None:
        """Write or copy every part there is; a published CLIP stays a name in the config, of others it is said."""
        for name in ("clip", "prior", "bank", "ear", "vocoder"):
            given, source = getattr(self, f"_{name}"), self.part(name)
            if isinstance(given, Vocos | PublishedVocoder | Ear):
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

    def move(self, device: torch.device) -> None:
        """Move those that are loaded."""
        vocoder = self._vocoder if isinstance(self._vocoder, torch.nn.Module) else None
        parts: tuple[Any, ...] = (self._clip, self._prior, self._ear, vocoder)
        for part in parts:
            if part is not None:
                part.to(device)

    def _comes_back(self, name: str, given: Any) -> bool:
        """Whether a part that is not written is there again without it: by its name, or as what is used without any."""
        return self._is_published(name) or (isinstance(given, GriffinLim) and self.part(name) is None)

    def _is_published(self, name: str) -> bool:
        """Whether this part is a CLIP that has a name everywhere, ARCH:WEIGHTS."""
        return name == "clip" and ":" in self.clip_name

    def part(self, name: str) -> Path | None:
        """Where a part lies: in the pipeline's folder, else as a CLIP named by its folder, else bundled."""
        if self.home is not None and (self.home / name).is_dir():
            return self.home / name
        if name == "vocoder":
            return saved.vocoder_of_space(self.spec.mel)
        if name == "bank":  # it belongs to the corpus that the denoiser has heard
            return None
        return saved.part_of_space(name, self.spec, self.clip_name)


class Memory:
    """The last `size` answers, the least recently used one forgotten first; may be asked by several threads."""

    def __init__(self, size: int = SIZE) -> None:
        self._size, self._lock = size, threading.Lock()
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()

    def __reduce__(self) -> tuple[type[Memory], tuple[int]]:
        """A copy of a pipeline begins with an empty one."""
        return Memory, (self._size,)

    def __len__(self) -> int:
        return len(self._answers)

    def recall(self, key: Hashable, make: Callable[[], V]) -> V:
        """The answer to this key, made now if it is not known; callers must not write to it."""
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                known: V = self._answers[key]
                return known
        answer = make()
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > self._size:
                self._answers.popitem(last=False)
        return answer


def content_of(pictures: Sequence[Any]) -> bytes:
    """A digest of some pictures, arrays or PIL, in order: their shapes, types and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for picture in pictures:
        values = np.ascontiguousarray(picture)
        mode = getattr(picture, "mode", "")  # of PIL: the same bytes mean other colours in another mode
        digest.update(f"{mode} {values.dtype} {values.shape}".encode())
        digest.update(values.data)
    return digest.digest()
