"""Training a prior: pairs are embedded once, a made gap is closed, runs repeat, and spaces are checked."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from clipsonic.clip.open_clip import load_clip
from clipsonic.errors import FingerprintError, TrainingError, UsageError
from clipsonic.prior.adapter import PriorShape, TextPrior
from clipsonic.prior.closers import make_closer
from clipsonic.prior.embeds import EmbedPairs, embed_pairs
from clipsonic.prior.train import PriorTrainSettings, judge_closer, nearest_kind_accuracy, train_prior
from clipsonic.prior.train_command import build_parser, run

WIDTH = 16


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rotated_pairs(count, seed, noise=0.05):
    """A made gap: pictures are the captions turned by a fixed rotation, with a little noise; kinds are clusters."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0]
    centres = unit(np.random.default_rng(9).normal(size=(6, WIDTH)))
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 6, count)
    captions = unit(centres[kinds] + 0.15 * rng.normal(size=(count, WIDTH)))
    pictures = unit(captions @ rotation + noise * rng.normal(size=(count, WIDTH)))
    return EmbedPairs(pictures, captions, np.arange(count), np.array([f"k{kind}" for kind in kinds]))


def made_prior(num_timesteps=20):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return TextPrior(PriorShape(WIDTH, depth=2, heads=2, head_width=16, num_timesteps=num_timesteps), "toy/abc")


def write_tar(path, count, seed=0):
    rng = np.random.default_rng(seed)
    with tarfile.open(path, "w") as archive:
        for n in range(count):
            buffer = io.BytesIO()
            color = tuple(int(value) for value in rng.integers(0, 256, 3))
            Image.new("RGB", (40, 30), color).save(buffer, "PNG")
            facts = json.dumps({"captions": [f"picture {n}", "a colour", f"plain {n}", "fourth"], "kind": f"k{n % 2}"})
            for extension, data in (("png", buffer.getvalue()), ("json", facts.encode())):
                member = tarfile.TarInfo(f"{n}.{extension}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny")


def test_pairs_are_embedded_as_the_clip_embeds_them(clip, tmp_path):
    pairs = embed_pairs([write_tar(tmp_path / "a.tar", 4)], clip)
    assert pairs.pictures.shape == (4, clip.width)
    assert pairs.owners.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    expected = clip.embed_texts(["picture 2"])[0]
    assert np.abs(pairs.first_captions()[2] - expected).max() < 1e-5  # another batch size
    assert pairs.kinds.tolist() == ["k0", "k1", "k0", "k1"]


def test_a_cache_is_used_for_the_same_tars_and_no_others(clip, tmp_path, monkeypatch):
    tar, cache = write_tar(tmp_path / "a.tar", 3), tmp_path / "cache.npz"
    first = embed_pairs([tar], clip, cache)
    with monkeypatch.context() as patch:
        patch.setattr(type(clip), "embed_texts", lambda *arguments: pytest.fail("embedded again"))
        assert np.array_equal(embed_pairs([tar], clip, cache).captions, first.captions)
    other = write_tar(tmp_path / "b.tar", 2, seed=5)
    assert len(embed_pairs([other], clip, cache)) == 2
    cache.write_bytes(b"half a file")
    assert np.array_equal(embed_pairs([tar], clip, cache).captions, first.captions)


def test_a_corpus_of_another_clip_is_refused_with_both_names(clip, tmp_path):
    (tmp_path / "index.json").write_text(json.dumps({"fingerprint": "other/123"}))
    write_tar(tmp_path / "shard-000000.tar", 1)
    with pytest.raises(FingerprintError, match=f"other/123, not {clip.fingerprint}"):
        embed_pairs([tmp_path], clip)


