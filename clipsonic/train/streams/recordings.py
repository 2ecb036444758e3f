"""A folder of recordings as records: pieces of a few crops' length, each read at its place inside its file.

Guarantee: a piece is a function of its file, whatever lies in memory, so the cache never changes a batch; memory holds
one piece per thread and what the cache's budget allows, however long a recording is; takes of one source are on one
side of the split. Price: every piece is decoded once at the start, to leave out silence, and again whenever it is
needed and the budget had no room for it (about 3 ms); a sound that goes across two pieces is never heard across them.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clipsonic.audio.wave import READABLE, audio_length, read_audio, resample
from clipsonic.errors import ClipsonicError, CorpusError, UsageError
from clipsonic.seeding import numpy_rng
from clipsonic.shards.crops import crop_wave
from clipsonic.shards.selection import Candidate, Split, one_side
from clipsonic.shards.shared import SharedArrays
from clipsonic.shards.stream import Stream

_CROPS_PER_PIECE = 4
_QUIETEST = 33
"""Peak of the quietest sound that is learned from, of 32768: -60 dB."""


class RecordingFolder:
    """The recordings of a folder, searched to the bottom, at one rate in mono.

    Args:
        folder: in any format that libsndfile reads.
        rate_hz: what they are resampled to.
        num_samples: the length of a crop.
        cache_mb: of this machine for decoded pieces, in MiB, shared by all processes that read this folder.

    Raises:
        UsageError: no such folder, or no recording in it.
        CorpusError: none is long enough and not silent.
    """

    def __init__(self, folder: Path, rate_hz: int, num_samples: int, cache_mb: float = 1024) -> None:
        if not folder.is_dir():
            raise UsageError(f"--recordings {folder} is not a folder: give one with recordings")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in READABLE and path.is_file())
        if not paths:
            raise UsageError(f"--recordings {folder} holds no recording: put {', '.join(sorted(READABLE))} files there")
        self.rate_hz, self.num_samples, self._folder = rate_hz, num_samples, folder
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._kept = SharedArrays((rate_hz, num_samples, [_state(path) for path in paths]), cache_mb)
        self.left_out = {"too_short": 0, "silent": 0, "unreadable": 0}
        self.pieces: list[Candidate] = []
        for path in tqdm(paths, desc="recordings", unit="file", file=sys.stderr, mininterval=0.5, leave=False):
            self._take(path)
        if not self.pieces:
            raise CorpusError(
                f"--recordings {folder} has no sound of {num_samples / rate_hz:g} s or more that is not silent "
                f"(files in all: {len(paths)}): bring longer ones"
            )

    def read(self, key: str) -> np.ndarray:
        """The sound of a piece, (T,) int16.

        Raises:
            ClipsonicError: its file can no longer be read.
        """
        kept = self._kept.get(key)
        return self._decode(*self._places[key]) if kept is None else kept[0]

    def _take(self, path: Path) -> None:
        """List the pieces of a recording, and count those that are left out."""
        try:
            length, rate_hz = audio_length(path)
            longest = max(1, _CROPS_PER_PIECE * self.num_samples * rate_hz // self.rate_hz)
            bounds = np.linspace(0, length, max(1, length // longest) + 1).astype(int).tolist()
            for number, (start, end) in enumerate(itertools.pairwise(bounds)):
                self._judge(f"{path.relative_to(self._folder).as_posix()}#{number}", path, start, end - start)
        except ClipsonicError:
            self.left_out["unreadable"] += 1

    def _judge(self, key: str, path: Path, start: int, count: int) -> None:
        sound = self._decode(path, start, count)
        if len(sound) < self.num_samples:
            self.left_out["too_short"] += 1
        elif np.abs(sound.astype(np.int32)).max() < _QUIETEST:
            self.left_out["silent"] += 1
        else:
            self._places[key] = path, start, count
            self.pieces.append(Candidate(key, "", source_of(path.stem), len(sound)))
            self._kept.keep(key, [sound])

    def _decode(self, path: Path, start: int, count: int) -> np.ndarray:
        wave = resample(*read_audio(path, start, count), self.rate_hz)
        return np.round(wave * 32767.0).clip(-32768, 32767).astype(np.int16)


class RecordingLoader:
    """One side of a folder of recordings as an endless stream of crops, each piece once per epoch.

    Args:
        folder: the recordings.
        seed: of order and crops.
        split: by source.
        random_crop: False takes the beginning of every piece.

    Raises:
        CorpusError: nothing is on this side.
    """

    def __init__(
        self, folder: RecordingFolder, seed: int, split: Split, val_share: float, random_crop: bool = True
    ) -> None:
        self._folder, self._seed, self._random_crop = folder, seed, random_crop
        self.records = one_side(folder.pieces, split, val_share)
        others = len(folder.pieces) - len(self.records)
        self.report: dict[str, Any] = {"used": len(self.records), "other_split": others, **folder.left_out}
        if not self.records:
            raise CorpusError(f"no recording is in split {split!r} of {len(folder.pieces)}: change data.val_share")
        self._stream = Stream(self.records, seed)

    @property
    def digest(self) -> str:
        """Names the pieces and their lengths."""
        lengths = " ".join(str(record.num_samples) for record in self.records)
        return hashlib.blake2b(f"{self._stream.digest} {lengths}".encode(), digest_size=8).hexdigest()

    def crop_at(self, place: int) -> tuple[str, np.ndarray]:
        """Key and crop (T,) float32 of the piece at a place of the stream."""
        record, epoch = self._stream.at(place)
        room, start = record.num_samples - self._folder.num_samples, 0
        if self._random_crop:
            start = int(numpy_rng(self._seed, "recordings.crop", epoch, record.key).integers(room + 1))
        return record.key, crop_wave(self._folder.read(record.key), start, self._folder.num_samples)

    def sound_of(self, record: Candidate) -> np.ndarray:
        """The whole sound (T,) int16 of one of `records`."""
        return self._folder.read(record.key)

    def handy_records(self) -> list[Candidate]:
        """All records."""
        return self.records


def _state(path: Path) -> tuple[str, int, int]:
    facts = path.stat()
    return str(path.absolute()), facts.st_size, facts.st_mtime_ns


def source_of(stem: str) -> str:
    """The recording that a file was cut from; ESC-50 names its takes FOLD-SOURCE-TAKE-CLASS."""
    parts = stem.rsplit("-", 2)
    is_take = len(parts) == 3 and len(parts[1]) == 1 and parts[1].isupper() and parts[2].isdigit()
    return parts[0] if is_take else stem
