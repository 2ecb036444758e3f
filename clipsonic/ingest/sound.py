"""The sound of a video by presentation time: mono, at the wanted rate, every sample at its own instant.

Guarantee: a sample is where its timestamp puts it in the film (`clock`), so a late start or a gap is silence and what
the encoder padded is cut. A run of samples lies where most of its packets say, not where its first one does, so times
that jitter or are rounded neither tear nor shift it (within a few ms for 20 ms packets that are each up to 60 ms off);
a gap of more than 20 ms (of noisy times: about 100 ms) and a drift that has come to as much are followed. How channels
become one (`audio.wave.mix`) is decided once for a stretch, from that stretch alone, whatever was read before.
Price: each stretch is decoded once, about 5 ms per ten seconds of AAC, mixed in 2 ms, and resampled by soxr (HQ); a few
packets are held, where times are noisy a second or two.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, TypeVar

import av
import av.error
import numpy as np
from av.audio.frame import format_dtypes

from clipsonic.audio.wave import loss_db, mix, resample
from clipsonic.ingest.clock import Clock
from clipsonic.ingest.opening import FFMPEG_ERRORS, Tally, open_media, sound_stream
from clipsonic.refusals import RefusalReason, RefusedError

_MARGIN_S = 0.05  # more than the resampler's filter is long
_PREROLL_S = 1.0  # decoders need packets before the first right sample: AAC one, Opus 80 ms, MP3 its reservoir
_SEEK_GAIN_S = 30.0
_NO_NAMES = ("", "")  # one or two channels are mixed alike, whatever they are called

_Channels = tuple[Sequence[np.ndarray], tuple[str, ...]]
"""(n,) float32 each, and their names."""
QUIET_S = 0.002
"""Times of packets that are, the median, less than this from an even pace are exact but for rounding."""
_LEAST_STEP_S = 0.02
_NEAR, _FAR_QUIET, _FAR_NOISY = 5, 3, 75  # packets

Piece = TypeVar("Piece")


@dataclass(frozen=True)
class _Block:
    """Decoded channels, their names, and where the first sample lies, from the film's time 0 at the file's own rate."""

    start: int
    channels: Sequence[np.ndarray]
    names: tuple[str, ...]

    @property
    def end(self) -> int:
        return self.start + len(self.channels[0])


class SoundReader:
    """Reads stretches of the sound of one file, best in rising time.

    Args:
        path: the file.
        sample_rate_hz: the rate to give.
        clock: the file's, as `probe` found it; the default is that of a file that begins at 0 and runs on.
        end_s: where the last packet ends: what a decoder gives beyond is the encoder's padding.

    Raises:
        RefusedError: the file cannot be opened, or has no sound.
    """

    def __init__(
        self, path: str | Path, sample_rate_hz: int, clock: Clock | None = None, end_s: float = math.inf
    ) -> None:
        self._path, self._rate_hz, self._clock, self._end_s = path, sample_rate_hz, clock or Clock(), end_s
        self.tally = Tally()
        self.source_rate_hz = 0
        self.mix_loss_db = 0.0
        """By how much the mix of the stretch that was read last is quieter than its channels (`audio.wave.mix`)."""
        self._open()

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._opening.__exit__(None, None, None)

    def read(self, start_s: float, num_samples: int) -> tuple[np.ndarray, float]:
        """(T,) float32 in [-1, 1] from `start_s` on, and how many seconds of it are the file's own sound.

        The others lie before the sound's start, in a gap or a damaged stretch, or after its end, and are 0.

        Raises:
            RefusedError: decode_error, no sound could be decoded at all.
        """
        native_hz = self.source_rate_hz
        grid_hz = math.gcd(native_hz, self._rate_hz)  # where samples of both rates coincide: any cut has equal samples
        first = math.floor((start_s - _MARGIN_S) * grid_hz) * (native_hz // grid_hz)
        last = math.ceil((start_s + num_samples / self._rate_hz + _MARGIN_S) * native_hz)
        self._advance(first, last)
        stretch = self._mono(first, last, int(min(last, max(first, self._end_s * native_hz))))
        wave = np.zeros(num_samples, np.float32)
        skip = round((start_s - first / native_hz) * self._rate_hz)
        found = resample(stretch, native_hz, self._rate_hz)[skip : skip + num_samples]
        wave[: len(found)] = np.clip(found, -1.0, 1.0)
        return wave, sum(to_s - from_s for from_s, to_s in self.spans(start_s, start_s + num_samples / self._rate_hz))

    @property
    def reached_s(self) -> float:
        """Where the sound that has been decoded so far ends; more than asked for unless the file's ends before."""
        return min(self._end / self.source_rate_hz, self._end_s)

    def spans(self, from_s: float, to_s: float) -> list[tuple[float, float]]:
        """(from, to), ascending, where there is true sound, of a stretch that has been read last."""
        low, high = from_s * self.source_rate_hz, min(to_s, self._end_s) * self.source_rate_hz
        found: list[tuple[float, float]] = []
        for block in sorted(self._blocks, key=lambda block: block.start):
            start, end = max(low, block.start), min(high, block.end)
            if found and start <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], end)
            elif start < end:
                found.append((start, end))
        return [(start / self.source_rate_hz, end / self.source_rate_hz) for start, end in found]

    def _mono(self, first: int, last: int, end: int) -> np.ndarray:
        """The samples from `first` to `last`, those from `end` on 0; each layout of channels is mixed as one."""
        layouts: dict[tuple[str, ...], np.ndarray] = {}
        for block in self._blocks:
            low, high = max(first, block.start), min(end, block.end)
            if low < high:
                if block.names not in layouts:
                    layouts[block.names] = np.zeros((len(block.channels), last - first), np.float32)
                for rows in layouts.values() if len(layouts) > 1 else ():
                    rows[:, low - first : high - first] = 0.0
                for row, channel in zip(layouts[block.names], block.channels, strict=True):
                    row[low - first : high - first] = channel[low - block.start : high - block.start]
        mixes = [mix(list(_finite(rows)), names) for names, rows in layouts.items()]
        self.mix_loss_db = loss_db(mixes)
        stretch = mixes[0].wave if mixes else np.zeros(last - first, np.float32)
        for part in mixes[1:]:
            stretch += part.wave
        return np.clip(stretch, -1.0, 1.0, out=stretch)

    def _open(self) -> None:
        self._opening = open_media(self._path)
        self._container = self._opening.__enter__()
        stream = sound_stream(self._container)
        if stream is None:
            raise RefusedError(RefusalReason.NO_AUDIO, "there is no sound stream")
        self._stream, self._base = stream, Fraction(stream.time_base or 1)
        self._base_s = float(self._base)
        self._skip_s = -math.inf  # packets before are read and not decoded
        self._restart()
        self._end = 0  # of the sound decoded so far, in samples
        if not self.source_rate_hz:
            self._learn_rate()

    def _restart(self) -> None:
        self._blocks: list[_Block] = []
        self._packets = self._clock.packets(self._container, self._stream)
        self._decoded = self._decode()

    def _learn_rate(self) -> None:
        """The decoder's rate, which for some streams (HE-AAC) is not the header's."""
        block = next(self._decoded, None)
        if block is None:
            raise RefusedError(RefusalReason.DECODE_ERROR, self.tally.words or "no sound could be decoded")
        self._begin = block.start
        self._keep(block)

    def _advance(self, first: int, last: int) -> None:
        """Have all blocks from `first` to `last`."""
        here = self._blocks[-1].end if self._blocks else self._end
        is_behind = bool(self._blocks) and first < self._blocks[0].start > self._begin
        sought = is_behind or first - here > _SEEK_GAIN_S * self.source_rate_hz
        if sought:
            self._go_to(first / self.source_rate_hz - _PREROLL_S, is_behind)
        self._blocks = [block for block in self._blocks if block.end > first]
        while not self._blocks or self._blocks[-1].end < last:
            block = next(self._decoded, None)
            if block is None:
                return
            if sought and not self._blocks and block.start > max(first, self._begin):
                self._start_again()  # the index led past the place
                sought = False
                continue
            self._end = max(self._end, block.end)
            if block.end > first:
                self._blocks.append(block)

    def _go_to(self, time_s: float, is_behind: bool) -> None:
        """Go on at or before this time: by a seek, or, where film time cannot be sought, by reading on."""
        if is_behind and (not self._clock.may_seek or time_s * self.source_rate_hz <= self._begin):
            self._start_again()
        if self._clock.may_seek and time_s * self.source_rate_hz > self._begin:
            self._clock.seek(self._container, time_s, self._stream)
            self._restart()
        else:
            self._stream.codec_context.flush_buffers()
            self._skip_s, self._blocks, self._decoded = time_s, [], self._decode()

    def _start_again(self) -> None:
        self._opening.__exit__(None, None, None)
        self._open()

    def _keep(self, block: _Block) -> None:
        self._blocks.append(block)
        self._end = max(self._end, block.end)

    def _decode(self) -> Iterator[_Block]:
        """Blocks in order; damaged packets are left out, and what comes after them stays at its time."""
        pieces = self._pieces()
        for first in pieces:  # which tells the rate
            rate_hz, jitter_s = self.source_rate_hz, self._clock.jitter_s
            for start, (channels, names) in placed(itertools.chain([first], pieces), rate_hz, jitter_s):
                yield _Block(start, channels, names)

    def _pieces(self) -> Iterator[tuple[int | None, int, _Channels]]:
        for frame in self._frames():
            rate_hz = self.source_rate_hz = self.source_rate_hz or frame.sample_rate
            channels = channels_of(frame)
            if frame.sample_rate != rate_hz:
                channels = [resample(channel, frame.sample_rate, rate_hz) for channel in channels]
            pts = frame.pts
            told = None if pts is None else _rounded(pts * self._base.numerator * rate_hz, self._base.denominator)
            names = _names_of(frame) if len(channels) > 2 else _NO_NAMES[: len(channels)]
            yield told, len(channels[0]), (channels, names)

    def _frames(self) -> Iterator[Any]:
        while True:
            try:
                packet = next(self._packets)
            except StopIteration:
                return
            except FFMPEG_ERRORS as error:
                self.tally.count(error)
                return
            if packet.size and packet.pts is not None and packet.pts * self._base_s < self._skip_s:
                continue
            try:
                frames = packet.decode()
            except FFMPEG_ERRORS as error:
                self.tally.count(error)
                continue
            self.tally.count()
            yield from frames


