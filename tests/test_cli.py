"""The command line: instant help, one sentence for an error, the right exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

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


KINDS = [sys.executable, "-m", "clipsonic.cli", "generate", "--list-kinds"]


@pytest.mark.parametrize(
    ("words", "stream"), [(KINDS, "stdout"), ([*KINDS, "--json"], "stdout"), (KINDS[:-1], "stderr")], ids=str
)
def test_when_nobody_reads_the_command_ends_without_a_word(words: list[str], stream: str) -> None:
    """With what a shell says of a command that a closed pipe ended: 128 and SIGPIPE's number."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: closed}
        ended = subprocess.run(words, stdout=streams["stdout"], stderr=streams["stderr"], check=False)
    assert (ended.returncode, ended.stdout or b"", ended.stderr or b"") == (141, b"", b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp932"])
def test_names_that_standard_output_has_no_letters_for_are_told_all_the_same(encoding: str, tmp_path: Path) -> None:
    for words in (["--image", "鐘é.png"], ["--image", os.fsdecode(b"a\xff.png")]):
        ended = subprocess.run(
            [*KINDS[:-1], *words, "--out", str(tmp_path / "a.wav")], capture_output=True, check=False,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert ended.returncode == 2
        said = ended.stderr.decode(encoding).splitlines()
        assert len(said) == 1
        assert said[0].endswith("does not exist: give the path of a file")


def test_json_can_be_read_whatever_standard_output_has_letters_for() -> None:
    code = (
        "import sys; from clipsonic import cli\ncli._report({'files': ['\\u9418.wav', 'a\\udcff.wav']}, as_json=True)"
    )
    for encoding in ("ascii", "utf-8"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert json.loads(done.stdout.decode(encoding)) == {"files": ["\u9418.wav", "a\udcff.wav"]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(os.fsdecode(b"a bell \xff"), "--text 'a bell \ufffd' is not valid Unicode: write it in UTF-8"), ("a\0b", "NUL")],
)
def test_a_prompt_that_is_no_text_is_refused_before_a_model_is_loaded(
    text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--text", "--negative-text"):
        words = ["--text", "a bell"] if option != "--text" else []
        assert main(["generate", "--model", "/nowhere", *words, option, text, "--out", str(tmp_path / "a.wav")]) == 2
        assert sentence.replace("--text", option) in capsys.readouterr().err
