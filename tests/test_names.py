"""A name that came from outside stays in its folder, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clipsonic.files import is_plain_name, plain_name
from clipsonic.remote import name_of


@given(some.text())
def test_a_name_that_is_made_is_plain_and_a_plain_one_is_kept(text: str) -> None:
    assert is_plain_name(plain_name(text))
    if is_plain_name(text):
        assert plain_name(text) == text
        assert (Path("/folder") / text).parent == Path("/folder")


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a\0b", "a\nb", "\udc80", 3, None, b"a"]
)
def test_what_is_no_plain_name_is_known(name: object) -> None:
    assert not is_plain_name(name)


@pytest.mark.parametrize(
    "last", ["..%2f..%2fx", "%2e%2e", "%2e%2e%2fx", "a%2fb.mp4", "..%5C..%5Cx", "%00", "%0aX", "..%252f", "%2Fetc%2Fx"]
)
def test_the_name_of_an_address_never_leads_out_of_a_folder(last: str) -> None:
    for url in (f"https://host/{last}", f"https://host/{last}/", f"s3://bucket/a/{last}?secret=1"):
        assert is_plain_name(name_of(url))


def test_ordinary_addresses_keep_their_names() -> None:
    assert name_of("https://host/videos/a%20dog.mp4") == "a dog.mp4"
    assert name_of("s3://bucket/corpus/") == "corpus"
    assert name_of("https://host") == "root"
