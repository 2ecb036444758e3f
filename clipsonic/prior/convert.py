"""Makes a prior folder of ours of a published prior's files: safetensors, `prior_config.json`, `card.md`.

Guarantee: every weight is taken as it is or the conversion is refused with the keys named; the folder says whose prior
it is, how it is sampled and which CLIP space it lives in. Price: the CLIP is loaded once, for the name of its space.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from clipsonic.errors import UsageError
from clipsonic.prior.adapter import CONFIG_FILE, KINDS, WEIGHTS_FILE, TextPrior, is_ours, read_facts
from clipsonic.prior.laion_files import find_laion, read_laion
from clipsonic.prior.published import Published
from clipsonic.prior.unclip_files import find_unclip, read_unclip

_FINGERPRINT = re.compile(r"[^/:\s]+/[0-9a-f]{12}")
_SAME = {"karlo", "kandinsky"}  # one arithmetic and one layout
_LICENCES = {
    "laion": "MIT (laion/DALLE2-PyTorch)",
    "karlo": "CreativeML OpenRAIL-M (kakaobrain/karlo-v1-alpha)",
    "kandinsky": "Apache-2.0 (kandinsky-community)",
    "eclipse": "see the publisher's page (ECLIPSE-Community)",
    "ours": "as its card says",
}


def convert_prior(source: Path, out: Path, *, kind: str = "auto", clip: str | None = None) -> dict[str, Any]:
    """Convert the prior in `source` (a file or a folder) to a folder of ours.

    Args:
        kind: whose it is, or `auto` to tell by the files.
        clip: its CLIP as `load_clip` takes it, or the name of its space (ARCHITECTURE/HASH); default: the publisher's.

    Returns:
        `message`, `out`, `kind`, `fingerprint`, `num_keys`, `num_parameters`, `notes`.

    Raises:
        UsageError: no prior there, of another kind than said, of another width than the CLIP, or `out` is `source`.
        CheckpointError: files that are missing, damaged, no plain weights, or do not fit each other.
    """
    if kind not in ("auto", *KINDS):
        raise UsageError(f"kind {kind} is unknown: choose one of auto, {', '.join(KINDS)}")
    published = _read(source, kind)
    if out.resolve() in (source.resolve(), published.where.parent.resolve()):
        raise UsageError(f"{out} is where the prior lies: give another folder to write to")
    with torch.random.fork_rng(devices=[]):
        prior = TextPrior(published.shape, "", kind=published.kind, sample_steps=published.sample_steps)
    prior.load_state(published.state, published.where)
    prior.fingerprint = _space_of(clip or published.clip, prior)
    if published.kind == "ours":
        prior.means = read_facts(source).means
    prior.card = _card(prior, published)
    prior.save(out)
    return _facts(prior, published, out)


def _read(source: Path, kind: str) -> Published:
    """The prior in the source, of the kind that was said or found."""
    if is_ours(source):
        found = _read_ours(source)
    elif (folder := find_unclip(source)) is not None:
        found = read_unclip(folder)
    elif (weights := find_laion(source)) is not None:
        found = read_laion(weights)
    else:
        raise UsageError(
            f"{source} holds no prior that is known: give LAION's .pth beside its {CONFIG_FILE}, or a folder of Karlo, "
            "Kandinsky or ECLIPSE with config.json"
        )
    if kind in ("auto", found.kind):
        return found
    if {kind, found.kind} <= _SAME:
        return Published(kind, *(getattr(found, name) for name in Published.__dataclass_fields__ if name != "kind"))
    raise UsageError(f"{source} is a prior of kind {found.kind}, not {kind}: say {found.kind}, or leave it open")


def _read_ours(source: Path) -> Published:
    from clipsonic.weights import read_weights

    facts = read_facts(source)
    state = read_weights(source / WEIGHTS_FILE)
    return Published(
        facts.kind, facts.shape, state, source / WEIGHTS_FILE, len(state), [], facts.sample_steps, facts.fingerprint
    )


def _space_of(clip: str | None, prior: TextPrior) -> str:
    """The fingerprint of the prior's CLIP."""
    if clip is None:
        raise UsageError("the publisher does not say which CLIP this prior belongs to: give --clip ARCH:WEIGHTS")
    if _FINGERPRINT.fullmatch(clip) and not Path(clip).exists():
        return clip
    from clipsonic.clip.open_clip import load_clip

    loaded = load_clip(clip)
    if loaded.width != prior.core.width:
        raise UsageError(
            f"CLIP {clip} has embeddings of {loaded.width} numbers, the prior of {prior.core.width}: give its own CLIP"
        )
    return loaded.fingerprint


def _facts(prior: TextPrior, published: Published, out: Path) -> dict[str, Any]:
    parameters = sum(value.numel() for value in prior.core.network.state_dict().values())
    said = "".join(f"; {note}" for note in published.notes)
    message = (
        f"{prior.kind} prior, {published.num_keys} keys, {parameters / 1e6:.1f} M numbers{said}\n"
        f"lives in {prior.fingerprint}; written to {out}"
    )
    return {
        "message": message, "out": str(out), "kind": prior.kind, "fingerprint": prior.fingerprint,
        "num_keys": published.num_keys, "num_parameters": parameters, "notes": published.notes,
    }  # fmt: skip


def _card(prior: TextPrior, published: Published) -> str:
    shape = "\n".join(f"- {name}: {value}" for name, value in sorted(vars(prior.shape).items()))
    notes = "\n".join(f"- {note}" for note in published.notes)
    return (
        f"# A published prior ({prior.kind})\n\n"
        f"From CLIP text embeddings to CLIP image embeddings, in the space `{prior.fingerprint}`.\n"
        f"Converted from `{published.where.name}` ({published.num_keys} keys), every weight as it came.\n"
        f"Licence of the weights: {_LICENCES[prior.kind]}.\n\n{notes}\n\n## Shape\n\n{shape}\n"
    )
