"""The options of `clipsonic demo`, and the refusal of those that cannot be.

Guarantee: nothing heavy is imported, so the help and a refusal come at once.
"""

from __future__ import annotations

import argparse
import importlib.util

from clipsonic.demo.limits import Limits
from clipsonic.demo.origins import Origins
from clipsonic.errors import UsageError
from clipsonic.options import add_device, command_parser

NEEDED = ("gradio", "fastapi", "uvicorn", "multipart", "pydantic")
EXAMPLE = """\
example:
  clipsonic demo
  clipsonic demo --model PIPELINE --port 8000

Then open the address that it prints. The same service answers programs: see docs/demo.md or GET /v1/schema.
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "A local web page that makes sounds, and the same as an HTTP service.", EXAMPLE)
    add = parser.add_argument
    add("--model", default="tiny", metavar="PIPELINE", help="pipeline folder, hub id, or tiny (default)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: this computer only)")
    add(
        "--origin", action="append", default=[], metavar="URL",
        help="address by which others reach the page, such as https://sounds.example.org of a proxy before it; may be "
        "given again (default: the computer's own)",
    )  # fmt: skip
    add("--port", type=int, default=7860, metavar="N", help="the port; 0 = any that is free (default: 7860)")
    add("--max-duration-s", type=float, metavar="D", help="longest sound (default: the model's segment)")
    add("--max-upload-mb", type=int, default=64, metavar="MB", help="largest upload (default: 64)")
    add("--max-waiting", type=int, default=8, metavar="N", help="requests at a time; more are refused (default: 8)")
    add_device(parser)
    return parser


def check_options(args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        UsageError: a value out of its range, or the page's packages are not installed.
    """
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port} must be between 0 and 65535: 7860 is the default")
    if args.max_upload_mb < 1:
        raise UsageError(f"--max-upload-mb {args.max_upload_mb} must be at least 1")
    if args.max_waiting < 1:
        raise UsageError(f"--max-waiting {args.max_waiting} must be at least 1")
    if args.max_duration_s is not None and not 0.5 <= args.max_duration_s <= 3600.0:
        raise UsageError(f"--max-duration-s {args.max_duration_s:g} must be between 0.5 and 3600 seconds")
    Origins(args.host, args.origin)
    missing = [name for name in NEEDED if not _is_installed(name)]
    if missing:
        raise UsageError(
            f"the page needs packages that are not installed ({', '.join(missing)}): pip install clipsonic[demo]"
        )


def limits_of(args: argparse.Namespace, segment_s: float) -> Limits:
    """The limits in force."""
    longest_s = segment_s if args.max_duration_s is None else args.max_duration_s
    return Limits(longest_s, upload_mb=args.max_upload_mb, places=args.max_waiting)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
