"""What the engine promises, of every lesson: the same checks for all of them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons_at_work import LESSONS
from makers_train import ONE_THREAD, assert_near, assert_same_learning, newest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clipsonic.cli import main
from clipsonic.train.engine.checkpoint_files import CheckpointFiles
from clipsonic.train.engine.logbook import read_history
from clipsonic.train.engine.module import STATE_KEY

STEPS, KILLED_AT = 15, {"one": [6], "two": [9]}
OFTEN = ["--run.val_every", "6", "--run.ckpt_every", "4", "--run.preview_every", "0", "--run.log_every", "3"]
TWO = ["--run.devices", "2"]
NAMES = list(LESSONS)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The words of each lesson, its data made."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in LESSONS.items()}


@pytest.fixture(scope="module", params=NAMES)
def outs(
    request: pytest.FixtureRequest, words: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Runs of a lesson in one and in two processes, unbroken and killed by SIGKILL and run again."""
    folder, script = tmp_path_factory.mktemp("runs"), str(Path(__file__).with_name("forked_runs.py"))
    common, started = [*words[request.param], "--max-steps", str(STEPS), *OFTEN], []
    for kind, more, ranks in (("one", [], 1), ("two", TWO, 2)):  # side by side, as there are two cores
        jobs = [
            {"words": [*common, *more, "--out", str(folder / f"{kind}{end}")], "ranks": ranks, "kill_at": kill_at}
            for end, kill_at in (("", []), ("_killed", KILLED_AT[kind]))
        ]
        command, pipe = [sys.executable, script, json.dumps(jobs)], subprocess.PIPE
        started.append(subprocess.Popen(command, env=ONE_THREAD, stdout=pipe, stderr=pipe, text=True))
    try:
        for process in started:
            out, err = process.communicate(timeout=580)
            assert process.returncode == 0, err[-3000:]
            assert not any(status for run in json.loads(out.splitlines()[-1]) for status in run), (out, err[-3000:])
    finally:
        for process in started:
            process.kill()
    return {"lesson": Path(request.param), **{path.name: path for path in folder.iterdir()}}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one", "two"])
def test_a_run_killed_and_run_again_equals_the_unbroken_one_bit_for_bit(outs: dict[str, Path], kind: str) -> None:
    assert_same_learning(outs[kind], outs[f"{kind}_killed"])


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_to_rounding(outs: dict[str, Path]) -> None:
    assert_near(outs["one"], outs["two"], TOLERANCE.get(outs["lesson"].name, 2e-5))


TOLERANCE: dict[str, float] = {}
"""Where rounding grows faster than in the others, with the error that was measured."""


