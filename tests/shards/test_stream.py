"""The order of records: pure in seed and place, whole epochs, and windows that fit where shards are fetched."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from clipsonic.shards.selection import Candidate
from clipsonic.shards.stream import Stream

MIB = 2**20


def records_of(corpus: int, num_shards: int, per_shard: int = 5) -> list[Candidate]:
    return [
        Candidate(f"c{corpus}s{shard:02d}r{number}", f"shard-{shard:06d}.tar", "v", 1000, corpus)
        for shard in range(num_shards)
        for number in range(per_shard)
    ]


def one_epoch(stream: Stream, epoch: int = 0) -> list[Candidate]:
    count = len(stream.records)
    return [stream.at(place)[0] for place in range(epoch * count, (epoch + 1) * count)]


def test_a_window_is_as_many_shards_as_fit_and_each_shard_is_in_one_window_of_an_epoch() -> None:
    stream = Stream(records_of(0, 12), 3, None, lambda record: 10 * MIB, 40 * MIB)
    epochs = [one_epoch(stream, epoch) for epoch in range(3)]
    for epoch in epochs:
        assert len({record.key for record in epoch}) == 60
        windows = [{record.shard for record in epoch[start : start + 20]} for start in (0, 20, 40)]
        assert [len(window) for window in windows] == [4, 4, 4]
        assert len(set.union(*windows)) == 12
        assert any(first.shard != second.shard for first, second in pairwise(epoch[:5]))
    assert epochs[0] != epochs[1] != epochs[2]


def test_shards_on_this_machine_take_no_room_in_a_window() -> None:
    records = records_of(0, 6) + records_of(1, 30)
    stream = Stream(records, 0, None, lambda record: 10 * MIB if record.corpus == 0 else 0, 20 * MIB)
    far = [record.shard for record in one_epoch(stream) if record.corpus == 0]
    assert [len(set(far[start : start + 10])) for start in (0, 10, 20)] == [2, 2, 2]
    assert len({record.key for record in one_epoch(stream)}) == 180


def test_each_list_of_a_weighted_stream_has_windows_in_proportion_to_what_it_fetches() -> None:
    records = records_of(0, 12) + records_of(1, 4)
    stream = Stream(records, 0, [0.5, 0.5], lambda record: 10 * MIB, 80 * MIB)
    drawn = [stream.at(place)[0] for place in range(40)]
    assert len({record.shard for record in drawn if record.corpus == 0}) <= 6
    assert {record.shard for record in drawn[:20] if record.corpus == 1} < {f"shard-{n:06d}.tar" for n in range(4)}
    assert Counter(record.corpus for record in drawn) == {0: 20, 1: 20}


@pytest.mark.parametrize("window", [None, 25 * MIB])
@pytest.mark.parametrize("weights", [None, [0.8, 0.2]])
def test_any_place_is_found_without_those_before_it(window: int | None, weights: list[float] | None) -> None:
    records = records_of(0, 5) + records_of(1, 3)
    options = (7, weights, lambda record: 10 * MIB, window)
    walked = Stream(records, *options)
    expected = [walked.at(place) for place in range(400)]
    for place in (399, 0, 123, 250):
        assert Stream(records, *options).at(place) == expected[place]
    first = {record.key: place for place, (record, _) in reversed(list(enumerate(expected)))}
    assert Stream(records, *options).first_places().tolist() == sorted(first.values())


def test_a_digest_tells_lists_weights_and_windows_apart() -> None:
    records = records_of(0, 5) + records_of(1, 3)
    digests = [
        Stream(records, 0, weights, lambda record: MIB, window).digest
        for weights in (None, [0.5, 0.5], [0.8, 0.2])
        for window in (None, 2 * MIB, 3 * MIB)
    ]
    assert len(set(digests)) == 9
    assert Stream(records, 1).digest == digests[0], "the seed is told apart by itself"
