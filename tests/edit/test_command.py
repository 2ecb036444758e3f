"""`clipsonic edit` end to end, with a tiny untrained pipeline folder."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from clipsonic import __version__
from clipsonic.audio.formats import read_tags
from clipsonic.audio.wave import read_audio
from clipsonic.cli import main
from clipsonic.edit.given import read_given, read_mask

RATE_HZ = 44100
PROMPTLESS = ["--remake", "0.4:0.6"]


def edit(model: Path, *words: object) -> int:
    return main(["edit", "--model", str(model), *map(str, words)])


def integers(path: str | Path) -> np.ndarray:
    """(T, C), as they stand in the file."""
    return soundfile.read(path, dtype="int32", always_2d=True)[0]


def changed_s(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """From when to when the channels differ."""
    places = np.flatnonzero((before != after).any(axis=1))
    return places[0] / RATE_HZ, (places[-1] + 1) / RATE_HZ


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("kind", ["text", "image", "video", "embeds", None])
def test_under_every_prompt_or_none_only_the_region_changes(
    model: Path, given: dict[str, str], prompts: dict[str, str], tmp_path: Path, kind: str | None, suffix: str
) -> None:
    out = tmp_path / "new" / f"a{suffix}"
    prompt = [] if kind is None else [f"--{kind}", prompts[kind]]
    assert edit(model, given["sound"], "--remake", "0.3:0.5", "--remake", "0.7:0.8", *prompt, "--out", out) == 0
    assert (soundfile.info(out).samplerate, soundfile.info(out).subtype) == (RATE_HZ, "PCM_24")
    before, after = integers(given["sound"]), integers(out)
    assert before.shape == after.shape
    assert changed_s(before, after) == pytest.approx((0.3, 0.8), abs=2 / RATE_HZ)
    assert np.array_equal(before[22050:30870], after[22050:30870])
    about = read_tags(out)
    assert about["software"] == f"clipsonic {__version__}"
    assert about["comment"] == "AI-edited sound"
    assert about["given"] == "noise.wav"
    assert about["edited"] == "remake 0.3:0.5, remake 0.7:0.8"
    wanted = "noise.wav" if kind is None else prompts[kind] if kind == "text" else Path(prompts[kind]).name
    assert (about["model"], about["prompt"], about["seed"]) == ("P", wanted, "0")
    assert [entry.name for entry in out.parent.iterdir()] == [out.name]


def test_seconds_are_added_before_and_after(model: Path, given: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    assert edit(model, given["sound"], "--before-s", 0.1, "--extend-s", 0.2, "--out", out) == 0
    before, after = integers(given["sound"]), integers(out)
    assert len(after) == len(before) + 4410 + 8820
    assert np.array_equal(after[4410 : 4410 + len(before)], before)
    assert np.abs(after[:4410]).max() > 0 < np.abs(after[-8820:]).max()


def test_the_answer_says_what_was_kept_and_what_was_not(
    model: Path, given: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [given["sound"], "--remake", "0.6:1.2", "--text", "a dog", "--out", tmp_path / "a.wav"]
    assert edit(model, *words) == 0
    message = capsys.readouterr().out
    assert "edited 1 sound of 1.20 s" in message
    assert "the band above it was filled after the given sound's own" in message
    assert edit(model, *words, "--no-fill", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == [str(tmp_path / "a.wav")]
    assert (answer["channels"], answer["sample_rate_hz"], answer["edited"]) == (2, RATE_HZ, "remake 0.6:1.2")
    assert answer["kept"] == pytest.approx(0.5, abs=0.05)
    assert any("was left empty" in note for note in answer["notes"])


def test_without_a_prompt_the_answer_says_that_one_would_help(
    model: Path, given: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edit(model, given["sound"], *PROMPTLESS, "--out", tmp_path / "a.wav") == 0
    assert "without a prompt" in capsys.readouterr().out


def test_a_variation_changes_all_of_it_and_several_differ(model: Path, given: dict[str, str], tmp_path: Path) -> None:
    words = [given["sound"], "--strength", 0.5]
    assert edit(model, *words, "--num-sounds", 2, "--out", tmp_path / "a.wav") == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a-1.wav", "a-2.wav"]
    first, second = integers(tmp_path / "a-1.wav"), integers(tmp_path / "a-2.wav")
    assert len(first) == len(integers(given["sound"]))
    assert (first != second).mean() > 0.9
    assert edit(model, *words, "--out", tmp_path / "one.wav") == 0
    np.testing.assert_allclose(integers(tmp_path / "one.wav") / 2**31, first / 2**31, atol=2e-2)


def test_a_restyled_sound_knows_the_word_for_what_it_was(model: Path, given: dict[str, str], tmp_path: Path) -> None:
    words = [given["sound"], "--strength", 0.6, "--text", "a dog"]
    assert edit(model, *words, "--out", tmp_path / "a.wav") == 0
    assert edit(model, *words, "--from-text", "rain", "--out", tmp_path / "b.wav") == 0
    assert read_tags(tmp_path / "b.wav")["edited"] == "strength 0.6, from 'rain'"
    assert (integers(tmp_path / "a.wav") != integers(tmp_path / "b.wav")).mean() > 0.9


def test_the_same_command_gives_the_same_file_and_another_seed_another(
    model: Path, given: dict[str, str], tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert edit(model, given["sound"], *PROMPTLESS, "--seed", seed, "--out", tmp_path / f"{name}.wav") == 0
    first, again, other = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_what_is_white_in_a_picture_is_made_anew(model: Path, given: dict[str, str], tmp_path: Path) -> None:
    mask = np.zeros((32, 60), np.uint8)
    mask[:, 24:30] = 255  # 0.48 to 0.60 of 1.20 s
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert (
        edit(model, given["sound"], "--mask", tmp_path / "m.png", "--text", "a dog", "--out", tmp_path / "a.wav") == 0
    )
    start_s, end_s = changed_s(integers(given["sound"]), integers(tmp_path / "a.wav"))
    assert 0.40 < start_s < 0.48
    assert 0.60 < end_s < 0.68  # a window more on both sides


def test_above_a_frequency_what_lies_below_stays(model: Path, given: dict[str, str], tmp_path: Path) -> None:
    assert edit(model, given["sound"], "--above-hz", 3000, "--out", tmp_path / "a.wav") == 0
    before, after = (integers(path)[:, 0] / 2**31 for path in (given["sound"], tmp_path / "a.wav"))
    hz = np.fft.rfftfreq(len(before), 1 / RATE_HZ)
    difference, whole = np.abs(np.fft.rfft(after - before)) ** 2, np.abs(np.fft.rfft(before)) ** 2
    assert difference[hz < 2000].sum() < 1e-3 * whole[hz < 2000].sum()
    assert difference[(hz > 4000) & (hz < 8000)].sum() > 0.1 * whole[(hz > 4000) & (hz < 8000)].sum()


def test_a_canvas_painted_white_is_a_mask(model: Path, given: dict[str, str], tmp_path: Path) -> None:
    canvas = tmp_path / "c.png"
    assert edit(model, given["sound"], "--canvas", canvas) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.png"]
    with Image.open(canvas) as picture:
        assert picture.size == (19200 // 256, 32)  # a dot a cell
        assert np.asarray(picture.convert("L")).max() <= 0.4 * 255 + 1
        picture.paste((255, 255, 255), (30, 0, 38, 32))
        picture.save(canvas)
    words = ["--mask", canvas, "--text", "a dog", "--out", tmp_path / "a.wav"]
    assert edit(model, given["sound"], *words) == 0
    start_s, end_s = changed_s(integers(given["sound"]), integers(tmp_path / "a.wav"))
    assert 0.40 < start_s < 0.48 < 0.60 < end_s < 0.69  # 30 to 38 of 75 columns, and a window more on both sides


def test_an_unpainted_canvas_makes_nothing_anew(
    model: Path, given: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edit(model, given["sound"], "--canvas", tmp_path / "c.png") == 0
    assert edit(model, given["sound"], "--mask", tmp_path / "c.png", "--out", tmp_path / "a.wav") == 0
    assert "nothing was to be made anew" in capsys.readouterr().out
    assert np.array_equal(integers(given["sound"]), integers(tmp_path / "a.wav"))


@pytest.mark.parametrize(
    ("name", "depth", "rate_hz", "channels"),
    [("a.flac", "PCM_16", 8000, 1), ("a.wav", "FLOAT", 48000, 2), ("a.flac", "PCM_24", 44100, 1)],
)
def test_what_is_kept_comes_back_bit_for_bit(
    model: Path, tmp_path: Path, name: str, depth: str, rate_hz: int, channels: int
) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal((rate_hz, channels))
    soundfile.write(tmp_path / name, wave, rate_hz, depth)
    assert edit(model, tmp_path / name, "--remake", "0.4:0.6", "--out", tmp_path / f"new-{name}") == 0
    before, after = (soundfile.read(tmp_path / file, dtype="float64")[0] for file in (name, f"new-{name}"))
    assert soundfile.info(tmp_path / f"new-{name}").subtype == depth
    is_kept = np.ones(rate_hz, bool)
    is_kept[round(0.4 * rate_hz) : round(0.6 * rate_hz)] = False
    assert np.array_equal(before[is_kept], after[is_kept])
    assert not np.array_equal(before[~is_kept], after[~is_kept])


def test_where_a_mask_is_transparent_nothing_is_made(tmp_path: Path) -> None:
    layer = np.full((2, 3, 4), 255, np.uint8)
    layer[0, :, 3] = 0
    layer[1, 2, :3] = 40
    Image.fromarray(layer).save(tmp_path / "layer.png")
    assert read_mask(tmp_path / "layer.png").tolist() == [[0, 0, 0], [255, 255, 40]]


@pytest.mark.parametrize("suffix", [".ogg", ".opus", ".mp3"])
def test_a_lossy_file_says_so(
    model: Path, given: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    out = tmp_path / f"a{suffix}"
    assert edit(model, given["sound"], *PROMPTLESS, "--out", out) == 0
    assert f"{suffix} is lossy" in capsys.readouterr().out
    assert read_tags(out)["edited"] == "remake 0.4:0.6"
    assert len(read_audio(out)[0]) / read_audio(out)[1] == pytest.approx(1.2, abs=0.06)


def test_floats_in_a_flac_are_said_to_be_rounded(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "f.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000, "FLOAT")
    assert edit(model, tmp_path / "f.wav", *PROMPTLESS, "--out", tmp_path / "a.flac") == 0
    assert "rounded" in capsys.readouterr().out
    before, after = (soundfile.read(tmp_path / name)[0] for name in ("f.wav", "a.flac"))
    assert np.abs(before[:6400] - after[:6400]).max() <= 2.0**-24
    assert edit(model, tmp_path / "f.wav", *PROMPTLESS, "--out", tmp_path / "a.wav") == 0
    assert "rounded" not in capsys.readouterr().out


def test_a_video_is_edited_under_its_own_frames_and_stays_a_video(
    model: Path, given: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.mp4"
    assert edit(model, given["film"], "--remake", "1.2:1.5", "--out", out, "--json") == 0
    assert not any("without a prompt" in note for note in json.loads(capsys.readouterr().out)["notes"])
    payloads = []
    for path in (given["film"], str(out)):
        with av.open(path) as container:
            payloads.append([bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size])
    assert payloads[0] == payloads[1]
    before, after = read_given(given["film"]), read_given(out)
    assert (before.rate_hz, len(before.wave_CT)) == (after.rate_hz, len(after.wave_CT)) == (RATE_HZ, 2)
    length = min(before.wave_CT.shape[1], after.wave_CT.shape[1])
    moved_T = np.abs(after.wave_CT[:, :length] - before.wave_CT[:, :length]).max(axis=0)
    assert np.abs(before.wave_CT).max() > 0.3
    assert moved_T[: round(1.15 * RATE_HZ)].max() < 0.1  # twice through AAC
    assert moved_T[round(1.25 * RATE_HZ) : round(1.45 * RATE_HZ)].max() > 0.1  # a click was there


def test_the_track_of_a_video_becomes_a_sound_file_bit_for_bit(
    model: Path, given: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "a.wav"
    assert edit(model, given["film"], "--remake", "1.2:1.5", "--text", "a dog", "--out", out) == 0
    before, after = read_given(given["film"]), read_given(out)
    kept = round(1.2 * RATE_HZ)
    assert after.depth == "FLOAT"
    assert np.array_equal(before.wave_CT[:, :kept], after.wave_CT[:, :kept])


WRONG = {
    "no sound": ([*PROMPTLESS, "--out", "a.wav"], "no sound is given"),
    "no out": (["{sound}", *PROMPTLESS], "--out is missing"),
    "nothing to do": (["{sound}", "--out", "a.wav"], "give regions (--remake), cells (--mask), a band (--above-hz, "),
    "two prompts": (["{sound}", "--text", "a", "--image", "b", "--out", "a.wav"], "--text and --image given"),
    "contradiction": (["{sound}", "--above-hz", "900", *PROMPTLESS, "--out", "a.wav"], "are asked for together"),
    "not there": (["none.wav", *PROMPTLESS, "--out", "a.wav"], "none.wav does not exist"),
    "no video": (["none.mp4", *PROMPTLESS, "--out", "a.wav"], "none.mp4 does not exist"),
    "video without a sound": (["{video}", *PROMPTLESS, "--out", "a.wav"], "has no sound of its own to edit"),
    "onto itself": (["{sound}", *PROMPTLESS, "--out", "{sound}"], "is the given sound itself"),
    "suffix": (["{sound}", *PROMPTLESS, "--out", "a.aiff"], "a.aiff must end in one of .wav, .flac, .ogg"),
    "picture of a sound": (["{sound}", *PROMPTLESS, "--out", "a.mp4"], "needs a video as SOUND"),
    "picture that webm cannot hold": (["{film}", *PROMPTLESS, "--out", "a.webm"], "cannot be copied into a WebM"),
    "region outside": (["{sound}", "--remake", "1:1.5", "--out", "a.wav"], "1.200 s"),
    "region backwards": (["{sound}", "--remake", "1:0.5", "--out", "a.wav"], "region 1 to 0.5 s"),
    "before the picture": (["{film}", "--before-s", "1", "--out", "a.mp4"], "is before the picture begins"),
    "before the frames": (["{film}", "--before-s", "1", "--out", "a.wav"], "begins before the first picture"),
    "beyond the picture": (["{film}", "--extend-s", "1", "--out", "a.mp4"], "beyond the end of the picture at 2.00 s"),
    "start without a video": (["{sound}", *PROMPTLESS, "--start-s", "1", "--out", "a.wav"], "give it with --video"),
    "strength": (["{sound}", "--strength", "1.5", "--out", "a.wav"], "edit: --strength 1.5 must be above 0"),
    "less than nothing": (["{sound}", "--extend-s", "-1", "--out", "a.wav"], "edit: --extend-s -1 must be 0 or more"),
    "more than can be": (["{sound}", "--extend-s", "4000", "--out", "a.wav"], "4001.20 s, and at most 3600 s can be"),
    "guidance alone": (["{sound}", *PROMPTLESS, "--guidance", "3", "--out", "a.wav"], "--guidance 3 has no effect"),
    "steps": (["{sound}", *PROMPTLESS, "--steps", "0", "--out", "a.wav"], "edit: --steps 0 must be at least 1"),
    "pull": (["{sound}", *PROMPTLESS, "--pull", "-1", "--out", "a.wav"], "edit: --pull -1 must be 0 or more"),
    "pull of a whole": (["{sound}", "--strength", "1", "--pull", "3", "--out", "a.wav"], "edit: --pull 3 has no"),
    "start before the video": (
        ["{sound}", *PROMPTLESS, "--video", "{video}", "--start-s", "-1", "--out", "a.wav"],
        "edit: --start-s -1.0 must be 0 or more",
    ),
    "from text alone": (["{sound}", "--strength", "1", "--from-text", "a", "--out", "a.wav"], "edit: --from-text"),
    "no mask": (["{sound}", "--mask", "none.png", "--out", "a.wav"], "none.png does not exist"),
    "number": (["{sound}", *PROMPTLESS, "--num-sounds", "0", "--out", "a.wav"], "--num-sounds 0 must be at least 1"),
    "spectrogram": (["{sound}", *PROMPTLESS, "--spectrogram", "s.jpg", "--out", "a.wav"], "must end in .png"),
    "canvas": (["{sound}", "--canvas", "s.jpg"], "--canvas s.jpg must end in .png"),
    "closer": (["{sound}", *PROMPTLESS, "--closer", "prior", "--out", "a.wav"], "there is none"),
    "canvas of a batch": (["--batch", "x.csv", "--canvas", "s.png"], "is drawn of one SOUND"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_gets_one_sentence_and_exit_2(
    model: Path, prompts: dict[str, str], given: dict[str, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    words, sentence = WRONG[name]
    assert edit(model, *(word.format(**prompts, **given) for word in words)) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("clipsonic edit: ")
    assert sentence in last
    assert not list(tmp_path.iterdir())


DAMAGED = {
    "sound": ("a.flac", ["{file}", *PROMPTLESS]),
    "sound to draw": ("a.flac", ["{file}", "--canvas", "c.png"]),
    "no sound": ("a.wav", ["{file}", *PROMPTLESS]),
    "video": ("film.mp4", ["{file}", *PROMPTLESS]),
    "video as a prompt": ("film.mp4", ["{sound}", *PROMPTLESS, "--video", "{file}"]),
    "picture": ("dog.jpg", ["{sound}", *PROMPTLESS, "--image", "{file}"]),
    "mask": ("dog.jpg", ["{sound}", "--mask", "{file}"]),
    "embeddings": ("e.npy", ["{sound}", *PROMPTLESS, "--embeds", "{file}"]),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_wrong_usage_of_whatever_kind_it_is(
    model: Path, prompts: dict[str, str], given: dict[str, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    name, words = DAMAGED[kind]
    if name == "a.flac":
        soundfile.write(name, soundfile.read(given["sound"])[0], RATE_HZ)
        whole = Path(name).read_bytes()
    else:
        folders = {"film.mp4": given["film"], "a.wav": given["sound"]}
        whole = Path(folders.get(name, Path(prompts["image"]).with_name(name))).read_bytes()
    Path(name).write_bytes(whole[:20] if name == "a.wav" else whole[: len(whole) // 2])
    assert edit(model, *(word.format(file=name, **given) for word in words), "--out", "b.wav") == 2
    assert name in capsys.readouterr().err.strip().splitlines()[-1]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("word", ["1-2", "1", "a:b", "1:2:3"])
def test_a_region_that_is_none_is_refused_by_the_parser(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["edit", "a.wav", "--remake", word, "--out", "b.wav"])
    assert stop.value.code == 2
    assert "is not FROM:TO in seconds" in capsys.readouterr().err


def test_silence_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "s.wav", np.zeros(16000), 16000, "PCM_16")
    assert edit(model, tmp_path / "s.wav", *PROMPTLESS, "--out", tmp_path / "a.wav") == 2
    assert "the sound is silent" in capsys.readouterr().err


def test_a_file_with_less_than_one_window_is_refused_as_too_short(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (511, 0):
        soundfile.write(tmp_path / "s.wav", np.ones(count) * 0.1, 16000, "PCM_16")
        assert edit(model, tmp_path / "s.wav", "--strength", 0.5, "--out", tmp_path / "a.wav") == 2
        assert f"lasts {count / 16000:.3f} s and must last at least 0.032 s" in capsys.readouterr().err
    soundfile.write(tmp_path / "s.wav", np.ones(512) * 0.1, 16000, "PCM_16")  # much less than the model's segment
    assert edit(model, tmp_path / "s.wav", "--strength", 0.5, "--out", tmp_path / "a.wav") == 0


def test_more_channels_than_a_file_holds_are_refused_and_a_wav_holds_them(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal((16000, 4))
    soundfile.write(tmp_path / "s.wav", wave, 16000, "PCM_16")
    assert edit(model, tmp_path / "s.wav", *PROMPTLESS, "--out", tmp_path / "a.mp3") == 2
    assert "the sound has 4: end it in .wav" in capsys.readouterr().err
    assert edit(model, tmp_path / "s.wav", *PROMPTLESS, "--out", tmp_path / "a.wav") == 0
    assert integers(tmp_path / "a.wav").shape == (16000, 4)
