"""What a listed file looked like when it was read, so that the same command notices one that is another now.

Guarantee: a file of another length, or of another time and other bytes at its beginning, middle or end, has changed;
one that was only touched, moved or copied has not. What is not there now has not changed either: its records stay.
Price: one stat for a file; three reads of 64 KB when it has been ingested, and when its time is another.

A stamp is "LENGTH TIME" of a file (or of a member of an archive, as its header says), or "LENGTH TAG" of what a store
lists; a web server is not asked, so what it changes is not noticed. Behind it, if it was read, stands a hash.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from clipsonic.ingest.segments import Job

_SAMPLE_BYTES = 2**16


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
