"""Runs in shards, killed and continued, and runs that several processes share: all of them learn the same.

That every lesson learns the same in two processes, and after a kill, is held by `test_lessons`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from makers_prior import tiny_prior
from makers_train import ONE_THREAD, assert_near, assert_same_run, newest, tones

from clipsonic.errors import UsageError
from clipsonic.train.config import RunConfig
from clipsonic.train.engine.module import STATE_KEY
from clipsonic.train.engine.sharding import check_launched

COMMAND = """\
model: {dit: {patch: 4, width: 16, depth: 1, heads: 2}}
segment: {sample_rate_hz: 4000, n_fft: 256, hop_length: 64, num_mels: 16, f_max_hz: 2000.0, num_mel_frames: 32}
optim: {warmup_steps: 3, batch_size: 4}
run: {max_steps: 60, val_every: 20, ckpt_every: 7, preview_every: 25, log_every: 3}
"""

TWO = ["--run.devices", "2"]
FSDP = [*TWO, "--run.strategy", "fsdp"]


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the runs of this file have written."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "toy.yaml").write_text(COMMAND)
    corpus = tones(folder / "corpus", 43)

    def job(out: str, *words: str, ranks: int = 1, kill_at: tuple[int, ...] = ()) -> dict[str, Any]:
        config = ["--config", str(folder / "toy.yaml"), "--corpus", str(corpus), "--out", str(folder / out)]
        return {"words": [*config, *words], "ranks": ranks, "kill_at": kill_at}

    def prior(out: str, *words: str, ranks: int = 1) -> dict[str, Any]:
        often = ["--run.val_every", "6", "--run.log_every", "3", "--run.preview_every", "0", "--max-steps", "12"]
        return {"words": [*tiny_prior(folder), *often, *words, "--out", str(folder / out)], "ranks": ranks}

    jobs = {
        "one": job("one"),
        "sharded": job("sharded", *FSDP, ranks=2),
        "sharded_killed": job("sharded_killed", *FSDP, ranks=2, kill_at=(30,)),
        "changing": {**job("changing", *FSDP, ranks=2, kill_at=(21,)), "last": job("changing")},
        "prior": prior("prior"),
        "prior_sharded": prior("prior_sharded", *FSDP, ranks=2),
    }
    script = str(Path(__file__).with_name("forked_runs.py"))
    answer = subprocess.run(
        [sys.executable, script, json.dumps(list(jobs.values()))],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    statuses = dict(zip(jobs, json.loads(answer.stdout.splitlines()[-1]), strict=True))
    assert all(status == 0 for run in statuses.values() for status in run), (statuses, answer.stderr[-3000:])
    return {name: folder / name for name in jobs}


@pytest.mark.slow
def test_a_run_in_shards_killed_and_run_again_equals_the_unbroken_one_bit_for_bit(outs: dict[str, Path]) -> None:
    assert_same_run(outs["sharded"], outs["sharded_killed"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sharded", "changing"])
def test_two_processes_learn_what_one_learns_to_rounding(outs: dict[str, Path], name: str) -> None:
    assert_near(outs["one"], outs[name], 2e-5)


@pytest.mark.slow
def test_a_checkpoint_after_a_validation_holds_the_weights_and_not_their_average(outs: dict[str, Path]) -> None:
    # the prior's own weights lie in FSDP's root, whose gathered copy outlived the validation's averaged weights
    assert_near(outs["prior"], outs["prior_sharded"], 2e-5)


@pytest.mark.slow
def test_a_run_of_two_processes_starts_the_second_itself(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(COMMAND)
    corpus = tones(tmp_path / "corpus", 43)
    words = ["--config", str(tmp_path / "toy.yaml"), "--corpus", str(corpus), "--out", str(tmp_path / "out"), *TWO]
    answer = subprocess.run(
        [sys.executable, "-m", "clipsonic.cli", "train", *words, "--max-steps", "17", "--json"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert json.loads(answer.stdout)["steps"] == 17
    assert newest(tmp_path / "out")[STATE_KEY]["stream"]["position"] == 17 * 4
    assert (tmp_path / "out" / "model_index.json").exists()


def test_processes_of_a_launcher_that_the_config_does_not_ask_for_are_refused() -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "8", "WORLD_SIZE": "16"}
    check_launched(RunConfig(devices=8, nodes=2), torchrun)
    with pytest.raises(UsageError, match=r"run\.devices is 1 but torchrun started 8 .*: give --run\.devices 8"):
        check_launched(RunConfig(), torchrun)
    with pytest.raises(UsageError, match=r"run\.nodes is 1 but torchrun started 2 machines"):
        check_launched(RunConfig(devices=8), torchrun)
    slurm = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}
    check_launched(RunConfig(devices=4, nodes=2), slurm)
    with pytest.raises(UsageError, match=r"run\.nodes is 3 but Slurm started 2 machines: give --run\.nodes 2"):
        check_launched(RunConfig(devices=4, nodes=3), slurm)
    check_launched(RunConfig(), {**slurm, "SLURM_JOB_NAME": "bash"})
