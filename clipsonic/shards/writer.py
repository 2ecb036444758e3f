"""A corpus on disk: byte-reproducible tars of records, and the index and facts beside them.

Guarantee: equal records in equal order give equal bytes (fixed owner, mode and time, members in a fixed order), and
a file is either there whole or not at all (temporary name in the same folder, fsync, rename).
Price: one pass over the bytes; the SHA-256 is taken while writing.

    CORPUS/index.json        spec, CLIP fingerprint, and per shard {name, records, bytes, sha256}
    CORPUS/facts.jsonl.gz    the facts of every record, in order, so that nobody reads tars to count or to choose
    CORPUS/shard-000000.tar  ...
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from clipsonic.errors import CorpusError, SpecError
from clipsonic.files import (
    is_plain_name,
    is_trouble,
    naming,
    new_temporary,
    remove_temporaries,
    whole_file,
    write_whole,
)
from clipsonic.shards.heard import with_heard
from clipsonic.shards.record import Record, decode_record, encode_facts, encode_record
from clipsonic.specs import CorpusSpec

INDEX_NAME = "index.json"
FACTS_NAME = "facts.jsonl.gz"
FORMAT_VERSION = 1


class _HashingFile:
    """A write-only file that knows the SHA-256 and the length of what went through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256, self.num_bytes = file, hashlib.sha256(), 0
        self.discards = False

    def write(self, data: bytes) -> int:
        if self.discards:
            return len(data)
        self.sha256.update(data)
        self.num_bytes += len(data)
        return self._file.write(data)


class ShardWriter:
    """Writes one shard; it appears under its name only when `close` has put it there whole.

    As a context manager it closes on success and removes the temporary file on an exception; `info` then holds
    {"name", "records", "bytes", "sha256"}.
    """

    def __init__(self, folder: str | Path, name: str) -> None:
        self._path = Path(folder) / name
        remove_temporaries(self._path)
        self._temporary = new_temporary(self._path)
        self._file = self._temporary.open("wb")
        self._hashing = _HashingFile(self._file)
        self._tar = tarfile.open(fileobj=self._hashing, mode="w|", format=tarfile.USTAR_FORMAT)  # type: ignore[call-overload]  # noqa: SIM115
        self.num_records = 0
        self.info: dict[str, Any] | None = None

    def add(self, record: Record) -> None:
        """Append one record."""
        self.add_files(record.key, encode_record(record))

    def add_files(self, key: str, files: Mapping[str, bytes]) -> None:
        """Append a record as the files that it is stored as: suffix -> bytes."""
        for suffix, data in sorted(files.items()):
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size, member.mode = len(data), 0o644
            with naming(self._path):
                self._tar.addfile(member, io.BytesIO(data))
        self.num_records += 1

    def close(self) -> dict[str, Any]:
        """Finish the tar and give it its name."""
        with naming(self._path):
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)
        self.info = {
            "name": self._path.name,
            "records": self.num_records,
            "bytes": self._hashing.num_bytes,
            "sha256": self._hashing.sha256.hexdigest(),
        }
        return self.info

    def abort(self) -> None:
        """Leave nothing behind."""
        self._hashing.discards = True  # a tar writes its end even then, and the disk may be full
        self._tar.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def write_shard(path: Path, records: Iterable[Record]) -> dict[str, Any]:
    """Write one shard whole; returns {"name", "records", "bytes", "sha256"}."""
    path = Path(path)
    with ShardWriter(path.parent, path.name) as writer:
        for record in records:
            writer.add(record)
    assert writer.info is not None
    return writer.info


def read_shard(path: str | Path, keys: set[str] | None = None) -> Iterator[Record]:
    """The records of a shard in order, all of them or those whose key is in `keys`.

    Raises:
        CorpusError: the file is not a tar, or a record is damaged.
    """
    for key, files in read_files(path, keys):
        yield decode_record({"__key__": key, **files})


