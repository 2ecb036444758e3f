"""What the README shows is what happens: its commands run as printed, its table is the card's."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
from PIL import Image

from clipsonic.cli import COMMANDS, main
from clipsonic.ingest.decode import frames_at

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMAND_LINES = [
    line.split("#")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.strip()
]
NEEDS_A_DOWNLOAD_OR_A_GPU = ("ViT-L-14:openai", "--config base")
RUN_ELSEWHERE = ("--config adapter", "MY_VIDEOS", "clipsonic demo", "clipsonic inspect")
"""By tests of their own: training an adapter takes minutes, and a page does not end."""


def tables_of(text: str) -> list[str]:
    """The rows of the tables that `clipsonic evaluate` wrote: what is heard, and the laws."""
    found = re.search(r"\| prompt \|.*\n(?:\|.*\n|\n(?=\| prompt \|))*", text)
    assert found is not None
    return found[0].splitlines()


def test_the_two_commands_come_first_and_exist() -> None:
    assert COMMAND_LINES[:2] == ["scripts/quickstart", "scripts/test"]
    for line in COMMAND_LINES[:2]:
        assert (ROOT / line).stat().st_mode & 0o111


@pytest.mark.parametrize("line", [line for line in COMMAND_LINES if line.startswith("clipsonic ")])
def test_every_command_line_of_the_readme_is_understood(line: str) -> None:
    _, name, *words = shlex.split(line)
    parser = importlib.import_module(COMMANDS[name][0]).build_parser(f"clipsonic {name}")
    understood = vars(parser.parse_args(words))  # an unknown option or a missing one ends the test
    given = [word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--") and "." not in word]
    assert [option for option in given if understood.get(option) is None] == []


def test_every_command_is_in_the_readme() -> None:
    assert [name for name in COMMANDS if f"`clipsonic {name}`" not in README and f"`{name}`" not in README] == []


def test_the_results_are_those_of_the_bundled_models_card() -> None:
    card = (ROOT / "priors" / "tiny" / "card.md").read_text(encoding="utf-8")
    assert tables_of(README) == tables_of(card)
    assert sum(line.startswith("| prompt |") for line in tables_of(card)) == 2


@pytest.mark.slow
def test_the_commands_and_the_python_of_the_readme_run_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["soundstage", "--out", "VIDEOS", "--num-videos", "8", "--seed", "3"]) == 0
    laws = map(json.loads, Path("VIDEOS/manifest.jsonl").read_text(encoding="utf-8").splitlines())
    longest = max(laws, key=lambda law: law["law"]["duration_s"])
    Path("VIDEOS", longest["file"]).rename("film.mp4")
    Image.fromarray(frames_at(Path("film.mp4"), [0.5])[0]).save("photo.jpg")
    Path("prompts.csv").write_text("text,seed\na bell ringing,1\nrain falling,2\n", encoding="utf-8")
    ran = []
    for line in (line for line in COMMAND_LINES if line.startswith("clipsonic ")):
        if any(word in line for word in (*NEEDS_A_DOWNLOAD_OR_A_GPU, *RUN_ELSEWHERE)):
            continue
        words = shlex.split(line.replace("--max-minutes 5", "--max-minutes 0.05"))[1:]
        assert main(words) == 0, line
        ran.append(words[0])
    assert {"ingest", "train", "generate"} <= set(ran)
    for language, block in BLOCKS:
        if language == "python":
            names: dict[str, object] = {}
            exec(block, names)
            assert names["sound"].shape == (65536,)  # type: ignore[attr-defined]


def test_the_table_of_the_page_on_scale_is_what_its_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "scripts" / "scale.py"))["main"]([])
    assert capsys.readouterr().out in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