def channels_of(frame: av.AudioFrame) -> list[np.ndarray]:
    """The channels of a decoded piece, (n,) float32 each.

    Full scale is 1; samples of a float format may be beyond it, or no numbers, as they are in the file.
    """
    if frame.format.is_planar:  # not to_ndarray, which takes half of the time to stack them
        dtype = np.dtype(format_dtypes[frame.format.name])
        planes = [np.frombuffer(memoryview(plane), dtype) for plane in frame.planes]
        return [_as_float(plane[: frame.samples]) for plane in planes]
    return list(_as_float(frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T))


def _finite(samples: np.ndarray) -> np.ndarray:
    return samples if np.isfinite(samples).all() else np.nan_to_num(samples)


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest whole number, of two the even one, as `round` of a Fraction, in a fifth of its time."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def _names_of(frame: av.AudioFrame) -> tuple[str, ...]:
    """One per channel; of a layout that tells none, "" each."""
    names = tuple(channel.name for channel in frame.layout.channels)
    return names if len(names) == frame.layout.nb_channels else ("",) * frame.layout.nb_channels


def _as_float(data: np.ndarray) -> np.ndarray:
    """Any sample type to float32, integers scaled by their full scale."""
    samples: np.ndarray = data.astype(np.float32)
    if data.dtype == np.uint8:
        samples = (samples - 128.0) / 128.0
    elif data.dtype.kind == "i":
        samples = samples / -float(np.iinfo(data.dtype).min)
    return samples


