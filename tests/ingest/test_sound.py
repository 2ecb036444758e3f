"""Sound is cut by time: every sample at its own instant, whatever the codec, container, rate or layout."""

from __future__ import annotations

from pathlib import Path

import av
import makers_ingest as makers
import numpy as np
import pytest

from clipsonic.audio.wave import rms_db
from clipsonic.ingest.probe import probe
from clipsonic.ingest.sound import SoundReader, channels_of
from clipsonic.refusals import RefusalReason, RefusedError

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


def stereo(path: Path, left: np.ndarray, right: np.ndarray, rate_hz: int = 48000) -> Path:
    """A file of these two channels, as PCM of floats."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_f32le", rate=rate_hz, layout="stereo")
        for start in range(0, len(left), 1000):
            piece = np.stack([left, right], axis=1)[start : start + 1000].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="flt", layout="stereo")
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def noise(seconds: float, seed: int = 0, rate_hz: int = 48000) -> np.ndarray:
    """(T,) of known samples, about -20 dB."""
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate_hz))).astype(np.float32)


def test_two_channels_that_cancel_are_heard_and_equal_ones_are_the_same(tmp_path: Path) -> None:
    left = noise(3.0)
    with SoundReader(stereo(tmp_path / "same.mkv", left, left), RATE_HZ) as sound:
        same, _ = sound.read(0.5, RATE_HZ)
        assert sound.mix_loss_db == 0.0
    with SoundReader(stereo(tmp_path / "anti.mkv", left, -left), RATE_HZ) as sound:
        anti, _ = sound.read(0.5, RATE_HZ)
        assert sound.mix_loss_db == 0.0
    assert rms_db(same) == pytest.approx(-24.8, abs=0.5)  # what is above 8 kHz is gone
    assert np.array_equal(anti, same)


def test_one_channel_that_sounds_alone_keeps_its_level(tmp_path: Path) -> None:
    left = noise(3.0)
    with SoundReader(stereo(tmp_path / "same.mkv", left, left), RATE_HZ) as sound:
        same, _ = sound.read(0.5, RATE_HZ)
    with SoundReader(stereo(tmp_path / "one.mkv", 0 * left, left), RATE_HZ) as sound:
        assert np.array_equal(sound.read(0.5, RATE_HZ)[0], same)


def test_ordinary_stereo_is_the_mean_of_its_channels_and_tells_what_the_mean_lost(tmp_path: Path) -> None:
    left, right = noise(3.0, 1), noise(3.0, 2)
    with SoundReader(stereo(tmp_path / "wide.mkv", left, right), RATE_HZ) as sound:
        wide, _ = sound.read(0.5, RATE_HZ)
        assert sound.mix_loss_db == pytest.approx(3.0, abs=0.1)
    mean = np.float32(0.5) * (left + right)
    with SoundReader(stereo(tmp_path / "mean.mkv", mean, mean), RATE_HZ) as sound:
        assert np.array_equal(wide, sound.read(0.5, RATE_HZ)[0])


@pytest.mark.parametrize("codec", ["aac", "flac", "pcm_s16le"])
def test_how_channels_are_mixed_does_not_depend_on_what_was_read_before(tmp_path: Path, codec: str) -> None:
    """Two seconds of ordinary stereo, then two in which the channels cancel: each stretch is mixed by itself."""
    path = tmp_path / f"{codec}.mkv"
    left, right = noise(4.0, 1), noise(4.0, 2)
    right[2 * 48000 :] = -left[2 * 48000 :]
    with av.open(str(stereo(tmp_path / "raw.mkv", left, right))) as source, av.open(str(path), "w") as target:
        sound = target.add_stream(codec, rate=48000, layout="stereo")
        sound.bit_rate = 320000  # at less, AAC makes unrelated channels of noise alike
        for frame in source.decode(audio=0):
            target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    starts_s = (0.0, 0.5, 1.5, 2.5, 3.0)
    with SoundReader(path, RATE_HZ) as sound:
        in_order = [(sound.read(start_s, RATE_HZ)[0], sound.mix_loss_db) for start_s in starts_s]
    for start_s, (wave, lost_db) in zip(starts_s, in_order, strict=True):
        with SoundReader(path, RATE_HZ) as sound:
            alone, _ = sound.read(start_s, RATE_HZ)
            assert np.array_equal(alone, wave)
            assert sound.mix_loss_db == lost_db
        assert rms_db(wave) > -35.0  # cancelled, they would be at -70 or below
    assert in_order[0][1] == pytest.approx(3.0, abs=0.2)
    assert in_order[-1][1] == pytest.approx(0.0, abs=0.1)


def test_a_layout_that_changes_within_a_stretch_keeps_every_part(tmp_path: Path) -> None:
    """One second of one channel, one of two that cancel: joined as broadcasts join them."""
    parts = []
    for layout, channels in (("mono", 1), ("stereo", 2)):
        part = tmp_path / f"{layout}.ts"
        with av.open(str(part), "w") as container:
            sound = container.add_stream("mp2", rate=48000, layout=layout)
            wave = np.rint(20000 * noise(1.2, 3)).astype(np.int16)
            for start in range(0, len(wave), 1152):
                piece = np.stack([wave, -wave][:channels], axis=1)[start : start + 1152]
                frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1).copy(), format="s16", layout=layout)
                frame.sample_rate, frame.pts = 48000, (0 if layout == "mono" else 50 * 1152) + start
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
        parts.append(part.read_bytes())
    (tmp_path / "v.ts").write_bytes(b"".join(parts))
    with av.open(str(tmp_path / "v.ts")) as container:
        origin_s = (container.start_time or 0) / av.time_base
    with SoundReader(tmp_path / "v.ts", RATE_HZ, origin_s) as sound:
        wave, _ = sound.read(0.0, round(2.2 * RATE_HZ))
    first, second = (rms_db(wave[round(from_s * RATE_HZ) :][: RATE_HZ // 2]) for from_s in (0.3, 1.5))
    assert first == pytest.approx(second, abs=1.0)


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
    (found,) = channels_of(frame)
    assert np.array_equal(found, unit[0].astype(np.float32))


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
