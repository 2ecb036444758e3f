"""The stream of pictures: a function of (seed, position), for any number of threads, ranks and bytes of memory."""

from itertools import islice

import numpy as np
import pytest
import torch
from makers_clip import toy_clip, write_pairs

from clipsonic.clip.catalogue import read_catalogue
from clipsonic.errors import CorpusError
from clipsonic.train.streams.pictures import PictureStream, augmented, spoken

NUM_PAIRS = 90


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return read_catalogue([write_pairs(tmp_path_factory.mktemp("pairs") / "a.tar", NUM_PAIRS, seed=1)])


@pytest.fixture(scope="module")
def clip():
    return toy_clip()


@pytest.fixture(scope="module")
def make(catalogue, clip):
    def stream(batch_size=12, seed=0, rows=NUM_PAIRS, **options):
        return PictureStream(catalogue, np.arange(rows), clip, batch_size, seed, **options)

    return stream


def first(stream, count):
    return list(islice(stream, count))


def assert_equal(one, other):
    assert one["keys"] == other["keys"]
    for name in ("pictures", "tokens", "spoken"):
        assert torch.equal(one[name], other[name]), name


def test_a_position_always_gives_the_same_batch_and_another_position_or_seed_another(make):
    one, other = first(make(), 4), first(make(), 4)
    for pair in zip(one, other, strict=True):
        assert_equal(*pair)
    assert len({str(batch["keys"]) for batch in one}) == 4
    assert one[0]["keys"] != first(make(seed=1), 1)[0]["keys"]


@pytest.mark.parametrize("options", [{"num_workers": 3}, {"cache_mb": 0}, {"cache_mb": 0.05, "num_workers": 2}])
def test_threads_and_memory_change_no_batch(make, options):
    for pair in zip(first(make(), 8), first(make(**options), 8), strict=True):
        assert_equal(*pair)


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_any_cut_resumes_to_the_same_remaining_batches(make, cut):
    unbroken, broken, resumed = first(make(), 8), make(num_workers=2), make()
    first(broken, cut)
    resumed.load_state_dict(broken.state_dict())
    for pair in zip(unbroken[cut:], first(resumed, 8 - cut), strict=True):
        assert_equal(*pair)


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_ranks_together_hold_the_rows_of_one(make, ranks):
    parts = [first(make().shard(rank, ranks), 4) for rank in range(ranks)]
    for step, whole in enumerate(first(make(), 4)):
        for rank in range(ranks):
            mine = parts[rank][step]
            assert mine["keys"] == whole["keys"][rank::ranks]
            assert torch.equal(mine["pictures"], whole["pictures"][rank::ranks])
            assert torch.equal(mine["spoken"], whole["spoken"][rank::ranks])
            longest = mine["tokens"].shape[1]
            assert torch.equal(mine["tokens"], whole["tokens"][rank::ranks, :longest])
            assert mine["position"] == whole["position"]


def test_every_batch_is_full_and_holds_no_pair_twice(make):
    for batch in first(make(batch_size=40), 6):
        assert len(set(batch["keys"])) == len(batch["pictures"]) == 40


def test_every_second_batch_holds_a_few_kinds_only(make, catalogue):
    kind_of = {catalogue.read(row).key: kind for row, kind in enumerate(catalogue.kinds.tolist())}
    for step, batch in enumerate(first(make(batch_size=12, kinds_together=2), 6)):
        assert (len({kind_of[key] for key in batch["keys"]}) == 2) == bool(step % 2)


def test_kinds_with_too_few_pairs_for_a_batch_are_joined_by_others(make, catalogue):
    kind_of = {catalogue.read(row).key: kind for row, kind in enumerate(catalogue.kinds.tolist())}
    batch = first(make(batch_size=40, kinds_together=1), 2)[1]
    assert len(set(batch["keys"])) == 40
    assert 2 < len({kind_of[key] for key in batch["keys"]}) < 8


def test_fewer_pairs_than_a_batch_give_smaller_batches(make):
    stream = make(batch_size=64, rows=5)
    assert stream.batch_size == stream.report["batch_size"] == 5
    assert [len(set(batch["keys"])) for batch in first(stream, 3)] == [5, 5, 5]


@pytest.mark.parametrize("other", [{"seed": 1}, {"rows": NUM_PAIRS - 1}])
def test_a_position_in_other_pairs_or_of_another_seed_is_refused(make, other):
    with pytest.raises(CorpusError, match="resume on the same pairs with the same seed"):
        make(**other).load_state_dict(make().state_dict())


def test_a_picture_that_cannot_be_decoded_is_replaced_by_the_next_and_counted(tmp_path, clip):
    damaged = read_catalogue([write_pairs(tmp_path / "a.tar", 30, seed=1, damaged=(4, 5, 29))])
    whole = read_catalogue([write_pairs(tmp_path / "b.tar", 30, seed=1)])
    streams = [PictureStream(catalogue, np.arange(30), clip, 10, 0) for catalogue in (damaged, whole)]
    taken = {"00004": "00006", "00005": "00006", "00029": "00000"}
    for batch, undamaged in zip(*(first(stream, 6) for stream in streams), strict=True):
        assert batch["keys"] == [taken.get(key, key) for key in undamaged["keys"]]
    assert streams[0].damaged == {4, 5, 29}
    resumed = PictureStream(damaged, np.arange(30), clip, 10, 0)
    resumed.load_state_dict({**resumed.state_dict(), "position": 30})
    assert first(resumed, 1)[0]["keys"] == first(PictureStream(damaged, np.arange(30), clip, 10, 0), 4)[3]["keys"]


def test_where_no_picture_can_be_decoded_one_sentence_says_so(tmp_path, clip):
    catalogue = read_catalogue([write_pairs(tmp_path / "a.tar", 6, seed=1, damaged=tuple(range(6)))])
    with pytest.raises(CorpusError, match="none of the 6 pictures can be decoded"):
        first(PictureStream(catalogue, np.arange(6), clip, 2, 0, num_workers=2), 1)


def test_captions_are_named_equal_where_their_tokens_are(clip):
    batch = spoken(clip.tokenize(["a red disc", "A  red disc", "a red box", "a disc"]))
    assert batch["spoken"][0] == batch["spoken"][1]
    assert len(set(batch["spoken"].tolist())) == 3
    assert batch["tokens"].shape[1] == int(batch["tokens"].argmax(1).max()) + 1


def test_augmentation_keeps_type_and_shape_and_leaves_the_input_alone():
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    before = picture.copy()
    changed = augmented(picture, np.random.default_rng(1))
    assert (changed.dtype, changed.shape) == (np.uint8, picture.shape)
    assert np.array_equal(picture, before)
    assert not np.array_equal(changed, picture)


def test_augmentation_never_mirrors():
    ramp = np.broadcast_to(np.arange(40, 200, 5, dtype=np.uint8)[None, :, None], (32, 32, 3)).copy()
    for seed in range(16):
        changed = augmented(ramp, np.random.default_rng(seed)).astype(int)
        assert np.all(np.diff(changed, axis=1) >= 0)
