"""The lesson `clip`: its loss is CLIP's, over all processes; it learns what captions say; its card says what is so."""

import json
import multiprocessing
import socket
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from makers_clip import RECIPE, write_pairs, write_recipe
from open_clip import ClipLoss

from clipsonic.clip import open_clip as door
from clipsonic.clip.embedder import CARD_FILE
from clipsonic.errors import CheckpointError, CorpusError, UsageError
from clipsonic.train.command import load_config
from clipsonic.train.config import Sources
from clipsonic.train.engine.draws import Draws
from clipsonic.train.lessons.clip import contrastive, course
from clipsonic.train.run import train


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "train.tar", 400, seed=1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe") / "toy.json")


def told(recipe=None, batch_size=16, max_steps=2, lr=1e-3, **optim):
    config = load_config("clip")
    optim = replace(config.optim, batch_size=batch_size, lr=lr, **optim)
    run = replace(config.run, max_steps=max_steps, val_every=0, ckpt_every=0, preview_every=0)
    return replace(config, optim=optim, run=run, clip=replace(config.clip, arch=recipe and str(recipe)))


def course_of(pairs, config, init=None, val_pairs=()):
    return course(config, Sources(pairs=(str(pairs),), val_pairs=tuple(map(str, val_pairs))), init, None)


@pytest.fixture
def made(pairs, recipe):
    return course_of(pairs, told(recipe))


def loss_of(lesson, batch, rank=0, world_size=1):
    return lesson.loss(batch, Draws(torch.Generator(), len(batch["keys"]), rank, world_size)).per_item


def without_repeats(batch):
    """The rows whose captions come for the first time."""
    rows = np.sort(np.unique(batch["spoken"].numpy(), return_index=True)[1])
    return {name: batch[name][rows] for name in ("pictures", "tokens", "spoken")} | {"keys": rows.tolist()}


def embedded(lesson, batch):
    pixels = lesson.embedder.normalized(batch["pictures"]).to(memory_format=torch.channels_last)
    context = RECIPE["model_cfg"]["text_cfg"]["context_length"]
    tokens = torch.nn.functional.pad(batch["tokens"], (0, context - batch["tokens"].shape[1]))
    return lesson.learner.encode_image(pixels, normalize=True), lesson.learner.encode_text(tokens, normalize=True)


def test_without_repeats_the_mean_of_the_loss_is_open_clips(made):
    batch = without_repeats(next(iter(made.stream)))
    assert 8 < len(batch["keys"]) <= 16
    expected = ClipLoss()(*embedded(made.lesson, batch), made.lesson.learner.logit_scale.exp())
    assert loss_of(made.lesson, batch).mean().item() == pytest.approx(expected.item(), rel=3e-6)


def test_equal_captions_are_no_negatives_of_each_other(made):
    batch = next(batch for batch in made.stream if len(set(batch["spoken"].tolist())) < 15)
    image, text = (rows.detach().double().numpy() for rows in embedded(made.lesson, batch))
    logits = made.lesson.learner.logit_scale.exp().item() * image @ text.T
    same = batch["spoken"].numpy()[:, None] == batch["spoken"].numpy()
    counted = ~same | np.eye(len(same), dtype=bool)
    shares = [np.log((np.exp(values) * counted).sum(1)) - np.diag(values) for values in (logits, logits.T)]
    np.testing.assert_allclose(loss_of(made.lesson, batch).detach(), np.mean(shares, axis=0), atol=2e-5)


def test_a_pair_that_stands_alone_costs_nothing_and_equal_others_cost_the_logarithm_of_their_number():
    logits, own = torch.zeros(3, 3), torch.arange(3)
    assert contrastive(logits, logits, own).tolist() == pytest.approx([np.log(3)] * 3)
    assert contrastive(logits[:1, :1], logits[:1, :1], own[:1]).tolist() == [0.0]


