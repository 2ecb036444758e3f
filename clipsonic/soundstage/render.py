"""Scenes into video files: one by one, or a whole raw corpus by several processes.

Guarantee: a file is a pure function of (seed, index, split, kind, flaws, picture size) on the same library versions,
whatever the number of workers; every file is written whole, a rerun keeps what is there and renders the rest.
Price: about 0.1 s of one core for a video of 7 s at 160x120 and 15 fps.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clipsonic.errors import UsageError
from clipsonic.files import write_whole
from clipsonic.soundstage.draw import Painter
from clipsonic.soundstage.encode import encode_mp4
from clipsonic.soundstage.flaws import draw_flaw, flawed_bytes, flawed_scene, flawed_wave
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.manifest import MANIFEST_NAME, manifest_entry, write_manifest
from clipsonic.soundstage.scene import Scene, Split, draw_scene
from clipsonic.soundstage.synth import synthesize
from clipsonic.workers import in_workers

_WORLD_NAME = "soundstage.json"


@dataclass(frozen=True)
class World:
    """What decides every file of a rendered corpus.

    Args:
        seed: of the scenes and the flaws.
        split: of attribute combinations: `train`, `heldout` or `any`.
        kind: one kind only, or None for all.
        flaws: share of flawed files.
        width, height, fps: the picture.
    """

    seed: int
    split: Split = "train"
    kind: str | None = None
    flaws: float = 0.0
    width: int = 160
    height: int = 120
    fps: int = 15

    def __post_init__(self) -> None:
        if not 0.0 <= self.flaws <= 1.0:
            raise UsageError(f"flaws {self.flaws} is not a share: give a number from 0 to 1, such as 0.1")
        if self.split not in ("train", "heldout", "any"):
            raise UsageError(f"split {self.split!r} is unknown: choose train, heldout or any")
        if self.kind is not None and self.kind not in KINDS:
            raise UsageError(f"kind {self.kind!r} is unknown: choose one of {', '.join(KINDS)}")
        for name, value in (("width", self.width), ("height", self.height)):
            if not 32 <= value <= 3840 or value % 2:
                raise UsageError(f"{name} {value} is not possible: give an even number from 32 to 3840")
        if not 1 <= self.fps <= 120:
            raise UsageError(f"fps {self.fps} is not possible: give a whole number from 1 to 120")

    def scene(self, index: int) -> Scene:
        """The scene of file `index`, as it is filmed."""
        return flawed_scene(draw_scene(self.seed, index, split=self.split, kind=self.kind), self.flaw(index))

    def flaw(self, index: int) -> str | None:
        """The flaw of file `index`, or None."""
        return draw_flaw(self.seed, index, self.flaws)


def file_name(index: int) -> str:
    """The name of a rendered file; it says nothing about what is in it."""
    return f"scene-{index:06d}.mp4"


def render_video(scene: Scene, path: str | Path, *, width: int = 160, height: int = 120, fps: int = 15) -> None:
    """Render a scene into an MP4 file (H.264, mono 16 kHz AAC), written whole."""
    write_whole(Path(path), render_bytes(scene, width=width, height=height, fps=fps))


def render_bytes(scene: Scene, *, width: int = 160, height: int = 120, fps: int = 15, flaw: str | None = None) -> bytes:
    """The bytes of the scene's MP4 file, with a flaw of sight or sound if one is named."""
    return encode_mp4(
        _pictures(scene, width, height, fps, flaw == "still"), flawed_wave(synthesize(scene), flaw), fps=fps
    )


def render_corpus(
    out: str | Path,
    num_videos: int,
    seed: int,
    *,
    split: Split = "train",
    kind: str | None = None,
    workers: int = 0,
    flaws: float = 0.0,
    fps: int = 15,
    width: int = 160,
    height: int = 120,
) -> dict[str, Any]:
    """Render files 0 .. num_videos - 1 of a world into a folder, then its manifest.

    Args:
        workers: processes, 0 for one per core.
        flaws: share of flawed files.

    Returns:
        counts: videos, rendered (in this run), kept (from an earlier one), flawed; and the manifest's path.

    Raises:
        UsageError: an impossible option, or a folder that holds another world.
    """
    if num_videos < 1 or workers < 0:
        raise UsageError(
            f"num_videos {num_videos} must be at least 1 and workers {workers} at least 0: give such whole numbers"
        )
    world = World(seed, split, kind, flaws, width, height, fps)
    folder = Path(out)
    _settle(folder, world, num_videos)
    missing = [index for index in range(num_videos) if not (folder / file_name(index)).is_file()]
    for _ in tqdm(
        _rendered(world, folder, missing, workers or os.cpu_count() or 1),
        total=len(missing), desc="rendering", unit="video", file=sys.stderr, mininterval=0.5,
    ):  # fmt: skip
        pass
    entries = [
        manifest_entry(file_name(index), world.scene(index), split, world.flaw(index)) for index in range(num_videos)
    ]
    write_manifest(folder, entries)
    return {
        "videos": num_videos,
        "rendered": len(missing),
        "kept": num_videos - len(missing),
        "flawed": sum(entry["flaw"] is not None for entry in entries),
        "manifest": str(folder / MANIFEST_NAME),
    }


def _pictures(scene: Scene, width: int, height: int, fps: int, frozen: bool) -> Iterator[Any]:
    painter = Painter(scene, width, height)
    for number in range(max(1, round(scene.duration_s * fps))):
        yield painter.frame(0.0 if frozen else number / fps)


def _settle(folder: Path, world: World, num_videos: int) -> None:
    """Make the folder this world's, or refuse one that is another's."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: give a folder for --out")
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / _WORLD_NAME
    text = json.dumps(asdict(world), sort_keys=True) + "\n"
    if note.is_file() and note.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{folder} holds videos rendered with other options ({_WORLD_NAME}): repeat those or give another folder"
        )
    present = sorted(path.name for path in folder.glob("scene-*.mp4"))
    if present and not note.is_file():
        raise UsageError(f"{folder} holds {present[0]} but no {_WORLD_NAME}: give an empty folder")
    if present and present[-1] >= file_name(num_videos):
        raise UsageError(
            f"{folder} holds {present[-1]}, beyond --num-videos {num_videos}: ask for more or give another folder"
        )
    write_whole(note, text.encode())


def _rendered(world: World, folder: Path, indices: list[int], workers: int) -> Iterator[int]:
    """Render these files, in this process or in fresh ones, and report each index when it is done."""
    work = partial(_render_file, world=asdict(world), folder=str(folder))
    yield from in_workers(work, indices, 1 if len(indices) < 4 else workers)


def _render_file(index: int, world: dict[str, Any], folder: str) -> int:
    of = World(**world)
    flaw = of.flaw(index)
    if flaw == "not_media":
        data = flawed_bytes(b"", flaw, of.seed, index)
    else:
        picture = render_bytes(of.scene(index), width=of.width, height=of.height, fps=of.fps, flaw=flaw)
        data = flawed_bytes(picture, flaw, of.seed, index)
    write_whole(Path(folder) / file_name(index), data)
    return index
