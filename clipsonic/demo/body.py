"""What a request to the service says: JSON, or a form with a file, read with a limit on bytes and on time.

Guarantee: not more than the allowed bytes are taken in, whatever the headers claim; an upload lies in the demo's folder
under a name of ours. Price: an upload is written twice, once by the form's parser.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import PurePosixPath
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from clipsonic.demo.folder import DemoFolder
from clipsonic.demo.limits import MAX_JSON_BYTES, Limits
from clipsonic.demo.looker import Upload
from clipsonic.demo.refusals import DemoError, LateError, MalformedError, TooLargeError, WrongTypeError
from clipsonic.demo.wish import AnyWish, Asked, EditWish, Wish, wish_of

KINDS: dict[type[Asked], tuple[str, ...]] = {Wish: ("image", "video"), EditWish: ("sound",)}
"""Names of the files that may be sent, by what is asked for."""
_MAX_NAME = 60
_FORM_EXTRA_BYTES = 65_536  # the other fields and the borders between them


async def read_request(
    request: Request, folder: DemoFolder, limits: Limits, asked: type[AnyWish]
) -> tuple[AnyWish, Upload | None]:
    """The wish of this type, and the file that was sent with it.

    Raises:
        MalformedError, LateError, TooLargeError, WrongTypeError: it cannot be read.
        DemoError: a field that is unknown or out of its range.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(limits.receive_s):
            if kind == "application/json":
                return await _read_json(request, asked), None
            if kind == "multipart/form-data":
                return await _read_form(request, folder, limits, asked)
    except TimeoutError:
        raise LateError(f"the request took more than {limits.receive_s:g} s to arrive: send less") from None
    raise WrongTypeError(
        f"content type {kind[:60]!r} is not taken: send application/json, or multipart/form-data for a file"
    )


async def _read_json(request: Request, asked: type[AnyWish]) -> AnyWish:
    body = bytearray()
    async for chunk in _at_most(request, MAX_JSON_BYTES).stream():
        body += chunk
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedError('the body is not JSON: send an object like {"text": "a bell"}') from None
    if not isinstance(values, dict):
        raise MalformedError('the body is JSON, but no object: send one like {"text": "a bell"}')
    return wish_of(values, asked)


async def _read_form(
    request: Request, folder: DemoFolder, limits: Limits, asked: type[AnyWish]
) -> tuple[AnyWish, Upload | None]:
    bounded = _at_most(request, limits.upload_mb * 2**20 + _FORM_EXTRA_BYTES)
    try:
        async with bounded.form(max_files=1, max_fields=32, max_part_size=MAX_JSON_BYTES) as form:
            wish = wish_of(_fields(form, KINDS[asked]), asked)
            return wish, await _save(form, folder)
    except HTTPException as error:
        raise MalformedError(f"the form cannot be read ({str(error.detail)[:100]}): send one file at most") from None


def _fields(form: FormData, kinds: tuple[str, ...]) -> dict[str, Any]:
    """The fields that are no files; one left empty counts as not given.

    Raises:
        DemoError: one that is given twice, or a file under another name.
    """
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in kinds:
                raise DemoError(f"a file named {name[:60]!r} is not taken: name it {' or '.join(kinds)}")
        elif name in values:
            raise DemoError(f"field {name[:60]!r} is given twice: give it once")
        elif value.strip():
            values[name] = value
    return values


async def _save(form: FormData, folder: DemoFolder) -> Upload | None:
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            path = folder.new(".upload")
            await run_in_threadpool(_copy, value, path)
            return Upload(path, plain_name(value.filename, name), name)
    return None


def _copy(source: UploadFile, path: Any) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source.file, target)


def plain_name(given: str | None, kind: str) -> str:
    """What a file is called to its owner: the last part, printable, at most 60 letters."""
    last = PurePosixPath((given or "").replace("\\", "/")).name
    return "".join(letter for letter in last if letter.isprintable())[:_MAX_NAME].strip() or f"the {kind}"


def _at_most(request: Request, num_bytes: int) -> Request:
    """The same request, whose body is refused beyond so many bytes: by its header, or as it comes."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > num_bytes:
        raise _too_large(num_bytes)
    taken = 0

    async def receive() -> Any:
        nonlocal taken
        message = await request.receive()
        taken += len(message.get("body", b""))
        if taken > num_bytes:
            raise _too_large(num_bytes)
        return message

    return Request(request.scope, receive)


def _too_large(num_bytes: int) -> TooLargeError:
    allowed = f"{num_bytes >> 20} MB" if num_bytes >= 2**20 else f"{num_bytes >> 10} kB"
    return TooLargeError(f"the request is larger than the {allowed} that are taken: send a smaller file")
