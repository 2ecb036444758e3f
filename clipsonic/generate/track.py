"""The sound track of a video, chunk by chunk: the new sound alone, or together with the video's own.

Guarantee: the new sound lies at its start on the video's clock; the video's own sound lies where players play it, its
gaps and damaged stretches silent; with a limit no true peak of the sum passes it. Price: the new sound is held in
memory, of the video's own a few seconds. Not exact: more than two channels are mixed down to two.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Container, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from scipy.signal import oaconvolve

from clipsonic.audio.loudness import limited
from clipsonic.audio.wave import read_audio, resample
from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.generate.rows import has_frames
from clipsonic.ingest.opening import FFMPEG_ERRORS, open_media, raise_if_not_its_fault, sound_stream
from clipsonic.ingest.probe import clock_of
from clipsonic.ingest.sound import placed
from clipsonic.refusals import RefusedError

DUCK_DB = 12.0
OTHER_RATE_HZ = 48000
_DUCK_FROM_DB, _DUCK_FULL_DB = -30.0, -10.0  # below the loudest moment of the new sound
_DUCK_WINDOW_S = 0.3
_CHUNK_S = 1.0
_ROUNDING_S = 0.01


class Track(Protocol):
    """A sound track that is read once, from its start.

    Args:
        rate_hz: its rate.
        channels: 1 or 2.
        length: samples up to the end of the new sound; behind the end all is silent.
    """

    rate_hz: int
    channels: int
    length: int

    def read(self, count: int) -> np.ndarray:
        """The next `count` samples, (C, count) float32."""


class NewSound:
    """The new sound at its place, silence elsewhere.

    Args:
        wave: (T,) or (2, T) float32.
        start_s: its place on the video's clock.
    """

    def __init__(self, wave: np.ndarray, rate_hz: int, start_s: float) -> None:
        self._wave_CT = np.atleast_2d(np.asarray(wave, np.float32))
        self._first, self._position = round(start_s * rate_hz), 0
        self.rate_hz, self.channels = rate_hz, len(self._wave_CT)
        self.length = self._first + self._wave_CT.shape[1]

    def read(self, count: int) -> np.ndarray:
        """The next `count` samples."""
        samples = np.zeros((self.channels, count), np.float32)
        start, stop = self._position, self._position + count
        low, high = max(start, self._first), min(stop, self.length)
        if low < high:
            samples[:, low - start : high - start] = self._wave_CT[:, low - self._first : high - self._first]
        self._position = stop
        return samples


class MixedSound:
    """The video's own sound with the new one added, limited; `duck` lowers the former where the latter is loud.

    Args:
        wave: the new sound, (T,) or (2, T), at `rate_hz`; `gain_db` is added to it.
        rates_hz: what the codec knows; a sound of another rate is resampled to 48 kHz.
        limit_db: no true peak above this, in dBTP; None for no limit.
    """

    def __init__(
        self, video: str | Path, wave: np.ndarray, rate_hz: int, start_s: float, *,
        duck: bool, rates_hz: Container[int], gain_db: float = 0.0, limit_db: float | None = -1.0,
    ) -> None:  # fmt: skip
        own_hz, own_channels = own_format(video)
        higher_hz = max(own_hz, rate_hz)
        self.rate_hz = higher_hz if higher_hz in rates_hz else OTHER_RATE_HZ
        new_CT = np.stack([resample(channel, rate_hz, self.rate_hz) for channel in np.atleast_2d(wave)])
        self.channels = max(own_channels, len(new_CT))
        new_CT = np.repeat(new_CT, self.channels // len(new_CT), axis=0) * np.float32(10.0 ** (gain_db / 20.0))
        self._new = NewSound(new_CT, self.rate_hz, start_s)
        self._duck = NewSound(duck_depth(new_CT, self.rate_hz), self.rate_hz, start_s) if duck else None
        self.length = self._new.length
        own = own_sound(video, self.rate_hz, self.channels)
        mixed = self._mixed(_chunks(own, round(_CHUNK_S * self.rate_hz), self.channels))
        self._stream = _Pieces(limited(mixed, self.rate_hz, limit_db) if limit_db is not None else mixed, self.channels)

    def read(self, count: int) -> np.ndarray:
        """The next `count` samples."""
        return self._stream.take(count)

    def _mixed(self, own: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        done = 0
        for chunk in own:
            count, done = chunk.shape[1], done + chunk.shape[1]
            lowered = 1.0 if self._duck is None else 10.0 ** (-self._duck.read(count) / 20.0)
            yield np.asarray(chunk * lowered + self._new.read(count), np.float32)
        if done < self.length:
            yield self._new.read(self.length - done)


def duck_depth(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """For every sample of the new sound (C, T) by how many dB the other is lowered, (1, T).

    DUCK_DB where its smoothed level comes within 10 dB of its loudest moment, nothing where it is 30 dB below.
    """
    window = np.hanning(round(_DUCK_WINDOW_S * rate_hz) + 2)[1:-1]
    window /= window.sum()
    power_T = np.maximum(oaconvolve(np.square(wave, dtype=np.float64).mean(axis=0), window, mode="same"), 0.0)
    if not power_T.size or power_T.max() <= 1e-12:
        return np.zeros((1, wave.shape[1]), np.float32)
    level_T = 10.0 * np.log10(np.maximum(power_T / power_T.max(), 1e-9))
    depth_T = DUCK_DB * np.clip((level_T - _DUCK_FROM_DB) / (_DUCK_FULL_DB - _DUCK_FROM_DB), 0.0, 1.0)
    return np.asarray(oaconvolve(depth_T, window, mode="same")[None], np.float32)


def own_format(
    video: str | os.PathLike[str], cure: str = "to mix with: leave --mix out, or give --mix replace"
) -> tuple[int, int]:
    """Rate in Hz and channels (1 or 2) of the video's own sound.

    Args:
        cure: how the sentence ends if it has none.

    Raises:
        UsageError: it has none.
        RefusedError: the file cannot be opened.
    """
    with open_media(Path(video)) as source:
        sound = sound_stream(source)
        if sound is None or sound.codec_context is None:
            raise UsageError(f"{video} has no sound of its own {cure}")
        context = sound.codec_context
        return int(context.sample_rate or 48000), 1 if context.layout.nb_channels == 1 else 2


def own_sound(video: str | Path, rate_hz: int, channels: int) -> Iterator[np.ndarray]:
    """The video's own sound (C, n) from film time 0 on; gaps are filled, what overlaps is dropped."""
    layout, done, clock = "mono" if channels == 1 else "stereo", 0, clock_of(video)
    with open_media(video) as source:
        sound: Any = sound_stream(source)
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate_hz)
        for frame in _frames_in_place(clock.packets(source, sound), clock.jitter_s):
            for piece in resampler.resample(frame):
                told = _told(piece, rate_hz)
                first = done if told is None else told
                if abs(first - done) <= _ROUNDING_S * rate_hz:  # the resampler's: that is no gap
                    first = done
                samples = piece.to_ndarray()[:, max(0, done - first) :]
                if first > done:
                    yield from _zeros(first - done, channels, rate_hz)
                    done = first
                done += samples.shape[1]
                yield samples


