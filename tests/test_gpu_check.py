"""What `scripts/gpu_check` says of its checks: a table, a verdict and an exit status that no failure slips through."""

from __future__ import annotations

import math
import runpy
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

CHECK = runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "gpu_check.py"))
Row = CHECK["Row"]
GOOD, BAD, TOLD = Row("a", "1", "at most 2", True), Row("b", "3", "at most 2", False), Row("c", "5 records/s")


@pytest.mark.parametrize(
    ("rows", "status", "verdict"),
    [([GOOD, TOLD], 0, "all 1 bounds were kept"), ([GOOD, BAD, TOLD], 1, "1 of 2 bounds were not kept: b"),
     ([TOLD], 1, "no bound was tried"), ([], 1, "no bound was tried")],
)  # fmt: skip
def test_the_status_is_0_only_where_there_were_bounds_and_all_were_kept(
    rows: list[Any], status: int, verdict: str
) -> None:
    assert CHECK["status_of"](rows) == status
    assert CHECK["table"](rows).splitlines()[-1] == verdict
    assert len(CHECK["table"](rows).splitlines()) == 2 + len(rows) + 2


@pytest.mark.parametrize(("value", "passed"), [(0.019, True), (0.02, True), (0.021, False), (math.nan, False)])
def test_a_number_keeps_its_bound_up_to_it_and_no_number_keeps_none(value: float, passed: bool) -> None:
    row = CHECK["at_most"]("loss", value, 0.02, "loss 1.5, {:.1%} off")
    assert row.passed is passed
    assert row.bound == "at most 2.0%"


@pytest.mark.parametrize(
    ("some", "far"), [([1.0, 2.0], 0.0), ([1.0, 2.1], 0.05), ([0.9, 2.0], 0.1), ([math.nan, 2.0], math.inf)]
)
def test_two_curves_are_as_far_apart_as_at_their_worst_place(some: list[float], far: float) -> None:
    assert CHECK["apart_by"](some, [1.0, 2.0]) == pytest.approx(far)


def good(_bench: Any) -> Iterator[Any]:
    yield GOOD


def breaking(_bench: Any) -> Iterator[Any]:
    yield TOLD
    raise RuntimeError("CUDA error: misaligned address\nand much more")


def slow(_bench: Any) -> Iterator[Any]:
    yield GOOD
    while True:
        time.sleep(0.01)


def test_a_check_that_raises_fails_in_a_sentence_and_the_others_are_run() -> None:
    rows = list(CHECK["rows_of"]([breaking, good], None, lambda: 60.0))
    assert rows == [TOLD, Row("breaking", "RuntimeError: CUDA error: misaligned address", "no error", False), GOOD]


def test_a_check_beyond_the_time_and_those_after_it_fail() -> None:
    end_s, before = time.monotonic() + 0.2, signal.getsignal(signal.SIGALRM)
    rows = list(CHECK["rows_of"]([slow, good], None, lambda: end_s - time.monotonic()))
    assert [(row.what, row.passed) for row in rows] == [("a", True), ("slow", False), ("good", False)]
    assert signal.getsignal(signal.SIGALRM) is before


def test_without_a_gpu_it_is_refused_in_a_sentence_unless_it_is_small(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert CHECK["main"]([]) == 2
    assert "give --small" in capsys.readouterr().err
    assert CHECK["main"](["--small", "--device", "cuda"]) == 2
    assert "--device cuda is not here" in capsys.readouterr().err
