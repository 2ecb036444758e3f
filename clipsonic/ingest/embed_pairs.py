"""Tars of pictures and captions to a folder of embeddings, in the layout of `clipsonic.clip.pair_embeds`.

Guarantee: one shard per tar, with bytes that depend on the tar and the CLIP only, whoever embeds it; a run that was
killed goes on at the tars that were not done; a sample that cannot be used is counted, an unreadable tar stops the run
when it is met. Price: each process loads the CLIP; one tar's embeddings lie in memory.

    OUT/embed/plan.json   what is embedded with what, from the first moment on } gone when
    OUT/embed/0.json      written when shard 0 is there whole                  } all is done
    OUT/index.json        comes last
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.pair_embeds import INDEX_NAME, STATE_FOLDER, embed_tar, is_embedded
from clipsonic.clip.pairs import find_tars
from clipsonic.errors import CorpusError, UsageError
from clipsonic.files import TEMPORARY_SUFFIX, held, write_json
from clipsonic.ingest.executors import embedder_of, embedding_with, num_cores
from clipsonic.ingest.run import load_embedder
from clipsonic.workers import in_workers

_Tar = tuple[int, str]
_Counts = dict[str, int]


def embed_pairs(
    sources: Sequence[str | Path],
    out: str | Path,
    clip: str = "tiny",
    *,
    workers: int | None = None,
    executor: str = "local",
    ray_address: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Embed all pairs of the sources into `out`, or go on with it; returns the index.

    Args:
        sources: tars, folders of them, or corpora whose records carry captions.
        clip: name of the CLIP, see `clipsonic.clip.open_clip.load_clip`.
        workers: processes of this machine; None = one per core, 1 = this one alone.
        executor: `local`, or `ray` for a cluster at `ray_address`, see `ray_executor`.
        device: where each process computes, as `clipsonic.options.device_of` takes it.

    Raises:
        UsageError: a missing source, or `out` holds something else.
        CorpusError: an unreadable tar, or not one usable pair.
        FingerprintError: a corpus was made with another CLIP.
        ClipsonicError: another run writes to `out`.
    """
    folder, tars = Path(out).absolute(), [tar.absolute() for tar in find_tars(sources)]
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers} is too small: give 1 or more")
    embedder = load_embedder(clip, "embed-pairs", device)
    assert isinstance(embedder, ClipEmbedder)
    named = [{"tar": tar.name, "bytes": tar.stat().st_size} for tar in tars]
    plan = {"fingerprint": embedder.fingerprint, "clip": clip, "width": embedder.width, "tars": named}
    if (index := _begun(folder, plan)) is not None:
        return index
    with held(folder / STATE_FOLDER / "lock", f"--out {folder}"):
        for half in folder.glob(f"*/.*{TEMPORARY_SUFFIX}"):
            half.unlink()
        write_json(folder / STATE_FOLDER / "plan.json", plan)
        todo = [(number, str(tar)) for number, tar in enumerate(tars) if not _state(folder, number).is_file()]
        processes = min(workers or num_cores(), max(1, len(todo)))
        with tqdm(
            total=len(tars),
            initial=len(tars) - len(todo),
            desc="embed-pairs",
            unit="tar",
            file=sys.stderr,
            mininterval=0.5,
        ) as bar:
            for _ in _embedded(todo, folder, clip, embedder, processes, executor, ray_address, device):
                bar.update()
        return _concluded(folder, plan)


def _begun(folder: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The index, where all is done."""
    index, begun = folder / INDEX_NAME, folder / STATE_FOLDER / "plan.json"
    there = begun if begun.is_file() else index
    if there.is_file():
        before = json.loads(there.read_text())
        if any(before.get(name) != plan[name] for name in ("fingerprint", "tars")):
            raise UsageError(f"--out {folder} was begun with another CLIP or from other tars: give a new folder")
        return None if there == begun else before
    if folder.is_file() or (is_embedded(folder) and not (folder / STATE_FOLDER).is_dir()):
        raise UsageError(f"--out {folder} holds something else already: give a new folder")
    return None


def _embedded(
    todo: list[_Tar],
    folder: Path,
    clip: str,
    embedder: ClipEmbedder,
    processes: int,
    executor: str,
    address: str | None,
    device: str,
) -> Iterator[Any]:
    if executor == "ray":
        from clipsonic.ingest.ray_executor import RayExecutor

        with RayExecutor(clip, address) as ray:
            yield from ray.each(_embed, todo, str(folder), device)
    else:
        yield from in_workers(
            partial(_embed, folder=str(folder), device=device, clip=embedder if processes == 1 else clip),
            todo,
            processes,
        )


def _embed(numbered: _Tar, folder: str, device: str, clip: Any) -> None:
    """One tar, wherever this is called; `clip` is a name, or an embedder."""
    (number, tar), embedder = numbered, embedder_of(clip, device)
    assert isinstance(embedder, ClipEmbedder)
    with embedding_with(embedder):
        pairs = embed_tar(Path(tar), embedder)
    pairs.write(Path(folder), number)
    write_json(_state(Path(folder), number), {"rows": len(pairs.kinds), "unusable": pairs.unusable})


def _state(folder: Path, number: int) -> Path:
    return folder / STATE_FOLDER / f"{number}.json"


def _concluded(folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    counts: list[_Counts] = [json.loads(_state(folder, number).read_text()) for number in range(len(plan["tars"]))]
    rows, unusable = (sum(count[name] for count in counts) for name in ("rows", "unusable"))
    if not rows:
        raise CorpusError(f"no usable pair among {unusable} samples: each needs a picture and a caption")
    index = {**plan, "rows": rows, "unusable": unusable, "shards": counts}
    write_json(folder / INDEX_NAME, index)
    shutil.rmtree(folder / STATE_FOLDER)
    return index
