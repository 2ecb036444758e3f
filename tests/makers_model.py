"""Makers of a tiny untrained pipeline folder, and of one prompt of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from clipsonic.clip.open_clip import load_clip, new_clip, published_merges
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.diffusion.objective import make_scheduler
from clipsonic.models.dit import DiT1D
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.specs import MelSpec, SegmentSpec

WIDTH = 16
SECONDS = 0.512
CLIP_RECIPE: dict[str, Any] = {
    "architecture": "toy-clip",
    "model_cfg": {
        "embed_dim": WIDTH,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 32},
        "text_cfg": {"context_length": 16, "vocab_size": 0, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"size": 32, "resize_mode": "squash", "interpolation": "bicubic"},
}


def make_model(folder: Path) -> Path:
    """A pipeline folder with weights that nothing taught."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        new_clip(CLIP_RECIPE, packed(short_merges(["a dog barking"], published_merges(), 200))).save(folder / "clip")
        clip = load_clip(folder / "clip")
        denoiser = DiT1D(
            num_mels=32, num_mel_frames=32, patch=4, width=32, depth=1, heads=2, embed_width=WIDTH,
            segment_seconds=SECONDS,
        )  # fmt: skip
        with torch.no_grad():
            for weight in denoiser.parameters():
                weight.add_(torch.randn(weight.shape) * 0.1)
    segment = SegmentSpec(MelSpec(n_fft=512, hop_length=256, num_mels=32), 32, WIDTH, clip.fingerprint)
    pipeline = ClipSonicPipeline(
        denoiser, make_scheduler("flow"), segment, [-4.0] * 32, [2.0] * 32, str(folder / "clip"), 2
    )
    pipeline.save_pretrained(folder / "P")
    return folder / "P"


def make_prompts(folder: Path) -> dict[str, str]:
    """A text, and the names of a picture's, a silent video's and an embedding's file."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)).save(folder / "dog.jpg")
    np.save(folder / "e.npy", np.eye(WIDTH, dtype=np.float32)[0])
    with av.open(str(folder / "street.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(20):
            image = np.full((48, 64, 3), 10 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    names = {"image": "dog.jpg", "video": "street.mp4", "embeds": "e.npy"}
    return {"text": "a dog barking", **{kind: str(folder / name) for kind, name in names.items()}}
