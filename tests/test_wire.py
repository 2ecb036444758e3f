"""Messages come over the wire as they were; what is none is refused before anything is held of it."""

from __future__ import annotations

import json
import socket
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsonic.refusals import MalformedError
from clipsonic.wire import MAX_HEAD_BYTES, Message, Wire

pytestmark = pytest.mark.timeout(60)

MOST_BYTES = 2**16
HELD_BYTES = 2**23
"""A head of 256 kB is at most some 6 MB as objects."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
SIZES = st.integers(-5, 2**70) | st.sampled_from([0, 1, 3, 2**32, 2**63 - 1, -1])
KINDS = st.lists(
    st.tuples(st.sampled_from(["uint8", "int16", "float64", "object", "O", "V8", "<U9"]), st.lists(SIZES, max_size=5)),
    max_size=6,
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Wire]]:
    """A sender's socket, and the taker."""
    theirs, ours = socket.socketpair()
    wire = Wire(ours, waits=False, most_bytes=MOST_BYTES)
    yield theirs, wire
    theirs.close()
    wire.close()


def framed(head: bytes, data: bytes = b"") -> bytes:
    return struct.pack("!I", len(head)) + head + data


def taken(data: bytes, most_bytes: int = MOST_BYTES) -> Message | str:
    """The message in these bytes, or the name of the error."""
    theirs, ours = socket.socketpair()
    wire = Wire(ours, waits=True, most_bytes=most_bytes)
    sender = threading.Thread(target=_send_all, args=(theirs, data))
    sender.start()
    try:
        message = wire.take()
        assert message is not None
        return message
    except (MalformedError, EOFError) as error:
        return type(error).__name__
    finally:
        wire.close()
        sender.join()


def _send_all(connection: socket.socket, data: bytes) -> None:
    with connection:
        try:
            connection.sendall(data)
        except OSError:
            return  # refused before all of it was taken


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float32", "float64"])
def test_heads_and_arrays_come_as_they_were(ends: tuple[socket.socket, Wire], dtype: str) -> None:
    theirs, wire = ends
    sender = Wire(theirs, waits=True)
    arrays = [np.arange(12).astype(dtype).reshape(3, 4).T, np.zeros((0, 3), dtype), np.array(7).astype(dtype)]
    head = {"words": "\udc80 ä", "number": 0.1, "list": [1, None, True]}
    for _ in range(2):
        sender.send(head, arrays)
    for _ in range(2):
        message = wire.take()
        assert message is not None
        assert message.head == head
        for mine, theirs_ in zip(message.arrays[:2], arrays[:2], strict=True):
            assert (mine.dtype, mine.shape) == (theirs_.dtype, theirs_.shape)
            np.testing.assert_array_equal(mine, theirs_)
        assert message.arrays[2].item() == 7
    assert wire.take() is None


def test_a_message_that_comes_byte_by_byte_is_taken_when_it_is_whole(ends: tuple[socket.socket, Wire]) -> None:
    theirs, wire = ends
    data = framed(json.dumps([{"kind": "x"}, [["int16", [2]]]]).encode(), b"\1\0\2\0")
    for place in range(len(data)):
        assert wire.take() is None
        theirs.sendall(data[place : place + 1])
    message = wire.take()
    assert message is not None
    assert message.arrays[0].tolist() == [1, 2]
    theirs.close()
    with pytest.raises(EOFError):
        wire.take()


def test_a_message_that_does_not_come_whole_is_not_waited_for(ends: tuple[socket.socket, Wire]) -> None:
    theirs, wire = ends
    theirs.sendall(struct.pack("!I", 100) + b"[")
    with pytest.raises(TimeoutError):
        wire.receive(0.2)


def test_who_does_not_read_is_not_waited_for(ends: tuple[socket.socket, Wire], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipsonic.wire._SEND_S", 0.2)
    _, ours = socket.socketpair()
    wire = Wire(ours, waits=False)
    with pytest.raises(TimeoutError):
        wire.send({"words": "x" * 2**24})


@pytest.mark.parametrize(
    "kind",
    [
        ["object", [1]],
        ["O", [1]],
        ["uint8", [-1]],
        ["uint8", [-(2**40), -(2**40)]],
        ["uint8", [2**40]],
        ["uint8", [2**63, 2**63, 2**63, 2]],
        ["uint8", [MOST_BYTES + 1]],
        ["float64", [MOST_BYTES // 8 + 1]],
        ["uint8", [1, 1, 1, 1, 1]],
        ["uint8", [1.0]],
        ["uint8", [True]],
        ["uint8", 3],
        [["uint8"], [1]],
        ["uint8"],
        7,
    ],
    ids=str,
)
def test_an_array_that_is_not_allowed_is_refused_before_it_is_made(kind: Any) -> None:
    assert taken(framed(json.dumps([{}, [kind]]).encode(), bytes(64))) == "MalformedError"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{}",
        b"[[], []]",
        b"[{}]",
        b"[{}, [], []]",
        b'[{"a": NaN}, []]',
        b'[{"a": -Infinity}, []]',
        b'[{"a": 1e999}, []]',
        '[{"ä": 1}, []]'.encode(),
        b"[" * 100_000,
        b'[{"a": ' + b"9" * 10_000 + b"}, []]",
        b"[{}, [" + b'["uint8",[0]],' * 9_000 + b'["uint8",[0]]]]',
    ],
    ids=lambda head: head[:20].decode(errors="replace"),
)
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    assert taken(framed(head)) == "MalformedError"


def test_a_head_that_claims_to_be_long_is_refused_before_it_is_held() -> None:
    for length in (MAX_HEAD_BYTES + 1, 2**31 - 1, 2**32 - 1):
        assert taken(struct.pack("!I", length) + bytes(1000)) == "MalformedError"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000) | st.builds(framed, st.binary(max_size=1000), st.binary(max_size=1000)))
def test_whatever_bytes_come_nothing_but_a_message_or_a_refusal_comes_of_them(data: bytes) -> None:
    assert taken(data) in ("MalformedError", "EOFError") or json.loads(data[4:])


@settings(max_examples=300, deadline=None)
@given(head=st.dictionaries(st.text(max_size=9), JSON, max_size=4), kinds=KINDS | JSON)
def test_what_is_taken_is_within_its_limits(head: dict[str, Any], kinds: Any) -> None:
    data = framed(json.dumps([head, kinds]).encode(), bytes(3 * MOST_BYTES))
    tracemalloc.start()
    try:
        message = taken(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < HELD_BYTES
    if isinstance(message, Message):
        assert sum(array.nbytes for array in message.arrays) <= MOST_BYTES
        assert all(array.dtype.kind in "iuf" for array in message.arrays)
        json.dumps(message.head, allow_nan=False)


def test_a_head_of_the_most_objects_takes_what_is_said_of_it() -> None:
    head = b'[{"a":[' + b"{}," * ((MAX_HEAD_BYTES - 20) // 3) + b"{}]},[]]"
    assert len(head) <= MAX_HEAD_BYTES
    data = framed(head)
    tracemalloc.start()
    try:
        assert isinstance(taken(data), Message)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < HELD_BYTES
