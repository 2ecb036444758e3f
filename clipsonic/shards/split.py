"""A corpus as several, divided by source video: training and test sets that share no video.

Guarantee: all records of a video, and of all videos that look and sound like it, are in one part; which one is a
function of the seed and of the first such video's name; every record and every listed source is in exactly one part;
records keep their bytes. Each `index.json` comes last. Price: each byte is read once, nothing is decoded; memory holds
a name for each record and one shard's facts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.files import held, is_plain_name, whole_file
from clipsonic.seeding import seed_for
from clipsonic.shards.duplicates import near_duplicates
from clipsonic.shards.merge import LISTS, LOCK_NAME
from clipsonic.shards.writer import INDEX_NAME, CorpusIndex, ShardWriter, each_facts, read_files, write_facts

_SHARD_RECORDS = 1000


def split(corpus: str | Path, out: str | Path, shares: Mapping[str, float], seed: int = 0) -> dict[str, CorpusIndex]:
    """Make the corpora `out/NAME`, one for each name in `shares`.

    Args:
        shares: name -> share of the videos, about; together 1.
        seed: another one divides otherwise.

    Raises:
        CorpusError: `corpus` is no finished corpus.
        UsageError: shares that cannot be, a part that is there already, or one that would be empty.
        ClipsonicError: another run is writing to `out`.
    """
    source, target = Path(corpus), Path(out)
    index = CorpusIndex.load(source)
    _check(shares, target)
    division = _Division(_leaders(source), shares, seed)
    if empty := [name for name in shares if name not in division.filled]:
        raise UsageError(
            f"part {empty[0]} would be empty (videos in all: {division.num_groups}): give it a larger share, or "
            "another --seed"
        )
    with held(target / LOCK_NAME, f"--out {target}"):
        return {name: _write_part(source, target / name, index, partial(division.has, name)) for name in shares}


def _write_part(source: Path, folder: Path, index: CorpusIndex, has: Callable[[str], bool]) -> CorpusIndex:
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    write_facts(folder, _copy(source, folder, has, shards))
    for lines in LISTS:
        _copy_lines(source / lines, folder / lines, has)
    part = CorpusIndex(index.spec, index.fingerprint, index.clip, index.width, shards, index.products)
    part.save(folder)
    return part


class _Division:
    """Which part a video is in.

    Args:
        leaders: video -> the first of the videos that look and sound like it.
        shares, seed: see `split`.
    """

    def __init__(self, leaders: Mapping[str, str], shares: Mapping[str, float], seed: int) -> None:
        self._leaders, self._shares, self._seed = leaders, shares, seed
        groups = set(leaders.values())
        self.num_groups, self.filled = len(groups), {self.of(video) for video in groups}

    def of(self, video: str) -> str:
        """Its part; one without records has one too, by its own name."""
        place, upto = seed_for(self._seed, "corpus.split", self._leaders.get(video, video)) / 2**63, 0.0
        for name, share in self._shares.items():
            upto += share
            if place < upto:
                return name
        return list(self._shares)[-1]

    def has(self, name: str, video: str) -> bool:
        """Whether the video is in the part of this name."""
        return self.of(video) == name


def _check(shares: Mapping[str, float], target: Path) -> None:
    total = sum(shares.values())
    if len(shares) < 2 or not all(share > 0.0 for share in shares.values()) or abs(total - 1.0) > 1e-6:
        given = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise UsageError(f"parts {given} must be two or more, with shares above 0 that sum up to 1 (these: {total:g})")
    for name in shares:
        if not is_plain_name(name):
            raise UsageError(f"part {name!r} must be a plain name: it becomes a folder")
        if (target / name / INDEX_NAME).exists() or (target / name).is_file():
            raise UsageError(f"--out {target} holds a corpus {name} already: give a new folder")


def _leaders(source: Path) -> dict[str, str]:
    """Video -> the first of the videos that look and sound like it, which may be itself."""
    video_of = {item["key"]: _video_of(item) for item in each_facts(source)}
    leaders = {video: video for video in video_of.values()}

    def leader_of(video: str) -> str:
        while leaders[video] != video:
            video = leaders[video]
        return video

    for second, first in near_duplicates(each_facts(source)).items():
        leaders[leader_of(video_of[second])] = leader_of(video_of[first])
    return {video: leader_of(video) for video in leaders}


def _video_of(item: Mapping[str, Any]) -> str:
    return str(item.get("source") or item["key"])


def _copy(
    source: Path, target: Path, is_wanted: Callable[[str], bool], shards: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Write the records of the wanted videos in their order; gives their facts and, in `shards`, the new shards."""
    writer: ShardWriter | None = None
    try:
        for shard, facts in itertools.groupby(each_facts(source), lambda item: str(item["shard"])):
            items = {item["key"]: item for item in facts if is_wanted(_video_of(item))}
            for key, files in read_files(source / shard, set(items)) if items else ():
                name = f"shard-{len(shards):06d}.tar"
                writer = writer or ShardWriter(target, name)
                writer.add_files(key, files)
                yield {**items[key], "shard": name}
                if writer.num_records >= _SHARD_RECORDS:
                    shards.append(writer.close())
                    writer = None
        if writer is not None:
            shards.append(writer.close())
            writer = None
    finally:
        if writer is not None:
            writer.abort()


def _copy_lines(source: Path, target: Path, is_wanted: Callable[[str], bool]) -> None:
    """The lines of one of ingest's lists that are of wanted videos."""
    if not source.is_file():
        return
    with (
        source.open(encoding="utf-8", newline="\n") as listed,
        whole_file(target) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(line for line in listed if is_wanted(str(json.loads(line).get("source", line))))
