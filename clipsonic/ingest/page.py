"""A corpus as one self-contained HTML page: numbers, histograms, refusals, and records to look at and to hear.

Guarantee: nothing is loaded from elsewhere; every text is escaped; equal corpora give equal pages.
Price: about 0.15 MB per record shown, 24 of them and, where `clipsonic hear` was asked, 6 of each end.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clipsonic.ingest.report import CorpusReport, Histogram
from clipsonic.ingest.sources import comments_in_words, passed_over_in_words
from clipsonic.refusals import MEANING, RefusalReason
from clipsonic.shards.corpus import Corpus, open_corpus
from clipsonic.shards.record import Record, encode_record
from clipsonic.shards.writer import read_shard

NUM_SHOWN = 24
_TEMPLATE = "page.html.j2"
CHART_WIDTH, CHART_HEIGHT = 520.0, 150.0
_BELONGING = "share of other videos' frames that fit the sound worse"
_ENDS = {"least": "Sound and picture belong together least", "most": "Sound and picture belong together most"}
Shown = tuple[Record, dict[str, Any]]
_MAX_BAR_WIDTH, _MAX_LABELS = 52.0, 10


def html_page(where: str | Path | Corpus, report: CorpusReport) -> str:
    """The page; of a corpus behind an address, the shards of the records shown are fetched.

    Raises:
        CorpusError: a shard is damaged.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    corpus = open_corpus(where)
    ends = _ends(corpus, report)
    groups = [(title, [_card(*found) for found in ends[name]]) for name, title in _ENDS.items() if ends[name]]
    groups.append(("Some records", [_card(*found) for found in _spread(corpus, report.records, NUM_SHOWN)]))
    meaning = {str(reason): MEANING[reason] for reason in RefusalReason}
    said = (passed_over_in_words(report.passed_over), comments_in_words(report.comments))
    return environment.get_template(_TEMPLATE).render(
        report=report,
        refused=[
            (reason, meaning.get(reason, ""), count, report.examples[reason])
            for reason, count in report.reasons.items()
        ],
        histograms=[
            ("Loudness", "dB of full scale", _bars(report.loudness)),
            ("Length", "seconds", _bars(report.lengths)),
            *([("Belonging", _BELONGING, _bars(report.belonging))] if report.belongs else []),
        ],
        remarks=[words for words in said if words],
        groups=groups,
        chart=(CHART_WIDTH, CHART_HEIGHT),
    )


def _ends(corpus: Corpus, report: CorpusReport) -> dict[str, list[Shown]]:
    """The records whose sound belongs least and most to their picture."""
    wanted = {*report.least, *report.most}
    items = [item for item in corpus.facts() if item["key"] in wanted] if wanted else []
    found = {record.key: (record, facts) for record, facts in _read(corpus, items)}
    return {name: [found[key] for key in getattr(report, name) if key in found] for name in _ENDS}


def _spread(corpus: Corpus, num_records: int, count: int) -> list[Shown]:
    """Records evenly spread over the corpus."""
    count = min(count, num_records)
    places = {place * num_records // count for place in range(count)}
    return _read(corpus, [item for place, item in enumerate(corpus.facts()) if place in places])


def _read(corpus: Corpus, chosen: list[dict[str, Any]]) -> list[Shown]:
    """The records of these facts, in their order, each with its facts."""
    keys: dict[str, set[str]] = {}
    for item in chosen:
        keys.setdefault(item["shard"], set()).add(item["key"])
    records = {}
    for shard, wanted in keys.items():
        corpus.bring(shard)
        records.update({record.key: record for record in read_shard(corpus.folder / shard, wanted)})
    return [(records[item["key"]], item) for item in chosen if item["key"] in records]


def _card(record: Record, facts: dict[str, Any]) -> dict[str, Any]:
    sound = encode_record(record)["flac"]
    return {
        "facts": facts,
        "caption": record.caption,
        "picture": None if record.thumbnail is None else _data_uri("image/jpeg", record.thumbnail),
        "sound": _data_uri("audio/flac", sound),
        "num_frames": len(record.frames),
    }


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _bars(histogram: Histogram) -> list[dict[str, Any]]:
    """Bars of an SVG of fixed size, heights relative to the tallest; empty ends are left out."""
    filled = [place for place, count in enumerate(histogram.counts) if count]
    if not filled:
        return []
    places = range(filled[0], filled[-1] + 1)
    width = min(_MAX_BAR_WIDTH, CHART_WIDTH / len(places))
    return [
        {
            "x": round(column * width, 1),
            "width": round(width - 3, 1),
            "height": round(CHART_HEIGHT * histogram.counts[place] / max(histogram.counts), 1),
            "count": histogram.counts[place],
            "label": f"{histogram.edges[place]:g}" if column % -(-len(places) // _MAX_LABELS) == 0 else "",
            "title": f"{histogram.edges[place]:g} to {histogram.edges[place + 1]:g}: {histogram.counts[place]}",
        }
        for column, place in enumerate(places)
    ]
