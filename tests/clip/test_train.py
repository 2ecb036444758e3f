"""Training a CLIP: it learns what captions say, resumes as if never broken, and stops with one sentence."""

import argparse
import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from clipsonic.clip import open_clip as door
from clipsonic.clip.batches import BatchMaker, caption_bank
from clipsonic.clip.embedder import CARD_FILE
from clipsonic.clip.pairs import load_table
from clipsonic.clip.train import ClipTrainer, TrainSettings
from clipsonic.clip.train_command import build_parser, run
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.errors import CheckpointError, CorpusError, TrainingError, UsageError
from clipsonic.resumable import CHECKPOINT_FILE, learning_rate_factor

COLORS = {"red": (210, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210), "yellow": (230, 210, 40)}
SHAPES = ("disc", "box")
RECIPE = {
    "architecture": "toy-clip",
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 32},
        "text_cfg": {"context_length": 12, "vocab_size": 0, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"size": 32, "resize_mode": "squash"},
}


def toy_picture(color, shape, size, rng):
    image = Image.new("RGB", (40, 30), tuple(int(value) for value in rng.integers(90, 160, 3)))
    x, y, radius = *rng.integers(10, 22, 2), 4 + 8 * size
    box = (int(x - radius), int(y - radius), int(x + radius), int(y + radius))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "disc" else draw.rectangle)(box, fill=COLORS[color])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_pairs(path, count, seed):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for n in range(count):
            color, shape, size = str(rng.choice(list(COLORS))), str(rng.choice(SHAPES)), float(rng.random())
            word = "large" if size > 0.5 else "small"
            texts = [
                f"a {word} {color} {shape}",
                f"there is a {color} {shape} {n % 7}",
                f"picture of a {color} {shape}",
            ]
            facts = {"captions": texts, "kind": f"{color} {shape}", "size": size}
            parts = {"png": toy_picture(color, shape, size, rng), "json": json.dumps(facts).encode()}
            for extension, data in parts.items():
                member = tarfile.TarInfo(f"{n:05d}.{extension}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "train.tar", 400, seed=1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "toy.json"
    path.write_text(json.dumps(RECIPE))
    return path


def trainer_for(pairs, seed=0, **settings):
    table = load_table([pairs], door.resizer(RECIPE)).take(range(60))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        clip = door.new_clip(RECIPE, packed(short_merges(["a red disc"], door.published_merges(), 60)))
    batches = BatchMaker(table, caption_bank(table.captions, clip.tokenize), 16, seed)
    return ClipTrainer(
        clip, door.clip_loss(), batches, TrainSettings(num_steps=6, seed=seed, **settings), {"pairs": "p"}
    )


def arguments(*words):
    return build_parser("clipsonic train-clip").parse_args([str(word) for word in words])


def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(pairs, tmp_path):
    unbroken = trainer_for(pairs)
    unbroken.run(tmp_path / "whole")
    broken = trainer_for(pairs)
    for _ in range(3):
        broken._train_step()
    broken.save_checkpoint(tmp_path)
    resumed = trainer_for(pairs)
    assert resumed.resume(tmp_path)
    assert resumed.step == 3
    resumed.run(tmp_path)
    for (name, one), other in zip(
        unbroken.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_a_checkpoint_of_other_options_or_a_damaged_one_is_refused(pairs, tmp_path):
    trainer_for(pairs).save_checkpoint(tmp_path)
    with pytest.raises(UsageError, match=r"learning_rate 0\.001, not 0\.5"):
        trainer_for(pairs, learning_rate=0.5).resume(tmp_path)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="--resume never"):
        trainer_for(pairs).resume(tmp_path)


def test_a_loss_that_is_not_finite_stops_before_the_optimiser_step(pairs, tmp_path):
    trainer = trainer_for(pairs)
    with torch.no_grad():
        trainer.model.text_projection.fill_(float("nan"))
    before = trainer.model.visual.conv1.weight.clone()
    with pytest.raises(TrainingError, match="not finite at step 0"):
        trainer.run(tmp_path)
    assert torch.equal(trainer.model.visual.conv1.weight, before)


def test_training_leaves_the_global_random_state_alone(pairs):
    trainer = trainer_for(pairs)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    trainer._train_step()
    assert torch.equal(torch.rand(2), expected)


def test_the_logit_scale_is_clamped_where_clip_clamps_it(pairs):
    trainer = trainer_for(pairs)
    with torch.no_grad():
        trainer.model.logit_scale.fill_(9.0)
    trainer._train_step()
    assert trainer.model.logit_scale.exp().item() == pytest.approx(100.0)


def test_the_rate_rises_then_falls_to_zero():
    factors = [learning_rate_factor(share / 100, 0.1) for share in range(101)]
    assert factors[0] == 0.0
    assert factors[10] == 1.0
    assert factors[100] == pytest.approx(0.0, abs=1e-12)
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)