def own_track(video: str | Path, cure: str) -> tuple[np.ndarray, int]:
    """All of a video's own sound (C, T) float32, and its rate in Hz.

    Raises:
        UsageError: no such file, no sound in it, or none that can be read; `cure` as in `own_format`.
    """
    if not Path(video).is_file():
        raise UsageError(f"video {video} does not exist: give the path of a sound or a video")
    try:
        rate_hz, channels = own_format(video, cure)
        pieces = list(own_sound(video, rate_hz, channels))
    except RefusedError as error:
        raise UsageError(f"video {video} cannot be read ({error.detail}): give another file") from None
    if not pieces:
        raise UsageError(f"no sound of {video} can be decoded: give another file")
    return np.concatenate(pieces, axis=1), rate_hz


def read_sound(path: str | Path) -> tuple[np.ndarray, int]:
    """A sound file, or a video's own sound, as it is a prompt: (T,) or (C, T) float32, and its rate in Hz.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if has_frames(path):
        return own_track(path, "to go by: give another file")
    try:
        return read_audio(path)
    except ClipsonicError as error:  # to its reader a failure, to whoever named the file a wrong one
        raise UsageError(str(error)) from None


def _frames_in_place(packets: Iterator[Any], jitter_s: float) -> Iterator[Any]:
    """Decoded frames, their pts in samples of their own rate; what its packets' times tell is smoothed (`placed`)."""
    for first in (frames := _frames(packets)):  # which tells the rate
        rate_hz = first.sample_rate
        pieces = ((_told(frame, rate_hz), frame.samples, frame) for frame in itertools.chain([first], frames))
        for start, frame in placed(pieces, rate_hz, jitter_s):
            frame.pts, frame.time_base = start, Fraction(1, rate_hz)
            yield frame


def _told(frame: Any, rate_hz: int) -> int | None:
    return None if frame.pts is None else round(frame.pts * frame.time_base * rate_hz)


def _frames(packets: Iterator[Any]) -> Iterator[Any]:
    """Decoded frames of the sound; what cannot be decoded is left out, what cannot be read ends it."""
    try:
        for packet in packets:
            try:
                yield from packet.decode()
            except FFMPEG_ERRORS as error:
                raise_if_not_its_fault(error)
    except FFMPEG_ERRORS as error:
        raise_if_not_its_fault(error)


def _zeros(count: int, channels: int, rate_hz: int) -> Iterator[np.ndarray]:
    for at in range(0, count, rate_hz):
        yield np.zeros((channels, min(rate_hz, count - at)), np.float32)


def _chunks(pieces: Iterator[np.ndarray], size: int, channels: int) -> Iterator[np.ndarray]:
    """The same samples in larger chunks."""
    stream = _Pieces(pieces, channels)
    while stream.has_more(size):
        yield stream.take(size)
    if rest := stream.held:
        yield stream.take(rest)


class _Pieces:
    """A stream of pieces (C, n) from which any number of samples is taken; zeros behind its end."""

    def __init__(self, pieces: Iterator[np.ndarray], channels: int) -> None:
        self._pieces, self._held, self.held = pieces, [np.zeros((channels, 0), np.float32)], 0

    def has_more(self, count: int) -> bool:
        """Whether `count` samples are there."""
        while self.held < count:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._held.append(piece)
            self.held += piece.shape[1]
        return True

    def take(self, count: int) -> np.ndarray:
        """The next `count` samples."""
        self.has_more(count)
        joined = np.concatenate(self._held, axis=1)
        taken, rest = joined[:, :count], joined[:, count:]
        self._held, self.held = [rest], rest.shape[1]
        return np.pad(taken, ((0, 0), (0, count - taken.shape[1])))
