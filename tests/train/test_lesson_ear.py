"""The contrast of sounds and frames, and what an ear learns."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from lessons_at_work import LESSONS
from torch.nn.functional import normalize

from clipsonic.cli import main
from clipsonic.ear.tower import Ear
from clipsonic.shards.writer import corpus_facts
from clipsonic.train.lessons.contrast import Weighing, sounds_and_frames
from clipsonic.train.lessons.ear import ranks

PLAIN = Weighing(temperature=0.5, twins=2.0, hardness=0.0, doubt=0.0)


def units(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_with_one_frame_each_the_contrast_is_clips_cross_entropy() -> None:
    sounds, frames = units(5, 8), units(5, 1, 8, seed=1)
    loss, _ = sounds_and_frames(sounds, frames, torch.arange(5), PLAIN)
    logits, own = sounds @ frames[:, 0].T / 0.5, torch.arange(5)
    both = [torch.nn.functional.cross_entropy(side, own, reduction="none") for side in (logits, logits.T)]
    torch.testing.assert_close(loss, (both[0] + both[1]) / 2)


def test_a_records_other_frames_are_never_wrong_for_it_and_neither_are_those_of_twins() -> None:
    sounds, frames = units(3, 8), units(3, 2, 8, seed=1)
    frames[2] = frames[0]
    alone, _ = sounds_and_frames(sounds[:2], frames[:2], torch.arange(1), PLAIN)
    beside, _ = sounds_and_frames(sounds, frames, torch.arange(1), PLAIN._replace(twins=0.99))
    blind, _ = sounds_and_frames(sounds, frames, torch.arange(1), PLAIN)
    torch.testing.assert_close(beside, alone)
    assert blind > alone
    single, first = sounds_and_frames(sounds[:1], frames[:1], torch.arange(1), PLAIN)
    assert (float(single), float(first)) == (0.0, 1.0)


def test_hard_ones_count_more_and_a_doubted_pair_pulls_less() -> None:
    sounds, frames = units(4, 8), normalize(units(4, 1, 8, seed=1) + 1.0, dim=-1)
    own = torch.arange(4)
    plain, hard = (sounds_and_frames(sounds, frames, own, PLAIN._replace(hardness=value))[0] for value in (0.0, 2.0))
    assert (hard > plain).all()
    doubt = 0.5
    pulls = []
    for value in (0.0, doubt):
        asked = sounds.clone().requires_grad_(True)
        loss, _ = sounds_and_frames(asked, frames, own, PLAIN._replace(doubt=value))
        loss.sum().backward()
        pulls.append(asked.grad.norm())  # type: ignore[union-attr]
    assert pulls[1] < pulls[0]
    near, _ = sounds_and_frames(sounds, frames, own, PLAIN._replace(doubt=1e-4))
    torch.testing.assert_close(near, plain, rtol=1e-3, atol=1e-3)


def test_ranks_count_what_is_nearer_than_ones_own() -> None:
    frames = torch.eye(3)
    sounds = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.5, 0.0], [0.6, 0.7, 0.5]])
    assert ranks(sounds, frames).tolist() == [0, 1, 2]


def test_an_ear_learns_which_tone_goes_with_which_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*LESSONS["ear"](tmp_path), "--optim.lr", "3e-3", "--optim.batch_size", "16", "--run.val_every", "0"]
    words += ["--ear.channels", "[8,16]", "--ear.hidden", "32", "--data.val_share", "0"]
    quiet = ["--run.ckpt_every", "0", "--run.preview_every", "0"]
    assert main(["train", *words, *quiet, "--max-steps", "150", "--out", str(tmp_path / "ear")]) == 0
    card = (tmp_path / "ear" / "card.md").read_text()
    share = float(card.split("held-out sounds ")[1].split("%")[0]) / 100
    chance = 1 / 16
    assert share > 8 * chance, card
    assert Ear.load(tmp_path / "ear").space == "toy/1"
    assert not math.isnan(share)


def test_a_batch_of_one_and_an_ear_of_another_kind_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*LESSONS["ear"](tmp_path), "--run.preview_every", "0", "--run.val_every", "0", "--max-steps", "1"]
    assert main(["train", *words, "--out", str(tmp_path / "one"), "--optim.batch_size", "1"]) == 2
    assert "optim.batch_size 1 must be at least 2" in capsys.readouterr().err
    assert main(["train", *words, "--out", str(tmp_path / "ear")]) == 0
    other = [*words, "--ear.hidden", "9", "--init", str(tmp_path / "ear"), "--out", str(tmp_path / "other")]
    assert main(["train", *other]) != 0
    assert "another kind of ear" in capsys.readouterr().err


def test_an_ear_of_a_half_says_so_and_goes_on_with_that_half_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*LESSONS["ear"](tmp_path), "--run.preview_every", "0", "--run.val_every", "0", "--max-steps", "1"]
    assert main(["train", *words, "--out", str(tmp_path / "ear"), "--data.half", "1"]) == 0
    assert "of the other half of the videos" in "".join(capsys.readouterr())
    assert Ear.load(tmp_path / "ear").learned_half == 1
    again = ["train", *words, "--init", str(tmp_path / "ear"), "--out", str(tmp_path / "other"), "--data.half", "0"]
    assert main(again) != 0
    assert "another kind of ear" in capsys.readouterr().err
    assert main(["train", *words, "--out", str(tmp_path / "third"), "--data.half", "2"]) == 2
    assert "data.half 2 must be 0 or 1" in capsys.readouterr().err


def test_two_ears_of_a_half_each_hear_their_corpus_and_the_next_run_filters_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*LESSONS["ear"](tmp_path), "--run.preview_every", "0", "--run.val_every", "0", "--max-steps", "1"]
    for half in ("0", "1"):
        assert main(["train", *words, "--out", str(tmp_path / half), "--data.half", half]) == 0
    ears = [word for half in ("0", "1") for word in ("--ear", str(tmp_path / half))]
    assert main(["hear", str(tmp_path / "corpus"), *ears, "--device", "cpu"]) == 0
    left_out = sum(item["belongs"] <= 0.3 for item in corpus_facts(tmp_path / "corpus"))
    assert 0 < left_out < 43
    capsys.readouterr()
    assert main(["train", *words, "--out", str(tmp_path / "third"), "--data.filter", "belongs > 0.3"]) == 0
    assert f"left out records: {left_out} filtered out" in "".join(capsys.readouterr())
