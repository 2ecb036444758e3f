"""What docs/demo.md says is so: its curl commands are answered, its tables hold the limits."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="needs the packages of the page: pip install clipsonic[demo]")
pytest.importorskip("fastapi", reason="needs the packages of the page: pip install clipsonic[demo]")

import httpx

from clipsonic.demo import limits
from clipsonic.demo.limits import Limits
from clipsonic.demo.schema import REFUSALS
from clipsonic.demo.wish import EditWish, Wish

pytestmark = pytest.mark.timeout(240)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "demo.md").read_text()
CURLS = [line for line in PAGE.splitlines() if line.startswith("curl ")]
WRITES_JSON = ("num_sounds=2", '"num_sounds": 2', "Accept: application/json", "/v1/schema")


def request_of(command: str, media: Path) -> dict[str, Any]:
    """What httpx must send to send what this curl command does."""
    words = shlex.split(command)[1:]
    sent: dict[str, Any] = {"method": "GET", "url": words.pop(0), "headers": {}, "files": {}, "data": {}}
    for option, value in zip(words[::2], words[1::2], strict=True):
        if option == "--json":
            sent |= {"method": "POST", "json": json.loads(value)}
        elif option == "-F":
            name, _, given = value.partition("=")
            sent["method"] = "POST"
            if given.startswith("@"):
                sent["files"][name] = (given[1:], (media / given[1:]).read_bytes())
            else:
                sent["data"][name] = given
        elif option == "-H":
            name, _, given = value.partition(": ")
            sent["headers"][name] = given
        else:
            assert option == "-o", f"an option that this test does not know: {option}"
    return {name: value for name, value in sent.items() if value}


def made_here(demo: Any) -> str:
    """The name of a sound that the demo has just made."""
    wish = {"text": "a bell", "steps": 1}
    reply = httpx.post(f"{demo.url}/v1/sounds", json=wish, headers={"accept": "application/json"}, timeout=60.0)
    return str(reply.json()["sounds"][0]["url"].rpartition("/")[2])


@pytest.mark.parametrize("command", CURLS)
def test_a_curl_command_of_the_page_is_answered_with_what_it_promises(command: str, demo: Any, media: Path) -> None:
    request = request_of(command.replace("ID.wav", made_here(demo) if "ID.wav" in command else ""), media)
    request["url"] = request["url"].replace("http://127.0.0.1:7860", demo.url)
    reply = httpx.request(**request, timeout=60.0)
    assert reply.status_code == 200, reply.text
    if any(word in command for word in WRITES_JSON):
        assert reply.json()
    else:
        assert reply.content.startswith(b"RIFF")
        assert json.loads(reply.headers["X-Clipsonic-Facts"])["model"] == "tiny"


def test_every_field_and_every_refusal_is_in_the_tables() -> None:
    fields = {name for row in re.findall(r"^\| (`.+?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert set(Wish.model_fields) | set(EditWish.model_fields) | {"image", "video"} == fields
    assert set(re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)) == set(REFUSALS)


def test_the_limits_are_those_of_the_code() -> None:
    allowed = Limits(1.0)
    for words in (
        f"at most {limits.MAX_TEXT:,} letters", f"0 to {limits.MAX_SEED:,}", f"1 to {limits.MAX_SOUNDS} ",
        f"1 to {limits.MAX_BEST_OF}: ",
        f"1 to {limits.MAX_STEPS} ", f"0 to {limits.MAX_GUIDANCE:g} ", f"{limits.MIN_DURATION_S} to the longest",
        f"more than {allowed.receive_s:g} s to arrive", f"`--max-upload-mb` ({allowed.upload_mb})",
        f"{allowed.open_memory_mb:,} MB or 64 megapixels", f"more than {allowed.open_s:g} s to open",
        f"at most {limits.MAX_GIVEN_S:g} s",
        f"(`--max-waiting`, {allowed.places})", f"may use ({allowed.folder_mb:,} MB)",
    ):  # fmt: skip
        assert words in PAGE, words


def test_the_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"pictures/demo-[\w-]+\.png", PAGE)
    assert len(pictures) == 4
    for name in pictures:
        assert (Path(__file__).resolve().parents[2] / "docs" / name).stat().st_size < 150_000
