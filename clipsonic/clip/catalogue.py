"""Where the pairs of tars lie: pictures with captions that are read one by one at their place, in any order.

Guarantee: a pair is read as `read_pairs` reads it, from any thread, and a tar that is no longer the file that was
catalogued is refused. Price: each tar is scanned once, headers and texts (0.1 ms per pair, pictures are skipped), then
32 bytes of memory per pair, and every word of the captions once.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from clipsonic.clip.pairs import (
    PICTURES,
    Pair,
    PairTable,
    content,
    find_tars,
    open_picture,
    pair_of,
    readable,
    samples,
)
from clipsonic.clip.vocabulary import words_of
from clipsonic.errors import CorpusError

_USED = (*PICTURES, "txt", "json")
_MAX_SAMPLE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Catalogue:
    """The usable pairs of some tars, in order of the sorted tars and their members.

    Args:
        tars: path of each, and its bytes and time of change.
        places: (N, 3) int64: the tar of each pair, and begin and length of the part of it that holds the pair.
        kinds: (N,) int64: its class by number, -1 where it has none.
        words: every word of the captions once.
        refused: samples without a picture or a caption.
        digest: names the pairs by their keys, texts and sizes, wherever the tars lie.
    """

    tars: list[tuple[Path, list[int]]]
    places: np.ndarray
    kinds: np.ndarray
    words: set[str]
    refused: int
    digest: str

    def __len__(self) -> int:
        return len(self.places)

    def read(self, row: int) -> Pair:
        """One pair, its picture not yet decoded.

        Raises:
            CorpusError: the tar is gone or has changed since it was catalogued.
        """
        tar, start, num_bytes = self.places[row].tolist()
        path, known = self.tars[tar]
        try:
            with path.open("rb") as file:
                same, data = _facts(os.fstat(file.fileno())) == known, os.pread(file.fileno(), num_bytes, start)
        except FileNotFoundError:
            same = False
        if not same:
            raise CorpusError(f"{path} is gone or has changed since this run began: give the same command again")
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:  # a part of a tar is a tar
            key, members = next(samples(archive))
            pair = pair_of(key, {extension: content(archive, member) for extension, member in members.items()})
        assert pair is not None, "catalogued without a picture or a caption"
        return pair

    def table(self, rows: Sequence[int] | np.ndarray, resized: Callable[[list[Image.Image]], np.ndarray]) -> PairTable:
        """Some pairs in memory, pictures resized; those whose picture cannot be decoded are left out and counted.

        Raises:
            CorpusError: a tar has changed, or none of the pictures can be decoded.
        """
        kept = []
        for row in rows:
            pair = self.read(int(row))
            image = open_picture(pair.picture)
            if image is not None:
                kept.append((resized([image])[0], pair.captions, pair.kind, pair.numbers))
        if not kept:
            raise CorpusError(
                f"none of {len(rows)} pictures, the first in {self.tars[0][0]}, can be decoded: bring others"
            )
        pictures, captions, kinds, numbers = (list(column) for column in zip(*kept, strict=True))
        return PairTable(np.stack(pictures), captions, kinds, numbers, len(rows) - len(kept))


def read_catalogue(sources: Sequence[str | Path]) -> Catalogue:
    """Scan tars, given one by one or as folders, with a progress bar.

    Raises:
        UsageError: a source is missing, or a folder holds no tar.
        CorpusError: a tar cannot be read, or there is not one usable pair.
    """
    tars = [(tar, _facts(tar.stat())) for tar in find_tars(sources)]
    rows, kinds, words, refused, digest = array("q"), dict[str, int](), set[str](), 0, hashlib.blake2b(digest_size=8)
    total = sum(num_bytes for _, (num_bytes, _) in tars)
    with tqdm(total=total, desc="reading pairs", unit="B", unit_scale=True, mininterval=0.5, file=sys.stderr) as bar:
        for number, start, num_bytes, pair in _scanned([tar for tar, _ in tars]):
            bar.update(num_bytes)
            if pair is None:
                refused += 1
                continue
            kind = -1 if pair.kind is None else kinds.setdefault(pair.kind, len(kinds))
            rows.extend((number, start, num_bytes, kind))
            words.update(word for caption in pair.captions for word in words_of(caption))
            digest.update(repr((pair.key, pair.captions, pair.kind, num_bytes)).encode())
    if not rows:
        raise CorpusError(f"no usable pair in {', '.join(map(str, sources))}: each needs a picture and a caption")
    table = np.frombuffer(rows, np.int64).reshape(-1, 4)
    return Catalogue(tars, table[:, :3], table[:, 3], words, refused, digest.hexdigest())


def _scanned(tars: Sequence[Path]) -> Iterator[tuple[int, int, int, Pair | None]]:
    """Number of the tar, begin, length, and the pair without its picture's content, of each sample; None is no pair."""
    for number, tar in enumerate(tars):
        with readable(tar), tarfile.open(tar, "r:") as archive:
            for key, members in samples(archive):
                used = {extension: members[extension] for extension in members if extension in _USED}
                start = min((member.offset for member in used.values()), default=0)
                end = max((member.offset_data + member.size for member in used.values()), default=0)
                length = -(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE - start
                texts = {name: b"" if name in PICTURES else content(archive, used[name]) for name in used}
                yield number, start, length, pair_of(key, texts) if length <= _MAX_SAMPLE_BYTES else None


def _facts(stat: os.stat_result) -> list[int]:
    """What tells that a file is still the same."""
    return [stat.st_size, stat.st_mtime_ns]
