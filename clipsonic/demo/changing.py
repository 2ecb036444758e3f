"""A given sound changed by the model, and the given one beside it: the edits of the page and the service.

Guarantee: made by the studio's thread, with `ClipSonicPipeline.edit`, at the given rate, in its channels and its depth,
so what is kept comes back sample for sample; no loudness is changed. Price: that of the edit; two pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clipsonic.demo.folder import DemoFolder
from clipsonic.demo.looker import Heard
from clipsonic.demo.made import Made, Result
from clipsonic.demo.wish import EditWish


def changed(
    pipeline: Any, folder: DemoFolder, model: str, wish: EditWish, guidance: float | None, heard: Heard, name: str
) -> Result:
    """What becomes of this sound; called by the studio's thread.

    Args:
        model: what the pipeline is called.
        guidance: None for the edit's own.
        name: what the sound is called.

    Raises:
        UsageError: what `ClipSonicPipeline.edit` refuses.
    """
    from clipsonic.generate.known import notice_for
    from clipsonic.generate.write import tags_for

    output = pipeline.edit(
        heard.wave_CT,
        heard.rate_hz,
        text=wish.text,
        negative_text=wish.negative_text,
        closer=wish.closer if wish.text or wish.negative_text else "auto",
        remake=() if wish.from_s is None or wish.to_s is None else ((wish.from_s, wish.to_s),),
        extend_s=wish.extend_s or 0.0,
        strength=wish.strength,
        from_text=wish.from_text,
        num_inference_steps=wish.steps,
        guidance_scale=guidance,
        num_sounds=wish.num_sounds,
        seed=wish.seed,
    )
    tags = tags_for(model, wish.text or name, wish.seed)
    sounds = tuple(_written(pipeline, folder, wave_CT, heard, tags) for wave_CT in np.asarray(output.audios))
    facts = {
        "seconds": output.seconds,
        "sample_rate_hz": output.sample_rate_hz,
        "seed": wish.seed,
        "steps": wish.steps or pipeline.config["num_inference_steps"],
        "guidance": guidance,
        "closer": output.closer,
        "kept": round(float(output.kept), 4),
        "model": model,
    }
    words = notice_for(pipeline, "text", wish.text, output.embeds[0]) if wish.text else None
    notes = [*output.notes, *([words.removeprefix("note: ")] if words else [])]
    return Result(sounds, facts, "; ".join(notes) or None, _written(pipeline, folder, heard.wave_CT, heard, {}))


def _written(pipeline: Any, folder: DemoFolder, wave_CT: np.ndarray, heard: Heard, tags: dict[str, str]) -> Made:
    """A sound and its picture in the demo's folder."""
    from clipsonic.audio.exact import write_exact
    from clipsonic.audio.wave import loudness_lufs

    path = folder.new(".wav")
    write_exact(path, wave_CT, heard.rate_hz, heard.depth, tags)
    mono_T = wave_CT.mean(axis=0)
    made = Made(path, folder.new(".png"), round(loudness_lufs(mono_T, heard.rate_hz), 1))
    _draw(pipeline, made.spectrogram, mono_T, heard.rate_hz)
    return made


def _draw(pipeline: Any, path: Path, mono_T: np.ndarray, rate_hz: int) -> None:
    import torch

    from clipsonic.audio.mel import LogMel
    from clipsonic.audio.picture import save_spectrogram
    from clipsonic.audio.wave import resample

    mel = pipeline.segment.mel
    wave_T = torch.from_numpy(resample(mono_T, rate_hz, mel.sample_rate_hz))
    save_spectrogram(path, LogMel(mel)(wave_T[None])[0].numpy(), mel)
