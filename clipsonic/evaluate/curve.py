"""Curves of a sweep: score against evaluations of the network, as one PNG.

Guarantee: no global matplotlib state is touched. Price: about 0.3 s.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_SCORES = (
    ("accuracy", "named rightly"),
    ("recall_at_1", "own sound first"),
    ("frechet", "Fréchet distance"),
    ("mel_difference_db", "off the true sound, dB"),
)


def curve_png(cells: Sequence[dict[str, Any]], title: str) -> bytes:
    """A panel for each of up to two scores, a line for each guidance; bars are 95 % intervals.

    Args:
        cells: {steps, guidance, few_steps, evaluations, figures}, in the order of the lines.
    """
    scores = [(key, label) for key, label in _SCORES if all(key in cell["figures"] for cell in cells)][:2]
    figure = Figure(figsize=(5.0 * len(scores), 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (key, label) in enumerate(scores):
        axes = figure.add_subplot(1, len(scores), place + 1)
        for name, line in lines_of(cells).items():
            values = [cell["figures"][key] for cell in line]
            below = [max(0.0, value["value"] - value["low"]) for value in values]
            above = [max(0.0, value["high"] - value["value"]) for value in values]
            places, heights = [cell["evaluations"] for cell in line], [value["value"] for value in values]
            axes.errorbar(places, heights, yerr=[below, above], marker="o", capsize=2, label=name)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("network evaluations per sound")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def lines_of(cells: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Cells by the line they belong to, each by rising evaluations."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for cell in sorted(cells, key=lambda cell: cell["evaluations"]):
        name = "few-step adapter" if cell["few_steps"] else f"guidance {cell['guidance']:g}"
        lines.setdefault(name, []).append(cell)
    return dict(sorted(lines.items()))
