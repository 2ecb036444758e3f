"""`clipsonic demo`: loads a model and serves the page and the service until it is stopped.

Guarantee: nothing is loaded before the options and the port are known to be good; SIGINT and SIGTERM end it, and its
files go with it. Price: loading takes seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
from typing import Any

from clipsonic.demo.folder import DemoFolder
from clipsonic.demo.limits import Limits
from clipsonic.demo.options import build_parser, check_options, limits_of
from clipsonic.errors import UsageError
from clipsonic.options import device_of

__all__ = ["build_parser", "run"]

_GRACE_S = 2  # for open connections, which pages keep for as long as they are shown
_MAX_CONNECTIONS = 512


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Serve until interrupted."""
    check_options(args)
    with _listen(args.host, args.port) as listener:
        signal.signal(signal.SIGTERM, _interrupt)
        pipeline = _load(args.model, args.device)
        limits = limits_of(args, pipeline.segment.seconds)
        folder = DemoFolder(limits)
        try:
            _serve(args, listener, pipeline, limits, folder)
        except KeyboardInterrupt:
            pass  # how a demo ends
        finally:
            folder.remove()
    return {"message": "the demo has ended; its files are removed"}


def _serve(
    args: argparse.Namespace, listener: socket.socket, pipeline: Any, limits: Limits, folder: DemoFolder
) -> None:
    _write_only_into(folder)
    import uvicorn

    from clipsonic.demo.application import make_application
    from clipsonic.demo.looker import Looker
    from clipsonic.demo.origins import Origins
    from clipsonic.demo.studio import Studio

    looker = Looker(limits)
    studio = Studio(pipeline, args.model, limits, folder, looker)
    try:
        app = make_application(studio, Origins(args.host, args.origin))
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S,
            limit_concurrency=_MAX_CONNECTIONS, h11_max_incomplete_event_size=65_536,
        )  # fmt: skip
        host, port = listener.getsockname()[:2]
        where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print(f"the demo of {args.model} is at {where} (stop it with Ctrl-C)", file=sys.stderr, flush=True)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        looker.close()
        studio.close()


def _listen(host: str, port: int) -> socket.socket:
    """The socket, bound before anything is loaded.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise UsageError(
            f"{host}:{port} cannot be listened on ({reason}): give another --port, or --host 127.0.0.1"
        ) from None


def _load(model: str, device: str) -> Any:
    """The pipeline on its device, with all that any prompt needs."""
    from clipsonic.pipeline import ClipSonicPipeline

    where = device_of(device)
    pipeline = ClipSonicPipeline.from_pretrained(model).to(where)
    pipeline.load_parts("text")
    return pipeline


def _write_only_into(folder: DemoFolder) -> None:
    """Temporary files of the page's library and of the forms' parser; must be known before they are imported."""
    page = folder.path / "page"
    page.mkdir()
    os.environ["GRADIO_TEMP_DIR"] = str(page)
    tempfile.tempdir = str(folder.path)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