@pytest.mark.parametrize("words", [("--steps", 0), ("--batch-size", 1), ("--lr", 0)])
def test_impossible_numbers_are_wrong_usage(pairs, tmp_path, words):
    with pytest.raises(UsageError, match="must be at least"):
        run(arguments("--pairs", pairs, "--out", tmp_path, *words))


def test_missing_pairs_and_a_missing_architecture_are_wrong_usage(pairs, tmp_path):
    with pytest.raises(UsageError, match="do not exist"):
        run(arguments("--pairs", tmp_path / "none.tar", "--out", tmp_path / "o"))
    with pytest.raises(UsageError, match="cannot be read"):
        run(arguments("--pairs", pairs, "--out", tmp_path / "o", "--arch", tmp_path / "none.json"))
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    with pytest.raises(CorpusError, match="no usable pair"):
        run(arguments("--pairs", tmp_path / "empty.tar", "--out", tmp_path / "o"))


def test_a_clip_that_is_trained_on_begins_with_its_weights_and_gets_a_name_of_its_own(pairs, recipe, tmp_path):
    few = ("--pairs", pairs, "--batch-size", 16)
    first = run(arguments(*few, "--out", tmp_path / "a", "--arch", recipe, "--steps", 2))
    second = run(arguments(*few, "--out", tmp_path / "b", "--init", tmp_path / "a", "--steps", 1, "--lr", 1e-9))
    before, after = door.load_clip(tmp_path / "a"), door.load_clip(tmp_path / "b")
    assert before.merges == after.merges
    for name, weight in before.model.state_dict().items():
        if weight.is_floating_point() and "running" not in name:  # batch norm's averages move with every batch
            torch.testing.assert_close(after.model.state_dict()[name], weight, atol=1e-3, rtol=1e-3)  # float16
    assert second["fingerprint"] == after.fingerprint != first["fingerprint"]
    assert f"Trained from the weights of `{first['fingerprint']}`" in (tmp_path / "b" / CARD_FILE).read_text()


@pytest.mark.parametrize("name", ["ViT-B-32:openai", "folder"])
def test_a_clip_that_is_not_ours_is_not_trained_on(pairs, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, CheckpointError), match=r"is not a CLIP that train-clip wrote|is neither"):
        run(arguments("--pairs", pairs, "--out", tmp_path / "o", "--init", name))


def test_abbreviated_options_are_refused():
    with pytest.raises(SystemExit):
        build_parser("p").parse_args(["--pairs", "a", "--out", "b", "--step", "3"])
    assert isinstance(arguments("--pairs", "a", "--out", "b"), argparse.Namespace)


@pytest.mark.slow
def test_a_trained_clip_names_held_out_pictures_and_its_size_is_read_by_a_probe(pairs, recipe, tmp_path):
    held_out = write_pairs(tmp_path / "held" / "out.tar", 160, seed=2)
    out = tmp_path / "clip"
    options = ("--arch", recipe, "--steps", 600, "--batch-size", 48, "--lr", 2e-3)
    result = run(arguments("--pairs", pairs, "--val-pairs", held_out, "--out", out, *options))
    assert result["own_caption_accuracy"] > 0.6  # chance 0.125 for 7 other kinds; 0.99 measured with 800 steps
    assert result["kind_accuracy"] > 0.7  # chance 0.125
    assert result["probe_r2_size"] > 0.3
    clip = door.load_clip(out)
    assert clip.fingerprint == result["fingerprint"] == door.fingerprint_of(out)
    assert not (out / CHECKPOINT_FILE).exists()
    card = (out / CARD_FILE).read_text()
    assert f"{result['kind_accuracy']:.3f}" in card
    assert clip.fingerprint in card
