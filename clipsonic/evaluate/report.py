"""The report of an evaluation: report.json, a table, and one HTML page with players that stands alone.

Guarantee: every figure of the table and of the page is a number of report.json; the page loads nothing from anywhere,
and stays below `MAX_PAGE_BYTES` by leaving out the last examples, which it then says.
Price: one spectrogram picture and one FLAC per player, about 0.2 s and 150 kB.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from tqdm import tqdm

from clipsonic.audio.mel import LogMel
from clipsonic.audio.picture import spectrogram_png
from clipsonic.audio.wave import encode_flac
from clipsonic.evaluate.columns import CHANGE_COLUMNS, COMMON_COLUMNS, LAW_COLUMNS, Column, columns_of
from clipsonic.files import write_whole
from clipsonic.specs import MelSpec

MAX_PAGE_BYTES = 25_000_000
REPORT_NAME, TABLE_NAME, PAGE_NAME = "report.json", "table.md", "index.html"


@dataclass(frozen=True)
class Sound:
    """One player: what it is, what prompted it, what the judge called it (and whether that is right)."""

    label: str
    wave: np.ndarray
    prompt: str = ""
    verdict: str = ""
    is_right: bool | None = None


@dataclass(frozen=True)
class Example:
    """One card: a picture, the true sound first, and the sounds made for it."""

    title: str
    subtitle: str
    thumbnail: bytes | None
    sounds: tuple[Sound, ...]


@dataclass(frozen=True)
class Evaluation:
    """What `write_report` writes.

    Args:
        numbers: plain JSON values; see `clipsonic.evaluate.run` for the keys.
        examples: what can be heard.
        mel: the mel space of the spectrogram pictures; its rate is the rate of all waves.
    """

    numbers: dict[str, Any]
    examples: tuple[Example, ...]
    mel: MelSpec


def headings(numbers: Mapping[str, Any], columns: Sequence[Column]) -> list[str]:
    """These columns' headings; beside the judge's share stands how often it is right on true sound."""
    true = next((row["figures"].get("accuracy") for row in numbers["rows"] if row["name"] == "true"), None)
    own = f" (judge itself: {true['value']:.1%})" if true else ""
    return [column.heading + (own if column.key == "accuracy" else "") for column in columns]


def cells(row: Mapping[str, Any], columns: Sequence[Column]) -> list[str]:
    """The written figures of a row, a dash where it has none."""
    figures = row["figures"]
    return [column.write(figures[column.key]) if figures.get(column.key) is not None else "–" for column in columns]


def table_text(numbers: Mapping[str, Any]) -> str:
    """The table for a terminal."""
    tables = [_padded(_lines(numbers, columns)) for columns in _halves(numbers)]
    notes = [f"skipped: {skipped['label']} ({skipped['reason']})" for skipped in numbers["skipped"]]
    return "\n".join([*"\n\n".join(tables).split("\n"), *numbers["sentences"], *notes])


def table_markdown(numbers: Mapping[str, Any]) -> list[str]:
    """The tables for a card or a README: what is heard, and (where laws are known) how far the laws are obeyed."""
    tables = []
    for columns in _halves(numbers):
        head, *rows = (" | ".join(line) for line in _lines(numbers, columns, corner="prompt"))
        rule = "---|" * (1 + len(columns))
        tables.append("\n".join([f"| {head} |", f"|{rule}", *(f"| {row} |" for row in rows)]) + "\n")
    return tables


def _halves(numbers: Mapping[str, Any]) -> list[tuple[Column, ...]]:
    """The columns of the table, those of the laws and of changed sounds apart: together they are too wide."""
    columns = columns_of(numbers)
    apart = (LAW_COLUMNS, CHANGE_COLUMNS)
    first = tuple(one for one in columns if not any(one in group for group in apart))
    return [part for part in (first, *(tuple(one for one in columns if one in group) for group in apart)) if part]


def _padded(lines: list[list[str]]) -> str:
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(rows)


def _lines(numbers: Mapping[str, Any], columns: Sequence[Column], corner: str = "") -> list[list[str]]:
    """Headings and rows as written cells; rows with no figure of their own in these columns are left out."""
    own = [column.key for column in columns if column not in COMMON_COLUMNS]
    rows = [row for row in numbers["rows"] if any(row["figures"].get(key) is not None for key in own)]
    return [[corner, *headings(numbers, columns)], *([row["label"], *cells(row, columns)] for row in rows)]


def write_report(folder: str | Path, result: Evaluation) -> dict[str, str]:
    """Write report.json, table.md and index.html, each whole; returns the paths as {"report", "page"}."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result.numbers, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / REPORT_NAME, text.encode() + b"\n")
    write_whole(folder / TABLE_NAME, "\n".join(table_markdown(result.numbers)))
    write_whole(folder / PAGE_NAME, render_page(result).encode())
    return {"report": str(folder / REPORT_NAME), "page": str(folder / PAGE_NAME)}


def render_page(result: Evaluation, max_bytes: int = MAX_PAGE_BYTES) -> str:
    """The HTML page, at most `max_bytes` long unless the table alone is longer."""
    cards, size, log_mel = [], 0, LogMel(result.mel)
    for example in tqdm(result.examples, "draw examples", file=sys.stderr, mininterval=0.5):
        card = _card(example, log_mel)
        size += len(json.dumps(card))
        if size > max_bytes - 100_000:
            break
        cards.append(card)
    columns = columns_of(result.numbers)
    rows = [
        {"label": row["label"], "about": row["about"], "bar": _bar(row), "cells": cells(row, columns)}
        for row in result.numbers["rows"]
    ]
    template = jinja2.Template(
        Path(__file__).with_name("report.html.j2").read_text(), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = template.render(
        numbers=result.numbers,
        columns=columns,
        headings=headings(result.numbers, columns),
        rows=rows,
        cards=cards,
        num_hidden=len(result.examples) - len(cards),
    )
    return str(page)


def _bar(row: Mapping[str, Any]) -> dict[str, float] | None:
    """The row's main share and interval in percent, for the bar drawn in its cell."""
    share = row["figures"].get("accuracy", row["figures"].get("recall_at_1"))
    return None if share is None else {end: 100.0 * share[end] for end in ("value", "low", "high")}


def _card(example: Example, log_mel: LogMel) -> dict[str, Any]:
    sounds = []
    for sound in example.sounds:
        mel = log_mel(torch.from_numpy(np.ascontiguousarray(sound.wave))[None])[0].numpy()
        flac = encode_flac(sound.wave, log_mel.spec.sample_rate_hz)
        sounds.append(
            {
                "label": sound.label,
                "prompt": sound.prompt,
                "verdict": sound.verdict,
                "is_right": sound.is_right,
                "audio": _data_uri("audio/flac", flac),
                "picture": _data_uri("image/png", spectrogram_png(mel, log_mel.spec)),
            }
        )
    thumbnail = _data_uri("image/jpeg", example.thumbnail) if example.thumbnail else None
    return {"title": example.title, "subtitle": example.subtitle, "thumbnail": thumbnail, "sounds": sounds}


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
