"""Training batches: a function of (seed, step), without false negatives, and changed only a little."""

import numpy as np
import pytest
import torch

from clipsonic.clip.batches import BatchMaker, augmented, caption_bank
from clipsonic.clip.pairs import PairTable

NUM_PAIRS, NUM_KINDS = 120, 12


def made_table():
    rng = np.random.default_rng(0)
    kinds = [f"k{n % NUM_KINDS}" for n in range(NUM_PAIRS)]
    captions = [(f"caption {n}", f"a {kinds[n]}", "a thing") for n in range(NUM_PAIRS)]
    return PairTable(rng.integers(0, 256, (NUM_PAIRS, 16, 16, 3), dtype=np.uint8), captions, kinds, [{}] * NUM_PAIRS)


def numbered(texts):
    """A tokenizer that gives each caption its own number."""
    return torch.tensor([[sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 30011] for text in texts])


@pytest.fixture(scope="module")
def table():
    return made_table()


@pytest.fixture(scope="module")
def bank(table):
    return caption_bank(table.captions, numbered)


def test_equal_captions_are_tokenized_once(bank):
    assert len(bank.texts) == len(set(bank.texts)) == NUM_PAIRS + NUM_KINDS + 1
    assert bank.choices[0].tolist()[2] == bank.choices[1].tolist()[2]


def test_a_step_always_gives_the_same_batch_and_another_step_another(table, bank):
    first, again = BatchMaker(table, bank, 32, seed=1), BatchMaker(table, bank, 32, seed=1)
    again(5)
    for one, other in zip(first(3), again(3), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first(3)[1], first(4)[1])
    assert not torch.equal(first(3)[1], BatchMaker(table, bank, 32, seed=2)(3)[1])


def test_no_caption_stands_twice_in_a_batch(table, bank):
    make = BatchMaker(table, bank, 64, seed=0)
    for step in range(20):
        tokens = make(step)[1][:, 0].tolist()
        assert len(tokens) == len(set(tokens)) > 32


def test_every_second_batch_holds_a_few_kinds_only(table, bank):
    make = BatchMaker(table, bank, 48, seed=0, num_kinds=3)
    of_pair = {int(tokens[0]): n for n in range(NUM_PAIRS) for tokens in bank.tokens[bank.choices[n][:1]]}
    for step in range(6):
        kinds = {table.kinds[of_pair[token]] for token in make(step)[1][:, 0].tolist() if token in of_pair}
        assert (len(kinds) <= 3) == bool(step % 2)


def test_a_table_smaller_than_the_batch_gives_smaller_batches(table):
    few = table.take(range(5))
    pictures, tokens = BatchMaker(few, caption_bank(few.captions, numbered), 64, seed=0)(0)
    assert len(pictures) == len(tokens) <= 5


def test_augmentation_keeps_type_and_shape_and_leaves_the_input_alone():
    pictures = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    before = pictures.copy()
    changed = augmented(pictures, np.random.default_rng(1))
    assert (changed.dtype, changed.shape) == (np.uint8, pictures.shape)
    assert np.array_equal(pictures, before)
    assert not np.array_equal(changed, pictures)


def test_augmentation_never_mirrors():
    ramp = np.broadcast_to(np.arange(40, 200, 5, dtype=np.uint8)[None, None, :, None], (16, 32, 32, 3)).copy()
    changed = augmented(ramp, np.random.default_rng(0)).astype(int)
    assert np.all(np.diff(changed, axis=2) >= 0)
