"""`clipsonic generate` end to end, with a tiny untrained pipeline folder."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from clipsonic import __version__
from clipsonic.audio.formats import read_tags
from clipsonic.audio.loudness import integrated_lufs, true_peak_db
from clipsonic.audio.wave import read_audio
from clipsonic.cli import main
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.prior.adapter import CONFIG_FILE

WIDTH = 16
SECONDS = 0.512


def generate(model: Path, *words: object) -> int:
    return main(["generate", "--model", str(model), *map(str, words)])


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
@pytest.mark.parametrize("kind", ["text", "image", "video", "embeds"])
def test_every_prompt_becomes_a_sound_file_that_says_how_it_was_made(
    model: Path, prompts: dict[str, str], tmp_path: Path, kind: str, suffix: str
) -> None:
    out = tmp_path / "new" / f"a{suffix}"
    assert generate(model, f"--{kind}", prompts[kind], "--seed", 4, "--out", out) == 0
    wave, rate_hz = read_audio(out)
    spare = 320 if suffix == ".opus" else 0  # its packets last 20 ms
    seconds = 2.0 if kind == "video" else SECONDS  # of a video all of it, of others the model's segment
    assert (len(wave), rate_hz) == (pytest.approx(round(seconds * 16000), abs=max(spare, 32)), 16000)
    assert 0.0 < np.abs(wave).max() <= 1.0
    about = read_tags(out)
    assert about["software"] == f"clipsonic {__version__}"
    assert about["comment"] == "AI-generated sound"
    assert about["model"] == "P"
    assert about["seed"] == "4"
    assert about["prompt"] == (prompts[kind] if kind == "text" else Path(prompts[kind]).name)
    assert [entry.name for entry in out.parent.iterdir()] == [out.name]


def test_the_answer_says_what_was_made_how_long_it_took_and_which_closer_was_used(
    model: Path, prompts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.wav"
    assert generate(model, "--text", prompts["text"], "--out", out) == 0
    message = capsys.readouterr().out
    assert "1 sound of 0.51 s" in message
    assert "zero-shot" in message
    assert str(out) in message
    assert generate(model, "--text", prompts["text"], "--out", out, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == [str(out)]
    assert answer["closer"] == "zero-shot"
    assert answer["making_s"] > 0.0


def test_the_same_command_gives_the_same_file_and_another_seed_another(
    model: Path, prompts: dict[str, str], tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert generate(model, "--text", prompts["text"], "--seed", seed, "--out", tmp_path / f"{name}.wav") == 0
    first, again, other = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_several_sounds_are_numbered_differ_and_do_not_depend_on_their_number(
    model: Path, prompts: dict[str, str], tmp_path: Path
) -> None:
    words = ["--embeds", prompts["embeds"], "--duration-s", 0.25]
    assert generate(model, *words, "--num-sounds", 3, "--out", tmp_path / "a.wav") == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a-1.wav", "a-2.wav", "a-3.wav"]
    waves = [read_audio(tmp_path / f"a-{index}.wav")[0] for index in (1, 2, 3)]
    assert {len(wave) for wave in waves} == {4000}
    assert np.abs(waves[0] - waves[1]).max() > 0.01
    assert generate(model, *words, "--out", tmp_path / "one.wav") == 0
    np.testing.assert_allclose(read_audio(tmp_path / "one.wav")[0], waves[0], atol=2e-2)


def test_frames_embeddings_are_one_prompt_timed_or_pooled(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.eye(WIDTH, dtype=np.float16)[:5])
    for tokens in ("timed", "pooled"):
        out = tmp_path / f"{tokens}.wav"
        assert generate(model, "--embeds", tmp_path / "frames.npy", "--video-tokens", tokens, "--out", out) == 0
    assert (tmp_path / "timed.wav").read_bytes() != (tmp_path / "pooled.wav").read_bytes()


def test_a_video_gets_its_new_sound_and_keeps_its_picture(
    model: Path, prompts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.mp4"
    assert generate(model, "--video", prompts["video"], "--start-s", 1.0, "--out", out) == 0
    assert "sound from 1.00 to 2.00 s" in capsys.readouterr().out
    payloads = []
    for path in (prompts["video"], str(out)):
        with av.open(path) as container:
            payloads.append([bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size])
    assert payloads[0] == payloads[1]
    with av.open(str(out)) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert np.abs(wave[: 16000 - 1100]).max() < 1e-3
    assert np.abs(wave[16000 + 1100 : 16000 + 7000]).max() > 0.05


def test_the_sound_of_a_video_ends_with_it_unless_told_otherwise(
    model: Path, prompts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--video", prompts["video"], "--start-s", 1.75]
    assert generate(model, *words, "--out", tmp_path / "a.wav") == 0
    assert len(read_audio(tmp_path / "a.wav")[0]) == pytest.approx(4000, abs=32)  # video ends are known to 2 ms
    assert generate(model, *words, "--duration-s", 0.5, "--out", tmp_path / "b.wav") == 0
    assert len(read_audio(tmp_path / "b.wav")[0]) == 8000
    assert generate(model, *words, "--duration-s", 0.5, "--out", tmp_path / "b.mp4") == 2
    assert "passes the end of the video at 2.00 s" in capsys.readouterr().err


def test_a_spectrogram_is_drawn_for_each_sound(model: Path, prompts: dict[str, str], tmp_path: Path) -> None:
    words = ["--embeds", prompts["embeds"], "--num-sounds", 2, "--spectrogram", tmp_path / "s.png"]
    assert generate(model, *words, "--out", tmp_path / "a.wav") == 0
    assert Image.open(tmp_path / "s-1.png").size == Image.open(tmp_path / "s-2.png").size


def test_loudness_peak_stereo_and_fades_are_as_asked_for_and_told(
    model: Path, prompts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--embeds", prompts["embeds"], "--loudness", -30, "--true-peak", -3, "--stereo", "--fade-in-s", 0.1]
    assert generate(model, *words, "--json", "--out", tmp_path / "a.flac") == 0
    (level,) = json.loads(capsys.readouterr().out)["levels"]
    samples, rate_hz = soundfile.read(tmp_path / "a.flac", dtype="float32", always_2d=True)
    assert samples.shape == (round(SECONDS * 16000), 2)
    assert integrated_lufs(samples.T, rate_hz) == pytest.approx(-30.0, abs=0.5)
    assert level["loudness_lufs"] == pytest.approx(-30.0, abs=0.5)
    assert true_peak_db(samples.T) <= -3.0
    assert np.abs(samples[:30]).max() < 0.05 * np.abs(samples).max()


def test_off_writes_the_sound_as_the_model_made_it(model: Path, prompts: dict[str, str], tmp_path: Path) -> None:
    words = ["--embeds", prompts["embeds"], "--loudness", "off", "--true-peak", "off", "--out", tmp_path / "a.wav"]
    assert generate(model, *words) == 0
    made = ClipSonicPipeline.from_pretrained(model)(embeds=np.load(prompts["embeds"])).audios[0]
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav")[0], made, atol=1 / 32768)


def test_the_help_of_level_and_batch_stands_beside_the_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    shown = capsys.readouterr().out
    for option in ("--loudness off|LUFS", "--true-peak", "--stereo", "--batch FILE|FOLDER", "--mix replace|mix|duck"):
        assert option in shown


WRONG = {
    "no prompt": (["--out", "a.wav"], "no prompt given: give exactly one"),
    "two prompts": (["--text", "a", "--image", "{image}", "--out", "a.wav"], "--text and --image given"),
    "suffix": (["--text", "a", "--out", "a.aiff"], "a.aiff must end in one of .wav, .flac, .ogg, .opus, .mp3, .mp4, "),
    "mp4 without video": (["--text", "a", "--out", "a.mp4"], "needs --video"),
    "webm without video": (["--image", "{image}", "--out", "a.webm"], "needs --video"),
    "picture that webm cannot hold": (["--video", "{video}", "--out", "a.webm"], "cannot be copied into a WebM"),
    "mix without a video": (["--text", "a", "--mix", "duck", "--out", "a.wav"], "--mix duck needs a video to write"),
    "unknown mix": (["--video", "{video}", "--mix", "blend", "--out", "a.mp4"], "--mix blend is unknown"),
    "nothing to mix with": (["--video", "{video}", "--mix", "mix", "--out", "a.mp4"], "has no sound of its own"),
    "mix gain unused": (["--video", "{video}", "--mix-db", "3", "--out", "a.mp4"], "no effect with --mix replace"),
    "mix gain": (["--video", "{video}", "--mix-db", "99", "--out", "a.mp4"], "--mix-db 99 must be from -40 to 40"),
    "loudness": (["--text", "a", "--loudness", "5", "--out", "a.wav"], "loudness 5 LUFS must be from -70 to 0"),
    "true peak": (["--text", "a", "--true-peak", "2", "--out", "a.wav"], "true peak 2 dBTP must be from -60 to 0"),
    "no limit": (["--text", "a", "--true-peak", "off", "--out", "a.wav"], "true peak off goes with loudness off only"),
    "fade": (["--text", "a", "--fade-in-s", "-1", "--out", "a.wav"], "fade in -1 s must be 0 or more"),
    "fades too long": (["--text", "a", "--fade-out-s", "3", "--out", "a.wav"], "are longer than the sound of 0.51 s"),
    "best of fewer": (["--text", "a", "--best-of", "2", "--num-sounds", "3", "--out", "a.wav"], "--best-of 2 must be"),
    "best of none": (["--text", "a", "--best-of", "0", "--out", "a.wav"], "--best-of 0 must be"),
    "no ear": (
        ["--text", "a", "--best-of", "4", "--out", "a.wav"],
        "the best of 4 cannot be chosen, the pipeline has no ear",
    ),
    "no sound": (["--text", "a", "--num-sounds", "0", "--out", "a.wav"], "--num-sounds 0 must be at least 1"),
    "video onto itself": (["--video", "{video}", "--out", "{video}"], "is the video itself"),
    "missing image": (["--image", "none.jpg", "--out", "a.wav"], "none.jpg does not exist"),
    "missing video": (["--video", "none.mp4", "--out", "a.wav"], "none.mp4 does not exist"),
    "video is a picture": (["--image", "{video}", "--out", "a.wav"], "not a picture"),
    "start beyond the end": (
        ["--video", "{video}", "--start-s", "9", "--out", "a.wav"],
        "generate: --start-s 9 lies beyond the end",
    ),
    "start without video": (["--text", "a", "--start-s", "9", "--out", "a.wav"], "give it with --video"),
    "duration": (["--text", "a", "--duration-s", "3601", "--out", "a.wav"], "generate: --duration-s 3601 must be"),
    "closer": (["--text", "a", "--closer", "best", "--out", "a.wav"], "--closer best is unknown"),
    "closer without text": (["--image", "{image}", "--closer", "prior", "--out", "a.wav"], "there is none"),
    "no prior": (["--text", "a", "--closer", "prior", "--out", "a.wav"], "needs a prior"),
    "prior unused": (["--text", "a", "--closer", "zero-shot", "--prior", "x", "--out", "a.wav"], "no effect"),
    "steps": (["--text", "a", "--steps", "0", "--out", "a.wav"], "generate: --steps 0 must be at least 1"),
    "guidance": (["--text", "a", "--guidance", "nan", "--out", "a.wav"], "generate: --guidance nan must be a finite"),
    "negative text alone": (
        ["--text", "a", "--negative-text", "b", "--guidance", "1", "--out", "a.wav"],
        "generate: --negative-text has no effect at --guidance 1: give",
    ),
    "tokens": (["--video", "{video}", "--video-tokens", "x", "--out", "a.wav"], "generate: --video-tokens 'x' is"),
    "missing prior": (["--text", "a", "--prior", "none", "--out", "a.wav"], "--prior none is not a folder"),
    "spectrogram": (["--text", "a", "--spectrogram", "s.jpg", "--out", "a.wav"], "must end in .png"),
    "device": (["--text", "a", "--device", "abacus", "--out", "a.wav"], "--device abacus is unknown"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_gets_one_sentence_and_exit_2(
    model: Path, prompts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    words, sentence = WRONG[name]
    assert generate(model, *(word.format(**prompts) for word in words)) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("clipsonic generate: ")
    assert sentence in last
    assert not list(tmp_path.iterdir())


DAMAGED = {
    "video": ("street.mp4", ["--video", "{file}", "--out", "a.wav"]),
    "video to write": ("street.mp4", ["--video", "{file}", "--out", "a.mp4"]),
    "video to mix with": ("street.mp4", ["--video", "{file}", "--mix", "mix", "--out", "a.mp4"]),
    "picture": ("dog.jpg", ["--image", "{file}", "--out", "a.wav"]),
    "embeddings": ("e.npy", ["--embeds", "{file}", "--out", "a.wav"]),
    "table": ("rows.csv", ["--batch", "{file}", "--out", "made"]),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_wrong_usage_of_whatever_kind_it_is(
    model: Path, prompts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, kind: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    name, words = DAMAGED[kind]
    whole = b'text\n"a dog barking"\n' if name == "rows.csv" else (Path(prompts["image"]).parent / name).read_bytes()
    Path(name).write_bytes(whole[: len(whole) // 2])
    assert generate(model, *(word.format(file=name) for word in words)) == 2
    assert name in capsys.readouterr().err.strip().splitlines()[-1]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_broken_pipeline_folder_gets_one_sentence_and_exit_1(
    prompts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "P").mkdir()
    assert generate(tmp_path / "P", "--text", "a", "--out", tmp_path / "a.wav") == 1
    assert "is no pipeline folder: model_index.json is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_a_prior_of_another_space_is_refused_with_both_names(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from clipsonic.prior.adapter import PriorShape, TextPrior

    TextPrior(PriorShape(width=WIDTH, depth=1, heads=2, head_width=8, num_timesteps=4), "other/1").save(
        tmp_path / "prior"
    )
    assert (tmp_path / "prior" / CONFIG_FILE).is_file()
    words = ["--text", "a", "--prior", tmp_path / "prior", "--out", tmp_path / "a.wav"]
    assert generate(model, *words) == 1
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "other/1" in sentence
    assert "toy-clip/" in sentence


LOADED = """
import sys
from clipsonic.cli import main
model, embeds, image, out = sys.argv[1:]
for prompt in (["--embeds", embeds], ["--image", image]):
    assert main(["generate", "--model", model, *prompt, "--out", out]) == 0
    print(prompt[0], [name for name in ("open_clip", "dalle2_pytorch", "lightning") if name in sys.modules])
"""


@pytest.mark.slow
def test_only_what_the_prompt_needs_is_loaded(model: Path, prompts: dict[str, str], tmp_path: Path) -> None:
    words = [str(model), prompts["embeds"], prompts["image"], str(tmp_path / "a.wav")]
    run = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    said = [line for line in run.stdout.splitlines() if line.startswith("--")]
    assert said == ["--embeds []", "--image ['open_clip']"]


HELP = """
import sys
from clipsonic.cli import main
try:
    main(["generate", "--help"])
finally:
    print([name for name in ("torch", "numpy", "diffusers") if name in sys.modules])
"""


def test_the_help_shows_an_example_at_once_and_loads_nothing_heavy() -> None:
    started = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert "clipsonic generate --text" in run.stdout
    assert run.stdout.strip().endswith("[]")
    assert time.perf_counter() - started < 5.0  # 0.1 s alone; importing torch takes 2 to 4 s


def test_a_loudness_that_is_no_number_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["generate", "--text", "a", "--loudness", "loud", "--out", "a.wav"])
    assert stop.value.code == 2
    assert "'loud' is neither off nor a number" in capsys.readouterr().err
