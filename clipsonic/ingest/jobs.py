"""One thing to ingest: where its bytes lie, what it looked like when it was read, and a path at which they can be read.

Videos may lie inside of plain tars, as WebDataset and video2dataset lay them out: KEY.mp4, and KEY.txt, its caption.

Guarantee: a member's name is only ever a label: nothing is unpacked under it, and one that would lead out of a folder,
or names a command, is refused; links and devices are passed over. What a decoder reads is a nameless copy that is gone
with its process. A file of another length, or of another time and other bytes at its beginning, middle or end, has
changed; one that was only touched, moved or copied has not. What is not there now has not changed either: its records
stay.
Price: listing a tar reads headers and captions; a member is copied once, to the temporary folder; of a file one stat,
and three reads of 64 KB when it has been ingested, and when its time is another.

A stamp is "LENGTH TIME" of a file (or of a member of an archive, as its header says), or "LENGTH TAG" of what a store
lists; a web server is not asked, so what it changes is not noticed. Behind it, if it was read, stands a hash.
"""

from __future__ import annotations

import math
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

from clipsonic.files import is_remote, printable
from clipsonic.refusals import RefusalReason, RefusedError, refusal_of
from clipsonic.remote import opened, without_addresses

TAR_SUFFIX = ".tar"
_CAPTION_SUFFIX = ".txt"
_LONGEST_CAPTION = 10_000
_COPIED_AT_ONCE = 2**20
_OPEN_FILES = Path("/proc/self/fd")
_TRY_LATER = (408, 425, 429)
"""What a web server says when it is busy (RFC 9110, 6585, 8470); others below 500 are final."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SAMPLE_BYTES = 2**16


@dataclass(frozen=True)
class Part:
    """Where a member's bytes lie in its archive, its name there, and the time in its header."""

    offset: int
    size: int
    name: str
    time: float = 0.0


@dataclass(frozen=True)
class Job:
    """One thing to ingest: a file, or an interval of it.

    Args:
        path: where it is.
        source: its name in the corpus.
        source_id: hash of that name.
        entry_id: hash of name and interval; begins the keys of its records.
        start_s, end_s: the interval, None = to the file's own ends.
        caption: words about it, if the manifest had any.
        part: where it lies in `path`, if that is an archive.
        stamp: what it looked like when it was listed, see above; None = it was not there, or nobody can tell.
    """

    path: str
    source: str
    source_id: str
    entry_id: str
    start_s: float | None = None
    end_s: float | None = None
    caption: str | None = None
    part: Part | None = None
    stamp: str | None = None


def members_of(
    path: Path | str, suffixes: frozenset[str], pass_over: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Part, str | None]]:
    """The members with one of these suffixes, in their order, with their captions; of a file or of an address.

    `pass_over` is told the suffix of each other member that is no caption.

    An archive that ends early gives what comes before.

    Raises:
        tarfile.TarError: it is no plain tar.
        OSError: it cannot be read, from its beginning or somewhere within.
    """
    found, captions = [], {}
    with _bytes_of(str(path)) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        try:
            for info in archive:
                suffix = Path(info.name).suffix.lower()
                if info.isreg() and suffix in suffixes:
                    found.append(Part(info.offset_data, info.size, info.name, info.mtime))
                elif info.isreg() and suffix == _CAPTION_SUFFIX and info.size <= _LONGEST_CAPTION:
                    captions[_key_of(info.name)] = _text_of(archive, info)
                elif not info.isdir():
                    pass_over(printable(suffix))
        except tarfile.ReadError:
            pass  # cut off: the part in which it ends is refused when it is read
    for part in found:
        yield part, captions.get(_key_of(part.name)) or None


