"""A tiny untrained pipeline and corpora of rendered scenes, with their laws or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsonic.audio.vocoder import GriffinLim
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.models.dit import DiT1D
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.seeding import numpy_rng
from clipsonic.shards.record import Record
from clipsonic.shards.writer import CorpusIndex, write_facts, write_shard
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.manifest import manifest_entry, write_manifest
from clipsonic.soundstage.scene import Scene, draw_scene
from clipsonic.soundstage.synth import synthesize
from clipsonic.specs import CorpusSpec, MelSpec, SegmentSpec

RATE_HZ, WIDTH, FINGERPRINT = 16000, 16, "test-clip/000000000000"
SECONDS = 1.28
CORPUS = CorpusSpec(RATE_HZ, seconds=2.56, min_seconds=1.28)


def make_pipeline() -> ClipSonicPipeline:
    mel = MelSpec()
    spec = SegmentSpec(mel, mel.num_mel_frames(round(SECONDS * RATE_HZ)), WIDTH, FINGERPRINT)
    torch.manual_seed(0)
    denoiser = DiT1D(
        num_mel_frames=spec.num_mel_frames, width=32, depth=1, heads=2, embed_width=WIDTH, segment_seconds=spec.seconds
    )
    made = ClipSonicPipeline(denoiser, make_scheduler("flow"), spec, [-6.0] * 64, [2.0] * 64, num_inference_steps=2)
    made.vocoder = GriffinLim(mel, num_iterations=2)
    return made


def make_corpus(folder: Path, scenes: list[Scene], fingerprint: str = FINGERPRINT) -> Path:
    """Records as ingest makes them, but with vectors drawn by kind in place of pictures."""
    folder.mkdir(parents=True)
    records = [one for place, scene in enumerate(scenes) for one in _records_of(scene, place)]
    info = write_shard(folder / "shard-000000.tar", records)
    write_facts(folder, ({**record.facts, "key": record.key, "shard": info["name"]} for record in records))
    CorpusIndex(CORPUS, fingerprint, "test", WIDTH, [info]).save(folder)
    return folder


def _records_of(scene: Scene, place: int) -> list[Record]:
    wave = synthesize(scene, RATE_HZ)
    rng, records = numpy_rng(1, "frames", scene.kind), []
    for part in range(int(scene.duration_s / CORPUS.seconds)):
        start = round(part * CORPUS.seconds * RATE_HZ)
        piece = wave[start : start + CORPUS.num_samples()]
        times_s = list(CORPUS.frame_times_s(CORPUS.seconds))
        facts = {
            "source": f"videos/{place:06d}.mp4", "start_s": part * CORPUS.seconds, "seconds": CORPUS.seconds,
            "valid_seconds": CORPUS.seconds, "frame_times_s": times_s, "sample_rate": RATE_HZ,
            "rms_db": -20.0, "silence_share": 0.0,
        }  # fmt: skip
        frames = rng.normal(size=(len(times_s), WIDTH)).astype(np.float16)
        records.append(Record(f"v{place:03d}-{part}", piece, frames, facts))
    return records


def make_scenes(count: int) -> list[Scene]:
    names = list(KINDS)
    return [draw_scene(9, place, split="heldout", kind=names[place % len(names)]) for place in range(count)]


def with_manifest(folder: Path, scenes: list[Scene]) -> None:
    (folder / "videos").mkdir(parents=True)
    entries = [manifest_entry(f"{place:06d}.mp4", scene, "heldout") for place, scene in enumerate(scenes)]
    write_manifest(folder / "videos", entries)


def rows_of(numbers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row["figures"] for row in numbers["rows"]}
