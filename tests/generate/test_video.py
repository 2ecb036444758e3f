"""The video's own sound stays where it was, as it was, or steps back where the new one is loud."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from clipsonic.audio.formats import read_tags
from clipsonic.audio.loudness import LevelOptions, integrated_lufs, true_peak_db
from clipsonic.audio.wave import resample
from clipsonic.errors import UsageError
from clipsonic.generate.damage import damage_of
from clipsonic.generate.mux import heard_peak_db
from clipsonic.generate.track import DUCK_DB, MixedSound, NewSound, duck_depth
from clipsonic.generate.video import Mix, write_video
from clipsonic.generate.write import tags_for

RATE_HZ = 16000
OWN_HZ = 44100
CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}


def own_tone(seconds: float) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * 500 * np.arange(round(OWN_HZ * seconds)) / OWN_HZ)).astype(np.float32)


def make_video(path: Path, seconds: float = 4.0, codec: str = "libx264", sound_from_s: float | None = 0.0) -> Path:
    """Grey pictures at 10 fps, with a tone of 500 Hz from `sound_from_s` on as its own sound."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream(codec, rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        name = "libopus" if path.suffix == ".webm" else "aac"
        tone = None if sound_from_s is None else container.add_stream(name, rate=48000, layout="mono")
        for index in range(round(seconds * 10)):
            image = np.full((48, 64, 3), 5 * index, np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode(None))
        if tone is not None:
            wave = resample(own_tone(seconds - sound_from_s), OWN_HZ, 48000)
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, round(48000 * sound_from_s), Fraction(1, 48000)
            container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return path


