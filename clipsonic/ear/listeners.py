"""Who hears which video: of two ears that learned from a half each, always the one that has not seen it.

Guarantee: ears that do not make this possible are refused in one sentence, before anything is heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from clipsonic.ear.tower import Ear
from clipsonic.errors import FingerprintError, SpecError, UsageError
from clipsonic.shards.selection import half_of
from clipsonic.shards.writer import CorpusIndex

_MAKE = "train one with --data.half 0 and one with --data.half 1"


class Listeners:
    """Ears for videos that they have never seen.

    Args:
        folders: of two ears that learned from a half of the videos each; of one with `unseen`.
        unseen: the only ear has never seen any of the videos.
        device: where they listen.

    Raises:
        UsageError: not two halves, and not one ear that has never seen the videos.
        CheckpointError: see `Ear.load`.
    """

    def __init__(self, folders: Sequence[str | Path], *, unseen: bool = False, device: str = "cpu") -> None:
        if not 1 <= len(folders) <= 2:
            raise UsageError(f"--ear is given {len(folders)} times: {_MAKE}, and give these two")
        ears = [Ear.load(Path(folder)) for folder in folders]
        _check(folders, [ear.learned_half for ear in ears], unseen)
        order = sorted(range(len(ears)), key=lambda place: ears[place].learned_half or 0)
        self.ears = [ears[place].to(torch.device(device)) for place in order]
        self._folders = [folders[place] for place in order]

    @property
    def fingerprints(self) -> list[str]:
        """Of the ears, that of half 0 first."""
        return [ear.fingerprint for ear in self.ears]

    def number_of(self, source: str) -> int:
        """Which of the ears hears this video: of two, that of the other half."""
        return 1 - half_of(source) if len(self.ears) == 2 else 0

    def check_fit(self, index: CorpusIndex, name: object) -> None:
        """Refuse a corpus that these ears cannot hear.

        Raises:
            FingerprintError, SpecError: with both values.
        """
        for ear, folder in zip(self.ears, self._folders, strict=True):
            if ear.space != index.fingerprint:
                raise FingerprintError(
                    f"--ear {folder} answers in CLIP space {ear.space}, {name} is in {index.fingerprint}: train ears "
                    "on this corpus"
                )
            if ear.spec.sample_rate_hz != index.spec.sample_rate_hz:
                raise SpecError(
                    f"--ear {folder} hears at {ear.spec.sample_rate_hz} Hz, {name} is at "
                    f"{index.spec.sample_rate_hz} Hz: train ears on this corpus"
                )


def _check(folders: Sequence[str | Path], halves: Sequence[int | None], unseen: bool) -> None:
    if len(folders) == 1 and unseen:
        return
    if unseen:
        raise UsageError("--unseen is for one ear that has never seen these videos: give one --ear, or leave it out")
    for folder, half in zip(folders, halves, strict=True):
        if half is None:
            raise UsageError(
                f"--ear {folder} does not say which half of the videos it has learned from, so it may have seen these: "
                f"{_MAKE}, or give it alone with --unseen if it has never seen them"
            )
    if len(folders) == 1:
        raise UsageError(
            f"--ear {folders[0]} has learned from half {halves[0]} of the videos and may hear only the other: give an "
            f"ear of half {1 - int(halves[0] or 0)} too, or --unseen if it has never seen any of these"
        )
    if halves[0] == halves[1]:
        raise UsageError(f"--ear {folders[0]} and {folders[1]} have both learned from half {halves[0]}: {_MAKE}")
