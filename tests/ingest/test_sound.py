"""Sound is cut by time: every sample at its own instant, whatever the codec, container, rate or layout."""

from __future__ import annotations

from pathlib import Path

import av
import makers_ingest as makers
import numpy as np
import pytest

from clipsonic.ingest.probe import probe
from clipsonic.ingest.quarantine import RefusalReason, RefusedError
from clipsonic.ingest.sound import SoundReader, to_mono

RATE_HZ = 16000


def read(path: Path, start_s: float, seconds: float, rate_hz: int = RATE_HZ) -> tuple[np.ndarray, float]:
    media = probe(path)
    with SoundReader(path, rate_hz, media.clock, media.sound_end_s) as sound:
        return sound.read(start_s, round(seconds * rate_hz))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("aac_16k.mp4", {}),
        ("aac_48k_stereo.mp4", {"rate_hz": 48000, "layout": "stereo"}),
        ("aac_5.1.mp4", {"rate_hz": 48000, "layout": "5.1"}),
        ("pcm_8k.mkv", {"sound_codec": "pcm_s16le", "rate_hz": 8000}),
        ("pcm_u8_11025.avi", {"codec": "mpeg4", "sound_codec": "pcm_u8", "rate_hz": 11025}),
        ("flac_96k.mkv", {"sound_codec": "flac", "rate_hz": 96000}),
        ("opus.webm", {"codec": "libvpx-vp9", "sound_codec": "libopus", "rate_hz": 48000}),
        ("mp3.mkv", {"sound_codec": "libmp3lame", "rate_hz": 44100}),
        ("ac3.mkv", {"sound_codec": "ac3", "rate_hz": 48000}),
    ],
)
def test_a_click_is_heard_within_two_milliseconds_of_its_time(
    tmp_path: Path, name: str, how: dict[str, object]
) -> None:
    path = makers.make_video(tmp_path / name, clicks_s=(1.5,), **how)
    wave, valid_s = read(path, 0.0, 3.0)
    assert wave.dtype == np.float32
    assert len(wave) == 3 * RATE_HZ
    assert makers.onset_s(wave, RATE_HZ) == pytest.approx(1.5, abs=0.002)  # lossy codecs smear an onset by about 1 ms
    assert valid_s == pytest.approx(3.0, abs=0.07)  # MP3 and AC-3 end with their last whole packet


@pytest.mark.parametrize("start_s", [0.7, 1.0, 1.4])
def test_a_cut_from_the_middle_is_the_same_sound_as_that_part_of_the_whole(tmp_path: Path, start_s: float) -> None:
    path = makers.make_video(tmp_path / "v.mp4", rate_hz=44100, clicks_s=(0.2, 1.1, 1.5, 2.2))
    whole, _ = read(path, 0.0, 3.0)
    part, _ = read(path, start_s, 1.0)
    first = round(start_s * RATE_HZ)
    assert np.abs(part - whole[first : first + RATE_HZ]).max() < 1e-6  # float32 rounding of the resampler