def heard(path: Path) -> tuple[np.ndarray, int]:
    """The sound track from time 0, left channel."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        rate_hz = frames[0].sample_rate
        first = round(float(frames[0].pts * frames[0].time_base) * rate_hz)
        pieces = [
            frame.to_ndarray()[0, :: 1 if frame.format.is_planar else frame.layout.nb_channels] for frame in frames
        ]
        wave = np.concatenate(pieces)
        return np.concatenate([np.zeros(max(first, 0)), wave[max(-first, 0) :]]), rate_hz


def level_at(wave: np.ndarray, rate_hz: int, hz: float, from_s: float, to_s: float) -> float:
    """Level in dB of the sine of `hz` in this stretch."""
    piece = wave[round(from_s * rate_hz) : round(to_s * rate_hz)]
    turning = np.exp(-2j * np.pi * hz * np.arange(len(piece)) / rate_hz)
    return 20 * float(np.log10(2 * np.abs(np.mean(piece * turning * np.hanning(len(piece)) * 2)) + 1e-9))


def new_noise(seconds: float = 1.5) -> np.ndarray:
    """A loud click, then noise above 2 kHz, so that the tone can be found beneath it."""
    noise = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))
    spectrum = np.fft.rfft(noise)
    spectrum[: round(2000 * seconds)] = 0.0
    wave = 0.1 * np.fft.irfft(spectrum, len(noise))
    wave[:40] = 0.9
    return wave.astype(np.float32)


@pytest.mark.parametrize("how", ["replace", "mix", "duck"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_every_container_holds_the_mix_at_its_time_under_the_limit_with_its_tags(
    tmp_path: Path, suffix: str, how: str
) -> None:
    video = make_video(tmp_path / f"a{suffix}", codec=CODECS[suffix])
    out = tmp_path / f"out{suffix}"
    tags = tags_for("tiny", "é", 4)
    report = write_video(video, out, new_noise(), RATE_HZ, 1.0, LevelOptions(), Mix(how), tags)
    assert read_tags(out) == tags
    assert heard_peak_db(out) <= -1.0
    assert report.true_peak_db == pytest.approx(heard_peak_db(out), abs=0.01)
    wave, rate_hz = heard(out)
    assert np.argmax(np.abs(wave) > 0.35) / rate_hz == pytest.approx(1.0, abs=0.003)
    before = level_at(wave, rate_hz, 500, 0.1, 0.6)
    within = level_at(wave, rate_hz, 500, 1.5, 2.0)
    behind = level_at(wave, rate_hz, 500, 3.2, 3.8)
    if how == "replace":
        assert max(before, behind) < -60.0
    else:
        assert [before, behind] == pytest.approx([-20.0, -20.0], abs=0.7)
        assert within == pytest.approx(-20.0 - (DUCK_DB if how == "duck" else 0.0), abs=1.5)


def test_the_new_sound_has_its_loudness_by_itself(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4")
    write_video(video, tmp_path / "out.mp4", new_noise(2.0)[100:], RATE_HZ, 1.0, LevelOptions(loudness_lufs=-20.0))
    wave, rate_hz = heard(tmp_path / "out.mp4")
    assert integrated_lufs(wave[rate_hz : round(2.99 * rate_hz)], rate_hz) == pytest.approx(-20.0, abs=0.5)


def test_the_own_sound_is_found_at_its_time_and_a_late_start_is_silence(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", sound_from_s=2.0)
    track = MixedSound(
        video, np.zeros(160, np.float32), RATE_HZ, 0.0, duck=False, rates_hz=(48000,), limit_db=None
    )  # fmt: skip
    wave = np.concatenate([track.read(48000)[0] for _ in range(4)])
    assert np.abs(wave[: round(1.9 * 48000)]).max() < 1e-3
    assert np.argmax(np.abs(wave) > 0.05) / 48000 == pytest.approx(2.0, abs=0.03)
    assert level_at(wave, 48000, 500, 2.5, 3.5) == pytest.approx(-20.0, abs=0.3)


def test_a_mix_does_not_depend_on_how_it_is_read(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", seconds=2.0)
    options = {"duck": True, "rates_hz": (48000,), "gain_db": 6.0, "limit_db": -6.0}
    whole = MixedSound(video, new_noise(), RATE_HZ, 0.5, **options).read(96000)
    track = MixedSound(video, new_noise(), RATE_HZ, 0.5, **options)
    pieces = np.concatenate([track.read(1000) for _ in range(96)], axis=1)
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    assert true_peak_db(whole) <= -6.0


def test_a_new_sound_is_read_in_any_pieces_with_silence_around_it() -> None:
    track = NewSound(np.ones((2, 100), np.float32), 1000, 0.05)
    read = np.concatenate([track.read(count) for count in (7, 50, 143)], axis=1)
    np.testing.assert_array_equal(read, np.pad(np.ones((2, 100)), ((0, 0), (50, 50))))


def test_ducking_follows_the_loudness_of_the_new_sound() -> None:
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    wave = np.where(time_s < 2.0, 0.5, 0.005) * np.sin(2 * np.pi * 300 * time_s)  # 40 dB softer from 2 s on
    depth = duck_depth(wave[None].astype(np.float32), RATE_HZ)[0]
    assert depth[RATE_HZ] == pytest.approx(DUCK_DB, abs=0.01)
    assert depth[3 * RATE_HZ] == pytest.approx(0.0, abs=0.01)
    assert np.abs(np.diff(depth)).max() < 200.0 / RATE_HZ  # no step: at most 200 dB per second
    assert not duck_depth(np.zeros((1, 800), np.float32), RATE_HZ).any()


def test_a_video_without_sound_has_nothing_to_mix_with_and_leaves_no_file(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", sound_from_s=None)
    with pytest.raises(UsageError, match="has no sound of its own to mix with"):
        write_video(video, tmp_path / "out.mp4", new_noise(), RATE_HZ, 0.0, LevelOptions(), Mix("mix"))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_codec_that_the_container_cannot_hold_is_refused_with_its_name(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match=r"cannot be copied into a WebM .*h264"):
        write_video(video, tmp_path / "out.webm", new_noise(), RATE_HZ, 0.0, LevelOptions())
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_that_breaks_off_says_where_and_a_whole_one_says_nothing(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4")
    write_video(video, tmp_path / "whole.mp4", new_noise(), RATE_HZ, 0.0, LevelOptions())  # its index comes first
    assert damage_of(tmp_path / "whole.mp4") is None
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: round(0.6 * len(data))])
    said = damage_of(tmp_path / "cut.mp4")
    assert said is not None
    assert "its header promises 4.0" in said
    assert 0.0 < float(said.split("damaged after ")[1].split(" s")[0]) < 3.5
    (tmp_path / "text.mp4").write_text("no video")
    assert damage_of(tmp_path / "text.mp4") is None


@pytest.mark.slow
def test_real_videos_keep_their_own_sound_in_a_mix(real_media: Path, tmp_path: Path) -> None:
    for name in ("h264_aac.mp4", "mpeg2_ac3.ts", "audio_8k_mono.mkv", "audio_5.1_aac.mp4", "vp9_opus.webm"):
        video = real_media / "odd" / name
        report = write_video(video, tmp_path / "out.mp4", new_noise(), RATE_HZ, 0.5, LevelOptions(), Mix("mix"))
        assert report.true_peak_db <= -1.0, name
        reader = [
            MixedSound(path, np.zeros(16, np.float32), RATE_HZ, 0.0, duck=False, rates_hz=(48000,), limit_db=None)
            for path in (video, tmp_path / "out.mp4")
        ]
        own, mixed = (track.read(5 * 48000)[0, round(2.2 * 48000) :] for track in reader)
        assert np.corrcoef(own, mixed)[0, 1] > 0.98, name
