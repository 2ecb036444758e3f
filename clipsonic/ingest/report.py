"""What is in a corpus and what is not, as numbers and in words.

Guarantee: read from the facts and outcomes alone, no shard is opened; every share is of records unless it says sources.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsonic.ingest.plan import each_outcome, length_in_words, listing_of
from clipsonic.ingest.sources import Outcome, comments_in_words, most_frequent_first, passed_over_in_words
from clipsonic.shards.corpus import Corpus, open_corpus
from clipsonic.shards.duplicates import near_duplicates
from clipsonic.shards.heard import BELONGS
from clipsonic.shards.selection import is_silent

_EXAMPLES = 3
_CLIPPED_SHARE = 0.001
_MIX_LOSS_DB = 4.0  # two unrelated channels lose 3
_PADDED_S = 0.05  # encoders begin and end a track by less than this early or late
_NUM_ENDS = 6
"""Records named at each end of what was heard."""
_SHARES = ("silent", "still", "black", "clipped", "padded", "faintly_mixed")
_ROW = [("seconds", "f8"), ("rms_db", "f4"), (BELONGS, "f4"), *((name, "?") for name in _SHARES)]
"""What is held of a record, 22 bytes: a corpus of a million is looked at in the memory of a small one."""


@dataclass(frozen=True)
class Histogram:
    """Counts between edges (one more edge than counts)."""

    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class CorpusReport:
    """Numbers about a corpus.

    Args:
        corpus, clip, fingerprint, sample_rate_hz, seconds, min_seconds: what it is.
        records, shards, num_bytes, hours: how much it is.
        listed, ingested, cut_short: of its sources; those cut short ended early but gave records.
        not_read: of its sources, those that this machine could not read; the same ingest tries them again.
        passed_over: suffix -> files of the listed folders that are no media files by their names.
        comments: lines of manifests and lists that were taken as comments.
        reasons: reason -> refused sources; examples: reason -> some of them, with the decoder's words.
        silent, still, black, clipped, padded, faintly_mixed: shares of records: without sound that teaches anything
            (what training leaves out by default); nothing moves between kept pictures; all kept pictures black; more
            than 0.1 % of samples at full scale; sound or picture missing for more than 50 ms (`valid_seconds`); more
            than 4 dB of the sound lost when its channels became one.
        duplicates: share of records that look and sound like an earlier one; pairs: some of them, by key.
        rms_db: 5, 25, 50, 75 and 95 % quantiles of loudness.
        belongs: as `rms_db` of what `clipsonic hear` said, of records with sound; nothing where it has said nothing.
        loudness, lengths, belonging: histograms of rms_db, of seconds and of belongs.
        least, most: keys of the records that belong least and most, from the end on.
        codecs: "picture + sound" codec -> records, most frequent first.
    """

    corpus: str
    clip: str
    fingerprint: str
    sample_rate_hz: int
    seconds: float
    min_seconds: float
    records: int
    shards: int
    num_bytes: int
    hours: float
    listed: int
    ingested: int
    cut_short: int
    not_read: int
    passed_over: dict[str, int]
    comments: int
    reasons: dict[str, int]
    examples: dict[str, list[dict[str, Any]]]
    silent: float
    still: float
    black: float
    clipped: float
    padded: float
    faintly_mixed: float
    duplicates: float
    pairs: list[tuple[str, str]]
    rms_db: list[float]
    loudness: Histogram
    lengths: Histogram
    belongs: list[float]
    belonging: Histogram
    least: list[str]
    most: list[str]
    codecs: dict[str, int]

    @property
    def refused(self) -> int:
        """Sources that gave nothing."""
        return self.listed - self.ingested

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "refused": self.refused}


def corpus_report(where: str | Path | Corpus) -> CorpusReport:
    """Look at a finished corpus, in a folder or behind an address.

    Raises:
        CorpusError: it is none, or it is damaged.
        UsageError: an address that is not read.
    """
    corpus = open_corpus(where)
    index, codecs = corpus.index, Counter[str]()
    rows = np.fromiter((_row(item, codecs) for item in corpus.facts()), _ROW)
    levels, heard = (rows[name][~np.isnan(rows[name])] for name in ("rms_db", BELONGS))
    duplicates = near_duplicates(corpus.facts())
    sources, listing = _Sources(), listing_of(corpus.name)
    for outcome in each_outcome(corpus.name):
        sources.add(outcome)
    return CorpusReport(
        corpus=corpus.name,
        clip=index.clip,
        fingerprint=index.fingerprint,
        sample_rate_hz=index.spec.sample_rate_hz,
        seconds=index.spec.seconds,
        min_seconds=index.spec.min_seconds,
        records=len(rows),
        shards=len(index.shards),
        num_bytes=sum(shard["bytes"] for shard in index.shards),
        hours=float(rows["seconds"].sum()) / 3600,
        listed=sources.listed,
        ingested=sources.listed - sources.reasons.total(),
        cut_short=sources.cut_short,
        not_read=sources.not_read,
        passed_over=listing.get("passed_over", {}),
        comments=listing.get("comments", 0),
        reasons=most_frequent_first(sources.reasons),
        examples=sources.examples,
        **{name: _share(rows[name]) for name in _SHARES},
        duplicates=round(len(duplicates) / len(rows), 4) if len(rows) else 0.0,
        pairs=[(first, second) for second, first in heapq.nsmallest(_EXAMPLES, duplicates.items())],
        rms_db=_quantiles(levels, 1),
        loudness=_histogram(levels, np.arange(-120.0, 0.1, 5.0)),
        lengths=_histogram(rows["seconds"], np.linspace(0.0, index.spec.seconds + 1e-6, 17)),
        belongs=_quantiles(heard, 3),
        belonging=_histogram(heard, np.linspace(0.0, 1.0, 11)),
        least=_end(corpus, heapq.nsmallest),
        most=_end(corpus, heapq.nlargest),
        codecs=most_frequent_first(codecs),
    )


class _Sources:
    """Counts of what became of the sources, and some examples of each refusal."""

    def __init__(self) -> None:
        self.listed, self.cut_short, self.not_read = 0, 0, 0
        self.reasons = Counter[str]()
        self.examples: dict[str, list[dict[str, Any]]] = {}

    def add(self, outcome: Outcome) -> None:
        self.listed += 1
        self.not_read += outcome.is_open
        self.cut_short += not outcome.refused and outcome.reason is not None
        if outcome.refused:
            self.reasons[str(outcome.reason)] += 1
            found = self.examples.setdefault(str(outcome.reason), [])
            if len(found) < _EXAMPLES:
                found.append({"source": outcome.source, "detail": outcome.detail or ""})


def _row(item: dict[str, Any], codecs: Counter[str]) -> tuple[Any, ...]:
    """A record's facts as `_ROW`; its codecs are counted."""
    codecs[f"{item.get('codec', '?')} + {item.get('sound_codec', '?')}"] += 1
    silent = is_silent(item)
    return (
        item["seconds"],
        item.get("rms_db", float("nan")),
        float("nan") if silent else item.get(BELONGS, float("nan")),
        silent,
        item.get("still_share") == 1.0,
        item.get("black_share") == 1.0,
        item.get("clipped_share", 0.0) > _CLIPPED_SHARE,
        item.get("valid_seconds", item["seconds"]) < item["seconds"] - _PADDED_S,
        item.get("mix_loss_db", 0.0) > _MIX_LOSS_DB,
    )


