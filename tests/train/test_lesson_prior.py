"""The lesson prior: its equation, a made gap closed, spaces checked, a folder with a card of its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import makers_pairs as makers
import numpy as np
import pytest
import torch

from clipsonic.clip.open_clip import load_clip
from clipsonic.errors import CorpusError, FingerprintError, SpecError, UsageError
from clipsonic.prior.adapter import TextPrior
from clipsonic.train.command import build_parser, config_of
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Course
from clipsonic.train.lessons.prior import PriorLesson, course
from clipsonic.train.run import train


def config(*words: str) -> TrainConfig:
    few = ["--prior.depth", "1", "--prior.heads", "2", "--prior.timesteps", "10", "--optim.batch_size", "8"]
    return config_of(build_parser("clipsonic train").parse_args(["--config", "prior", *few, *words, "--out", "-"]))


def begun(*pairs: Path, val: Path | None = None, words: tuple[str, ...] = (), init: Path | None = None) -> Course:
    sources = Sources(pairs=tuple(map(str, pairs)), val_pairs=() if val is None else (str(val),))
    return course(config(*words), sources, init if init is None else str(init), None)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return makers.write_embeds(tmp_path / "pairs", makers.rotated_pairs(100, 1))


def test_the_loss_is_the_squared_error_of_the_scaled_picture_at_the_drawn_times(pairs: Path) -> None:
    lesson = begun(pairs).lesson
    assert isinstance(lesson, PriorLesson)
    batch = {"texts": torch.randn(5, 16), "images": torch.randn(5, 16)}

    def draws() -> Draws:
        return Draws(torch.Generator().manual_seed(3), 5)

    loss_B = lesson.loss(batch, draws()).per_item
    again = draws()
    t_B = again.of(lambda count, generator: torch.randint(10, (count,), generator=generator))
    noise = again.normal(16)
    kept_B1 = lesson.prior.core.diffusion.noise_scheduler.alphas_cumprod[t_B, None]  # type: ignore[attr-defined]
    true = 4.0 * batch["images"]  # sqrt(16)
    said = lesson.learner(kept_B1.sqrt() * true + (1 - kept_B1).sqrt() * noise, t_B, text_embed=batch["texts"])
    assert torch.allclose(loss_B, (said - true).square().mean(dim=1), atol=1e-5)  # float32, values of about 10


def test_every_weight_that_learns_gets_a_gradient_and_the_rotary_embedding_stays(pairs: Path) -> None:
    begin = begun(pairs)
    batch = next(iter(begin.stream))
    begin.lesson.loss(batch, Draws(torch.Generator(), len(batch["keys"]))).per_item.mean().backward()
    learning = {name for name, weight in begin.lesson.learner.named_parameters() if weight.grad is not None}
    others = {name for name, weight in begin.lesson.learner.named_parameters() if not weight.requires_grad}
    assert learning | others == {name for name, _ in begin.lesson.learner.named_parameters()}
    assert all("rotary" in name for name in others)


def test_equal_seeds_begin_with_equal_weights_and_leave_the_global_random_state_alone(pairs: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    one, same, other = begun(pairs), begun(pairs), begun(pairs, words=("--run.seed", "1"))
    assert torch.equal(torch.rand(2), expected)
    weights = [list(each.lesson.learner.state_dict().values()) for each in (one, same, other)]
    assert all(map(torch.equal, weights[0], weights[1]))
    assert not all(map(torch.equal, weights[0], weights[2]))


def test_pairs_to_judge_by_leave_all_others_to_training(pairs: Path, tmp_path: Path) -> None:
    val = makers.write_embeds(tmp_path / "val", makers.rotated_pairs(30, 2))
    assert begun(pairs, val=val).summary == {"pairs": 100, "used": 100, "batch_size": 8, "validation": 30}
    assert begun(pairs).summary["used"] == 95
    told = begun(pairs, words=("--data.val_share", "0", "--optim.batch_size", "128"))
    assert (told.summary["used"], told.summary["batch_size"]) == (100, 100)
    assert [note.split(":")[0] for note in told.notes] == [
        "no pair is held out (data.val_share 0)",
        "batch size is 100 instead of 128",
    ]


def test_spaces_are_known_checked_and_named(pairs: Path, tmp_path: Path) -> None:
    assert begun(pairs).lesson.identity()["fingerprint"] == "toy/abc"
    other = makers.write_embeds(tmp_path / "other", makers.rotated_pairs(9, 3), fingerprint="toy/other")
    with pytest.raises(FingerprintError, match="live in CLIP space toy/other, those before them in toy/abc"):
        begun(pairs, other)
    silent = makers.write_embeds(tmp_path / "silent", makers.rotated_pairs(9, 3), fingerprint=None)
    with pytest.raises(FingerprintError, match="has vectors of width 16, CLIP tiny of 128"):
        begun(silent)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match=r"holds no \.tar"):
        begun(tmp_path / "none")
    with pytest.raises(UsageError, match="a prior learns from pairs: give --pairs"):
        begun()
    (pairs / "embed").mkdir()
    with pytest.raises(CorpusError, match="is unfinished: run the same clipsonic embed-pairs again"):
        begun(pairs)


def test_tars_and_corpora_with_captions_are_embedded_for_the_run(tmp_path: Path) -> None:
    clip = load_clip("tiny")
    frames = np.random.default_rng(0).normal(size=(4, clip.width)).astype(np.float16)
    corpus = makers.write_corpus(tmp_path / "corpus", clip.fingerprint, frames)
    found = begun(corpus, makers.write_tar(tmp_path / "tars" / "a.tar", 4), words=("--data.val_share", "0"))
    batches = [batch for batch, _ in found.stream.rows.one_of_each(range(16), 16)]  # type: ignore[attr-defined]
    expected = makers.unit(frames.astype(np.float32))
    assert np.abs(batches[0]["images"][:4].numpy() - expected).max() < 1e-6  # the corpus's own frames
    assert (batches[0]["texts"][:4].numpy() @ clip.embed_texts(["a bell"]).T).min() > 0.9999  # float16
    assert batches[0]["keys"][4] == "tars/a:0"
    assert [note.split(" was ")[0] for note in found.notes[:2]] == [str(corpus), str(tmp_path / "tars" / "a.tar")]
    (corpus / "index.json").write_text(json.dumps({"fingerprint": "other/123"}))
    with pytest.raises(FingerprintError, match=f"other/123, not {clip.fingerprint}"):
        begun(corpus)


def test_a_prior_is_trained_on_and_one_of_another_shape_or_space_is_not(pairs: Path, tmp_path: Path) -> None:
    first = begun(pairs, words=("--run.seed", "1"))
    assert isinstance(first.lesson, PriorLesson)
    first.lesson.prior.save(tmp_path / "first")
    second = begun(pairs, init=tmp_path / "first").lesson
    stored = TextPrior.from_folder(tmp_path / "first").core.network.state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in second.learner.state_dict().items())
    assert any(weight.requires_grad for weight in second.learner.parameters())
    with pytest.raises(SpecError, match=r"depth=1.*not.*depth=2"):
        begun(pairs, init=tmp_path / "first", words=("--prior.depth", "2"))
    other = makers.write_embeds(tmp_path / "other", makers.rotated_pairs(9, 3), fingerprint="toy/other")
    with pytest.raises(FingerprintError, match="toy/abc"):
        begun(other, init=tmp_path / "first")


def trained(pairs: Path, out: Path, *words: str, val: Path | None = None) -> dict[str, Any]:
    sources = Sources(pairs=(str(pairs),), val_pairs=() if val is None else (str(val),))
    return train(config(*words), sources, out)


def test_a_run_leaves_a_folder_that_loads_with_a_card_of_its_figures(pairs: Path, tmp_path: Path) -> None:
    result = trained(pairs, tmp_path / "out", "--max-steps", "3", "--prior.sample_steps", "3", "--run.val_every", "2")
    prior = TextPrior.from_folder(tmp_path / "out")
    assert prior.fingerprint == result["fingerprint"] == "toy/abc"
    assert f"| prior_cosine | {result['prior_cosine']:.3f} |" in str(prior.card)
    assert (prior.sample_steps, prior.means is None) == (3, False)
    assert {"zero_shot_cosine", "mean_shift_kind_accuracy", "true_picture_kind_accuracy"} <= result.keys()
    logged = [json.loads(line) for line in (tmp_path / "out" / "logs" / "history.jsonl").read_text().splitlines()]
    assert any("prior_cosine" in entry for entry in logged)


@pytest.mark.slow
def test_a_trained_prior_closes_a_gap_that_zero_shot_cannot(tmp_path: Path) -> None:
    pairs = makers.write_embeds(tmp_path / "pairs", makers.rotated_pairs(1000, 1))
    val = makers.write_embeds(tmp_path / "val", makers.rotated_pairs(60, 2))
    words = (
        "--max-steps 500 --optim.batch_size 64 --optim.lr 2e-3 --ema.decay 0.99 --prior.depth 2 --prior.timesteps 20"
    )
    figures = trained(pairs, tmp_path / "out", *words.split(), val=val)
    assert figures["prior_cosine"] > 0.7 > 0.4 > figures["zero_shot_cosine"]
    assert figures["prior_kind_accuracy"] > 0.8 > figures["zero_shot_kind_accuracy"]
