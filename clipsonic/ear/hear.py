"""What ears say of a corpus: the fact `belongs` of each record, by an ear that never saw its video; none is decoded.

Guarantee: an answer is a function of the ears and of the shards alone (and of the kind of device), so a run that was
killed, and started again, leaves the same bytes; equal ears and shards are not asked again. A record without sound or
frames belongs to nothing: 0. Price: the ear (about 3 ms of a core for four seconds) and the decoding of each sound;
memory holds one batch, one shard's answers, `NUM_OTHERS` mean frames, and a number for each record.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clipsonic.ear.belonging import Others, belonging, mean_frame
from clipsonic.ear.listeners import Listeners
from clipsonic.ear.tower import LEAST_S, Ear
from clipsonic.errors import CorpusError, UsageError
from clipsonic.files import held, is_remote, remove_temporaries
from clipsonic.ingest.plan import LOCK_NAME, STATE_FOLDER
from clipsonic.seeding import seed_for
from clipsonic.shards.heard import BELONGS, FOLDER, answers, answers_path, save_answers, with_heard
from clipsonic.shards.record import Record
from clipsonic.shards.selection import is_silent, source_of
from clipsonic.shards.writer import FACTS_NAME, CorpusIndex, each_facts, read_shard, write_facts

NUM_OTHERS = 1000
"""Records of the corpus whose frames sounds are held against."""
_BATCH = 32
_LOCK = "lock"


@dataclass(frozen=True)
class Hearing:
    """What came of it.

    Args:
        records: of the corpus; `heard_now` of them were asked about in this run.
        quantiles: 5, 25, 50, 75 and 95 % of `belongs`.
    """

    records: int
    heard_now: int
    quantiles: list[float]


def hear(corpus: str | Path, listeners: Listeners) -> Hearing:
    """Add `belongs` to the facts of a corpus's records, or go on with it.

    Raises:
        CorpusError: no finished corpus, or one without sound, frames or a second video.
        FingerprintError, SpecError: the ears answer in another CLIP space, or hear at another rate.
        UsageError: an address.
        ClipsonicError: another run is writing to it.
    """
    if is_remote(str(corpus), "corpus"):
        raise UsageError(f"{corpus} is an address, and what is heard is kept in a corpus's folder: copy it to a disk")
    folder = Path(corpus)
    index = CorpusIndex.load(folder)
    listeners.check_fit(index, folder)
    with contextlib.ExitStack() as until_the_end:
        until_the_end.enter_context(held(folder / FOLDER / _LOCK, str(folder)))
        if (folder / STATE_FOLDER).is_dir():  # ingest writes the same facts
            until_the_end.enter_context(held(folder / STATE_FOLDER / LOCK_NAME, str(folder)))
        return _hear(folder, index, listeners)


def _hear(folder: Path, index: CorpusIndex, listeners: Listeners) -> Hearing:
    of = {"ears": listeners.fingerprints, "shards": _digest(index), "others": NUM_OTHERS}
    _forget_others(folder, index, of)
    todo = [shard for shard in index.shards if answers(folder, shard, of) is None]
    if todo or not index.shards:
        others = _others(folder, index.width)
        with tqdm(desc="hear", unit="record", total=index.num_records, file=sys.stderr, mininterval=0.5) as bar:
            bar.update(index.num_records - sum(shard["records"] for shard in todo))
            for shard in todo:
                records = read_shard(folder / shard["name"])
                save_answers(folder, shard, of, dict(_answered(records, listeners, others, bar)))
    return Hearing(index.num_records, sum(shard["records"] for shard in todo), _conclude(folder, index))


def _conclude(folder: Path, index: CorpusIndex) -> list[float]:
    """Bring the answers into the facts, where they are not there yet; the quantiles of `belongs`."""
    shares, changed = list[float](), False
    for item, heard in zip(each_facts(folder), _joined(folder, index), strict=True):
        shares.append(_heard_of(heard, folder))
        changed = changed or item != heard
    if changed:
        remove_temporaries(folder / FACTS_NAME)
        write_facts(folder, _joined(folder, index))
    return [round(float(share), 3) for share in np.percentile(shares, [5, 25, 50, 75, 95])]


def _joined(folder: Path, index: CorpusIndex) -> Iterator[dict[str, Any]]:
    return with_heard(folder, each_facts(folder), index.shards)


def _heard_of(facts: Mapping[str, Any], folder: Path) -> float:
    if BELONGS not in facts:
        raise _not_held(folder / str(facts["shard"]), str(facts["key"]))
    return float(facts[BELONGS])


def _not_held(shard: Path, key: str) -> CorpusError:
    return CorpusError(
        f"{shard} does not hold record {key}: delete {FACTS_NAME} beside it, it is rebuilt from the shards"
    )


def _digest(index: CorpusIndex) -> str:
    """Names what is in the shards."""
    return hashlib.blake2b(repr([shard["sha256"] for shard in index.shards]).encode(), digest_size=12).hexdigest()


def _forget_others(folder: Path, index: CorpusIndex, of: Mapping[str, Any]) -> None:
    """Remove what other ears said, or these of other shards, so that answers of two kinds are never side by side."""
    kept = {answers_path(folder, s["name"]) for s in index.shards if answers(folder, s, of) is not None}
    for path in (folder / FOLDER).iterdir():
        if path not in kept and path.name != _LOCK:
            path.unlink()


def _others(folder: Path, width: int) -> Others:
    """The mean frames of records drawn from those that have sound and frames, the same for every run."""
    drawn = heapq.nsmallest(
        NUM_OTHERS,
        ((seed_for(0, "hear.others", item["key"]), item["key"], item["shard"], source_of(item))
         for item in each_facts(folder) if _is_heard(item)),
    )  # fmt: skip
    if not drawn:
        raise CorpusError(f"{folder} has no record with both sound and frames: ingest videos that have both")
    if len({source for *_, source in drawn}) < 2:
        raise CorpusError(f"{folder} is of one video, {drawn[0][3]}, and needs others to hold it against: ingest more")
    wanted = sorted((shard, key, source) for _, key, shard, source in drawn)
    frames = []
    for shard, items in itertools.groupby(wanted, lambda item: item[0]):
        keys = [key for _, key, _ in items]
        found = {record.key: _frame_of(record, width) for record in read_shard(folder / shard, set(keys))}
        if missing := [key for key in keys if key not in found]:
            raise _not_held(folder / shard, missing[0])
        frames += [found[key] for key in keys]
    return Others(np.stack(frames), np.array([source for _, _, source in wanted]))


def _is_heard(facts: Mapping[str, Any]) -> bool:
    return bool(facts.get("frame_times_s")) and not is_silent(dict(facts))


def _answered(records: Iterable[Record], listeners: Listeners, others: Others, bar: Any) -> Iterator[tuple[str, float]]:
    """Key and `belongs` of each record, heard in batches of one ear and one length."""
    records = iter(records)
    while batch := list(itertools.islice(records, _BATCH)):
        groups: dict[tuple[int, int, int], list[Record]] = {}
        for record in batch:
            if _is_heard(record.facts):
                alike = listeners.number_of(_source(record)), record.sample_rate_hz, len(record.wave)
                groups.setdefault(alike, []).append(record)
            else:
                yield record.key, 0.0
        for (number, rate_hz, _), group in groups.items():
            sounds_NE = _embedded(listeners.ears[number], [record.wave for record in group], rate_hz)
            own_NE = np.stack([_frame_of(record, others.frames_RE.shape[1]) for record in group])
            shares = belonging(sounds_NE, own_NE, [_source(record) for record in group], others)
            yield from zip((record.key for record in group), shares.tolist(), strict=True)
        bar.update(len(batch))


def _source(record: Record) -> str:
    return source_of({**record.facts, "key": record.key})


def _frame_of(record: Record, width: int) -> np.ndarray:
    """Its mean frame (E,)."""
    if record.frames.shape != (len(record.facts["frame_times_s"]), width):
        raise CorpusError(
            f"record {record.key} has frames of shape {record.frames.shape}, its facts and the index say "
            f"{(len(record.facts['frame_times_s']), width)}: build its shard again with ingest"
        )
    return mean_frame(record.frames)


def _embedded(ear: Ear, waves: Sequence[np.ndarray], rate_hz: int) -> np.ndarray:
    """Unit vectors (N, E) of sounds of one length; what is shorter than an ear needs is followed by silence."""
    waves_NT = np.stack(waves)
    missing = max(0, round(LEAST_S * rate_hz) - waves_NT.shape[1])
    return ear.embed_sounds(np.pad(waves_NT, ((0, 0), (0, missing))), rate_hz).whole
