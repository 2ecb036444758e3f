"""The columns of a report's tables: which figure each shows, how it is written, and what it means.

Guarantee: a figure of report.json is shown by one column at most, under one heading. Price: none, these are facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Column(NamedTuple):
    """One column of the table: the key of a row's figure, its heading, how it is written, and what it means."""

    key: str
    heading: str
    write: Callable[[Any], str]
    meaning: str


def _percent(share: Any) -> str:
    """A share, with its interval if it was measured on a sample."""
    if not isinstance(share, Mapping):
        return f"{share:.1%}"
    if share["low"] == share["high"]:
        return f"{share['value']:.1%}"
    return f"{share['value']:.1%} ({share['low']:.0%} to {share['high']:.0%})"


def _with_interval(digits: int) -> Callable[[Any], str]:
    """Writes a figure and the ends of its interval with so many digits behind the point."""
    return lambda figure: "{value:.{n}f} ({low:.{n}f} to {high:.{n}f})".format(**figure, n=digits)


def _rank(rank: Any) -> str:
    return f"{rank:.1f}"


def _seconds(seconds: Any) -> str:
    return f"{seconds:.2f}"


COMMON_COLUMNS = (
    Column(
        "num_sounds", "sounds", str, "How many sounds the row has; rows with fewer are of a fair draw of the items."
    ),
    Column(
        "mel_difference_db",
        "off the true sound, dB",
        _with_interval(1),
        "Mean absolute difference of the log-mel spectrogram to the true sound's, in decibels, with the 95 "
        "% interval of its mean. 0 is the very same sound. It falls with the right timbre and level, but "
        "two equally good takes of one thing (other onsets) also differ: read it against the shuffled row.",
    ),
    Column(
        "silent_share",
        "silent",
        _percent,
        "Share of the sounds whose level is below -60 dB full scale: silence can look good in distances, "
        "so it is counted.",
    ),
    Column(
        "clipped_share",
        "clipped",
        _percent,
        "Share of the sounds with more than one sample in a thousand at full scale.",
    ),
    Column(
        "seconds_per_sound",
        "s per sound",
        _seconds,
        "Wall-clock seconds to make one sound on the machine of this run, in batches.",
    ),
)
_SET_COLUMNS = (
    Column(
        "frechet",
        "Fréchet",
        _with_interval(1),
        "Fréchet distance of the features (the judge's, or the embedder's) to those of as many true sounds; in the "
        "first row, between two disjoint halves of the true sounds. It falls with the count: compare rows with as "
        "many sounds.",
    ),
    Column(
        "kernel",
        "KAD",
        _with_interval(1),
        "Kernel audio distance of the same features, times 1,000: unbiased for independent sounds, whatever their "
        "count; below 0 where each made sound is nearly its own true one.",
    ),
)
LAW_COLUMNS = (
    Column(
        "pitch_semitones",
        "pitch off, semitones",
        _with_interval(1),
        "How far the pitch heard is from the law's, of kinds that have one: the median, with its 95 % interval. Read "
        "by holding the sound against renders of the law at known pitches, without a network; the true sound's row "
        "is the error of this reading.",
    ),
    Column(
        "rate_error",
        "rate off",
        _percent,
        "How far the rate of what recurs (strikes, barks, puffs, turns) is from the law's, as a share of it: the "
        "median, over scenes that keep their speed, read in the same way.",
    ),
    Column(
        "onset_ms",
        "onsets off, ms",
        _with_interval(0),
        "Distance from each onset of the law to the nearest one heard, and from each heard to the nearest of the law: "
        "the median. Frames a second apart cannot tell the moment of a strike: read it against the shuffled rows.",
    ),
    Column(
        "level_db", "level off, dB", _with_interval(1), "Difference of the level (RMS) to the true sound's: the median."
    ),
    Column(
        "envelope_correlation",
        "follows change",
        _with_interval(2),
        "Correlation of the loudness curve with the true sound's over scenes that start, stop or change inside the "
        "segment: the mean. One picture cannot tell when; frames with their times can.",
    ),
)
"""Of the laws of the soundstage, measured on the waveform."""
FILL_COLUMNS = (
    Column(
        "error_db",
        "off in the made cells, dB",
        _with_interval(1),
        "Mean absolute difference of the log-mel spectrogram to the true sound's over the cells that were made, in "
        "decibels. Several sounds can be right for a hole, and a mean that sounds like nothing is not far from any: "
        "read it with the next columns.",
    ),
    Column(
        "below_audioldm_db",
        "below AudioLDM's way, dB",
        _with_interval(2),
        "How much smaller that is than with AudioLDM's way of sampling, on the same sounds: the mean of the paired "
        "differences.",
    ),
    Column(
        "stretch_named",
        "made stretch named rightly",
        _percent,
        "Share of the sounds of which the judge names rightly the made stretch alone (at least as long as it can "
        "judge); where no single stretch is made, the whole sound.",
    ),
    Column(
        "seam_db",
        "seam, dB",
        _with_interval(1),
        "Mean absolute step between neighbouring cells of which one is given and one made, the given ones put back. "
        "The true sound's own is what a perfect seam has; less is too smooth.",
    ),
    Column(
        "drift_db",
        "given moved, dB",
        _with_interval(1),
        "How far the given cells had moved before they were put back.",
    ),
)
"""Of sounds with something missing."""
CHANGE_COLUMNS = (
    Column(
        "target_named",
        "named as the target",
        _percent,
        "Share of the sounds that the judge names as the target's kind.",
    ),
    Column(
        "source_named",
        "named as the source",
        _percent,
        "Share of the sounds that the judge names as the source's kind.",
    ),
    Column(
        "loudness_correlation",
        "loudness follows",
        _with_interval(2),
        "Correlation of the loudness curve with the source's: the mean.",
    ),
    Column(
        "source_distance_db",
        "off the source, dB",
        _with_interval(1),
        "Mean absolute difference of the log-mel spectrogram to the source's.",
    ),
    Column(
        "seeds_distance_db",
        "two seeds apart, dB",
        _with_interval(1),
        "The same difference between two variations of one source, from two seeds.",
    ),
)
"""Of whole sounds that are changed."""
COLUMNS: dict[str, tuple[Column, ...]] = {
    "soundstage": (
        Column(
            "accuracy",
            "named rightly",
            _percent,
            "Share of the sounds that the judge names by the right one of the kinds, with Wilson's 95 % "
            "interval. The judge is a classifier trained on true sound only; what it says of the true "
            "sound of these very scenes, in the first row, is its own accuracy and the ceiling of every "
            "other row.",
        ),
        *_SET_COLUMNS,
        Column(
            "posterior_kl",
            "KL",
            _with_interval(2),
            "Divergence of what the judge says of the sound from what it says of the true one, in nats, with the 95 % "
            "interval of its mean.",
        ),
        *COMMON_COLUMNS,
        *LAW_COLUMNS,
    ),
    "videos": (
        Column(
            "recall_at_1",
            "own sound first",
            _percent,
            "Share of the made sounds that lie nearest (log-mel difference) to the soundtrack of their own "
            "record among all of them, with Wilson's 95 % interval.",
        ),
        Column(
            "mean_rank",
            "mean rank",
            _rank,
            "Where the own soundtrack stands on average when all soundtracks are sorted by distance to the "
            "made sound; 1 is best, half of all is what a model that ignores its prompt gets.",
        ),
        *_SET_COLUMNS,
        *COMMON_COLUMNS,
    ),
    "edits": (*FILL_COLUMNS, *CHANGE_COLUMNS, *COMMON_COLUMNS),
}
"""The table's columns, by the kind of corpus; `edits` for either kind."""


def columns_of(numbers: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns that this result's table has: those that at least one row has a figure for."""
    known = {key for row in numbers["rows"] for key, figure in row["figures"].items() if figure is not None}
    return tuple(column for column in COLUMNS[numbers.get("table", numbers["corpus_kind"])] if column.key in known)
