"""What every request passes before it reaches the page or the service.

Guarantee: whom `origins` refuses gets no further, whatever is asked for; only the paths that the page uses are open
(its library brings others, which edit files or fetch addresses), and no websocket; an upload to the page is bounded in
bytes, time and disk; the browser is told to load nothing from elsewhere, so the page works offline and tells nobody.
Price: a new version of the page's library may need a path more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from clipsonic.demo.folder import DemoFolder
from clipsonic.demo.limits import MAX_JSON_BYTES, Limits
from clipsonic.demo.origins import Origins
from clipsonic.demo.refusals import DemoError, LateError, TooLargeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_NOT_HERE = 1008  # of RFC 6455: against the rules of this place
UPLOAD = "/gradio_api/upload"
OPEN_PATHS = {
    "GET": (
        "/v1/", "/config", "/theme.css", "/assets/", "/static/", "/svelte/", "/favicon.ico", "/manifest.json",
        "/robots.txt", "/pwa_icon", "/gradio_api/queue/data", "/gradio_api/upload_progress", "/gradio_api/file=",
        "/gradio_api/heartbeat/", "/gradio_api/startup-events", "/gradio_api/app_id", "/gradio_api/info",
    ),
    "POST": (
        "/v1/sounds", "/v1/edits", UPLOAD, "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/reset",
        "/gradio_api/cancel",
    ),
}  # fmt: skip
"""How open paths begin; the page itself is `/`."""

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; object-src 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Gate:
    """Wraps an ASGI application."""

    def __init__(self, app: Any, folder: DemoFolder, limits: Limits, origins: Origins) -> None:
        self._app, self._folder, self._limits, self._origins = app, folder, limits, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, _Answered(send))
        else:
            await send({"type": "websocket.close", "code": _NOT_HERE})

    async def _answer(self, scope: Scope, receive: Receive, answered: _Answered) -> None:
        refusal = self._origins.refusal(scope["method"], scope["path"], scope["headers"])
        if refusal is not None:
            await answered.refuse(*refusal)
            return
        if not _is_open(scope["method"], scope["path"]):
            await answered.refuse(404, f"there is nothing at {scope['path'][:60]}: the page is at /")
            return
        if scope["method"] != "POST" or scope["path"].startswith("/v1/"):
            await self._app(scope, receive, answered)
            return
        is_upload = scope["path"].startswith(UPLOAD)
        try:
            bounded = _bounded(scope, receive, self._limits.upload_mb * 2**20 if is_upload else MAX_JSON_BYTES * 4)
            if is_upload:
                await asyncio.to_thread(self._folder.tidy)
            async with asyncio.timeout(self._limits.receive_s):
                await self._app(scope, bounded, answered)
        except DemoError as error:
            await answered.refuse(error.status, str(error))
        except TimeoutError:
            await answered.refuse(LateError.status, f"sending took more than {self._limits.receive_s:g} s: send less")


class _Answered:
    """Sends on, with our headers; remembers whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send, self._begun = send, False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await self._send(message)

    async def refuse(self, status: int, sentence: str) -> None:
        """The sentence as JSON, unless something else was answered already."""
        if self._begun:
            return
        body = json.dumps({"error": sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _is_open(method: str, path: str) -> bool:
    if path == "/":
        return method in ("GET", "HEAD")
    return path.startswith(OPEN_PATHS.get("GET" if method == "HEAD" else method, ()))


def _bounded(scope: Scope, receive: Receive, num_bytes: int) -> Receive:
    """The same body, refused beyond so many bytes: by its header, or as it comes."""
    headers = dict(scope["headers"])
    announced = headers.get(b"content-length", b"0")
    too_large = TooLargeError(
        f"the file is larger than the {num_bytes / 2**20:g} MB that are taken: send a smaller one"
    )
    if announced.isdigit() and int(announced) > num_bytes + MAX_JSON_BYTES:
        raise too_large
    taken = 0

    async def count() -> Any:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > num_bytes + MAX_JSON_BYTES:
            raise too_large
        return message

    return count
