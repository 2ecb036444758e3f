"""The site builds strictly; its example is what the bundled pipeline does; its commands are understood."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from clipsonic.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "example.md"


def command_lines(page: Path) -> list[str]:
    """The `clipsonic ...` lines of a page's bash blocks, continuation lines joined, comments left out."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = (line.split(" #")[0].strip() for line in joined.splitlines())
    return [line for line in lines if line.startswith("clipsonic ")]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_every_command_line_of_a_page_is_understood(page: Path) -> None:
    """A parser refuses what it does not know by an exception."""
    for line in command_lines(page):
        _, name, *words = shlex.split(line)
        importlib.import_module(COMMANDS[name][0]).build_parser(f"clipsonic {name}").parse_args(words)


@pytest.mark.slow
def test_the_cells_of_the_example_print_what_the_page_says(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    cells = re.findall(
        r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?(?:\n\n!\[spectrogram\]\((.*?)\))?", text, re.DOTALL
    )
    run_cells = runpy.run_path(str(ROOT / "scripts" / "make_example_page.py"))["run_cells"]
    printed = run_cells([cell for cell, _, _ in cells], tmp_path)
    assert [output.rstrip() for output in printed] == [output.rstrip() for _, output, _ in cells]
    pictures = [picture for _, _, picture in cells if picture]
    assert pictures
    for picture in pictures:
        assert (EXAMPLE.parent / picture).is_file()
        assert (tmp_path / Path(picture).name).is_file()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip(
        "mkdocs_gen_files", reason="the documentation's packages are not here: pip install clipsonic[docs]"
    )
    pytest.importorskip("mkdocstrings", reason="the documentation's packages are not here: pip install clipsonic[docs]")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    site = tmp_path / "site"
    assert "ClipSonicPipeline" in (site / "api.html").read_text(encoding="utf-8")
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"clipsonic {name}" not in commands] == []
    foreign = re.findall(r"(?:src|href)=\"https?://[^\"]*\.(?:js|css|woff2?)\"", commands)
    assert foreign == []
