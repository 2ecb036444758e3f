"""Only what a video could have given of the job at hand crosses the border, and whatever crosses can be written."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import makers_ingest as makers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsonic.ingest.border import Border, job_in, most_bytes, told_job, told_segment
from clipsonic.ingest.jobs import Job, Part
from clipsonic.ingest.segments import Fit, ReadSettings, read_segments
from clipsonic.refusals import MalformedError, RefusedError
from clipsonic.shards.record import Record, encode_record
from clipsonic.specs import CorpusSpec
from clipsonic.wire import Message

SETTINGS = ReadSettings(CorpusSpec(16000, 1.0, 1.0), stride_s=1.0, fit=Fit(32, "shortest"), keep_frames=32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    path = makers.make_video(tmp_path_factory.mktemp("video") / "video.mp4", seconds=3.0)
    return Job(str(path), "videos/video.mp4", "a" * 16, "b" * 16)


@pytest.fixture(scope="module")
def messages(job: Job) -> list[Message]:
    """Of an honest decoder, as they come over the wire."""
    told = [told_segment(segment) for segment in read_segments(job, SETTINGS)]
    return [Message(json.loads(json.dumps(message.head)), message.arrays) for message in told]


def test_what_an_honest_decoder_says_crosses_unchanged(job: Job, messages: list[Message]) -> None:
    border = Border(job, SETTINGS)
    for segment, message in zip(read_segments(job, SETTINGS), messages, strict=True):
        kind, crossed, _ = border.event(message)
        assert kind == "segment"
        assert (crossed.key, crossed.facts, crossed.kept) == (segment.key, segment.facts, segment.kept)
        assert crossed.thumbnail == segment.thumbnail
        np.testing.assert_array_equal(crossed.sound, segment.sound)
        np.testing.assert_array_equal(np.stack(crossed.pictures), np.stack(segment.pictures))
    assert border.event(Message({"kind": "done"}, [])) == ("done", None, None)


def test_a_segment_is_no_larger_than_most_bytes_says(job: Job) -> None:
    for side, keep in ((32, None), (500, None), (32, 90)):
        asked = ReadSettings(SETTINGS.spec, 1.0, fit=Fit(side, "shortest"), keep_frames=keep)
        told = [told_segment(segment) for segment in read_segments(job, asked)]
        assert max(sum(array.nbytes for array in message.arrays) for message in told) <= most_bytes(asked, 2048)


def test_a_job_is_told_as_it_is_but_for_its_caption() -> None:
    for part in (None, Part(512, 7, "a/\udcffb.mp4")):
        job = Job("/x/\udcff.mp4", "x/y.mp4", "a" * 16, "b" * 16, 0.1, 1 / 3, "words", part)
        asked, settings = job_in(json.loads(json.dumps(told_job(job, SETTINGS))))
        assert (asked, settings) == (Job(*[*list(job.__dict__.values())[:6], None, part]), SETTINGS)


def test_no_limit_on_copies_is_told_as_one_that_no_file_reaches(job: Job) -> None:
    unlimited = ReadSettings(SETTINGS.spec, 1.0, max_copy_gb=float("inf"))
    assert job_in(json.loads(json.dumps(told_job(job, unlimited), allow_nan=False)))[1].max_copy_gb > 1e15


def without(name: str) -> Callable[[Message], object]:
    return lambda message: message.head["facts"].pop(name)


def fact(name: str, value: Any) -> Callable[[Message], object]:
    return lambda message: message.head["facts"].update({name: value})


def array(place: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Message], object]:
    return lambda message: message.arrays.__setitem__(place, change(message.arrays[place]))


FORGERIES: dict[str, Callable[[Message], object]] = {
    "a key that leads out": lambda message: message.head.update(key="../../b-00000000"),
    "a key of another job": lambda message: message.head.update(key="c" * 16 + "-00000000"),
    "a key with a line": lambda message: message.head.update(key="b" * 16 + "-00000000\n"),
    "a key of another time": lambda message: message.head.update(key="b" * 16 + "-00001000"),
    "a key that is a list": lambda message: message.head.update(key=["b" * 16 + "-00000000"]),
    "no facts": lambda message: message.head.update(facts=None),
    "a thousand facts": lambda message: message.head["facts"].update({f"fact_{number}": 1 for number in range(1000)}),
    "another source": fact("source", "videos/other.mp4"),
    "a rate as a fraction": fact("sample_rate", 16000.0),
    "a time before the job": fact("start_s", -1.0),
    "a time beyond all files": fact("start_s", 1e9),
    "a time as a word": fact("start_s", "0"),
    "a number beyond all numbers": fact("rms_db", 10**400),
    "a number as a truth": fact("peak", True),
    "a hash that is none": fact("sound_hash", "0x12"),
    "a word of control letters": fact("codec", "h264\x1b[2J"),
    "a word beyond ASCII": fact("codec", "\udc80"),
    "a long word": fact("codec", "x" * 1000),
    "facts in facts": fact("more", {"a": 1}),
    "a name that is none": fact("a b", 1),
    "more valid seconds than there are": fact("valid_seconds", 1.5),
    "other seconds": fact("seconds", 0.5),
    "no seconds": without("seconds"),
    "times that fall": fact("frame_times_s", [0.9, 0.1, 0.2, 0.3]),
    "times beyond the end": fact("frame_times_s", [0.1, 0.2, 0.3, 4.0]),
    "fewer times": fact("frame_times_s", [0.1, 0.2, 0.3]),
    "no times": fact("frame_times_s", []),
    "a sound of floats": array(0, lambda sound: sound.astype(np.float32)),
    "a sound that is too long": array(0, lambda sound: np.tile(sound, 2)),
    "a sound that is too short": array(0, lambda sound: sound[:100]),
    "a sound of two channels": array(0, lambda sound: sound.reshape(-1, 2)),
    "a picture of another size": array(1, lambda picture: picture[:-1]),
    "a grey picture": array(1, lambda picture: picture[..., 0]),
    "a picture of floats": array(1, lambda picture: picture.astype(np.float32)),
    "a thumbnail that is none": array(5, lambda file: np.frombuffer(b"<html>", np.uint8)),
    "a file of floats": array(6, lambda file: file.astype(np.float64)),
    "a picture more": lambda message: message.arrays.append(message.arrays[1]),
    "nothing but a sound": lambda message: message.arrays.__delitem__(slice(1, None)),
    "nothing at all": lambda message: message.arrays.clear(),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_no_video_gives_does_not_cross(job: Job, messages: list[Message], name: str) -> None:
    forged = copy.deepcopy(messages[0])
    FORGERIES[name](forged)
    with pytest.raises(MalformedError):
        Border(job, SETTINGS).event(forged)


def test_no_segment_comes_twice_nor_before_the_one_before_it(job: Job, messages: list[Message]) -> None:
    for order in ([0, 0], [1, 0], [0, 1, 1]):
        border = Border(job, SETTINGS)
        for place in order[:-1]:
            border.event(messages[place])
        with pytest.raises(MalformedError):
            border.event(messages[order[-1]])


def test_no_more_segments_come_than_were_asked_for(job: Job, messages: list[Message]) -> None:
    border = Border(job, ReadSettings(SETTINGS.spec, 1.0, 1, SETTINGS.fit, True, 32))
    border.event(messages[0])
    with pytest.raises(MalformedError):
        border.event(messages[1])


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"kind": "ready"},
        {"kind": ["done"]},
        {"kind": "refused"},
        {"kind": "refused", "reason": "killed", "detail": ""},
        {"kind": "refused", "reason": ["crashed"], "detail": ""},
        {"kind": "refused", "reason": "crashed", "detail": 1},
    ],
    ids=str,
)
def test_an_end_that_is_none_does_not_cross(job: Job, head: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        Border(job, SETTINGS).event(Message(head, []))
    with pytest.raises(MalformedError):
        Border(job, SETTINGS).event(Message({"kind": "done"}, [np.zeros(1)]))


def test_the_words_of_a_refusal_are_one_short_printable_line(job: Job) -> None:
    said = "\x1b[2Jbad\nfile \udc80 " + "x" * 1000
    head = {"kind": "refused", "reason": "no_video", "detail": said}
    kind, reason, detail = Border(job, SETTINGS).event(Message(head, []))
    assert (kind, reason) == ("refused", "no_video")
    assert detail.startswith(r"\x1b[2Jbad file \x80 xxx")  # the byte that was no letter
    assert len(detail) < 320
    assert RefusedError(reason, said).detail == detail


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_whatever_crosses_can_be_written_and_is_the_job_s(data: st.DataObject, crossing: Any) -> None:
    job, messages = crossing
    forged = copy.deepcopy(messages[0])
    names = st.sampled_from([*forged.head["facts"], "more"])
    for name in data.draw(st.lists(names, max_size=2), "facts"):
        forged.head["facts"][name] = data.draw(JSON, name)
    if data.draw(st.booleans(), "key too"):
        forged.head["key"] = data.draw(JSON | st.from_regex(r"b{16}-[0-9]{8}"), "key")
    try:
        _, segment, _ = Border(job, SETTINGS).event(forged)
    except MalformedError:
        return
    wave, frames = segment.sound.astype(np.float32) / 32768.0, np.zeros((4, 3), np.float16)
    record = Record(segment.key, wave, frames, segment.facts, segment.thumbnail, None, segment.kept)
    assert json.loads(encode_record(record)["json"])["source"] == job.source
    assert segment.key.startswith(job.entry_id)


@pytest.fixture(scope="module")
def crossing(job: Job, messages: list[Message]) -> tuple[Job, list[Message]]:
    """For a property, which takes fixtures of its module only."""
    return job, messages