def test_a_corpus_with_captions_gives_its_stored_frames(clip, tmp_path):
    (tmp_path / "index.json").write_text(json.dumps({"fingerprint": clip.fingerprint}))
    frames = unit(np.random.default_rng(0).normal(size=(4, clip.width)))
    buffer = io.BytesIO()
    np.save(buffer, frames.astype(np.float16))
    with tarfile.open(tmp_path / "shard-000000.tar", "w") as archive:
        for name, data in (
            ("0.frames.npy", buffer.getvalue()),
            ("0.txt", b"a bell"),
            ("1.frames.npy", buffer.getvalue()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    pairs = embed_pairs([tmp_path], clip)
    assert np.array_equal(pairs.pictures, frames.astype(np.float16).astype(np.float32))
    assert np.abs(pairs.captions - clip.embed_texts(["a bell"])).max() < 1e-6


def test_taking_rows_keeps_captions_with_their_pictures():
    pairs = EmbedPairs(
        np.eye(3), np.arange(10, dtype=float)[:, None], np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2]), np.array(list("abc"))
    )
    taken = pairs.take(np.array([2, 0]))
    assert taken.owners.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert taken.captions[:, 0].tolist() == [5, 6, 7, 8, 9, 0, 1, 2]
    assert taken.kinds.tolist() == ["c", "a"]


def test_equal_runs_give_equal_weights_and_leave_the_global_random_state_alone():
    settings = PriorTrainSettings(num_steps=4, batch_size=8)
    pairs = rotated_pairs(40, seed=1)
    first, second = made_prior(), made_prior()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    train_prior(first, pairs, settings)
    assert torch.equal(torch.rand(2), expected)
    train_prior(second, pairs, settings)
    for one, other in zip(*(prior.core.network.state_dict().values() for prior in (first, second)), strict=True):
        assert torch.equal(one, other)


def test_a_loss_that_is_not_finite_stops_the_run():
    pairs = rotated_pairs(8, seed=1)
    pairs.pictures[:] = np.nan
    with pytest.raises(TrainingError, match="step 0"):
        train_prior(made_prior(), pairs, PriorTrainSettings(num_steps=2, batch_size=4))


def test_true_pictures_name_their_kind_and_unknown_kinds_give_no_figure():
    known, val = rotated_pairs(300, seed=1), rotated_pairs(100, seed=2)
    assert nearest_kind_accuracy(val.pictures, known, val) > 0.95  # clusters overlap a little
    nameless = EmbedPairs(val.pictures, val.captions, val.owners, np.full(len(val), ""))
    assert nearest_kind_accuracy(val.pictures, known, nameless) is None


def test_impossible_numbers_are_wrong_usage(tmp_path):
    words = ["--pairs", str(write_tar(tmp_path / "a.tar", 2)), "--out", str(tmp_path / "o"), "--steps", "0"]
    with pytest.raises(UsageError, match="must all be positive"):
        run(build_parser("clipsonic train-prior").parse_args(words))


@pytest.mark.slow
def test_a_trained_prior_closes_a_gap_that_zero_shot_cannot():
    known, val = rotated_pairs(1000, seed=1), rotated_pairs(60, seed=2)
    prior = made_prior()
    train_prior(prior, known, PriorTrainSettings(num_steps=500, batch_size=64, learning_rate=2e-3, ema_decay=0.99))
    closed, open_gap = (judge_closer(make_closer(name, prior), known, val) for name in ("prior", "zero-shot"))
    assert closed["cosine"] > 0.7 > 0.4 > open_gap["cosine"]
    assert closed["kind_accuracy"] > 0.8 > open_gap["kind_accuracy"]


@pytest.mark.slow
def test_the_command_writes_a_folder_that_loads_with_a_card_of_its_figures(clip, tmp_path):
    words = [
        "--pairs",
        write_tar(tmp_path / "a.tar", 40),
        "--out",
        tmp_path / "prior",
        "--steps",
        3,
        "--timesteps",
        5,
        "--sample-steps",
        3,
    ]
    result = run(build_parser("clipsonic train-prior").parse_args([str(word) for word in words]))
    prior = TextPrior.from_folder(tmp_path / "prior")
    assert prior.fingerprint == clip.fingerprint == result["fingerprint"]
    assert f"{result['prior_cosine']:.3f}" in prior.card
    assert prior.sample_steps == 3
    assert sorted(path.name for path in (tmp_path / "prior").iterdir()) == [
        "card.md",
        "prior.safetensors",
        "prior_config.json",
    ]