def _key_of(name: str) -> str:
    """WebDataset's: what comes before the first dot of the last part."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.partition('.')[0]}"


def _text_of(archive: tarfile.TarFile, info: tarfile.TarInfo) -> str:
    file = archive.extractfile(info)
    return "" if file is None else file.read().decode("utf-8", errors="replace").strip()


@contextmanager
def file_of(path: str, part: Part | None, most_bytes: float = math.inf) -> Iterator[str]:
    """A path at which a decoder can read the file, or the part of an archive, while the context lasts.

    Args:
        most_bytes: that may be copied for it; a file of this machine is read where it lies.

    Raises:
        RefusedError: unsafe_name, too_large, decode_error where the archive ends within the part or nothing is there,
            trouble where this machine, its network or the server does not give it now.
    """
    if part is None and not is_remote(path):
        yield path
        return
    if part is not None and leads_out(part.name):
        raise RefusedError(RefusalReason.UNSAFE_NAME, f"the archive calls it {part.name!r}")
    nameless = _OPEN_FILES.is_dir()  # it cannot be left behind by a process that is killed
    with tempfile.TemporaryFile() if nameless else tempfile.NamedTemporaryFile(prefix="clipsonic-") as copy:
        try:
            with _bytes_of(path) as source:
                if part is not None:
                    source.seek(part.offset)
                _copy(source, copy, None if part is None else part.size, most_bytes)
            copy.flush()
        except Exception as error:  # each store's library has errors of its own
            raise refusal_of_copy(path, error) from None
        yield str(_OPEN_FILES / str(copy.fileno())) if nameless else copy.name


def refusal_of_copy(path: str, error: Exception) -> RefusedError:
    """Of a copy that failed; a server's "not there" is its last word, all else of a network is trouble."""
    refused = refusal_of(error)
    if refused is error:
        return refused
    cause = error.__cause__ or error  # fsspec says "not found" of every web server that does not answer as it should
    status = getattr(cause, "status", None) or 500
    is_final = isinstance(cause, FileNotFoundError) or (status < 500 and status not in _TRY_LATER)
    is_trouble = refused.reason == RefusalReason.DECODE_ERROR and is_remote(path) and not is_final
    words = without_addresses(f"it cannot be read: {refused.detail}")
    return RefusedError(RefusalReason.TROUBLE if is_trouble else refused.reason, words)


def _bytes_of(path: str) -> AbstractContextManager[IO[bytes]]:
    return opened(path) if is_remote(path) else Path(path).open("rb")


def leads_out(name: str) -> bool:
    """Whether a name, taken as a path or as an address, would leave the folder it is in."""
    return name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or _SCHEME.match(name) is not None


def _copy(source: IO[bytes], target: IO[bytes], size: int | None, most_bytes: float) -> None:
    """So many bytes, or all there are."""
    left = math.inf if size is None else size
    if size is not None and size > most_bytes:
        raise RefusedError(RefusalReason.TOO_LARGE, f"{size} bytes, at most {most_bytes:.0f} are copied")
    copied = 0
    while left:
        block = source.read(int(min(left, _COPIED_AT_ONCE)))
        if not block and size is None:
            return
        if not block:
            raise RefusedError(RefusalReason.DECODE_ERROR, f"the archive ends {left} bytes before the end of this file")
        copied += len(block)
        if copied > most_bytes:
            raise RefusedError(RefusalReason.TOO_LARGE, f"more than {most_bytes:.0f} bytes, the most that are copied")
        target.write(block)
        left -= len(block)


def stamp_of_file(path: str | Path) -> str | None:
    """Length and time of a file; None where there is none, or it cannot be seen."""
    try:
        facts = Path(path).stat()
    except (OSError, ValueError):
        return None
    return f"{facts.st_size} {facts.st_mtime_ns}"


def with_hash(job: Job) -> str | None:
    """The stamp of a job that has been read, its hash behind it unless the file was written to in the meantime."""
    is_same = job.stamp is not None and (job.part is not None or stamp_of_file(job.path) == job.stamp)
    digest = _hash_of(job) if is_same else None
    return job.stamp if digest is None else f"{job.stamp} {digest}"


def has_changed(job: Job, then: str | None) -> bool:
    """Whether the file of a job is another than when it had this stamp (None: it was not there)."""
    if job.stamp is None:
        return False
    if then is None:
        return True
    length, time, *hashes = then.split(" ")
    if [length, time] == job.stamp.split(" "):
        return False
    return length != job.stamp.split(" ")[0] or not hashes or _hash_of(job) != hashes[0]


def _hash_of(job: Job) -> str | None:
    """Of 64 KB at the beginning, in the middle and at the end; None of what is no file of this machine."""
    try:
        path = Path(job.path)
        if not path.is_file():
            return None
        with path.open("rb", buffering=0) as file:
            start, size = (job.part.offset, job.part.size) if job.part else (0, path.stat().st_size)
            digest = blake2b(digest_size=8)
            for place in sorted({0, max(0, size // 2 - _SAMPLE_BYTES // 2), max(0, size - _SAMPLE_BYTES)}):
                file.seek(start + place)
                digest.update(file.read(min(_SAMPLE_BYTES, size)))
            return digest.hexdigest()
    except (OSError, ValueError):
        return None