def report_in_words(report: CorpusReport) -> str:
    """A few lines for people."""
    lines = [
        f"{report.corpus}: {report.records} records, {length_in_words(3600.0 * report.hours)} of "
        f"{report.sample_rate_hz} Hz mono sound "
        f"in {_number(report.shards, 'shard')}, {report.num_bytes / max(report.records, 1) / 1024:.0f} KiB per record",
        f"records of {report.min_seconds:g} to {report.seconds:g} s; CLIP {report.clip} ({report.fingerprint})",
    ]
    if report.rms_db:
        low, _, middle, _, high = report.rms_db
        lines.append(f"loudness: median {middle:.1f} dB, 90 % of records between {low:.1f} and {high:.1f} dB")
    if report.belongs:
        low, _, middle, _, high = report.belongs
        lines.append(
            f"sound belongs to picture: median {middle:.2f}, 90 % of records between {low:.2f} and {high:.2f}, least "
            f"{report.least[0]}"
        )
    lines.append(
        f"silent {report.silent:.1%}, still {report.still:.1%}, black {report.black:.1%}, "
        f"clipped {report.clipped:.1%}, padded {report.padded:.1%}, faintly mixed "
        f"{report.faintly_mixed:.1%}, near-duplicates {report.duplicates:.1%} of records"
    )
    if report.pairs:
        lines.append(f"  looks and sounds alike, for instance: {' = '.join(report.pairs[0])}")
    lines.append(f"sources: {report.listed} listed = {report.ingested} ingested + {report.refused} refused")
    if report.cut_short:
        lines.append(f"  {report.cut_short} of the ingested ended early, see sources.jsonl")
    if report.not_read:
        lines.append(f"  {report.not_read} could not be read by the machine: run the same ingest again")
    for words in (passed_over_in_words(report.passed_over), comments_in_words(report.comments)):
        lines += [f"  {words}"] if words else []
    for reason, count in report.reasons.items():
        lines.append(f"  {reason} {count}, for instance {report.examples[reason][0]['source']}")
        lines.append(f"    {report.examples[reason][0]['detail']}")
    return "\n".join(lines)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _end(corpus: Corpus, which: Callable[[int, Iterable[tuple[float, str]]], list[tuple[float, str]]]) -> list[str]:
    """Keys of the records with sound at one end of what was heard; of equal ones by key."""
    heard = ((item[BELONGS], item["key"]) for item in corpus.facts() if BELONGS in item and not is_silent(item))
    return [key for _, key in which(_NUM_ENDS, heard)]


def _quantiles(values: np.ndarray, digits: int) -> list[float]:
    """5, 25, 50, 75 and 95 %; none of nothing."""
    if not len(values):
        return []
    return [round(float(value), digits) for value in np.percentile(values, [5, 25, 50, 75, 95])]


def _share(flags: np.ndarray) -> float:
    return round(float(flags.mean()), 4) if len(flags) else 0.0


def _histogram(values: np.ndarray, edges: np.ndarray) -> Histogram:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return Histogram([round(float(edge), 3) for edge in edges], [int(count) for count in counts])
