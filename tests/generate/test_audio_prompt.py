"""`clipsonic generate --audio` and `clipsonic edit --audio`: files in, files out."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from makers_ear import RATE_HZ, make_ear, noise

from clipsonic.audio.wave import read_audio
from clipsonic.cli import main
from clipsonic.pipeline import ClipSonicPipeline


@pytest.fixture(scope="module")
def ear(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ear")
    made = make_ear(ClipSonicPipeline.from_pretrained(model).segment.fingerprint)
    made.save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


@pytest.fixture(scope="module")
def like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("like") / "like this.wav"
    soundfile.write(path, np.concatenate([noise(1.2), np.zeros(RATE_HZ), noise(1.2, 5)]), RATE_HZ)
    return path


def generate(*words: object) -> int:
    return main(["generate", *map(str, words)])


def test_a_sound_becomes_another_and_the_facts_say_how(
    model: Path, ear: Path, like: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for start_s, name in ((0.0, "a.wav"), (2.2, "b.wav"), (0.0, "c.wav")):
        words = ["--model", model, "--ear", ear, "--audio", like, "--start-s", start_s, "--json"]
        assert generate(*words, "--out", tmp_path / name) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["closer"] == "zero-shot"
        assert facts["start_s"] == start_s
    first, later, again = (read_audio(tmp_path / name)[0] for name in ("a.wav", "b.wav", "c.wav"))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - later).max() > 1e-3


def test_a_video_is_heard_by_its_own_track(model: Path, ear: Path, like: Path, tmp_path: Path) -> None:
    video = tmp_path / "like.mkv"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("flac", rate=RATE_HZ, layout="mono")
        picture = container.add_stream("libx264", rate=10)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        samples = np.rint(32767 * read_audio(like)[0]).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for index in range(34):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), index, np.uint8), "rgb24")))
        container.mux(picture.encode(None))
    for source, name in ((like, "a.wav"), (video, "b.wav")):
        assert generate("--model", model, "--ear", ear, "--audio", source, "--out", tmp_path / name) == 0
    np.testing.assert_allclose(*(read_audio(tmp_path / name)[0] for name in ("a.wav", "b.wav")), atol=2e-2)


def test_rows_of_a_batch_may_name_sounds(model: Path, ear: Path, like: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"audio": str(like), "seed": seed}) + "\n" for seed in (0, 1)))
    assert generate("--model", model, "--ear", ear, "--batch", rows, "--out", tmp_path / "out") == 0
    waves = [read_audio(tmp_path / "out" / f"000{row}.wav")[0] for row in (1, 2)]
    assert np.abs(waves[0] - waves[1]).max() > 1e-3


def test_an_edit_follows_a_sound(model: Path, ear: Path, like: Path, tmp_path: Path) -> None:
    words = ["edit", like, "--model", model, "--ear", ear, "--remake", "1.3:1.6", "--guidance", 2]
    made = []
    for place, start_s in enumerate((0.0, 2.2)):
        out = tmp_path / f"{place}.wav"
        assert main([*map(str, words), "--audio", str(like), "--start-s", str(start_s), "--out", str(out)]) == 0
        made.append(read_audio(out)[0])
    given = read_audio(like)[0]
    np.testing.assert_array_equal(made[0][:RATE_HZ], given[:RATE_HZ])
    assert np.abs(made[0] - made[1]).max() > 0.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--audio", "LIKE"], "has no ear for the CLIP space"),
        (["--audio", "LIKE", "--ear", "EAR", "--closer", "prior"], "closer prior is for texts"),
        (["--audio", "nowhere.wav", "--ear", "EAR"], "nowhere.wav does not exist"),
        (["--audio", "nowhere.mp4", "--ear", "EAR"], "nowhere.mp4 does not exist"),
        (["--audio", "LIKE", "--ear", "nowhere"], "ear nowhere cannot be loaded"),
        (["--text", "a dog", "--ear", "EAR"], "--ear EAR hears the sound of --audio, and there is none"),
        (["--audio", "LIKE", "--text", "a dog"], "--text and --audio given: give exactly one of"),
        (["--audio", "LIKE", "--ear", "EAR", "--start-s", "3.2"], "below the 1 s that an ear needs"),
    ],
)
def test_what_does_not_go_is_refused(
    model: Path, ear: Path, like: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    named = {"LIKE": str(like), "EAR": str(ear)}
    given = [named.get(word, word) for word in words]
    assert generate("--model", model, *given, "--out", tmp_path / "a.wav") != 0
    errors = capsys.readouterr().err
    assert said.replace("EAR", str(ear)) in errors
    assert not (tmp_path / "a.wav").exists()