def placed(
    pieces: Iterable[tuple[int | None, int, Piece]], rate_hz: int, jitter_s: float = 0.0
) -> Iterator[tuple[int, Piece]]:
    """(start, piece) of every piece of sound, in samples of the film.

    Args:
        pieces: (start by its timestamp or None, number of samples, anything) each, in order.
        rate_hz: samples per second.
        jitter_s: of the file's clock.
    """
    is_quiet = jitter_s < QUIET_S
    far, rounding_s = (_FAR_QUIET, QUIET_S) if is_quiet else (_FAR_NOISY, 0.0)
    step_s, spread_s = max(_LEAST_STEP_S, 1.25 * jitter_s), max(_LEAST_STEP_S, 3.5 * jitter_s)
    held: _Held[Piece] = _Held(step_s * rate_hz, spread_s * rate_hz, rounding_s * rate_hz)
    for told, length, piece in pieces:
        held.add(told, length, piece)
        if len(held) >= far:
            yield held.pop()
    while len(held):
        yield held.pop()


class _Held(Generic[Piece]):
    """The next pieces, and by how much the run of the last one is moved against the samples counted so far."""

    def __init__(self, step: float, spread: float, rounding: float) -> None:
        self._step, self._spread, self._rounding = step, spread, rounding
        self._pieces: deque[tuple[int | None, int, Any]] = deque()  # (told - counted, counted, piece)
        self._counted, self._moved = 0, 0.0
        self._is_first = True

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, told: int | None, length: int, piece: Piece) -> None:
        self._pieces.append((None if told is None else told - self._counted, self._counted, piece))
        self._counted += length

    def pop(self) -> tuple[int, Piece]:
        """The next piece and its place."""
        told, counted, piece = self._pieces[0]
        if told is not None and (self._is_first or abs(told - self._moved) > self._step):
            self._look_on()
        self._pieces.popleft()
        return math.floor(self._moved + 0.5) + counted, piece

    def _look_on(self) -> None:
        """Move the run if the next pieces say so too."""
        by = np.array([told for told, _, _ in self._pieces if told is not None])
        near = float(np.median(by[:_NEAR]))
        if self._is_first and abs(by[0] - near) < self._rounding:
            self._moved = float(by[0])
        elif self._is_first or min(abs(near - self._moved), abs(float(np.median(by)) - self._moved)) > self._sure(by):
            alike = by[np.abs(by - near) <= self._spread]
            self._moved = float(np.median(alike) if len(by) <= _NEAR else np.mean(alike))
        self._is_first = False

    def _sure(self, by: np.ndarray) -> float:
        """How far the median of so many noisy times must be away to mean something, near the end of the sound too."""
        return self._step if self._rounding else self._step * math.sqrt(_FAR_NOISY / len(by))
