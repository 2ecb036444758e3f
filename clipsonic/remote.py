"""What is not on this machine: object stores, hubs and web servers, to read from and to write to, through fsspec.

Guarantee: only the protocols named here are ever opened, whatever a list or a manifest says (no command, no `pipe:`);
credentials are those that the store's own library finds, and never stand in a corpus. Price: a file is copied as a
whole; a store's errors are told as one sentence, whatever its library raised.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.files import PROTOCOLS, plain_name

_WEB = ("http", "https")  # they can only be read
_READ_AHEAD = 2**20
_ADDRESS = re.compile(r"\w+://[^\s'\")>]*")
_SILENT_S = 60.0
"""Seconds without a byte after which a web server is given up; a whole file may take as long as it takes."""
_PAUSE_S = 1.0
"""Before the second try; each next pause is twice as long."""
_FINAL = (FileNotFoundError, PermissionError)
"""What another try does not change."""

T = TypeVar("T")


def list_files(url: str) -> list[tuple[str, str, str | None]]:
    """(address, name below `url`, stamp) of all files below an address, sorted by name; of a file, itself with its
    last part. The stamp is "LENGTH TAG" as the store lists it, None where it is a web server or names no tag.

    Raises:
        UsageError: nothing is there, or the store's package is missing or refuses.
    """
    if urlsplit(url).scheme in _WEB:  # a web server lists no folders
        return [(url, name_of(url), None)]
    filesystem, root = _filesystem(url)
    try:
        found = sorted(filesystem.find(root, detail=True).items())
    except (OSError, ValueError) as error:
        raise UsageError(f"source {url!r} cannot be listed ({error}): check address and credentials") from None
    if not found:
        raise UsageError(f"source {url!r} holds no file: give a folder or a file that is there")
    root = root.rstrip("/")
    return [
        (filesystem.unstrip_protocol(path), path[len(root) :].strip("/") or name_of(path), _stamp_of(facts))
        for path, facts in found
    ]


def _stamp_of(facts: dict[str, Any]) -> str | None:
    """What tells one content of a store's file from the next: its length, and the first tag that there is."""
    tags = (facts.get(name) for name in ("ETag", "etag", "md5Hash", "blob_id", "LastModified", "updated"))
    tag = next((str(tag) for tag in tags if tag), None)
    return tag and f"{facts.get('size')} {blake2b(tag.encode(), digest_size=8).hexdigest()}"


def name_of(url: str) -> str:
    """The last part of an address without escapes, a plain name whatever they hide; a query, which may be a secret or
    an id, becomes a short hash."""
    parts = urlsplit(url)
    name = plain_name(unquote(parts.path.rstrip("/").rpartition("/")[2]) or "root")
    return f"{name}~{blake2b(parts.query.encode(), digest_size=4).hexdigest()}" if parts.query else name


def sizes_below(url: str) -> dict[str, int]:
    """Name below the address -> bytes, of all files there; none if nothing is there.

    Raises:
        UsageError: it cannot be written to, or its package is missing.
        ClipsonicError: the store refuses.
    """
    if urlsplit(url).scheme in _WEB:
        raise UsageError(f"--out {url}: a web address can only be read: give a folder, s3://, gs:// or hf://")
    filesystem, root = _filesystem(url)
    with _said_by_the_store(url):
        filesystem.invalidate_cache()
        found = filesystem.find(root, detail=True)
    return {path[len(root.rstrip("/")) :].strip("/"): int(info["size"]) for path, info in found.items()}


def remove(url: str) -> None:
    """Remove what is at an address, if anything is.

    Raises:
        ClipsonicError: the store refuses.
    """
    filesystem, path = _filesystem(url)
    with _said_by_the_store(url), suppress(FileNotFoundError):
        filesystem.rm_file(path)


def put(path: Path, url: str) -> None:
    """Copy a file to an address; it appears there when it is whole.

    Raises:
        ClipsonicError: the store refuses.
    """
    filesystem, target = _filesystem(url)
    with _said_by_the_store(url):
        filesystem.put_file(str(path), target)


def get(url: str, path: Path, tries: int = 1) -> None:
    """Copy what is at an address to a file; a store that fails is asked `tries` times, with growing pauses.

    Raises:
        ClipsonicError: the store refuses.
    """
    filesystem, source = _filesystem(url, patient=True)
    with _said_by_the_store(url):
        _tried(lambda: filesystem.get_file(source, str(path)), tries)


def read(url: str, tries: int = 1) -> bytes:
    """All bytes at an address, as `get`."""
    filesystem, source = _filesystem(url, patient=True)
    with _said_by_the_store(url):
        data: bytes = _tried(lambda: filesystem.cat_file(source), tries)
    return data


def _tried(action: Callable[[], T], tries: int) -> T:
    for number in range(tries - 1):
        try:
            return action()
        except Exception as error:  # each store's library has errors of its own
            if isinstance(error, _FINAL) or getattr(error, "errno", None) == errno.ENOSPC:
                raise
            time.sleep(_PAUSE_S * 2**number)
    return action()


@contextmanager
def _said_by_the_store(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each store's library has errors of its own, and not all of them are OSError
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        words = f"{url} refuses ({type(error).__name__}: {error}): check address and credentials, then run it again"
        raise ClipsonicError(words) from None


def without_addresses(words: str) -> str:
    """An error's words without the addresses in them."""
    return _ADDRESS.sub("its address", words)


@contextmanager
def opened(url: str) -> Iterator[IO[bytes]]:
    """The bytes at an address, to be read from the front (from anywhere where the store allows).

    Raises:
        OSError: it is not there, or cannot be read.
        UsageError: the store's package is missing.
    """
    filesystem, path = _filesystem(url)
    web = {"block_size": 0} if urlsplit(url).scheme in _WEB else {"block_size": _READ_AHEAD}
    with filesystem.open(path, "rb", **web) as file:
        yield file


def _filesystem(url: str, patient: bool = False) -> tuple[Any, str]:
    """The store of an address, and its path there; `patient` allows a web server more than aiohttp's five minutes."""
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        filesystem, path = url_to_fs(url, **(_patience() if patient and protocol in _WEB else {}))
    except ImportError:
        package = PROTOCOLS.get(protocol, "fsspec")
        raise UsageError(f"source {url!r} needs the package {package}: pip install {package}") from None
    return filesystem, path


def _patience() -> dict[str, Any]:
    import aiohttp

    return {
        "client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=_SILENT_S, sock_read=_SILENT_S)}
    }