def test_reading_piece_by_piece_back_and_forth_gives_what_reading_at_once_gives(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mp4", clicks_s=(0.2, 1.1, 1.5, 2.2))
    whole, _ = read(path, 0.0, 3.0)
    with SoundReader(path, RATE_HZ) as sound:
        for start_s in (0.0, 1.0, 2.0, 1.5, 0.5, 0.0, 2.0):
            part, _ = sound.read(start_s, RATE_HZ)
            first = round(start_s * RATE_HZ)
            assert np.abs(part - whole[first : first + RATE_HZ]).max() < 1e-6


def test_a_far_stretch_is_sought_and_is_the_same_sound(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mp4", seconds=50, fps=1, clicks_s=(45.25,))
    with SoundReader(path, RATE_HZ) as sound:
        wave, valid_s = sound.read(45.0, RATE_HZ)
    assert makers.onset_s(wave, RATE_HZ) == pytest.approx(0.25, abs=0.002)
    assert valid_s == 1.0


def test_a_sound_that_starts_late_is_preceded_by_silence(tmp_path: Path) -> None:
    path = makers.make_video(
        tmp_path / "v.mkv", sound_start_s=0.8, sound_seconds=2.0, clicks_s=(1.5,), sound_codec="flac"
    )
    wave, valid_s = read(path, 0.0, 3.0)
    assert not wave[: round(0.79 * RATE_HZ)].any()
    assert makers.onset_s(wave, RATE_HZ) == pytest.approx(1.5, abs=0.002)
    assert valid_s == pytest.approx(2.0, abs=0.01)


def test_a_gap_in_the_timestamps_is_silence_and_what_follows_keeps_its_time(tmp_path: Path) -> None:
    first = makers.make_video(tmp_path / "v.mkv", sound_codec="pcm_s16le", clicks_s=(0.5, 2.5), seconds=3)
    gapped = tmp_path / "gapped.mkv"
    with av.open(str(first)) as source, av.open(str(gapped), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and 1.0 <= float(packet.pts * packet.time_base) < 2.0:
                continue
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    wave, _ = read(gapped, 0.0, 3.0)
    assert not wave[round(1.1 * RATE_HZ) : round(1.9 * RATE_HZ)].any()
    assert makers.onset_s(wave[RATE_HZ:], RATE_HZ) == pytest.approx(1.5, abs=0.002)


def test_the_encoders_padding_is_cut(tmp_path: Path) -> None:
    """2 s of AAC at 16 kHz are 32,000 samples in packets of 1,024: decoders give 32,768."""
    path = makers.make_video(tmp_path / "v.mp4", sound_seconds=2.0)
    wave, valid_s = read(path, 0.0, 3.0)
    assert valid_s == pytest.approx(2.0, abs=0.002)
    assert not wave[2 * RATE_HZ + 32 :].any()


def test_a_share_of_two_channels_that_cancel_is_silence_and_of_equal_ones_is_the_same() -> None:
    tone = np.sin(np.arange(480, dtype=np.float32) / 7)
    for other, expected in ((-tone, np.zeros(480)), (tone, tone)):
        frame = av.AudioFrame.from_ndarray(np.stack([tone, other]), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        assert np.abs(to_mono(frame) - expected).max() < 1e-6


def test_speech_in_the_centre_of_five_channels_is_louder_than_the_surround_and_full_scale_stays_full_scale() -> None:
    tone = np.sin(np.arange(480, dtype=np.float32) / 7)
    names = [channel.name for channel in av.AudioLayout("5.1").channels]
    loud = {}
    for name in names:
        frame = av.AudioFrame.from_ndarray(
            np.stack([tone if other == name else 0 * tone for other in names]), format="fltp", layout="5.1"
        )
        frame.sample_rate = 48000
        loud[name] = float(np.abs(to_mono(frame)).max())
    assert loud["FC"] > loud["FL"] == loud["FR"] > loud[names[-1]] > loud["LFE"] == 0.0
    assert sum(loud.values()) == pytest.approx(1.0, abs=0.01)  # peak of the sampled sine


@pytest.mark.parametrize("kind", ["u8", "s16", "s32", "flt", "dbl", "s16p", "fltp"])
def test_every_sample_format_has_the_same_scale(kind: str) -> None:
    unit = np.array([[0.5, -0.5, 0.25, -1.0]])
    scale = {"u8": 128, "s16": 2**15, "s16p": 2**15, "s32": 2**31}.get(kind, 1)
    dtype = {"u8": np.uint8, "s16": np.int16, "s16p": np.int16, "s32": np.int32, "dbl": np.float64}.get(
        kind, np.float32
    )
    data = (unit * scale + (128 if kind == "u8" else 0)).astype(dtype)
    frame = av.AudioFrame.from_ndarray(data, format=kind, layout="mono")
    frame.sample_rate = 8000
    assert np.array_equal(to_mono(frame), unit[0].astype(np.float32))


def test_nine_kilohertz_do_not_fold_into_a_sound_of_sixteen_kilohertz(tmp_path: Path) -> None:
    wave = np.sin(2 * np.pi * 9000 * np.arange(44100) / 44100).astype(np.float32)
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray((wave * 20000).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with SoundReader(path, RATE_HZ) as reader:
        found, _ = reader.read(0.2, RATE_HZ // 2)
    assert np.abs(found).max() < 1e-4  # soxr's HQ stops 9 kHz by more than 100 dB


def test_a_file_without_sound_is_refused_as_such(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mp4", sound_codec=None)
    with pytest.raises(RefusedError) as caught:
        probe(path)
    assert caught.value.reason == RefusalReason.NO_AUDIO
    assert probe(path, needs_sound=False).sound_codec == ""
