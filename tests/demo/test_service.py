"""The service over HTTP: sounds, facts, schema, and a sentence with the right status for everything else."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

httpx = pytest.importorskip("httpx", reason="needs the packages of the page: pip install clipsonic[demo]")

pytestmark = pytest.mark.timeout(240)

BELL = {"text": "a small glass bell ringing slowly"}


@pytest.fixture(scope="module")
def client(demo: Any) -> Iterator[Any]:
    fresh = httpx.Limits(max_keepalive_connections=0)  # an idle connection may be closed just when it is used again
    with httpx.Client(base_url=demo.url, timeout=30.0, limits=fresh) as client:
        yield client


def wave_of(reply: Any) -> tuple[np.ndarray, int]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "audio/wav"
    samples, rate_hz = soundfile.read(io.BytesIO(reply.content), dtype="int16")
    return samples, rate_hz


def sentence_of(reply: Any) -> str:
    assert set(reply.json()) == {"error"}
    return str(reply.json()["error"])


def test_a_text_is_answered_by_a_sound_and_its_facts(client: Any) -> None:
    reply = client.post("/v1/sounds", json={**BELL, "seed": 5, "steps": 4})
    samples, rate_hz = wave_of(reply)
    facts = json.loads(reply.headers["x-clipsonic-facts"])
    assert (len(samples), rate_hz) == (65536, 16000)
    assert np.abs(samples).max() > 1000
    assert (facts["seed"], facts["steps"], facts["closer"], facts["notice"]) == (5, 4, "prior", None)
    assert -45.0 < facts["loudness_lufs"] < -13.5


def test_equal_wishes_get_equal_sounds_and_another_seed_another(client: Any) -> None:
    first, again, other = (client.post("/v1/sounds", json={**BELL, "seed": seed}).content for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_sound_is_the_one_that_generate_makes_but_for_its_level(client: Any, tmp_path: Path) -> None:
    from clipsonic.pipeline import ClipSonicPipeline

    samples, _ = wave_of(client.post("/v1/sounds", json={**BELL, "seed": 9, "loudness": "off"}))
    made = ClipSonicPipeline.from_pretrained("tiny")(**BELL, seed=9).audios[0]
    np.testing.assert_allclose(samples / 32767.0, made, atol=1e-3)  # threads of the server may add in another order


def test_several_sounds_come_as_json_with_files_that_can_be_fetched(client: Any) -> None:
    answer = client.post("/v1/sounds", json={**BELL, "num_sounds": 3, "duration_s": 1.0}).json()
    files = [client.get(sound["url"]) for sound in answer["sounds"]]
    assert len({wave_of(file)[0].tobytes() for file in files}) == 3
    assert all(len(wave_of(file)[0]) == 16000 for file in files)
    picture = client.get(answer["sounds"][0]["spectrogram"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


def test_the_best_of_several_is_one_of_them_and_what_cannot_be_chosen_is_refused(client: Any) -> None:
    best = client.post("/v1/sounds", json={**BELL, "best_of": 3, "duration_s": 1.0, "steps": 2})
    facts = json.loads(best.headers["x-clipsonic-facts"])
    every = client.post("/v1/sounds", json={**BELL, "num_sounds": 3, "duration_s": 1.0, "steps": 2}).json()
    chosen = client.get(every["sounds"][facts["chosen"][0]]["url"])
    assert (wave_of(best)[0] == wave_of(chosen)[0]).all()
    assert facts["best_of"] == 3
    refused = client.post("/v1/sounds", json={**BELL, "best_of": 3, "duration_s": 0.5})
    assert refused.status_code == 422
    assert "hears nothing in 0.5 s" in sentence_of(refused)


def test_a_picture_is_answered_by_a_sound(client: Any, media: Path) -> None:
    files = {"image": ("bell.png", (media / "bell.png").read_bytes())}
    reply = client.post("/v1/sounds", files=files, data={"seed": "1", "text": ""})
    assert len(wave_of(reply)[0]) == 65536


def test_a_video_is_answered_with_the_seconds_that_are_left_of_it_and_with_itself(client: Any, media: Path) -> None:
    files = {"video": ("scene.mp4", (media / "scene.mp4").read_bytes())}
    headers = {"accept": "application/json"}
    answer = client.post("/v1/sounds", files=files, data={"start_s": "1.0"}, headers=headers).json()
    assert answer["facts"]["seconds"] == pytest.approx(1.5, abs=0.01)
    video = client.get(answer["sounds"][0]["video"])
    assert video.headers["content-type"] == "video/mp4"
    assert b"ftyp" in video.content[:16]


def test_an_unknown_thing_is_told_of(client: Any) -> None:
    reply = client.post("/v1/sounds", json={"text": "quarterly earnings", "steps": 1})
    assert "names none of" in json.loads(reply.headers["x-clipsonic-facts"])["notice"]


def test_a_negative_text_is_made_with_guidance_and_refused_without(client: Any) -> None:
    reply = client.post("/v1/sounds", json={**BELL, "negative_text": "a dog barking", "steps": 2})
    assert json.loads(reply.headers["x-clipsonic-facts"])["guidance"] > 1.0
    refused = client.post("/v1/sounds", json={**BELL, "negative_text": "a dog barking", "guidance": 1})
    assert refused.status_code == 422
    assert "guidance" in sentence_of(refused)


@pytest.mark.parametrize(
    ("status", "request_of"),
    [
        (400, {"content": b"{", "headers": {"content-type": "application/json"}}),
        (400, {"content": b"[" * 60000, "headers": {"content-type": "application/json"}}),
        (400, {"content": b"[]", "headers": {"content-type": "application/json"}}),
        (400, {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
        (400, {"content": b"nonsense", "headers": {"content-type": "multipart/form-data; boundary=b"}}),
        (400, {"files": [("image", ("a", b"x")), ("image", ("b", b"x"))]}),
        (413, {"json": {"text": "x" * 70000}}),
        (413, {"files": {"image": ("large.png", bytes(3 * 2**20))}}),
        (415, {"content": b"a bell", "headers": {"content-type": "text/plain"}}),
        (415, {"content": b""}),
        (415, {"files": {"image": ("notes.txt", b"not a picture")}}),
        (415, {"files": {"video": ("notes.txt", b"not a video")}}),
        (415, {"files": {"image": ("empty.png", b"")}}),
        (422, {"json": {}}),
        (422, {"json": {"text": "a bell", "volume": 11}}),
        (422, {"json": {"text": "a bell", "steps": 1000}}),
        (422, {"json": {"text": "a bell", "duration_s": 60}}),
        (422, {"files": {"sound": ("a.wav", b"x")}}),
        (422, {"json": {"text": "a bell", "num_sounds": 2}, "headers": {"accept": "audio/wav"}}),
    ],
)
def test_what_cannot_be_met_is_one_sentence_with_its_status(client: Any, status: int, request_of: Any) -> None:
    reply = client.post("/v1/sounds", **request_of)
    assert reply.status_code == status, reply.text
    words = sentence_of(reply)
    assert len(words) > 20
    assert "\n" not in words
    assert "Traceback" not in words
    assert "/tmp" not in words


def test_a_part_is_made_anew_and_the_rest_comes_back_sample_for_sample(client: Any, media: Path) -> None:
    given, rate_hz = soundfile.read(media / "bell.wav", dtype="int32")
    data = {"text": "a bell", "from_s": "1", "to_s": "1.5", "steps": "2"}
    files = {"sound": ("bell.wav", (media / "bell.wav").read_bytes())}
    reply = client.post("/v1/edits", files=files, data=data)
    assert reply.status_code == 200, reply.text
    made, made_hz = soundfile.read(io.BytesIO(reply.content), dtype="int32")
    part = slice(rate_hz, rate_hz * 3 // 2)
    assert (made_hz, made.shape, soundfile.info(io.BytesIO(reply.content)).subtype) == (rate_hz, given.shape, "PCM_24")
    assert (made[: part.start] == given[: part.start]).all()
    assert (made[part.stop :] == given[part.stop :]).all()
    assert (made[part] != given[part]).any()
    facts = json.loads(reply.headers["x-clipsonic-facts"])
    assert facts["seconds"] == 3.0
    assert 0.7 < facts["kept"] < 0.9
    assert client.post("/v1/edits", files=files, data=data).content == reply.content


def test_a_sound_that_was_made_here_is_varied_by_its_name(client: Any) -> None:
    as_json = {"accept": "application/json"}
    made = client.post("/v1/sounds", json={**BELL, "steps": 2}, headers=as_json).json()
    name = made["sounds"][0]["url"].rpartition("/")[2]
    wish = {"sound": name, "strength": 0.4, "num_sounds": 2, "steps": 2}
    varied = client.post("/v1/edits", json=wish, headers=as_json).json()
    assert len(varied["sounds"]) == 2
    assert "without a prompt" in varied["notice"]
    assert varied["facts"]["kept"] == 0.0
    before = client.get(varied["before"]["url"]).content
    assert before != client.get(varied["sounds"][0]["url"]).content
    urls = (made["sounds"][0]["url"], varied["before"]["url"])
    first, second = (soundfile.read(io.BytesIO(client.get(url).content))[0] for url in urls)
    assert (first == second).all()
    assert client.get(varied["before"]["spectrogram"]).headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("status", "words", "request_of"),
    [
        (422, "no sound given", {"json": {"strength": 0.4}}),
        (422, "not here any more", {"json": {"sound": "nothing.wav", "strength": 0.4}}),
        (422, "nothing is to be changed", {"data": {"text": "a bell"}}),
        (422, "both from_s and to_s", {"data": {"from_s": "1"}}),
        (422, "must lie inside of the sound", {"data": {"from_s": "2", "to_s": "3.5"}}),
        (422, "60 s would be made anew", {"data": {"extend_s": "60"}}),
        (422, "strength", {"data": {"strength": "1.5"}}),
        (422, "field 'duration_s' is unknown", {"data": {"duration_s": "1"}}),
        (415, "not a sound", {"files": {"sound": ("notes.txt", b"not a sound")}, "data": {"strength": "0.4"}}),
        (422, "a file named 'image' is not taken", {"files": {"image": ("a.png", b"x")}}),
    ],
)
def test_an_edit_that_cannot_be_is_one_sentence(
    client: Any, media: Path, status: int, words: str, request_of: Any
) -> None:
    if "data" in request_of and "files" not in request_of:
        request_of = {**request_of, "files": {"sound": ("bell.wav", (media / "bell.wav").read_bytes())}}
    reply = client.post("/v1/edits", **request_of)
    assert reply.status_code == status, reply.text
    assert words in sentence_of(reply)
    assert "/tmp" not in reply.text


def test_a_damaged_file_is_refused_under_the_name_that_its_owner_gave_it(client: Any, media: Path) -> None:
    picture = (media / "bell.png").read_bytes()
    for kind, name, data in (
        ("video", "holiday.mp4", (media / "broken.mp4").read_bytes()),
        ("image", "holiday.png", picture[: len(picture) // 2]),
    ):
        reply = client.post("/v1/sounds", files={kind: (f"C:\\my\\{name}", data)})
        assert reply.status_code == 422
        assert sentence_of(reply).startswith(name)


def test_a_start_beyond_the_end_of_a_video_is_refused_with_its_length(client: Any, media: Path) -> None:
    files = {"video": ("scene.mp4", (media / "scene.mp4").read_bytes())}
    reply = client.post("/v1/sounds", files=files, data={"start_s": "9"})
    assert reply.status_code == 422
    assert "2.5" in sentence_of(reply)


def test_who_finds_no_place_is_told_to_come_back_and_nobody_fails_otherwise(client: Any, demo: Any) -> None:
    def ask(seed: int) -> Any:
        return httpx.post(f"{demo.url}/v1/sounds", json={**BELL, "seed": seed, "steps": 20}, timeout=60.0)

    with ThreadPoolExecutor(3 * demo.places) as threads:
        replies = list(threads.map(ask, range(3 * demo.places)))
    statuses = [reply.status_code for reply in replies]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= demo.places
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert int(refused.headers["retry-after"]) > 0
    assert f"all {demo.places} places" in sentence_of(refused)
    assert client.post("/v1/sounds", json=BELL).status_code == 200


def test_a_body_that_never_comes_holds_a_place_only_for_its_time(demo: Any) -> None:
    """Here: the place is given back when the sender hangs up."""
    import socket
    from urllib.parse import urlsplit

    where = urlsplit(demo.url)
    lines = (
        "POST /v1/sounds HTTP/1.1",
        f"Host: {where.netloc}",
        "Content-Type: application/json",
        "Content-Length: 50",
    )
    head = "\r\n".join([*lines, "", ""])
    senders = [
        socket.create_connection((where.hostname or "", where.port or 0), timeout=10) for _ in range(demo.places)
    ]
    for sender in senders:
        sender.sendall(head.encode())
    _until(lambda: httpx.post(f"{demo.url}/v1/sounds", json={"text": ""}, timeout=10).status_code == 429)
    for sender in senders:
        sender.close()
    _until(lambda: httpx.post(f"{demo.url}/v1/sounds", json={"text": ""}, timeout=10).status_code == 422)


def _until(is_so: Any) -> None:
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline, "it has not come about in 15 s"
        time.sleep(0.05)


def test_the_schema_names_every_field_limit_and_refusal(client: Any, demo: Any) -> None:
    schema = client.get("/v1/schema").json()
    assert {"text", "image", "video", "seed", "steps"} <= set(schema["request"]["properties"])
    assert (schema["limits"]["places"], schema["limits"]["upload_mb"]) == (demo.places, 2)
    assert schema["model"]["segment_s"] == 4.096
    openapi = client.get("/v1/openapi.json").json()
    assert "multipart/form-data" in openapi["paths"]["/v1/sounds"]["post"]["requestBody"]["content"]
    assert set(schema["refusals"]) <= set(openapi["paths"]["/v1/sounds"]["post"]["responses"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sounds/..%2f..%2fetc%2fpasswd"),
        ("GET", "/v1/sounds/0123456789abcdef0123456789abcdef.wav"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/docs"),
        ("GET", "/monitoring"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/run/make"),
        ("POST", "/gradio_api/vibe-edit"),
        ("PUT", "/v1/sounds"),
    ],
)
def test_no_other_door_is_open(client: Any, method: str, path: str) -> None:
    reply = client.request(method, path)
    assert reply.status_code in (404, 405), reply.text
    assert "root:" not in reply.text


def test_a_file_of_the_computer_is_not_given_to_anyone(client: Any) -> None:
    for path in ("/etc/passwd", "../../etc/passwd", str(Path(__file__).resolve())):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_another_host_s_name_is_not_answered(demo: Any) -> None:
    reply = httpx.get(f"{demo.url}/v1/schema", headers={"host": "attacker.example"}, timeout=10)
    assert reply.status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/schema"),
        ("POST", "/v1/sounds"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/predict"),
        ("GET", "/gradio_api/queue/data?session_hash=abc"),
        ("OPTIONS", "/gradio_api/queue/join"),
    ],
)
def test_a_page_of_another_site_is_refused_at_every_door(client: Any, method: str, path: str) -> None:
    for origin in ("http://attacker.example", "null", "http://127.0.0.1:1", "http://localhost:3000"):
        reply = client.request(method, path, headers={"origin": origin})
        assert reply.status_code == 403, (origin, reply.text)
        assert "--origin" in sentence_of(reply)
        assert not any("access-control" in name for name in reply.headers)


def test_the_demo_s_own_page_and_programs_are_taken(client: Any, demo: Any) -> None:
    wish = {**BELL, "steps": 1}
    assert client.post("/v1/sounds", json=wish, headers={"origin": demo.url}).status_code == 200
    assert client.post("/v1/sounds", json=wish).status_code == 200
    assert client.get("/v1/schema", headers={"host": demo.url.replace("http://127.0.0.1", "localhost")}).is_success


def test_a_websocket_is_refused(demo: Any) -> None:
    lines = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    reply = httpx.get(
        f"{demo.url}/gradio_api/queue/join", headers={**lines, "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
    )
    assert reply.status_code in (403, 404)


def pressed(client: Any, button: str, path: str) -> dict[str, Any]:
    """What the page sends when this button is pressed with a file chosen."""
    config = client.get("/config").json()
    labels = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
    press = next(d for d in config["dependencies"] if [labels[part] for part, _ in d["targets"]] == [button])
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [file, None, 0, *[None] * (len(press["inputs"]) - 3)]
    return {"data": data, "fn_index": press["id"], "session_hash": "abc", "trigger_id": press["targets"][0][0]}


@pytest.mark.parametrize("button", ["make-image", "make-video", "make-edit", "more-1"])
def test_what_computes_is_not_had_without_waiting_in_the_queue(client: Any, button: str) -> None:
    reply = client.post("/gradio_api/run/predict", json=pressed(client, button, "bell.png"))
    assert reply.status_code == 404
    assert "queue" in reply.text


def test_an_address_in_place_of_a_file_is_not_fetched(client: Any) -> None:
    asked = pressed(client, "make-image", "http://sounds.invalid/bell.png")
    assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "abc"}) as events:
        said = next(line for line in events.iter_lines() if "process_completed" in line)
    assert "an address is not fetched" in said


def test_the_browser_is_told_to_load_nothing_from_elsewhere(client: Any) -> None:
    reply = client.get("/")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert not re.findall(r"(?:src|href)=[\"']https?://(?!127\.0\.0\.1)[^\"']+\.(?:js|css|woff2?)", reply.text)


def test_an_upload_to_the_page_that_is_too_large_is_refused(client: Any) -> None:
    reply = client.post("/gradio_api/upload", files={"files": ("large.bin", bytes(3 * 2**20))})
    assert reply.status_code == 413


def test_requests_leave_no_uploads_behind(client: Any, demo: Any, media: Path) -> None:
    for name, kind in (("bell.png", "image"), ("broken.mp4", "video")):
        client.post("/v1/sounds", files={kind: (name, (media / name).read_bytes())})
    assert not list(demo.temporary.rglob("*.upload"))
    assert threading.active_count() < 20
