"""One video file to segments: which seconds, the sound of them, the pictures of them, and what was measured of both.

Guarantee: picture and sound of a segment are of the same seconds of the film; lengths follow `common_length`, and
nothing is decided by what is seen or heard: silent, black and still segments are given with their facts, and so are
those in which picture or sound begins late or has a hole: `valid_seconds` says for how long both are true at once.
Pictures are fitted to a CLIP's size bit for bit as its own transform does it.
Price: one decoding of the stretch; about 8 ms for the facts of ten seconds of sound; facts of pictures are measured on
thinned ones, about 2 ms each; fitting a 720p picture takes about 5 ms. Runs in the decoding process: imports no torch.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from clipsonic.audio.wave import clipped_share, loudness_lufs, peak, rms_db, silence_share
from clipsonic.ingest.decode import PictureReader
from clipsonic.ingest.jobs import Job, file_of
from clipsonic.ingest.opening import Tally, raise_if_unreadable
from clipsonic.ingest.probe import Media, probe
from clipsonic.ingest.sound import SoundReader
from clipsonic.refusals import RefusalReason, RefusedError
from clipsonic.specs import CorpusSpec

MAX_PADDED_SHARE = 0.05
"""How much of a segment the shorter of picture and sound may lack."""

MAX_DAMAGED_SHARE = 0.5
"""Above which share of undecodable packets a segment is refused."""
_THUMBNAIL_SIDE = 160
_KEPT_QUALITY = 92
_FACTS_SIDE = 120  # facts are measured on every n-th pixel, at least so many along the shortest side
_BLACK_LEVEL = 25  # of 255; with the share below, FFmpeg's blackdetect
_BLACK_SHARE = 0.98
_STILL_LEVEL = 1.0  # mean absolute difference of successive kept pictures, of 255
_SHOT_CHANGE = 0.4  # share of the picture whose colours are others; a panned camera changes up to 0.39
_COLOUR_SHIFT = 6  # 256 levels to 4 per channel
_HASH_ROWS, _HASH_COLUMNS = 8, 9
_HASH_LOW_HZ, _HASH_HIGH_HZ = 100.0, 6000.0
_HASH_FFT = 1024
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ReadSettings:
    """How files are cut.

    Args:
        spec: rate and lengths.
        stride_s: from the start of one segment to the start of the next.
        max_segments: of one file or interval.
        fit: how pictures are brought to the CLIP's size; None = they are kept as decoded.
        thumbnails: whether to keep a JPEG of the middle picture.
        keep_frames: shortest side of the JPEGs that are kept of all pictures; None = they are not kept.
        frame_tolerance_s: how far from its time a picture may be where that saves decoding, see `decode`.
        max_copy_gb: largest file, of an archive or behind an address, that is copied to be read.
    """

    spec: CorpusSpec
    stride_s: float
    max_segments: int | None = None
    fit: Fit | None = None
    thumbnails: bool = True
    keep_frames: int | None = None
    frame_tolerance_s: float = 0.0
    max_copy_gb: float = 16.0


@dataclass(frozen=True)
class Segment:
    """A piece of a video before CLIP has seen it.

    Sound (T,) int16, pictures (H, W, 3) uint8, facts, JPEGs of the middle picture and of all pictures, if kept.
    """

    key: str
    sound: np.ndarray
    pictures: list[np.ndarray]
    facts: dict[str, Any]
    thumbnail: bytes | None
    kept: tuple[bytes, ...] = ()


def common_length(picture_s: float, sound_s: float, seconds: float) -> float:
    """Length of a segment when picture and sound last this long from its start, at most `seconds`.

    The shorter one may lack up to 5 % at the end: the last picture stands, the sound is padded with silence. What
    either lacks before it begins, or in a hole, makes no segment shorter: `valid_seconds` counts it.
    """
    shorter, longer = sorted((picture_s, sound_s))
    return max(0.0, min(seconds, longer, shorter / (1.0 - MAX_PADDED_SHARE)))


def read_segments(job: Job, settings: ReadSettings) -> Iterator[Segment]:
    """The segments of one file, in order.

    Raises:
        RefusedError: it gives none (or no more): the reason says why.
    """
    with file_of(job.path, job.part, settings.max_copy_gb * 1e9) as path:
        try:
            yield from _segments_of(path, job, settings)
        except RefusedError:
            raise_if_unreadable(path)
            raise


def _segments_of(path: str, job: Job, settings: ReadSettings) -> Iterator[Segment]:
    first_s = job.start_s or 0.0
    media = probe(path, first_s, _last_needed_s(job, settings))
    with (
        SoundReader(path, settings.spec.sample_rate_hz, media.clock, media.sound_end_s) as sound,
        PictureReader(path, media, tolerance_s=settings.frame_tolerance_s) as pictures,
    ):
        count, place, health = 0, 0, _Health()
        while settings.max_segments is None or count < settings.max_segments:
            start_s, place = _next_start(first_s, place, media, settings)
            wave = _sound_of(start_s, job, media, settings.spec, sound)
            if not len(wave):
                break
            times_s = CorpusSpec.frame_times_s(len(wave) / settings.spec.sample_rate_hz)
            frames = pictures.read([start_s + time_s for time_s in times_s])
            health.check(sound.tally, pictures.tally)
            end_s = start_s + len(wave) / settings.spec.sample_rate_hz
            valid_s = _shared_s(sound.spans(start_s, end_s), media.shown_s)
            yield _segment(job, media, settings, start_s, times_s, wave, valid_s, sound.mix_loss_db, frames)
            count += 1
    if count == 0:
        is_cut = min(media.promised_s, job.end_s or media.promised_s) - first_s >= settings.spec.min_seconds
        reason = RefusalReason.DECODE_ERROR if is_cut else RefusalReason.TOO_SHORT
        raise RefusedError(reason, _lengths_in_words(first_s, job, media, settings.spec))


def _next_start(first_s: float, place: int, media: Media, settings: ReadSettings) -> tuple[float, int]:
    """Start of the next segment that does not lie in a gap of the file, and the place after it."""
    for from_s, to_s in media.gaps_s:
        start_s = first_s + place * settings.stride_s
        if from_s <= start_s and start_s + settings.spec.seconds <= to_s < math.inf:
            place = math.floor((to_s - settings.spec.seconds - first_s) / settings.stride_s) + 1
    return first_s + place * settings.stride_s, place + 1


class _Health:
    """Refuses a stretch of which most cannot be decoded: a player would show a frozen picture, or be silent."""

    def __init__(self) -> None:
        self._before = [(0, 0), (0, 0)]

    def check(self, *tallies: Tally) -> None:
        """Look at what the tallies have counted since the last time.

        Raises:
            RefusedError: decode_error.
        """
        for place, tally in enumerate(tallies):
            packets, damaged = self._before[place]
            self._before[place] = (tally.packets, tally.damaged)
            packets, damaged = tally.packets - packets, tally.damaged - damaged
            if damaged > MAX_DAMAGED_SHARE * packets:
                raise RefusedError(RefusalReason.DECODE_ERROR, f"{damaged} of {packets} packets: {tally.words}")


def _last_needed_s(job: Job, settings: ReadSettings) -> float | None:
    ends = [] if job.end_s is None else [job.end_s]
    if settings.max_segments is not None:
        ends.append((job.start_s or 0.0) + (settings.max_segments - 1) * settings.stride_s + settings.spec.seconds)
    return min(ends, default=None)


def _sound_of(start_s: float, job: Job, media: Media, spec: CorpusSpec, sound: SoundReader) -> np.ndarray:
    """The sound of the segment that starts here, as long as the segment is; or nothing."""
    end_s = float("inf") if job.end_s is None else job.end_s
    end_s = min(end_s, media.gaps_s[-1][0])  # beyond it nothing comes, whatever length the last packet claims
    picture_s = min(media.picture_end_s, end_s) - start_s
    sound_s = min(media.sound_end_s, end_s) - start_s
    for _ in range(2):  # a second time if less can be decoded than the packets promise
        num_samples = _num_samples(common_length(picture_s, sound_s, min(spec.seconds, end_s - start_s)), spec)
        if not num_samples:
            break
        wave, _ = sound.read(start_s, num_samples)
        sound_s = sound.reached_s - start_s
        if sound_s >= (1.0 - MAX_PADDED_SHARE) * num_samples / spec.sample_rate_hz - 1e-3:
            return wave
    return np.zeros(0, np.float32)


def _shared_s(some: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> float:
    """Seconds that lie in a span of both."""
    pairs = itertools.product(some, others)
    return sum(max(0.0, min(one[1], two[1]) - max(one[0], two[0])) for one, two in pairs)


def _num_samples(seconds: float, spec: CorpusSpec) -> int:
    """Samples of a segment of this length; 0 if it is below the least."""
    num_samples = spec.num_samples(seconds)
    return num_samples if num_samples >= spec.num_samples(spec.min_seconds) else 0


def _segment(
    job: Job,
    media: Media,
    settings: ReadSettings,
    start_s: float,
    times_s: tuple[float, ...],
    wave: np.ndarray,
    valid_s: float,
    mix_loss_db: float,
    frames: list[np.ndarray],
) -> Segment:
    rate_hz = settings.spec.sample_rate_hz
    height, width = frames[0].shape[:2]
    facts = {
        "source": job.source,
        "source_id": job.source_id,
        "start_s": round(start_s, 6),
        "seconds": len(wave) / rate_hz,
        "frame_times_s": [round(time_s, 6) for time_s in times_s],
        "sample_rate": rate_hz,
        "valid_seconds": round(valid_s, 6),
        "has_audio": True,
        "mix_loss_db": round(mix_loss_db, 2),
        **sound_facts(wave, rate_hz),
        **picture_facts(frames),
        "width": width,
        "height": height,
        "fps": round(media.fps, 4),
        "codec": media.video_codec,
        "sound_codec": media.sound_codec,
    }
    thumbnail = thumbnail_of(frames[len(frames) // 2]) if settings.thumbnails else None
    side = settings.keep_frames
    kept = () if side is None else tuple(kept_picture(frame, side) for frame in frames)
    pictures = frames if settings.fit is None else [fit_picture(frame, settings.fit) for frame in frames]
    grid = np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int16)
    return Segment(f"{job.entry_id}-{round(start_s * 1000):08d}", grid, pictures, facts, thumbnail, kept)


def _lengths_in_words(start_s: float, job: Job, media: Media, spec: CorpusSpec) -> str:
    ends_s = [min(end_s, job.end_s or end_s) for end_s in (media.picture_end_s, media.sound_end_s)]
    picture_s, sound_s = (max(0.0, end_s - start_s) for end_s in ends_s)
    promised = f" ({media.promised_s:.2f} s by its header)" if media.promised_s > min(ends_s) + spec.min_seconds else ""
    needed = f"at least {spec.min_seconds:g} s of both are needed"
    return f"picture {picture_s:.2f} s, sound {sound_s:.2f} s{promised}, {needed}"


@dataclass(frozen=True)
class Fit:
    """The geometric part of a CLIP's own transform: bicubic, to a square of this side.

    `mode` is open_clip's: "shortest" side and centre crop, or "squash".
    """

    side: int
    mode: Literal["shortest", "squash"]


def sound_facts(wave: np.ndarray, sample_rate_hz: int) -> dict[str, Any]:
    """Loudness in LUFS, level in dB of full scale, peak, shares of silent time and of clipped samples, and a hash."""
    return {
        "lufs": round(loudness_lufs(wave, sample_rate_hz), 2),
        "rms_db": round(rms_db(wave), 2),
        "peak": round(peak(wave), 4),
        "silence_share": round(silence_share(wave, sample_rate_hz), 4),
        "clipped_share": round(clipped_share(wave), 4),
        "sound_hash": sound_hash(wave, sample_rate_hz),
    }


def picture_facts(frames: list[np.ndarray]) -> dict[str, Any]:
    """Shares of kept pictures that are black, and of steps between them in which nothing moves; cuts; a hash.

    `shot_changes` counts the steps between kept pictures over which two fifths of the colours have changed, so at most
    one per step. `picture_hash` is of the middle picture.
    """
    small = [_thinned(frame) for frame in frames]
    black = [float(np.mean(frame @ _LUMA <= _BLACK_LEVEL)) >= _BLACK_SHARE for frame in small]
    still = [_is_still(before, after) for before, after in itertools.pairwise(small)]
    colours = [_colours(frame) for frame in small]
    cuts = [0.5 * float(np.abs(after - before).sum()) > _SHOT_CHANGE for before, after in itertools.pairwise(colours)]
    return {
        "still_share": round(float(np.mean(still)), 4),
        "black_share": round(float(np.mean(black)), 4),
        "shot_changes": sum(cuts),
        "picture_hash": picture_hash(frames[len(frames) // 2]),
    }


def picture_hash(picture: np.ndarray) -> str:
    """64 bits in hex of which few change under scaling and compression: the gradient hash of 9 x 8 grey cells."""
    small = Image.fromarray(picture).convert("L").resize((_HASH_COLUMNS, _HASH_ROWS), Image.Resampling.BOX)
    return _gradient_hash(np.asarray(small, np.float32))


def sound_hash(wave: np.ndarray, sample_rate_hz: int) -> str:
    """64 bits in hex of which few change under level and compression: where 8 bands grow louder between 9 parts."""
    length = max(_HASH_FFT, len(wave) // _HASH_COLUMNS)
    padded = np.pad(wave, (0, max(0, length * _HASH_COLUMNS - len(wave))))[: length * _HASH_COLUMNS]
    frames = padded.reshape(_HASH_COLUMNS, length)[:, : length // _HASH_FFT * _HASH_FFT]
    windows = frames.reshape(_HASH_COLUMNS, -1, _HASH_FFT) * np.hanning(_HASH_FFT).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(windows))).mean(axis=1)
    edges_hz = np.geomspace(_HASH_LOW_HZ, min(_HASH_HIGH_HZ, 0.45 * sample_rate_hz), _HASH_ROWS + 1)
    edges = np.round(edges_hz / sample_rate_hz * _HASH_FFT).astype(int)
    bands = np.stack([power[:, low : max(high, low + 1)].mean(axis=1) for low, high in itertools.pairwise(edges)])
    return _gradient_hash(bands)


def _gradient_hash(cells: np.ndarray) -> str:
    """Which of the 8 x 9 cells are greater than their left neighbour, as 16 hex digits."""
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def _colours(picture: np.ndarray) -> np.ndarray:
    """Share of the pixels in each of 64 colours."""
    levels = (picture >> _COLOUR_SHIFT).astype(np.intp)
    counts = np.bincount((levels @ np.array([16, 4, 1])).ravel(), minlength=64)
    return np.asarray(counts / counts.sum())


def _thinned(picture: np.ndarray) -> np.ndarray:
    step = max(1, min(picture.shape[:2]) // _FACTS_SIDE)
    return picture[::step, ::step]


def _is_still(before: np.ndarray, after: np.ndarray) -> bool:
    if before.shape != after.shape:
        return False
    difference = np.maximum(before, after) - np.minimum(before, after)
    return float(difference.mean()) < _STILL_LEVEL


def fit_picture(picture: np.ndarray, fit: Fit) -> np.ndarray:
    """(H, W, 3) to (side, side, 3), bit for bit as open_clip's transform (torchvision on Pillow) does it."""
    height, width = picture.shape[:2]
    shortest, side = min(height, width), fit.side
    size = (side, side) if fit.mode == "squash" else (int(side * width / shortest), int(side * height / shortest))
    if size != (width, height):
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = round((size[1] - side) / 2.0), round((size[0] - side) / 2.0)
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def thumbnail_of(picture: np.ndarray) -> bytes:
    """A JPEG of at most 160 pixels a side."""
    image = Image.fromarray(picture)
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    return _jpeg(image, 80)


def kept_picture(picture: np.ndarray, side: int) -> bytes:
    """A JPEG, made smaller to `side` pixels along its shortest side, if that is longer."""
    image = Image.fromarray(picture)
    scale = side / min(image.size)
    if scale < 1.0:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return _jpeg(image, _KEPT_QUALITY)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
