"""A corpus in the space of another CLIP: its kept pictures embedded anew, no video opened.

Guarantee: sound, captions, thumbnails and pictures keep their bytes, facts their values; batches are formed within a
shard, so its bytes depend on it and on the CLIP only; a run that was killed goes on at the shard it stood at, and the
index comes last. Price: decoding the JPEGs (about 1 ms each at 256 pixels) and the CLIP; memory holds one batch and the
records that it belongs to.

    NEW/reembed/shard-000000.tar.json   written when that shard is there whole, gone with the last one
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from clipsonic.errors import CorpusError, UsageError
from clipsonic.files import TEMPORARY_SUFFIX, held, write_json
from clipsonic.ingest.executors import Embedder, PictureBatches, embedding_with, products_of
from clipsonic.shards.merge import LISTS
from clipsonic.shards.record import encode_facts, encode_npy, pictures_of
from clipsonic.shards.writer import INDEX_NAME, CorpusIndex, ShardWriter, each_facts, read_files, write_facts

FOLDER = "reembed"

Files = dict[str, bytes]


def reembed(corpus: str | Path, out: str | Path, embedder: Embedder, clip: str, *, thumbnails: bool = False) -> int:
    """Make the corpus `out` of `corpus`, or go on with it; returns the number of pictures embedded now.

    Args:
        embedder: the new CLIP; `clip` is its name.
        thumbnails: take the thumbnails, so one picture, that of its middle, for each record.

    Raises:
        CorpusError: `corpus` is no finished corpus, or its records hold no such pictures.
        UsageError: `out` is a finished corpus, or one begun with another CLIP or from other shards.
        ClipsonicError: another run is writing to it.
    """
    source, target = Path(corpus), Path(out)
    index = CorpusIndex.load(source)
    if (target / INDEX_NAME).exists() or target.is_file():
        raise UsageError(f"--out {target} holds a corpus already: give a new folder")
    with held(target / FOLDER / "lock", f"--out {target}"), embedding_with(embedder):
        return _reembed(source, target, index, embedder, clip, thumbnails)


def _reembed(source: Path, target: Path, index: CorpusIndex, embedder: Embedder, clip: str, thumbnails: bool) -> int:
    for half in target.glob(f".*{TEMPORARY_SUFFIX}"):
        half.unlink()
    shards, embedded = [], 0
    with tqdm(total=index.num_records, desc="reembed", unit="record", file=sys.stderr, mininterval=0.5) as bar:
        for shard in index.shards:
            info, count = _shard(source, target, shard, embedder, thumbnails, bar)
            shards.append(info)
            embedded += count
    facts = each_facts(source)
    write_facts(target, (_with_one_frame(item) for item in facts) if thumbnails else facts)
    for name in LISTS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    CorpusIndex(index.spec, embedder.fingerprint, clip, embedder.width, shards, products_of(embedder)).save(target)
    shutil.rmtree(target / FOLDER)
    return embedded


def _shard(
    source: Path, target: Path, shard: dict[str, Any], embedder: Embedder, thumbnails: bool, bar: Any
) -> tuple[dict[str, Any], int]:
    """One shard: what the index says of it, and how many pictures had to be embedded for it."""
    state = target / FOLDER / f"{shard['name']}.json"
    made_from = {"sha256": shard["sha256"], "fingerprint": embedder.fingerprint, "thumbnails": thumbnails}
    if state.is_file():
        done = json.loads(state.read_text())
        if done["from"] != made_from:
            raise UsageError(f"--out {target} was begun with another CLIP or corpus: give a new folder")
        if (target / shard["name"]).is_file():
            bar.update(shard["records"])
            return done["shard"], 0
    count = 0
    with ShardWriter(target, shard["name"]) as writer:
        for key, files, num_pictures in _embedded(source / shard["name"], embedder, thumbnails):
            writer.add_files(key, files)
            count += num_pictures
            bar.update(1)
    assert writer.info is not None
    write_json(state, {"from": made_from, "shard": writer.info})
    return writer.info, count


def _embedded(path: Path, embedder: Embedder, thumbnails: bool) -> Iterator[tuple[str, Files, int]]:
    """Key and files of each record with its new vectors, and how many these are."""
    batches, waiting = PictureBatches(embedder), deque[tuple[str, Files, int]]()

    def ready() -> Iterator[tuple[str, Files, int]]:
        while waiting and (vectors := batches.take(waiting[0][2])) is not None:
            key, files, count = waiting.popleft()
            yield key, {**files, "frames.npy": encode_npy(vectors)}, count

    for key, files in read_files(path):
        pictures = _pictures_of(key, files, thumbnails, path)
        if thumbnails:
            files["json"] = encode_facts(_with_one_frame(json.loads(files["json"])))
        waiting.append((key, files, len(pictures)))
        batches.add(pictures)
        yield from ready()
    batches.flush()
    yield from ready()


def _pictures_of(key: str, files: Files, thumbnails: bool, path: Path) -> list[np.ndarray]:
    kept = (files["jpg"],) if thumbnails and "jpg" in files else () if thumbnails else pictures_of(files)
    if not kept:
        cure = (
            "ingest without --no-thumbnails"
            if thumbnails
            else "ingest with --keep-frames 256, or give --thumbnails to use the middle picture alone"
        )
        raise CorpusError(f"record {key} of {path} keeps no picture: {cure}")
    try:
        return [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in kept]
    except OSError as error:
        raise CorpusError(f"record {key} of {path} has a damaged picture ({error}): ingest its video again") from None


def _with_one_frame(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts of a record of which only the middle picture is left."""
    times_s = facts["frame_times_s"]
    return {**facts, "frame_times_s": [times_s[len(times_s) // 2]]}
