"""The `clipsonic` command: finds the stage, lets it parse and run, and turns refusals into one sentence.

Each stage has a module `command` with `build_parser(prog)` and `run(args) -> dict`; it is imported only when asked
for, so `clipsonic --help` is instant. Exit status: 0 done, 1 failed at run time, 2 wrong usage, 130 interrupted, 141
nobody reads what is printed (`clipsonic ... | head`), which ends it without a word, as pipes do; a command whose work
is done in part says its own as `exit_code`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipsonic import __version__
from clipsonic.errors import ClipsonicError
from clipsonic.options import command_parser
from clipsonic.text import json_text

COMMANDS: dict[str, tuple[str, str]] = {
    "soundstage": ("clipsonic.soundstage.command", "render raw videos whose sights cause their sounds"),
    "ingest": ("clipsonic.ingest.command", "turn raw videos into a corpus of shards"),
    "inspect": ("clipsonic.ingest.inspect_command", "say what is in a corpus, what was refused and why"),
    "merge": ("clipsonic.shards.merge_command", "make one corpus of several"),
    "split": ("clipsonic.shards.split_command", "make several corpora of one, by source video"),
    "reembed": ("clipsonic.ingest.reembed_command", "embed the kept pictures of a corpus with another CLIP"),
    "hear": ("clipsonic.ear.hear_command", "say of each record whether its sound belongs to its picture"),
    "embed-pairs": ("clipsonic.ingest.embed_pairs_command", "embed pictures and captions, to train a prior on"),
    "train": ("clipsonic.train.command", "train a sound model, an adapter, a CLIP, a prior, a vocoder"),
    "convert": ("clipsonic.convert.command", "turn a published text prior or vocoder into a folder of ours"),
    "generate": ("clipsonic.generate.command", "make a sound from a text, a picture or a video"),
    "edit": ("clipsonic.edit.command", "change a sound that is there: parts of it, what follows it, or all of it"),
    "demo": ("clipsonic.demo.command", "make sounds on a local web page"),
    "evaluate": ("clipsonic.evaluate.command", "judge a model on held-out videos"),
    "doctor": ("clipsonic.doctor.command", "say what this installation has and what is missing"),
}


def _overview() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<12} {summary}" for name, (_, summary) in COMMANDS.items())
    parser = command_parser(
        "clipsonic",
        "Sound models from raw, unlabeled videos.",
        f"commands:\n{lines}\n\nclipsonic COMMAND --help shows the options of one, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"clipsonic {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=list(COMMANDS))
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the result as one JSON object on standard output")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _report(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(_encodable(json_text(result), result))
    elif message := result.get("message"):
        print(message)


def _encodable(text: str, values: Any) -> str:
    """The JSON text, its letters escaped if standard output has no place for them (a terminal in Latin-1, say)."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(values, default=str)
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        return 141
    return status


def _reader_is_gone() -> bool:
    """Whether it was standard output or error that broke; what is still to be printed then goes nowhere."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_broken(stream)]
    for stream in gone:
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    return bool(gone)


def _is_broken(stream: Any) -> bool:
    """Whether the stream is a pipe that nobody reads."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (BrokenPipeError, AttributeError):  # no poll: Windows
        return True
    except (OSError, ValueError):
        return False


def _run(words: list[str]) -> int:
    name = _overview().parse_args(words[:1]).command
    module = importlib.import_module(COMMANDS[name][0])
    parser = module.build_parser(f"clipsonic {name}")
    _add_common(parser)
    debug = "--debug" in words
    try:
        args = parser.parse_args(words[1:])
        result = module.run(args)
        _report(result, args.json)
    except ClipsonicError as error:
        if debug:
            raise
        print(f"clipsonic {name}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if debug or isinstance(error, BrokenPipeError):
            raise
        print(f"clipsonic {name}: {_sentence_of(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"clipsonic {name}: interrupted; the same command with the same --out continues", file=sys.stderr)
        return 130
    return int(result.get("exit_code", 0))


def _sentence_of(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    reason = error.strerror or error
    return f"the system refused a file operation{where}: {reason}; free space or check permissions, then run again"


if __name__ == "__main__":
    sys.exit(main())
