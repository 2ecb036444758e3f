"""Files of this machine: plain names, written whole, by one run at a time; and which errors are the machine's.

Guarantee: a plain name joined to a folder is a visible entry of that folder and never leads out of it. A reader, or a
run that was killed, finds the old file or the new one, never a part; the temporary file is made new under a name that
nobody can foresee, so what somebody has laid there (a link elsewhere) is never written through. A second run into a
folder that is held says so at once and touches nothing; a run that ends in any way, a kill included, leaves nothing
locked, for the lock is the system's and not the file's being there.
Price: one fsync a file, one small file while a folder is held. A lock holds between machines where the network disk has
locks (NFS does); on a disk without any, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from clipsonic.errors import ClipsonicError, UsageError

PROTOCOLS = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp", "https": "aiohttp"}
"""Of addresses that can be read, and the package that fsspec needs for each."""
TEMPORARY_SUFFIX = ".tmp"
"""What a killed run leaves behind ends with this and begins with a dot."""
_NEVER = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")
_RANDOM_BYTES = 8
_LONGEST_STEM = 100  # bytes of the target's name; file systems allow 255 in all

_TROUBLE_NAMES = """
EIO EREMOTEIO EUCLEAN ENODEV ENOMEDIUM EBUSY EACCES EPERM ENOSPC EDQUOT EROFS EMFILE ENFILE ENOMEM ENOLCK ESTALE
ETIMEDOUT ENOTCONN ENOLINK ECONNRESET ECONNREFUSED ECONNABORTED ENETDOWN ENETUNREACH ENETRESET EHOSTDOWN EHOSTUNREACH
"""
_TROUBLE = frozenset(getattr(errno, name) for name in _TROUBLE_NAMES.split() if hasattr(errno, name))


def is_remote(source: str, what: str = "source") -> bool:
    """Whether a source is an address (see `remote`) and no path; `what` it is called in a refusal.

    Raises:
        UsageError: an address of a protocol that is not read.
    """
    protocol, separator, _ = source.partition("://")
    if not separator:
        return False
    if protocol not in PROTOCOLS:
        raise UsageError(f"{what} {source!r}: {protocol}:// is not read: give a path, or {', '.join(PROTOCOLS)}")
    return True


def is_plain_name(name: object) -> bool:
    """Whether it is text that names an entry of a folder: no separator, no control character, no dot in front."""
    return isinstance(name, str) and bool(name) and not name.startswith(".") and _NEVER.search(name) is None


def plain_name(text: str) -> str:
    """A plain name that resembles the text: `_` for what cannot stand in one, no dots in front; `_` for nothing."""
    return _NEVER.sub("_", text).lstrip(".") or "_"


def printable(text: str) -> str:
    """The same text, where it is one; halves of characters and bytes of names that are no UTF-8 become escapes."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """An empty file to write to; it takes the name `path` when the block ends well and is removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_temporary(path)
    try:
        with naming(path):
            yield temporary
            flush(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def new_temporary(path: Path) -> Path:
    """An empty file beside `path`, made here and now: never one that is there, nor what a link points to."""
    while True:
        temporary = path.with_name(f".{_stem(path)}.{secrets.token_hex(_RANDOM_BYTES)}{TEMPORARY_SUFFIX}")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return temporary


def remove_temporaries(path: Path) -> None:
    """Remove what killed runs left of `path`; nobody may be writing it."""
    begin = f".{_stem(path)}."
    for left in path.parent.glob(f"{glob.escape(begin)}*{TEMPORARY_SUFFIX}"):
        if "." not in left.name.removeprefix(begin).removesuffix(TEMPORARY_SUFFIX):  # else of a longer name
            left.unlink(missing_ok=True)


def _stem(path: Path) -> str:
    """The beginning of a file's name, short enough that more can be added."""
    return os.fsencode(path.name)[:_LONGEST_STEM].decode(errors="ignore")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the system says of a write that failed (a full disk, a quota) does not name the file: this adds it."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_whole(path: Path, data: bytes | str) -> None:
    """Put `data` (text as UTF-8) at `path`; missing folders are made."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Put one JSON object, indented, at `path`."""
    write_whole(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def flush(path: Path) -> None:
    """Wait until a closed file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Inside, this process holds the lock on the file `path`, which is made for it and removed behind it.

    Args:
        what: what is written to, in the words of the refusal.

    Raises:
        ClipsonicError: another run holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        file = _locked(path, what)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still ours
        file.close()


def _locked(path: Path, what: str) -> BinaryIO:
    import fcntl  # not on every system, nor needed by those who only read

    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            owner = file.read(200).decode(errors="replace").strip()
            file.close()
            words = f"another run ({owner})" if owner else "another run"
            raise ClipsonicError(f"{what}: {words} is writing there; wait for its end, or give a new folder") from None
        except OSError:
            return file  # a disk without locks
        with contextlib.suppress(FileNotFoundError):  # its last owner has just removed it
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
                file.flush()
                return file
        file.close()


def is_trouble(error: BaseException) -> bool:
    """Whether an error is of this machine or its network (a disk, permission, too many open files), not of a file."""
    return isinstance(error, OSError) and error.errno in _TROUBLE