def read_files(path: str | Path, keys: set[str] | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and files (suffix -> bytes) of the records of a shard in order, nothing decoded.

    Raises:
        CorpusError: the file is not a tar.
    """
    last, files = "", dict[str, bytes]()
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                if files and last != key:
                    yield last, files
                    files = {}
                if member.isfile() and (keys is None or key in keys):
                    file = tar.extractfile(member)
                    assert file is not None
                    last, files[suffix] = key, file.read()
    except (OSError, tarfile.TarError) as error:
        if is_trouble(error):
            raise  # building it again would not help
        raise CorpusError(f"shard {path} cannot be read ({error}): build it again with ingest") from None
    if files:
        yield last, files


@dataclass(frozen=True)
class CorpusIndex:
    """What a corpus is.

    Args:
        spec: sample rate and lengths of its records.
        fingerprint: the CLIP space its frames live in.
        clip: the name that CLIP was loaded by.
        width: CLIP width E.
        shards: per shard {"name", "records", "bytes", "sha256"}, in order.
        products: `tf32` where a CLIP made some of the embeddings on a GPU with products of 10 bits of mantissa.
    """

    spec: CorpusSpec
    fingerprint: str
    clip: str
    width: int
    shards: list[dict[str, Any]]
    products: str | None = None

    @property
    def num_records(self) -> int:
        """Records in all shards."""
        return sum(shard["records"] for shard in self.shards)

    def save(self, folder: str | Path) -> None:
        """Write `index.json`, whole."""
        values = {"format": FORMAT_VERSION, **dataclasses.asdict(self)}
        if self.products is None:
            del values["products"]
        write_whole(Path(folder) / INDEX_NAME, json.dumps(values, indent=1, ensure_ascii=False).encode() + b"\n")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read `index.json` and see that every shard it names is there with its length.

        Raises:
            CorpusError: no corpus, an unfinished one, another format, or a shard missing or of another length.
        """
        folder = Path(folder)
        try:
            data = (folder / INDEX_NAME).read_bytes()
        except FileNotFoundError:
            raise CorpusError(
                f"{folder} has no {INDEX_NAME}: give a folder that clipsonic ingest has finished"
            ) from None
        except OSError as error:
            if is_trouble(error):
                raise
            raise CorpusError(f"{folder / INDEX_NAME} is not a corpus index ({error}): run ingest again") from None
        index = cls.parse(data, str(folder / INDEX_NAME))
        for shard in index.shards:
            _check_shard(folder, str(shard["name"]), int(shard["bytes"]))
        return index

    @classmethod
    def parse(cls, data: bytes, name: str) -> Self:
        """The index in the bytes of an `index.json`, which is called `name` in refusals.

        Raises:
            CorpusError: it is none, or of another format.
        """
        try:
            values = json.loads(data)
            version = values.pop("format")
            index = cls(**{**values, "spec": CorpusSpec.from_dict(values["spec"])})
            shards = [(str(shard["name"]), int(shard["bytes"]), int(shard["records"])) for shard in index.shards]
        except (ValueError, KeyError, TypeError, AttributeError, SpecError) as error:
            raise CorpusError(f"{name} is not a corpus index ({error}): run ingest again") from None
        if version != FORMAT_VERSION:
            raise CorpusError(
                f"{name} has corpus format {version}, this version reads {FORMAT_VERSION}: ingest it again"
            )
        for shard, _, _ in shards:
            if not is_plain_name(shard):
                raise CorpusError(f"{name} names a shard {shard!r} outside its folder: run ingest again")
        return index


def _check_shard(folder: Path, name: str, num_bytes: int) -> None:
    path = folder / name
    found = path.stat().st_size if path.is_file() else None
    if found != num_bytes:
        state = "is missing" if found is None else f"has {found} bytes"
        raise CorpusError(f"shard {path} {state}, its index says {num_bytes} bytes: run the same ingest again")


def write_facts(folder: str | Path, facts: Iterable[dict[str, Any]]) -> None:
    """Write `facts.jsonl.gz`, whole and reproducible; each item has "key" and "shard" besides the record's facts."""
    with (
        whole_file(Path(folder) / FACTS_NAME) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
    ):
        packed.writelines(encode_facts(item) + b"\n" for item in facts)


def corpus_facts(folder: str | Path) -> list[dict[str, Any]]:
    """All that `each_facts` gives; about 3 KB of memory for a record."""
    return list(each_facts(folder))


def each_facts(folder: str | Path) -> Iterator[dict[str, Any]]:
    """The facts of every record, in order, each with "key" and "shard" (its tar's name); holds one at a time.

    Read from `facts.jsonl.gz`; from the tars and what was heard of them, slowly, where that file is missing.

    Raises:
        CorpusError: there is no corpus, or the facts are damaged or name a shard that is none of its index.
    """
    folder = Path(folder)
    path = folder / FACTS_NAME
    if not path.is_file():
        shards = CorpusIndex.load(folder).shards
        names = [str(shard["name"]) for shard in shards]
        records = ((name, record) for name in names for record in read_shard(folder / name))
        stored = ({**record.facts, "key": record.key, "shard": name} for name, record in records)
        yield from with_heard(folder, stored, shards)
        return
    try:
        with gzip.open(path, "rb") as lines:
            yield from _checked_facts(map(json.loads, lines), _shards_of(folder), path)
    except (OSError, EOFError, ValueError) as error:
        if is_trouble(error):
            raise  # deleting it would lose what is whole
        raise CorpusError(f"{path} is damaged ({error}): delete it, it is rebuilt from the shards") from None


def _shards_of(folder: Path) -> set[str] | None:
    """The names of the shards of its index; None where there is no index yet."""
    path = folder / INDEX_NAME
    if not path.is_file():
        return None
    return {str(shard["name"]) for shard in CorpusIndex.parse(path.read_bytes(), str(path)).shards}


def _checked_facts(items: Iterable[Any], shards: set[str] | None, path: Path) -> Iterator[dict[str, Any]]:
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("key"), str):
            raise ValueError(f"a line has no key: {item!r:.80}")
        shard = item.get("shard")
        if not is_plain_name(shard) or (shards is not None and shard not in shards):
            raise CorpusError(
                f"{path} says that record {item['key']} is in {shard!r}, which is no shard of {INDEX_NAME}: delete the "
                "facts, they are rebuilt from the shards"
            )
        yield item
