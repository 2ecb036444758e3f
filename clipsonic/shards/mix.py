"""What a model can be trained on in one corpus or in several: what fits, which records, in which proportion.

Guarantee: corpora that do not go together are refused with both values; a video is on one side of the split in all of
them; every record is counted once in the report, of each corpus and of all. Price: one pass over the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clipsonic.errors import CorpusError, FingerprintError, SpecError, UsageError
from clipsonic.shards.corpus import Corpus
from clipsonic.shards.duplicates import near_duplicates
from clipsonic.shards.merge import common_spec
from clipsonic.shards.selection import Candidate, Facts, Split, one_side, usable_records
from clipsonic.shards.writer import CorpusIndex
from clipsonic.specs import SegmentSpec


@dataclass(frozen=True)
class Choice:
    """The records to train on.

    Args:
        records: of all corpora, in their order.
        weights: of each corpus that has records, in the same order; None takes all records as one list.
        report: how many records are `used`, and how many not: `other_split too_short silent filtered duplicate`,
            of one half of the videos `other_half` too; of several corpora, `corpora` has the same for each, its name
            and its `share` of what is drawn.
    """

    records: list[Candidate]
    weights: list[float] | None
    report: dict[str, Any]


def choose(
    corpora: Sequence[Corpus],
    segment: SegmentSpec,
    split: Split = "train",
    *,
    weights: Sequence[float] | None = None,
    val_share: float = 0.05,
    keep: Callable[[Facts], bool] | None = None,
    drop_silent: bool = True,
    drop_duplicates: bool = False,
    half: int | None = None,
) -> Choice:
    """Choose records; the arguments are those of `SegmentLoader`.

    Raises:
        CorpusError: there is no usable record; with weights, not in each corpus of the training side.
        FingerprintError, SpecError: the corpora do not go together, or cannot feed this segment.
        UsageError: not as many weights as corpora.
    """
    if weights is not None and len(weights) != len(corpora):
        raise UsageError(f"data.weights has {len(weights)} for {len(corpora)} corpora: give one for each --corpus")
    common_spec([corpus.name for corpus in corpora], [corpus.index for corpus in corpora])
    for corpus in corpora:
        check_fit(corpus.index, segment, corpus.name)
    copies = near_duplicates(_all_facts(corpora)) if drop_duplicates else {}
    usable, reports = list[Candidate](), []
    for number, corpus in enumerate(corpora):
        single = (item for item in corpus.facts() if not copies or _name(number, item) not in copies)
        found, left_out = usable_records(single, segment, keep=keep, drop_silent=drop_silent, half=half, corpus=number)
        usable += found
        num_copies = sum(name.startswith(f"{number}/") for name in copies)
        reports.append({"used": 0, "other_split": len(found), **left_out, "duplicate": num_copies})
    chosen = one_side(usable, split, val_share)
    for record in chosen:
        reports[record.corpus]["used"] += 1
        reports[record.corpus]["other_split"] -= 1
    _check_some(corpora, segment, split, reports, each=weights is not None and split != "val")
    kept = None if weights is None else [weights[n] for n, report in enumerate(reports) if report["used"]]
    return Choice(chosen, kept, _report(corpora, reports, weights))


def check_fit(index: CorpusIndex, segment: SegmentSpec, name: object) -> None:
    """Refuse a corpus that cannot feed this segment.

    Raises:
        FingerprintError, SpecError: with both values.
    """
    if index.fingerprint != segment.fingerprint:
        raise FingerprintError(
            f"corpus {name} was embedded by CLIP {index.fingerprint}, the model needs {segment.fingerprint}: "
            "ingest the videos with the model's CLIP, or train a new model"
        )
    if index.spec.sample_rate_hz != segment.mel.sample_rate_hz:
        raise SpecError(
            f"corpus {name} holds sound at {index.spec.sample_rate_hz} Hz, the model's mel space needs "
            f"{segment.mel.sample_rate_hz} Hz: ingest at the model's rate"
        )
    if segment.num_samples > index.spec.num_samples():
        raise SpecError(
            f"the model's segment of {segment.seconds:g} s is longer than the records of {name} "
            f"({index.spec.seconds:g} s): ingest with --seconds {segment.seconds:g}, or train a shorter segment"
        )


def _name(number: int, item: Facts) -> str:
    """A record's key, told apart from those of other corpora."""
    return f"{number}/{item['key']}"


def _all_facts(corpora: Sequence[Corpus]) -> Iterator[Facts]:
    return ({**item, "key": _name(n, item)} for n, corpus in enumerate(corpora) for item in corpus.facts())


def _check_some(
    corpora: Sequence[Corpus], segment: SegmentSpec, split: Split, reports: list[dict[str, int]], each: bool
) -> None:
    """Refuse a mix of which nothing is left, or, with `each`, nothing of one corpus."""
    total = {name: sum(report[name] for report in reports) for name in reports[0]}
    if not total["used"]:
        names = " and ".join(corpus.name for corpus in corpora)
        raise CorpusError(_nothing_usable(names, segment, split, total))
    for corpus, report in zip(corpora, reports, strict=True):
        if each and not report["used"]:
            raise CorpusError(_nothing_usable(corpus.name, segment, split, report))


def _nothing_usable(name: str, segment: SegmentSpec, split: Split, report: dict[str, int]) -> str:
    total = sum(report.values())
    halved = f", {report['other_half']} in the other half" if "other_half" in report else ""
    return (
        f"corpus {name} has no usable record in split {split!r} for a segment of {segment.seconds:g} s: of {total} "
        f"records {report['too_short']} are too short, {report['silent']} silent, {report['filtered']} filtered out"
        f"{halved} and {report['other_split']} in the other split; ingest longer or louder videos, or train a "
        "shorter segment"
    )


def _report(
    corpora: Sequence[Corpus], reports: list[dict[str, int]], weights: Sequence[float] | None
) -> dict[str, Any]:
    total: dict[str, Any] = {name: sum(report[name] for report in reports) for name in reports[0]}
    if len(corpora) > 1:
        parts = [report["used"] for report in reports] if weights is None else weights
        total["corpora"] = [
            {"corpus": corpus.name, "share": round(part / sum(parts), 4), **report}
            for corpus, part, report in zip(corpora, parts, reports, strict=True)
        ]
    return total