def gradient_of_two(lesson, batch, rank, port, answers):
    torch.set_num_threads(1)  # a fork has none of its parent's other threads, and would wait for them
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mine = {name: batch[name][rank::2] for name in ("pictures", "tokens", "spoken", "keys")}
    loss_of(lesson, mine, rank, 2).mean().backward()
    for weight in lesson.learner.parameters():
        torch.distributed.all_reduce(weight.grad)
    if rank == 0:
        answers.put([(weight.grad / 2).numpy() for weight in lesson.learner.parameters()])
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_the_mean_gradient_of_two_processes_is_that_of_one(made):
    batch = next(batch for batch in made.stream if len(set(batch["spoken"].tolist())) < 15)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    forked = multiprocessing.get_context("fork")
    answers = forked.Queue()
    ranks = [forked.Process(target=gradient_of_two, args=(made.lesson, batch, rank, port, answers)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    try:
        of_two = answers.get(timeout=240)
    finally:
        for process in ranks:
            process.join(60)
            process.kill()
    loss_of(made.lesson, batch).mean().backward()
    largest = max(float(weight.grad.abs().max()) for weight in made.lesson.learner.parameters())
    for (name, weight), other in zip(made.lesson.learner.named_parameters(), of_two, strict=True):
        np.testing.assert_allclose(weight.grad, other, rtol=0, atol=2e-4 * largest, err_msg=name)  # 1.5e-5 measured


def test_computing_activations_again_gives_the_same_gradient(made, pairs, recipe):
    config = told(recipe)
    again = course_of(pairs, replace(config, model=replace(config.model, checkpoint_blocks=True)))
    batch = next(iter(made.stream))
    for lesson in (made.lesson, again.lesson):
        loss_of(lesson, batch).mean().backward()
    for one, other in zip(made.lesson.learner.parameters(), again.lesson.learner.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_the_logit_scale_is_clamped_where_clip_clamps_it(made):
    with torch.no_grad():
        made.lesson.learner.logit_scale.fill_(9.0)
    made.lesson.after_step()
    assert made.lesson.learner.logit_scale.exp().item() == pytest.approx(100.0)


def test_gains_biases_and_the_logit_scale_do_not_decay(made):
    decayed, others = made.lesson.weights()
    assert {weight.ndim >= 2 for weight in decayed} == {True}
    assert {weight.ndim >= 2 for weight in others} == {False}
    assert len(decayed) + len(others) == len(list(made.lesson.learner.parameters()))
    assert any(weight is made.lesson.learner.logit_scale for weight in others)


def test_the_global_random_state_is_left_alone(pairs, recipe):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    made = course_of(pairs, told(recipe))
    loss_of(made.lesson, next(iter(made.stream)))
    assert torch.equal(torch.rand(2), expected)


def test_pairs_that_are_held_out_are_never_learned_from(made):
    held = set(made.lesson.held.captions)
    assert len(made.lesson.held) == 20
    assert len(made.lesson.stream.rows) == 380
    keys = {key for batch in islice(made.stream, 60) for key in batch["keys"]}
    rows = {int(key) for key in keys}
    assert rows <= set(made.lesson.stream.rows.tolist())
    left_out = set(range(400)) - set(made.lesson.stream.rows.tolist())
    assert held == {made.lesson.stream.catalogue.read(row).captions for row in left_out}


def test_held_out_pairs_are_judged_by_in_batches_of_about_equal_size(pairs, recipe, tmp_path):
    held = write_pairs(tmp_path / "held.tar", 21, seed=2, damaged=(3,))
    made = course_of(pairs, told(recipe), val_pairs=[held])
    assert [len(batch["keys"]) for batch in made.held_out] == [10, 10]
    assert len(made.lesson.stream.rows) == 400
    assert made.notes == ["400 pairs to learn from, 20 to judge by, 1 unusable"]


def test_each_part_of_an_accumulated_step_is_contrasted_alone_and_a_note_says_so(pairs, recipe):
    assert any("contrasted by itself alone" in note for note in course_of(pairs, told(recipe, accumulate=4)).notes)


def test_what_is_shown_are_held_out_pictures_with_the_captions_they_are_given(made):
    made.lesson.eval()
    shown = list(made.lesson.show(None))
    assert len(shown) == 8
    spoken = {captions[0] for captions in made.lesson.held.captions}
    for one in shown:
        assert one.picture.shape == (32, 32, 3)
        given, true = one.text.split("\n\nIts own caption: ")
        assert {given.rpartition(" (")[0], true} <= spoken


def test_the_figures_of_the_card_are_those_of_the_saved_weights(pairs, recipe, tmp_path):
    result = train(told(recipe), Sources(pairs=(str(pairs),)), tmp_path / "clip")
    saved = door.load_clip(tmp_path / "clip")
    assert saved.fingerprint == result["fingerprint"] == door.load_clip(tmp_path / "clip").fingerprint
    lesson = course_of(pairs, told(recipe)).lesson
    lesson.embedder = saved
    figures = lesson.figures(None)
    card = (tmp_path / "clip" / CARD_FILE).read_text()
    assert set(figures) < set(result)
    for name, value in figures.items():
        assert f"| {name} | {value:.3f} |" in card
        assert result[name] == value
    assert "2 steps of 16 pairs" in card
    assert json.loads((tmp_path / "clip" / "training.json").read_text())["damaged_pictures"] == 0


def test_a_clip_that_is_trained_on_begins_with_its_weights_and_gets_a_name_of_its_own(pairs, recipe, tmp_path):
    source = Sources(pairs=(str(pairs),))
    first = train(told(recipe), source, tmp_path / "a")
    second = train(told(lr=1e-9), source, tmp_path / "b", init=str(tmp_path / "a"))
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
    with pytest.raises((UsageError, CheckpointError), match=r"is not a CLIP that `clipsonic train .*wrote|is neither"):
        course_of(pairs, told(), name)


def test_what_cannot_be_learned_from_gets_one_sentence(pairs, recipe, tmp_path):
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    few = write_pairs(tmp_path / "few.tar", 3, seed=1)
    for place, config, init, error, words in [
        (tmp_path / "none.tar", told(recipe), None, UsageError, "do not exist"),
        (pairs, told(tmp_path / "none.json"), None, UsageError, "cannot be read"),
        (tmp_path / "empty.tar", told(recipe), None, CorpusError, "no usable pair"),
        (few, told(recipe), None, UsageError, "3 pairs are too few"),
        (pairs, told(recipe, batch_size=1), None, UsageError, "must be at least 2"),
        (pairs, told(recipe), "tiny", UsageError, "leave out --clip.arch"),
    ]:
        with pytest.raises(error, match=words):
            course_of(place, config, init)
    with pytest.raises(UsageError, match="has no --pairs"):
        course(told(recipe), Sources(), None, None)


@pytest.mark.slow
def test_a_trained_clip_names_held_out_pictures_and_its_size_is_read_by_a_probe(pairs, recipe, tmp_path):
    held_out = write_pairs(tmp_path / "held" / "out.tar", 160, seed=2)
    sources = Sources(pairs=(str(pairs),), val_pairs=(str(held_out),))
    result = train(told(recipe, batch_size=48, max_steps=600, lr=2e-3), sources, tmp_path / "clip")
    assert result["own_caption_accuracy"] > 0.6  # chance 0.125 for 7 other kinds; 0.99 measured
    assert result["kind_accuracy"] > 0.7  # chance 0.125
    assert result["probe_r2_size"] > 0.3
