"""The page's words and pictures as HTML.

Guarantee: what a visitor wrote, or named a file, stands in it as text only. Price: none; no page library is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from clipsonic.demo.answer import Answer
from clipsonic.demo.made import Made
from clipsonic.demo.studio import Studio

_MAX_TITLE = 80


def heading(studio: Studio) -> str:
    """What this page is, and which model answers."""
    return (
        "<h1>Make a sound</h1><p class='lead'>Describe it, show a picture of it, give a video that lacks it, or "
        "change a sound that is there. "
        f"The model <b>{escape(studio.name)}</b> makes {studio.segment_s:.3g} seconds at a time, on this computer.</p>"
    )


def empty() -> str:
    """Where the sound will be, before there is one."""
    return "<p class='hint'>Your sound will appear here.</p>"


def refusal(sentence: str) -> str:
    """Why there is no new sound."""
    return f"<div class='word refused' role='alert'><b>No new sound:</b> {escape(sentence)}.</div>"


def report(made: Answer, seconds: float) -> str:
    """How the sounds were made, and a word of caution."""
    facts, count = made.facts, len(made.sounds)
    levels = sorted({sound.loudness_lufs for sound in made.sounds})
    loud = f"{levels[0]:.1f}" if len(levels) == 1 else f"{levels[0]:.1f} to {levels[-1]:.1f}"
    guided = "" if facts["guidance"] is None else f"guidance {facts['guidance']:g}, "
    words = [
        f"{count} sound{'s' if count > 1 else ''} of {facts['seconds']:.2f} s, made in {seconds:.1f} s",
        f"seed {facts['seed']}, {facts['steps']} steps, {guided}{loud} LUFS",
    ]
    if "kept" in facts:
        words.append(f"{facts['kept']:.0%} kept as it was")
    if "best_of" in facts:
        words.append(f"the best of {facts['best_of']}")
    if facts["closer"]:
        words.append(f"text to picture by {facts['closer']}")
    lines = [f"<p class='word' role='status'>{escape('; '.join(words))}.</p>"]
    if made.notice:
        lines.append(f"<div class='word notice'><b>Please note:</b> {escape(made.notice)}.</div>")
    if made.no_video:
        lines.append(f"<div class='word notice'><b>Only the sound:</b> {escape(made.no_video)}.</div>")
    return "".join(lines)


def spectrogram(sound: Made) -> str:
    """A sound's picture."""
    return f"<img class='spectrogram' alt='spectrogram of the sound' src='/v1/sounds/{sound.spectrogram.name}'>"


def videos(made: Answer) -> str:
    """The videos with their new sound, side by side."""
    players = "".join(
        f"<figure><video controls playsinline preload='metadata' src='/v1/sounds/{path.name}'></video>"
        f"<figcaption>Your video with sound {index + 1}: <a download href='/v1/sounds/{path.name}'>download</a>"
        "</figcaption></figure>"
        for index, path in enumerate(made.videos)
    )
    return f"<div class='videos'>{players}</div>" if players else ""


def remembered(title: str, made: Answer) -> dict[str, Any]:
    """What the history keeps of an answer: plain values."""
    return {"title": title, "seed": made.facts["seed"], "files": [sound.wave.name for sound in made.sounds]}


def history(entries: Sequence[dict[str, Any]]) -> str:
    """What was made before, the newest first, each with its players."""
    rows = "".join(_row(entry) for entry in entries)
    return f"<ol class='history'>{rows}</ol>" if rows else "<p class='hint'>Nothing yet.</p>"


def _row(entry: dict[str, Any]) -> str:
    title = str(entry["title"])
    shown = title if len(title) <= _MAX_TITLE else f"{title[: _MAX_TITLE - 1]}…"
    players = "".join(
        f"<audio controls preload='none' src='/v1/sounds/{escape(name)}'></audio>" for name in entry["files"]
    )
    words = f"{escape(shown)} <small>seed {entry['seed']}</small>"
    return f"<li><span>{words}</span><div class='players'>{players}</div></li>"
