"""The pages of the documentation site that are made, not written; `mkdocs build` runs this (plugin gen-files).

The README is the first page, folders' READMEs and the models' cards keep their places, `commands.md` is what every
command's `--help` prints, `api.md` names every public module for mkdocstrings. Guarantee: a link to a file that is no
page becomes plain text, so that `--strict` finds links that are wrong and nothing else.
"""

from __future__ import annotations

import importlib
import os
import posixpath
import re
from pathlib import Path

import mkdocs_gen_files

from clipsonic.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "data/README.md": "data/index.md",
    "priors/README.md": "priors/index.md",
    **{str(path.relative_to(ROOT)): str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("priors/**/card.md"))},
    **{str(path.relative_to(ROOT)): path.name for path in sorted((ROOT / "docs").glob("*.md"))},
}
"""Where each written page stands in the checkout, and on the site."""
PICTURES = ROOT / "docs" / "pictures"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
HEADING = "# "


def main() -> None:
    """Write all of them."""
    os.environ["COLUMNS"] = "100"  # the width of argparse's help
    for source, page in PAGES.items():
        _write(page, _relinked((ROOT / source).read_text(encoding="utf-8"), source, page))
    _write("commands.md", _commands())
    _write("api.md", _api())


def _write(page: str, text: str) -> None:
    with mkdocs_gen_files.open(page, "w") as file:
        file.write(text)


def _relinked(text: str, source: str, page: str) -> str:
    """The page's text with its links pointing to where their targets stand on the site."""

    def there(match: re.Match[str]) -> str:
        picture, words, target, place = match[1], match[2], match[3], match[4] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        path = f"{path}/README.md" if f"{path}/README.md" in PAGES else path
        if picture and (ROOT / path).is_relative_to(PICTURES):
            return f"![{words}]({posixpath.relpath(path.removeprefix('docs/'), posixpath.dirname(page) or '.')})"
        if path not in PAGES:
            return words
        return f"[{words}]({posixpath.relpath(PAGES[path], posixpath.dirname(page) or '.')}{place})"

    return LINK.sub(there, text)


def _commands() -> str:
    """What `clipsonic COMMAND --help` prints, command by command."""
    parts = [f"{HEADING}Commands\n\nEvery command also takes `--json` and `--debug`.\n"]
    for name, (module, summary) in COMMANDS.items():
        parser = importlib.import_module(module).build_parser(f"clipsonic {name}")
        parts.append(
            f"## clipsonic {name}\n\n{summary.capitalize()}.\n\n```text\n{parser.format_help().rstrip()}\n```\n"
        )
    return "\n".join(parts)


def _api() -> str:
    """One line for mkdocstrings per public module."""
    package = ROOT / "clipsonic"
    parts = [f"{HEADING}API\n\nIn the order of the layers; what begins with an underscore is not public.\n"]
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(ROOT).with_suffix("")
        if "_bundled" in place.parts or place.name.startswith("_") or place.name.endswith("command"):
            continue
        parts.append(f"::: {'.'.join(place.parts)}\n")
    return "\n".join(parts)


main()
