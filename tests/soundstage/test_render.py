"""Rendered files: alignment of sight and sound, equal bytes, continued runs, and the manifest beside them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from clipsonic.cli import main
from clipsonic.errors import CorpusError, UsageError
from clipsonic.soundstage.encode import encode_mp4
from clipsonic.soundstage.manifest import read_manifest, scene_from_law
from clipsonic.soundstage.render import render_bytes, render_corpus, render_video
from clipsonic.soundstage.scene import Event, Phase, draw_scene
from clipsonic.soundstage.synth import synthesize

RATE_HZ = 16000


def decoded_sound(data: bytes) -> np.ndarray:
    """All samples, placed by their presentation timestamps: index n is heard at n / 16000."""
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(audio=0))
    track = np.zeros(round(frames[-1].time * RATE_HZ) + frames[-1].samples, dtype=np.float32)
    for frame in frames:
        start = round(frame.time * RATE_HZ)
        track[start : start + frame.samples] = frame.to_ndarray()[0]
    return track


@pytest.mark.parametrize("click_at", [0.25, 1.0, 1.7321])
@pytest.mark.parametrize("num_samples", [32000, 40123])
def test_a_click_comes_back_at_its_time_and_a_flash_at_its_frame(click_at: float, num_samples: int) -> None:
    wave = np.zeros(num_samples, dtype=np.float32)
    wave[round(click_at * RATE_HZ)] = 0.9
    flash = round(click_at * 15)
    pictures = (np.full((120, 160, 3), 255 if number == flash else 10, np.uint8) for number in range(30))
    data = encode_mp4(pictures, wave, fps=15)
    assert abs(np.argmax(np.abs(decoded_sound(data))) / RATE_HZ - click_at) < 0.002
    with av.open(io.BytesIO(data)) as container:
        lit = [frame.time for frame in container.decode(video=0) if frame.to_ndarray(format="gray").mean() > 128]
    assert lit == [pytest.approx(flash / 15)]


def test_the_sound_of_a_file_is_the_synthesized_one_sample_for_sample_in_time() -> None:
    scene = replace(
        draw_scene(2, 0, kind="drum"), duration_s=2.0, phases=(Phase(0.0, 2.0, 0.5),), events=(Event(0.5, 0, 1.0),)
    )
    wave = synthesize(scene)
    heard = decoded_sound(render_bytes(scene))[: len(wave)]
    lag = np.argmax(np.correlate(heard[7000:12000], wave[7500:11500], mode="valid")) - 500
    assert lag == 0
    assert len(heard) == len(wave)


def test_a_file_has_the_frames_size_and_rate_that_were_asked_for(tmp_path: Path) -> None:
    scene = replace(draw_scene(2, 1), duration_s=2.0, phases=(Phase(0.0, 2.0, 0.5),), events=())
    render_video(scene, tmp_path / "a.mp4", width=192, height=128, fps=20)
    with av.open(str(tmp_path / "a.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height, video.average_rate) == ("h264", 192, 128, 20)
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", RATE_HZ, 1)
        assert sum(1 for _ in container.decode(video=0)) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_equal_scene_gives_equal_bytes() -> None:
    scene = draw_scene(2, 2)
    assert render_bytes(scene) == render_bytes(scene)


def test_a_continued_run_equals_an_unbroken_one_and_keeps_what_is_there(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    render_corpus(whole, 3, 9, workers=1, flaws=0.5)
    render_corpus(broken, 2, 9, workers=1, flaws=0.5)
    kept = (broken / "scene-000000.mp4").stat().st_mtime_ns
    result = render_corpus(broken, 3, 9, workers=1, flaws=0.5)
    assert (result["rendered"], result["kept"]) == (1, 2)
    assert (broken / "scene-000000.mp4").stat().st_mtime_ns == kept
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == {
        path.name: path.read_bytes() for path in broken.iterdir()
    }


@pytest.mark.slow
def test_files_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        render_corpus(tmp_path / str(workers), 6, 9, workers=workers, flaws=0.3)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("1", "2"))
    assert one == two


def test_the_manifest_holds_the_law_and_captions_of_every_file(tmp_path: Path) -> None:
    render_corpus(tmp_path, 2, 9, split="heldout", kind="bell", workers=1)
    manifest = read_manifest(tmp_path)
    assert sorted(manifest) == ["scene-000000.mp4", "scene-000001.mp4"]
    for index, entry in enumerate(manifest.values()):
        scene = draw_scene(9, index, split="heldout", kind="bell")
        assert scene_from_law(entry["law"]) == scene
        assert (entry["split"], entry["flaw"]) == ("heldout", None)
        assert entry["law"]["pitch_hz"] == scene.pitch_hz
        assert min(len(entry["captions"][phrasing]) for phrasing in ("train", "heldout")) >= 6


def test_a_missing_or_damaged_manifest_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.jsonl").write_text('{"file": ')
    with pytest.raises(CorpusError, match="damaged"):
        read_manifest(tmp_path)
    with pytest.raises(CorpusError, match="law"):
        scene_from_law({"kind": "bell"})


def test_a_folder_of_another_world_is_refused(tmp_path: Path) -> None:
    render_corpus(tmp_path, 1, 9, workers=1, flaws=0.0)
    with pytest.raises(UsageError, match="other options"):
        render_corpus(tmp_path, 1, 10, workers=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num-videos", "-1"], "num-videos -1"),
        ([], "ask for nothing"),
        (["--num-pictures", "5", "--split", "any"], "split 'any'"),
        (["--num-videos", "2", "--flaws", "1.5"], "flaws 1.5"),
        (["--num-videos", "2", "--kind", "gong"], "kind 'gong'"),
        (["--num-videos", "2", "--width", "161"], "width 161"),
        (["--num-videos", "2", "--fps", "0"], "fps 0"),
    ],
)
def test_a_bad_option_gets_one_sentence_and_status_two(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["soundstage", "--out", str(tmp_path / "v"), *words]) == 2
    heard = capsys.readouterr().err
    assert said in heard
    assert len(heard.strip().splitlines()) == 1
    assert not (tmp_path / "v").exists()


def test_the_command_renders_and_reports_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["soundstage", "--out", str(tmp_path), "--num-videos", "1", "--seed", "3", "--workers", "1", "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["videos"] == 1


@pytest.mark.slow
def test_workers_end_when_the_command_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "clipsonic.cli", "soundstage", "--out", str(tmp_path / "v"), "--num-videos", "5000"]
    command = subprocess.Popen([*words, "--workers", "2"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(list((tmp_path / "v").glob("*.mp4"))) > 8)
        workers = [
            child for child in psutil.Process(command.pid).children() if "clipsonic.wire" in " ".join(child.cmdline())
        ]
        assert len(workers) == 2
    finally:
        command.kill()
        command.wait(timeout=30)
    until(lambda: not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers))


def until(is_so: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)
