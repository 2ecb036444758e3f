"""Records by name: read at their place inside the tars, and kept in memory as 16-bit sound while a budget lasts.

Guarantee: a record reads the same from memory and from disk, from any thread. Memory stays within the budget plus the
records in hand.
Price: the headers of a tar are scanned once, at its first record; without memory a record costs a seek, its read and
its decoding (FLAC, about 2 ms for 10 s of sound), so a corpus on a spinning or a remote disk wants the budget.
"""

from __future__ import annotations

import tarfile
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsonic.errors import CorpusError
from clipsonic.shards.record import decode_record

_NEEDED = ("flac", "frames.npy", "json")


class Stored(NamedTuple):
    """A decoded record: sound as int16, frames as float16, times in seconds from the record's start."""

    wave: np.ndarray
    frames: np.ndarray
    frame_times_s: np.ndarray

    @property
    def num_bytes(self) -> int:
        return self.wave.nbytes + self.frames.nbytes + self.frame_times_s.nbytes


class RecordStore:
    """The records of a corpus folder.

    Args:
        folder: the corpus.
        cache_mb: budget for decoded records kept in memory, in MiB; 0 keeps none.
    """

    def __init__(self, folder: Path, cache_mb: float = 1024) -> None:
        self.folder = folder
        self._budget = int(cache_mb * 2**20)
        self._kept: dict[str, Stored] = {}
        self._places: dict[str, dict[str, dict[str, tuple[int, int]]]] = {}
        self._lock = threading.Lock()

    def read(self, shard: str, key: str) -> Stored:
        """One record.

        Raises:
            CorpusError: the tar is missing or damaged, or does not hold it.
        """
        kept = self._kept.get(key)
        return kept if kept is not None else self._keep(key, self._decode(shard, key))

    def _keep(self, key: str, stored: Stored) -> Stored:
        with self._lock:
            if key not in self._kept and stored.num_bytes <= self._budget:
                self._budget -= stored.num_bytes
                self._kept[key] = stored
        return stored

    def _decode(self, shard: str, key: str) -> Stored:
        try:
            places = self._members(shard)[key]
            with (self.folder / shard).open("rb") as file:
                sample = {suffix: _read_at(file, *places[suffix]) for suffix in _NEEDED}
            record = decode_record({"__key__": key, **sample})
        except (KeyError, OSError, ValueError, tarfile.TarError) as error:
            raise CorpusError(
                f"record {key} of {self.folder / shard} cannot be read ({error}): the shard is damaged, ingest it again"
            ) from error
        wave = np.round(record.wave * 32768.0).clip(-32768, 32767).astype(np.int16)
        return Stored(wave, record.frames, np.asarray(record.facts["frame_times_s"], dtype=np.float32))

    def _members(self, shard: str) -> dict[str, dict[str, tuple[int, int]]]:
        with self._lock:
            if shard not in self._places:
                self._places[shard] = _scan(self.folder / shard)
            return self._places[shard]


def _scan(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Where each record's members lie: key -> suffix -> (offset, size). Names are split at their first dot."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            places.setdefault(key, {})[suffix] = (member.offset_data, member.size)
    return places


def _read_at(file, offset: int, size: int) -> bytes:  # type: ignore[no-untyped-def]
    file.seek(offset)
    data: bytes = file.read(size)
    if len(data) != size:
        raise OSError(f"{len(data)} of {size} bytes at {offset}")
    return data
