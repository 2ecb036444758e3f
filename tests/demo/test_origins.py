"""The names that a demo answers to, and the pages whose requests it takes."""

from __future__ import annotations

import pytest

from clipsonic.demo.origins import Origins
from clipsonic.errors import UsageError

HERE = Origins("127.0.0.1")
OPEN = Origins("0.0.0.0")
PROXIED = Origins("127.0.0.1", ["https://Sounds.Example.org:443/", "http://[fd00::7]:8080"])


def status(origins: Origins, host: str | None, method: str = "POST", path: str = "/v1/sounds", **others: str) -> int:
    """What is answered: 200 if nothing is refused."""
    headers = {"host": host, **{name.replace("_", "-"): value for name, value in others.items()}}
    raw = [(name.encode(), value.encode()) for name, value in headers.items() if value is not None]
    refusal = origins.refusal(method, path, raw)
    return 200 if refusal is None else refusal[0]


@pytest.mark.parametrize(
    ("origins", "host", "expected"),
    [
        (HERE, "127.0.0.1:7860", 200),
        (HERE, "localhost:7860", 200),
        (HERE, "LOCALHOST", 200),
        (HERE, "[::1]:7860", 200),
        (HERE, "192.168.1.5:7860", 400),
        (HERE, "attacker.example:7860", 400),
        (HERE, "localhost.attacker.example", 400),
        (HERE, "127.0.0.1.attacker.example", 400),
        (HERE, "", 400),
        (HERE, "[", 400),
        (HERE, None, 400),
        (Origins("::1"), "attacker.example", 400),
        (Origins("127.0.0.2"), "attacker.example", 400),
        (OPEN, "192.168.1.5:7860", 200),
        (OPEN, "[fd00::7]:7860", 200),
        (OPEN, "attacker.example:7860", 400),
        (Origins("studio.local"), "studio.local:7860", 200),
        (PROXIED, "sounds.example.org", 200),
        (PROXIED, "sounds.example.org.", 200),
        (PROXIED, "[fd00::7]:8080", 200),
        (PROXIED, "other.example.org", 400),
    ],
    ids=str,
)
def test_it_answers_to_its_own_names_numbers_and_those_that_were_given(
    origins: Origins, host: str | None, expected: int
) -> None:
    assert status(origins, host) == expected


@pytest.mark.parametrize(
    ("origins", "host", "origin", "expected"),
    [
        (HERE, "127.0.0.1:7860", "http://127.0.0.1:7860", 200),
        (HERE, "localhost:7860", "http://localhost:7860", 200),
        (HERE, "localhost", "http://localhost:80", 200),
        (HERE, "localhost:7860", "http://127.0.0.1:7860", 403),
        (HERE, "localhost:7860", "http://localhost:3000", 403),
        (HERE, "localhost:7860", "https://localhost:7860", 403),
        (HERE, "localhost:7860", "http://attacker.example", 403),
        (HERE, "localhost:7860", "http://localhost:7860.attacker.example", 403),
        (HERE, "localhost:7860", "null", 403),
        (HERE, "localhost:7860", "file://", 403),
        (HERE, "localhost:7860", "", 403),
        (HERE, "attacker.example", "http://attacker.example", 400),
        (OPEN, "192.168.1.5:7860", "http://192.168.1.5:7860", 200),
        (PROXIED, "127.0.0.1:7860", "https://sounds.example.org", 200),
        (PROXIED, "sounds.example.org", "https://sounds.example.org", 200),
        (PROXIED, "127.0.0.1:7860", "http://[fd00::7]:8080", 200),
        (PROXIED, "127.0.0.1:7860", "https://sounds.example.org:8443", 403),
    ],
    ids=str,
)
def test_it_takes_requests_of_its_own_page_and_of_those_that_were_named(
    origins: Origins, host: str, origin: str, expected: int
) -> None:
    for method, path in (("POST", "/v1/sounds"), ("GET", "/gradio_api/queue/data"), ("GET", "/")):
        assert status(origins, host, method, path, origin=origin) == expected


def test_a_link_to_the_page_may_be_followed_and_nothing_else_be_asked_from_elsewhere() -> None:
    for site in ("cross-site", "same-site"):
        words = {"sec_fetch_site": site}
        assert status(HERE, "localhost:7860", "GET", "/", **words, sec_fetch_mode="navigate") == 200
        assert status(HERE, "localhost:7860", "GET", "/", **words, sec_fetch_mode="no-cors") == 403
        assert status(HERE, "localhost:7860", "GET", "/v1/sounds/a.wav", **words, sec_fetch_mode="navigate") == 403
        assert status(HERE, "localhost:7860", "POST", "/", **words, sec_fetch_mode="navigate") == 403
    for site in ("same-origin", "none"):
        assert status(HERE, "localhost:7860", "GET", "/v1/sounds/a.wav", sec_fetch_site=site) == 200


def test_a_second_name_or_origin_does_not_hide_behind_the_first() -> None:
    own = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    assert HERE.refusal("POST", "/", own) is None
    for another in ((b"Host", b"attacker.example"), (b"Origin", b"http://attacker.example")):
        assert HERE.refusal("POST", "/", [*own, another]) is not None


@pytest.mark.parametrize(
    "given",
    [
        *("*", "", "null", "sounds.example.org", "ftp://a.example", "https://", "https://[", "https://a.example:x"),
        *("https://a.example/path", "https://u@a.example", "https://a.example?x"),
    ],
)
def test_what_is_no_address_of_a_page_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"--origin .* is no address of a page: give one such as https://"):
        Origins("127.0.0.1", [given])
