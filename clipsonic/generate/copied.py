"""What a container alone knows of a picture stream, taken over into the copy: shape, codec tag, side data, tags.

Guarantee: pixel shape, colours, rotation, HDR and Dolby Vision records are the source's, and `hvc1` stays `hvc1`; a
shape that the other container cannot be told is refused. Price: none. Not exact: tags of the writing program (brands,
encoder, statistics) are those of the new file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.generate.copying import unpacker

_KEPT_CODEC_TAGS = ("hvc1", "hev1", "avc1", "avc3", "dvh1", "dvhe", "dva1", "dvav", "dav1", "av01", "vp09")
_OF_THE_WRITER = (
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "vendor_id", "rotate", "timecode",
)  # fmt: skip
_STATISTICS = ("_statistics", "bps", "number_of_")  # Matroska's, of the old file


def copied_stream(target: Any, picture: Any, video: str | Path, holds_shape: bool) -> tuple[Any, Any]:
    """A stream of `target` that takes the packets of `picture`, and what unpacks them, if anything must.

    Args:
        holds_shape: whether this container can be told the shape of a pixel.

    Raises:
        UsageError: only the old container tells the shape, and the new one cannot.
        ValueError: this container does not hold this codec.
    """
    copied = target.add_stream_from_template(picture, opaque=True)
    unpack = unpacker(picture, copied)
    shape, own = picture.sample_aspect_ratio, picture.codec_context.sample_aspect_ratio
    if shape and not holds_shape and shape != (own or 1):
        raise UsageError(
            f"the pixels of {video} have the shape {shape.numerator}:{shape.denominator}, which only its container "
            "tells and which is not kept in this kind of file: end --out in .mp4 or .mov"
        )
    if shape:
        copied.codec_context.sample_aspect_ratio = shape
    tag = _tag_of(picture)
    copied.codec_context.codec_tag = tag if tag in _KEPT_CODEC_TAGS and holds_shape else "\0\0\0\0"
    copied.metadata.update(film_tags(picture.metadata, {}))
    return copied, unpack


def film_tags(source: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The tags of a film, with `own` in the place of those of the same name."""
    names = {name.lower() for name in own}
    kept = {name: value for name, value in source.items() if name.lower() not in names and not _is_writers(name)}
    return {**kept, **own}


def _is_writers(name: str) -> bool:
    return name.lower() in _OF_THE_WRITER or name.lower().startswith(_STATISTICS)


def _tag_of(picture: Any) -> str:
    try:
        return str(picture.codec_context.codec_tag)
    except UnicodeDecodeError:  # not a word
        return ""
