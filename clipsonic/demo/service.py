"""The demo over HTTP: `POST /v1/sounds`, `POST /v1/edits`, the files of its answers, and its schema.

Guarantee: a place is taken before a byte of the body is read, so what waits is bounded; every refusal is
`{"error": SENTENCE}` with its status. Price: a request without a place is refused at once, and should come back.
"""

from __future__ import annotations

import asyncio
import json
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from clipsonic import __version__
from clipsonic.demo.answer import Answer, answer, answer_edit
from clipsonic.demo.body import read_request
from clipsonic.demo.looker import Upload
from clipsonic.demo.refusals import BusyError, DemoError, sentence_of, status_of
from clipsonic.demo.schema import EDITS_API, SOUNDS_API, facts_of_schema
from clipsonic.demo.studio import Studio
from clipsonic.demo.wish import Asked, EditWish, Wish

FACTS_HEADER = "X-Clipsonic-Facts"
RETRY_S = 3
_MEDIA_TYPES = {".wav": "audio/wav", ".png": "image/png", ".mp4": "video/mp4"}
_LOOK_S = 0.5


def make_service(studio: Studio) -> FastAPI:
    """The application, to which the page is mounted."""
    app = FastAPI(
        title="clipsonic demo", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json"
    )

    @app.post("/v1/sounds", openapi_extra=SOUNDS_API, response_class=Response, summary="Make sounds")
    async def make_sounds(request: Request) -> Response:
        return await _answered(request, studio, Wish, answer)

    @app.post("/v1/edits", openapi_extra=EDITS_API, response_class=Response, summary="Change a sound")
    async def change_sound(request: Request) -> Response:
        return await _answered(request, studio, EditWish, answer_edit)

    @app.get("/v1/sounds/{name}", response_class=FileResponse, summary="A file of an answer")
    async def get_file(name: str) -> Response:
        path = studio.folder.find(name)
        if path is None:
            raise HTTPException(404, f"{name[:60]} is not here any more: make the sound again")
        return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], filename=f"sound{path.suffix}")

    @app.get("/v1/schema", summary="What may be asked, the limits, and the model's facts")
    async def get_schema() -> dict[str, Any]:
        return facts_of_schema(studio)

    app.add_exception_handler(DemoError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Exception, _refuse)
    return app


def as_json(made: Answer) -> dict[str, Any]:
    """An answer as plain values, its files as paths on this server."""
    videos: list[str | None] = [_url(path) for path in made.videos] or [None] * len(made.sounds)
    sounds = [
        {
            "url": _url(sound.wave),
            "spectrogram": _url(sound.spectrogram),
            "loudness_lufs": sound.loudness_lufs,
            **({"video": video} if video else {}),
        }
        for sound, video in zip(made.sounds, videos, strict=True)
    ]
    extra: dict[str, Any] = {"no_video": made.no_video} if made.no_video else {}
    if made.before is not None:
        before = made.before
        extra["before"] = {
            "url": _url(before.wave), "spectrogram": _url(before.spectrogram), "loudness_lufs": before.loudness_lufs,
        }  # fmt: skip
    return {"sounds": sounds, "facts": made.facts, "notice": made.notice, **extra}


def _as_wave(made: Answer) -> Response:
    sound = made.sounds[0]
    facts = {**made.facts, "loudness_lufs": sound.loudness_lufs, "notice": made.notice}
    return Response(sound.wave.read_bytes(), media_type="audio/wav", headers={FACTS_HEADER: json.dumps(facts)})


def _url(path: Path) -> str:
    return f"/v1/sounds/{path.name}"


def _wants_json(request: Request, wish: Asked) -> bool:
    """By the header; where it leaves it open, one sound is answered as such."""
    accepted = request.headers.get("accept", "*/*").lower()
    if "application/json" in accepted:
        return True
    if wish.num_sounds > 1 and "audio/wav" in accepted:
        raise DemoError(f"num_sounds {wish.num_sounds} does not fit into one audio/wav: accept application/json")
    return wish.num_sounds > 1


async def _answered(request: Request, studio: Studio, asked: type[Asked], make: Callable[..., Answer]) -> Response:
    with studio.place():
        wish, upload = await read_request(request, studio.folder, studio.limits, asked)
        wants_json = _wants_json(request, wish)
        made = await _answer_while_wanted(request, upload, partial(make, studio, wish, upload))
    return JSONResponse(as_json(made)) if wants_json else _as_wave(made)


async def _answer_while_wanted(request: Request, upload: Upload | None, make: Callable[..., Answer]) -> Answer:
    """The answer; one whose asker has hung up is given up where it still waits."""
    gone = threading.Event()

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(_LOOK_S)
        gone.set()

    watching = asyncio.create_task(watch())
    try:
        return await run_in_threadpool(make, is_wanted=lambda: not gone.is_set())
    finally:
        watching.cancel()
        if upload is not None:
            upload.path.unlink(missing_ok=True)


async def _refuse(request: Request, error: Exception) -> Response:
    status = status_of(error)
    if status == 500:
        traceback.print_exception(error)
    headers = {"Retry-After": str(RETRY_S)} if isinstance(error, BusyError) else None
    return JSONResponse({"error": sentence_of(error)}, status, headers)


async def _refuse_http(request: Request, error: Exception) -> Response:
    """The library's own refusals: no such path, no such method."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