@pytest.fixture(scope="module")
def told(words: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a short run of each lesson answers, with everything that it may write."""
    answers = {}
    for name in NAMES:
        out = tmp_path_factory.mktemp(f"short_{name}") / "out"
        often = ["--run.val_every", "2", "--run.ckpt_every", "3", "--run.preview_every", "4", "--run.log_every", "1"]
        assert main(["train", *words[name], *often, "--max-steps", "8", "--out", str(out)]) == 0
        answers[name] = {"out": out, **json.loads((out / "training.json").read_text())}
    return answers


@pytest.mark.parametrize("name", NAMES)
def test_the_log_has_losses_figures_and_something_to_look_at_or_to_listen_to(
    told: dict[str, dict[str, Any]], name: str
) -> None:
    board = EventAccumulator(str(told[name]["out"] / "logs"), size_guidance={"images": 0, "audio": 0, "tensors": 0})
    board.Reload()
    tags = board.Tags()
    assert {"loss", "lr", "grad_norm", "val_loss", "samples_per_s"} <= set(tags["scalars"])
    assert tags["images"] or tags["audio"] or tags["tensors"]
    losses = [entry for entry in read_history(told[name]["out"] / "logs") if "loss" in entry]
    assert [entry["step"] for entry in losses] == list(range(1, 9))


@pytest.mark.parametrize("name", NAMES)
def test_the_last_checkpoints_and_the_best_by_held_out_loss_stay(told: dict[str, dict[str, Any]], name: str) -> None:
    out, report = told[name]["out"], told[name]
    losses = {entry["step"]: entry["val_loss"] for entry in read_history(out / "logs") if "val_loss" in entry}
    best = min(losses, key=lambda step: (losses[step], step))
    assert (report["best"]["step"], report["best"]["val_loss"]) == (best, losses[best])
    assert torch.load(out / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == best
    assert newest(out)["global_step"] == report["steps"] == 8
    assert len(list((out / "checkpoints").glob("step-*.ckpt"))) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_counts_and_measures_and_writes_nothing(
    words: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["train", *words[name], "--out", str(tmp_path / "out"), "--dry-run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["parameters"] > 0
    assert answer["hours"] == pytest.approx(answer["max_steps"] / answer["steps_per_hour"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_in_minutes_ends_the_run_whole_and_a_finished_one_goes_on_to_a_later_limit(
    words: dict[str, list[str]], tmp_path: Path, name: str
) -> None:
    start = ["train", *words[name], "--run.val_every", "0", "--run.ckpt_every", "0", "--run.preview_every", "0"]
    assert main([*start, "--max-steps", "100000", "--max-minutes", "0.01", "--out", str(tmp_path)]) == 0
    first = json.loads((tmp_path / "training.json").read_text())["steps"]
    assert 1 <= first < 100000
    assert newest(tmp_path)["global_step"] == first
    assert main([*start, "--max-steps", str(first + 2), "--out", str(tmp_path)]) == 0
    assert newest(tmp_path)["global_step"] == first + 2


@pytest.mark.parametrize("name", NAMES)
def test_averaged_weights_follow_the_decay_and_the_gradient_is_clipped(
    words: dict[str, list[str]], tmp_path: Path, name: str
) -> None:
    start = ["train", *words[name], *OFTEN, "--max-steps", "3"]
    for decay, clip in (("0", "1e9"), ("0.9", "1e9"), ("0", "1e-9")):
        how = ["--ema.decay", decay, "--optim.grad_clip", clip, "--out", str(tmp_path / f"{decay}-{clip}")]
        assert main([*start, *how, "--optim.weight_decay", "0"]) == 0
    plain, averaged, clipped = (newest(tmp_path / place) for place in ("0-1e9", "0.9-1e9", "0-1e-9"))
    present, slow = (run[STATE_KEY]["ema"]["shadow_params"] for run in (plain, averaged))
    assert all(any(torch.equal(one, weight) for weight in plain["state_dict"].values()) for one in present)
    assert any(not torch.equal(one, other) for one, other in zip(present, slow, strict=True))
    moments = clipped["optimizer_states"][0]["state"].values()
    # AdamW divides by the gradient's size: what a clip leaves is seen in its first moment, a mean of gradients
    assert max(float(state["exp_avg"].abs().max()) for state in moments) <= 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_stops_the_run_in_a_sentence_with_the_last_checkpoint_whole(
    words: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    whole = CheckpointFiles.save_checkpoint
    most, allowed = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(self: CheckpointFiles, checkpoint: dict[str, Any], path: Path, storage_options: Any = None) -> None:
        small = 500 if checkpoint["global_step"] == 4 else most  # bytes; the system refuses to write more
        resource.setrlimit(resource.RLIMIT_FSIZE, (small, allowed))
        try:
            whole(self, checkpoint, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, allowed))

    monkeypatch.setattr(CheckpointFiles, "save_checkpoint", save)
    start = ["train", *words[name], "--run.val_every", "0", "--run.ckpt_every", "2", "--run.preview_every", "0"]
    assert main([*start, "--max-steps", "6", "--out", str(tmp_path)]) == 1
    assert "step-00000004.ckpt could not be written (File too large)" in capsys.readouterr().err
    assert newest(tmp_path)["global_step"] == 2


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sound"])
def test_a_checkpoint_of_another_lesson_is_refused(
    words: dict[str, list[str]], told: dict[str, dict[str, Any]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], name: str,
) -> None:  # fmt: skip
    start = str(max((told["sound"]["out"] / "checkpoints").glob("step-*.ckpt")))
    assert main(["train", *words[name], "--out", str(tmp_path), "--resume", start]) != 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert "is of another" in said, said
