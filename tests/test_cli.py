"""The command line: instant help, one sentence for an error, the right exit status."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from clipsonic.cli import COMMANDS, main


def test_help_answers_in_under_a_second() -> None:
    start_s = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-m", "clipsonic.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - start_s < 1.0
    for name in COMMANDS:
        assert name in answer.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"clipsonic {name} " in shown.split("usage:", 1)[1].replace("usage", "", 1)
    assert "xample" in shown


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_a_command_loads_no_heavy_package(name: str) -> None:
    code = (
        "import sys; from clipsonic.cli import main\n"
        f"try: main([{name!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = [n for n in ('torch', 'lightning', 'open_clip', 'diffusers', 'dalle2_pytorch') if n in sys.modules]\n"
        "print(heavy, file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words", [[], ["unknown"], ["train"], ["generate", "--model", "tiny"], ["ingest", "--ou", "x"]]
)
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    assert status == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ingest", "/nowhere/at/all", "--out", "{tmp}/corpus"], "/nowhere/at/all"),
        (["ingest", "{tmp}", "--out", "{tmp}/corpus"], "{tmp}"),
        (["generate", "--model", "tiny", "--text", "a bell", "--image", "x.png", "--out", "{tmp}/a.wav"], "--image"),
        (["generate", "--model", "tiny", "--image", "{tmp}/x.png", "--out", "{tmp}/a.wav"], "x.png"),
        (["generate", "--model", "{tmp}/nothing", "--text", "a bell", "--out", "{tmp}/a.wav"], "nothing"),
        (["train", "--config", "tiny", "--corpus", "{tmp}/nothing", "--out", "{tmp}/p"], "nothing"),
        (["train", "--config", "tinyy", "--corpus", "{tmp}/nothing", "--out", "{tmp}/p"], "tinyy"),
        (["inspect", "{tmp}/nothing"], "nothing"),
        (["convert", "vocoder", "{tmp}/nothing", "--out", "{tmp}/v"], "nothing"),
        (["convert", "scheduler", "{tmp}", "--out", "{tmp}/v"], "scheduler"),
        (["evaluate", "--model", "tiny", "--corpus", "{tmp}/nothing", "--out", "{tmp}/r"], "nothing"),
    ],
)
def test_bad_input_gets_one_sentence_with_the_value_and_no_traceback(
    words: list[str], expected: str, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(tmp=tmp_path) for word in words]
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    shown = capsys.readouterr().err.strip()
    assert status in (1, 2)
    assert expected.format(tmp=tmp_path) in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()[-1]) < 400
