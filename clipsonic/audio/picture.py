"""Log-mels as pictures: a small PNG with time and frequency that can be read off.

Guarantee: equal mels give equal pictures on one scale of loudness, so two can be laid side by side; no global
matplotlib state is touched (safe in threads). Price: about 0.1 s each.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from clipsonic.errors import UsageError
from clipsonic.files import write_whole
from clipsonic.specs import MelSpec, mel_band_edges_hz
from clipsonic.text import shown

_TICKS_HZ = (16000, 8000, 4000, 2000, 1000, 500, 200, 100)
_LOUDEST_DB, _QUIETEST_DB = 20.0, -80.0
_CANVAS = 0.4


def spectrogram_png(log_mel: npt.ArrayLike, spec: MelSpec, title: str | None = None) -> bytes:
    """A log-mel (M, F) as a PNG of 640 x 280 pixels, colours from -80 to 20 dB of mel magnitude.

    Raises:
        UsageError: the mel is not (M, F) of this spec.
    """
    mel = np.asarray(log_mel, dtype=np.float32)
    if mel.ndim != 2 or mel.shape[0] != spec.num_mels or not mel.shape[1]:
        raise UsageError(f"log-mel of shape {mel.shape} cannot be drawn: it must be ({spec.num_mels}, F)")
    figure = Figure(figsize=(6.4, 2.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(
        spec.db(mel),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=_QUIETEST_DB,
        vmax=_LOUDEST_DB,
        interpolation="nearest",
        extent=(*spec.span_s(mel.shape[1]), -0.5, spec.num_mels - 0.5),
    )
    places, labels = frequency_ticks(spec)
    axes.set_yticks(places, labels)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("frequency (Hz)")
    if title:
        axes.set_title(shown(title), fontsize=10, parse_math=False)
    figure.colorbar(picture, ax=axes, label="dB", pad=0.01)
    canvas.draw()
    return _small_png(np.asarray(canvas.buffer_rgba())[..., :3])


def canvas_png(log_mel: npt.ArrayLike, spec: MelSpec) -> bytes:
    """A log-mel (M, F) as a bare PNG of F x M pixels, the highest band at the top, so dark that white paint stands out.

    No pixel is brighter than 0.4 of white, so what is painted over it can be told from what was there.
    """
    share_MF = (spec.db(np.asarray(log_mel, np.float32)) - _QUIETEST_DB) / (_LOUDEST_DB - _QUIETEST_DB)
    colours = colormaps["magma"](np.clip(share_MF[::-1], 0.0, 1.0))[..., :3]
    buffer = io.BytesIO()
    Image.fromarray((_CANVAS * 255.0 * colours).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def save_spectrogram(
    path: str | os.PathLike[str], log_mel: npt.ArrayLike, spec: MelSpec, title: str | None = None
) -> None:
    """Write `spectrogram_png` to a .png file, whole or not at all; missing folders are made.

    Raises:
        UsageError: another suffix, or a mel that is not (M, F) of this spec.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target.name}: a spectrogram is written as .png: give it that suffix")
    write_whole(target, spectrogram_png(log_mel, spec, title))


def frequency_ticks(spec: MelSpec) -> tuple[list[float], list[str]]:
    """Places on the mel axis (bin 0 is at 0) of round frequencies, with labels; too close ones are left out."""
    centres_hz = np.array(mel_band_edges_hz(spec)[1:-1])
    ticks: list[tuple[float, str]] = []
    for hz in _TICKS_HZ:
        place = float(np.interp(hz, centres_hz, np.arange(spec.num_mels)))
        inside = centres_hz[0] <= hz <= centres_hz[-1]
        if inside and (not ticks or ticks[-1][0] - place > 0.07 * spec.num_mels):
            ticks.append((place, f"{hz // 1000}k" if hz >= 1000 else str(hz)))
    return [place for place, _ in ticks], [label for _, label in ticks]


def _small_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Reduced to the colour map's own 216 colours and 40 greys for the letters: half the bytes, no visible loss."""
    colours = (colormaps["magma"](np.linspace(0.0, 1.0, 216))[:, :3] * 255.0).round().astype(np.uint8)
    greys = np.repeat(np.linspace(0, 255, 40).round().astype(np.uint8)[:, None], 3, axis=1)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([colours, greys]).tobytes())
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
