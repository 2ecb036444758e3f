"""A published vocoder into a folder of ours: safetensors, one config that says its mel space, and a card.

Guarantee: what is written answers exactly as the source does, and loads without pickle. Price: the weights are held in
memory whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError


def convert_vocoder(source: str | Path, out: Path) -> dict[str, Any]:
    """Read a publisher's folder or hub id and write `out`; the result says what was mapped.

    Raises:
        UsageError: no such source, one that is ours already, or `out` is the source.
        CheckpointError: damaged, of an unknown kind, or with other weights than its config says.
    """
    from clipsonic.audio.load import find_vocoder, load_vocoder
    from clipsonic.audio.published import PublishedVocoder
    from clipsonic.audio.spaces import describe, name_of_space

    folder = find_vocoder(source)
    if folder.resolve() == out.resolve():
        raise UsageError(f"--out {out} is the source itself: give another folder")
    vocoder = load_vocoder(folder)
    if not isinstance(vocoder, PublishedVocoder):
        raise UsageError(
            f"vocoder {source} was made by clipsonic train --config vocoder and needs no conversion: use it as it is"
        )
    vocoder.save_pretrained(out)
    facts, origin = vocoder.facts, vocoder.facts.provenance
    num_written = len(vocoder.network.state_dict())
    return {
        "message": f"{facts.family} vocoder of {describe(facts.spec)}\n"
        f"{origin.num_read} tensors read from {origin.weights_file}: {num_written} written, "
        f"{origin.num_weight_norms} weight norms resolved, {origin.num_compared} compared with the mel space\n"
        f"written to {out}: clipsonic generate --vocoder {out} ...",
        "out": str(out),
        "family": facts.family,
        "mel_space": name_of_space(facts.spec),
        "mel": facts.spec.to_dict(),
        "num_read": origin.num_read,
        "num_written": num_written,
        "num_weight_norms": origin.num_weight_norms,
        "num_compared": origin.num_compared,
    }
