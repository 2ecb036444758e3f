"""The true sounds and the prompts of a plan, read once from the corpus's shards.

Guarantee: item n of every field belongs to item n of the plan; no video is decoded, the prompts are the stored frame
embeddings. Price: all sounds in memory (200 of 4 s: 52 MB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsonic.audio.wave import resample
from clipsonic.errors import CorpusError
from clipsonic.evaluate.plan import Item
from clipsonic.shards.record import Record
from clipsonic.shards.writer import read_shard
from clipsonic.specs import SegmentSpec


@dataclass(frozen=True)
class Material:
    """What is judged.

    Args:
        items: N items.
        waves: true sounds (N, T), float32, at the model's rate and of its length.
        images: embeddings of the picture prompts (N, E), float32.
        videos: embeddings of the video prompts (N, S, E), float32.
        times_s: the times of those frames in the segment (N, S), float32.
        captions: text prompts, None where there is none.
        thumbnails: JPEG bytes of the records, None where there is none.
    """

    items: tuple[Item, ...]
    waves: np.ndarray
    images: np.ndarray
    videos: np.ndarray
    times_s: np.ndarray
    captions: tuple[str | None, ...]
    thumbnails: tuple[bytes | None, ...]


def load_material(
    corpus: Path, facts: Sequence[Mapping[str, Any]], items: tuple[Item, ...], segment: SegmentSpec
) -> Material:
    """Read the items' records.

    Raises:
        CorpusError: a record that the facts name is in no shard.
    """
    wanted = {item.key for item in items}
    shards = sorted({fact["shard"] for fact in facts if fact["key"] in wanted})
    records = {record.key: record for name in shards for record in read_shard(corpus / name, wanted)}
    if missing := sorted(wanted - set(records)):
        raise CorpusError(f"record {missing[0]} of {corpus} is in no shard: delete its facts file or ingest again")
    found = [(records[item.key], item) for item in items]
    return Material(
        items=items,
        waves=np.stack([_segment_of(record, item, segment) for record, item in found]),
        images=np.stack([record.frames[item.image] for record, item in found]).astype(np.float32),
        videos=np.stack([record.frames[list(item.frames)] for record, item in found]).astype(np.float32),
        times_s=np.array([item.times_s for item in items], dtype=np.float32),
        captions=tuple(item.caption or record.caption for record, item in found),
        thumbnails=tuple(record.thumbnail for record, _ in found),
    )


def _segment_of(record: Record, item: Item, segment: SegmentSpec) -> np.ndarray:
    """The item's stretch of the record's sound (T,), zeros after its end."""
    start = round(item.start_s * record.sample_rate_hz)
    count = round(segment.seconds * record.sample_rate_hz)
    wave = record.wave[start : start + count]
    if record.sample_rate_hz != segment.mel.sample_rate_hz:
        wave = resample(wave, record.sample_rate_hz, segment.mel.sample_rate_hz)
    wave = wave[: segment.num_samples]
    return np.pad(wave, (0, segment.num_samples - len(wave))).astype(np.float32)
