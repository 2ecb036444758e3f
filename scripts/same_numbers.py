#!/usr/bin/env python
"""Do two commits learn the same, bit for bit? Trains three short runs with each and compares digests of all they leave.

    python scripts/same_numbers.py 22ab821 HEAD --out digests       about 5 minutes on one core

Each commit is checked out beside the other and trains on one small corpus, on the CPU with one thread. Compared are the
SHA-256 of every weight, averaged weight and optimiser state in the last checkpoint, by name, and of every saved weight.
Prints a table; exit status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ("--config", "tiny", "--config", "long", "--config", "adapter", "--init", "tiny")
RUNS = {
    "tiny": ("--config", "tiny", "--max-steps", "40"),
    "adapter": (*BUNDLED, "--max-steps", "10"),
    "fewstep": (*BUNDLED, "--config", "fewstep", "--max-steps", "10"),
}
OFTEN = ("--run.val_every", "0", "--run.preview_every", "0", "--optim.warmup_steps", "3")
PREFIX = re.compile(r"^((lesson|adapted|sound)\.)+")
"""What a commit may call the module around the network."""

Digests = dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--num-videos", type=int, default=48)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--out", type=Path, help="keep the digests here, a JSON file for each commit")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="same-numbers-") as temporary:
        folder = Path(temporary)
        trees = {side: checked_out(folder / side, commit) for side, commit in (("old", args.old), ("new", args.new))}
        try:
            corpus = rendered(trees["old"], folder, args.num_videos)
            found = {side: trained(tree, corpus, folder / f"{side}-runs", args.runs) for side, tree in trees.items()}
        finally:
            for tree in trees.values():
                git("worktree", "remove", "--force", str(tree))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        for side, commit in (("old", args.old), ("new", args.new)):
            told = {"commit": git("rev-parse", commit), "torch": torch.__version__, "digests": found[side]}
            (args.out / f"{told['commit'][:7]}.json").write_text(json.dumps(told, indent=1) + "\n")
    lines, same = compared(found["old"], found["new"])
    print("\n".join(lines))
    return 0 if same else 1


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout.strip()


def checked_out(folder: Path, commit: str) -> Path:
    git("worktree", "add", "--quiet", "--detach", str(folder), commit)
    return folder


def clipsonic(tree: Path, *words: str) -> None:
    """Run this tree's command; what it says goes to standard error."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "clipsonic.cli", *words]
    subprocess.run(command, check=True, cwd=tree, env=environment, stdout=sys.stderr)


def rendered(tree: Path, folder: Path, num_videos: int) -> Path:
    videos, corpus = folder / "videos", folder / "corpus"
    clipsonic(tree, "soundstage", "--out", str(videos), "--num-videos", str(num_videos), "--seed", "1")
    clipsonic(tree, "ingest", str(videos), "--out", str(corpus), "--min-seconds", "4.096")
    return corpus


def trained(tree: Path, corpus: Path, folder: Path, runs: list[str]) -> dict[str, Digests]:
    for name in runs:
        clipsonic(tree, "train", *RUNS[name], *OFTEN, "--corpus", str(corpus), "--out", str(folder / name))
    return {name: digests(folder / name) for name in runs}


def digests(run: Path) -> Digests:
    """SHA-256 by what it is of."""
    checkpoint: dict[str, Any] = torch.load(max((run / "checkpoints").glob("step-*.ckpt")), weights_only=True)
    tensors = {f"weight {PREFIX.sub('', name)}": value for name, value in checkpoint["state_dict"].items()}
    averaged = checkpoint["clipsonic"]["ema"]["shadow_params"]
    tensors |= {f"average {number}": value for number, value in enumerate(averaged)}
    for number, state in checkpoint["optimizer_states"][0]["state"].items():
        tensors |= {f"optimiser {number} {name}": value for name, value in state.items() if isinstance(value, Tensor)}
    for path in sorted(run.rglob("*.safetensors")):
        saved = load_file(path)
        tensors |= {f"saved {path.relative_to(run)} {name}": value for name, value in saved.items()}
    return {name: digest(value) for name, value in tensors.items()}


def digest(tensor: Tensor) -> str:
    plain = tensor.detach().contiguous()
    told = f"{plain.dtype} {tuple(plain.shape)}".encode()
    return hashlib.sha256(told + plain.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def compared(old: dict[str, Digests], new: dict[str, Digests]) -> tuple[list[str], bool]:
    """A table with a row for each sort of thing in each run and what differs below it; and whether nothing does."""
    lines, differing = ["| run | what | compared | equal | digest of all |", "|---|---|---|---|---|"], []
    for run in old:
        for sort in ("weight", "average", "optimiser", "saved"):
            names = sorted(name for name in old[run].keys() | new[run].keys() if name.startswith(f"{sort} "))
            unequal = [name for name in names if old[run].get(name) != new[run].get(name)]
            whole = hashlib.sha256("".join(new[run].get(name, "") for name in names).encode()).hexdigest()[:16]
            lines.append(f"| {run} | {sort} | {len(names)} | {len(names) - len(unequal)} | {whole} |")
            differing += [f"{run}: {name}{_where(name, old[run], new[run])}" for name in unequal]
    return [*lines, *([""] if differing else []), *differing], not differing


def _where(name: str, old: Digests, new: Digests) -> str:
    return " is only in the old" if name not in new else " is only in the new" if name not in old else " differs"


if __name__ == "__main__":
    sys.exit(main())
