"""What a finished run leaves: the pipeline folder, `training.json` in it, and one line for the user.

Guarantee: the pipeline holds the averaged weights of the last step; both are written whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipsonic.files import write_json, write_whole
from clipsonic.pipeline.card import with_training
from clipsonic.pipeline.folder import CARD_FILE, read_card
from clipsonic.prior.bank import EmbedBank
from clipsonic.train.adapters import AdapterModule, save_adapted
from clipsonic.train.module import SoundModule
from clipsonic.train.network import make_denoiser

REPORT_NAME = "training.json"


def save_pipeline(module: SoundModule, clip_name: str, bank: EmbedBank, out: Path) -> None:
    """Write the averaged weights, which the module gathered at the end, and the bank as a pipeline folder."""
    if isinstance(module, AdapterModule):
        return save_adapted(module, bank, out)
    config = module.config
    denoiser = make_denoiser(config.model, module.objective.prediction_type, module.segment, config.run.seed)
    weights = {name: weight.cpu() for name, weight in zip(module.average.names, module.result, strict=True)}
    denoiser.load_state_dict({**denoiser.state_dict(), **weights}, strict=True)
    pipeline = module.pipeline_of(denoiser.eval(), clip_name)
    pipeline.set_bank(bank)
    return pipeline.save_pretrained(out)


def write_report(
    out: Path,
    module: SoundModule,
    steps: int,
    findings: dict[str, Any],
    corpus: dict[str, Any],
    init: str | None,
) -> dict[str, Any]:
    """Write `training.json`, and its gist into the card; the result is what the command answers.

    Args:
        findings: losses, the best checkpoint and warnings.
        init: the pipeline that was trained on.
    """
    shown = {
        "steps": steps,
        "minutes": round(module.clock.elapsed_s / 60, 3),
        "samples_per_s": round(module.clock.samples_per_s, 2),
        "data_wait_share": round(module.clock.waited_share, 4),
        **findings,
        "corpus": corpus,
    }
    details = {
        "parameters": sum(weight.numel() for weight in module.denoiser.parameters()),
        "init": init,
        "segment": module.segment.to_dict(),
        "config": module.config.to_dict(),
    }
    write_json(out / REPORT_NAME, {**shown, **details})
    if (card := read_card(out)) is not None:
        write_whole(out / CARD_FILE, with_training(card, {**shown, "init": init}))
    return {"message": _message(out, shown), **shown, "pipeline": str(out)}


def _message(out: Path, shown: dict[str, Any]) -> str:
    named = {"loss": shown["train_loss"], "validation loss": shown["val_loss"]}
    losses = "".join(f", {name} {value:.4f}" for name, value in named.items() if value is not None)
    speed = f"{shown['steps']} steps in {shown['minutes']:.1f} minutes, {shown['samples_per_s']:.1f} samples/s"
    return f'{out}: {speed}{losses}; next: clipsonic generate --model {out} --text "..." --out sound.wav'
