"""The whole path as a user walks it: raw videos, corpus, model, sounds from a text, a picture and a video, report."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from clipsonic.cli import main
from clipsonic.ingest.decode import frames_at

pytestmark = pytest.mark.slow


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, a corpus, a model trained for a few steps."""
    folder = tmp_path_factory.mktemp("house")
    run("soundstage", "--out", folder / "videos", "--num-videos", 14, "--seed", 5, "--flaws", 0.2)
    run("ingest", folder / "videos", "--out", folder / "corpus", "--seconds", 4.096)
    run("inspect", folder / "corpus", "--html", folder / "corpus.html")
    run("train", "--config", "tiny", "--config", "smoke", "--corpus", folder / "corpus", "--out", folder / "model")
    return folder


def test_every_listed_video_is_ingested_or_refused(house: Path) -> None:
    sources = [json.loads(line) for line in (house / "corpus" / "sources.jsonl").read_text().splitlines()]
    refused = (house / "corpus" / "refused.jsonl").read_text().splitlines()
    assert len(sources) == 14
    assert 0 < len(refused) < 14
    assert "too_short" in "".join(refused) or "no_audio" in "".join(refused) or "not_media" in "".join(refused)


def test_a_text_a_picture_and_a_video_all_give_a_sound_of_the_models_length(house: Path) -> None:
    from PIL import Image

    law = json.loads((house / "videos" / "manifest.jsonl").read_text().splitlines()[0])
    whole = list(map(json.loads, (house / "videos" / "manifest.jsonl").read_text().splitlines()))
    video = next(house / "videos" / entry["file"] for entry in whole if not entry["flaw"])
    Image.fromarray(frames_at(video, [0.5])[0]).save(house / "picture.png")
    assert law["captions"]["heldout"]
    prompts = {"text": "a glass bell ringing", "image": house / "picture.png", "video": video}
    for kind, prompt in prompts.items():
        out = house / f"{kind}.wav"
        run("generate", "--model", house / "model", f"--{kind}", prompt, "--out", out, "--steps", 3)
        wave, rate = soundfile.read(out)
        assert rate == 16000
        assert len(wave) == 65536 or kind == "video"
        assert np.isfinite(wave).all()
        assert 0.0 < np.abs(wave).max() <= 1.0


def test_the_video_comes_back_with_its_picture_untouched(house: Path) -> None:
    whole = list(map(json.loads, (house / "videos" / "manifest.jsonl").read_text().splitlines()))
    video = next(house / "videos" / entry["file"] for entry in whole if not entry["flaw"])
    run("generate", "--model", house / "model", "--video", video, "--out", house / "back.mp4", "--steps", 2)
    packets = []
    for path in (video, house / "back.mp4"):
        with av.open(str(path)) as container:
            packets.append([bytes(packet) for packet in container.demux(video=0) if packet.size])
    assert packets[0] == packets[1]


def test_the_report_has_a_page_and_every_row(house: Path) -> None:
    run("soundstage", "--out", house / "unseen", "--num-videos", 12, "--seed", 6, "--split", "heldout")
    run("ingest", house / "unseen", "--out", house / "held-out", "--seconds", 4.096)
    run("evaluate", "--model", house / "model", "--corpus", house / "held-out", "--videos", house / "unseen",
        "--out", house / "report", "--steps", 2, "--num-players", 2)  # fmt: skip
    report = json.loads((house / "report" / "report.json").read_text())
    assert {"true", "image", "text-zero-shot", "text-prior", "shuffled", "silence"} <= {
        row["name"] for row in report["rows"]
    }
    assert "<audio" in (house / "report" / "index.html").read_text()


def test_the_bundled_model_answers_right_after_install(tmp_path: Path) -> None:
    run("generate", "--model", "tiny", "--text", "a small glass bell ringing slowly", "--out", tmp_path / "bell.wav",
        "--spectrogram", tmp_path / "bell.png")  # fmt: skip
    wave, rate = soundfile.read(tmp_path / "bell.wav")
    assert (len(wave), rate) == (65536, 16000)
    assert 0.001 < np.sqrt(np.mean(wave**2)) < 0.5
    assert (tmp_path / "bell.png").read_bytes().startswith(b"\x89PNG")
