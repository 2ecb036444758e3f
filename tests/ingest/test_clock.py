"""The logic of clocks, on made-up packets: parts are found by their times, and runs of sound lie where most say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsonic.ingest.clock import LEAP_S, Lags, Parts, StreamClock, Turns, added
from clipsonic.ingest.probe import times_in_order
from clipsonic.ingest.sound import placed

PICTURE, SOUND = 0, 1
PICTURE_S, SOUND_S = 0.04, 0.0213
Packet = tuple[int, float, float]
"""(stream, time by the container, time in the film)"""


def part(film_s: float, seconds: float, clock_s: float, lag_s: float = 0.3) -> list[Packet]:
    """Packets of a part in the order of the file: the sound is read a little behind the picture."""
    made = []
    for stream, length_s, behind_s in ((PICTURE, PICTURE_S, 0.0), (SOUND, SOUND_S, lag_s)):
        times = [place * length_s for place in range(math.ceil(seconds / length_s))]
        made += [(time + behind_s, stream, clock_s + time, film_s + time) for time in times]
    return [(stream, raw, true) for _, stream, raw, true in sorted(made)]


def told(packets: list[Packet], leap_s: float = LEAP_S) -> list[tuple[int, float, float]]:
    """(stream, film's time found, true time) of every packet."""
    parts = Parts(leap_s)
    lengths = {PICTURE: PICTURE_S, SOUND: SOUND_S}
    for stream, raw, _ in packets:
        parts.add(stream, raw, raw, raw + lengths[stream])
    shifts = parts.shifts()
    counts, found = {PICTURE: 0, SOUND: 0}, []
    for stream, raw, true in packets:
        shift_s = [shift for first, shift in shifts[stream] if first <= counts[stream]][-1]
        counts[stream] += 1
        found.append((stream, raw + shift_s, true))
    return found


def worst_sync_s(found: list[tuple[int, float, float]]) -> float:
    """By how much picture and sound of one true moment are apart, at most."""
    off = {stream: [(true, film - true) for kind, film, true in found if kind == stream] for stream in (0, 1)}
    grid = np.arange(0.0, max(true for *_, true in found), 0.01)
    by_stream = []
    for stream in (PICTURE, SOUND):
        times, offs = map(np.array, zip(*off[stream], strict=True))
        by_stream.append(offs[np.clip(np.searchsorted(times, grid, side="right") - 1, 0, None)])
    return float(np.abs(by_stream[0] - by_stream[1]).max())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(1.0, 8.0), st.floats(0.0, 90000.0), st.floats(0.0, 0.6)), min_size=1, max_size=5))
def test_parts_with_any_clocks_are_one_film_in_sync(clocks: list[tuple[float, float, float]]) -> None:
    """Whatever each clock begins at, if it is a jump at all (steps of up to 10 s forward are holes)."""
    packets, film_s, end_s = [], 0.0, None
    for seconds, clock_s, lag_s in clocks:
        if end_s is not None and -0.4 <= clock_s - end_s <= LEAP_S + 0.2:
            clock_s += 30.0
        packets += part(film_s, seconds, clock_s, lag_s)
        film_s, end_s = film_s + seconds, clock_s + seconds
    found = told(packets)
    assert worst_sync_s(found) < 1e-3
    first_s = found[0][1] - found[0][2]
    assert max(abs(film - true - first_s) for _, film, true in found) < 0.06 * len(clocks)


@pytest.mark.parametrize("lead_s", [9.9, 9.98, 10.0, 10.02, 10.1])
def test_a_leap_at_the_border_takes_both_streams_or_none(lead_s: float) -> None:
    packets = [*part(0.0, 5.0, 100.0), *part(5.0, 5.0, 105.0 + lead_s)]
    assert worst_sync_s(told(packets)) < 1e-3


@pytest.mark.parametrize("stream", [PICTURE, SOUND])
@pytest.mark.parametrize("hole_s", [3.0, 20.0, 500.0])
def test_a_hole_in_one_stream_is_no_leap(stream: int, hole_s: float) -> None:
    packets = [packet for packet in part(0.0, 600.0, 7.0) if packet[0] != stream or not 5 < packet[2] < 5 + hole_s]
    assert worst_sync_s(told(packets)) < 1e-3


@pytest.mark.parametrize("stream", [PICTURE, SOUND])
@pytest.mark.parametrize("count", [1, 3])
def test_a_few_packets_with_wrong_times_move_nothing_behind_them(stream: int, count: int) -> None:
    packets = part(0.0, 20.0, 50.0)
    places = [place for place, packet in enumerate(packets) if packet[0] == stream][100 : 100 + count]
    for place in places:
        packets[place] = (stream, packets[place][1] + 4000.0, packets[place][2])
    found = [item for place, item in enumerate(told(packets)) if place not in places]
    assert {round(film - true, 6) for _, film, true in found} == {50.0}


def test_where_the_clock_runs_on_only_a_step_back_begins_a_part() -> None:
    leap = told([*part(0.0, 5.0, 0.0), *part(5.0, 5.0, 5000.0)], math.inf)
    assert max(film for _, film, _ in leap) > 5000.0
    restart = told([*part(0.0, 5.0, 0.0), *part(5.0, 5.0, 0.0)], math.inf)
    assert max(film for _, film, _ in restart) == pytest.approx(10.0, abs=0.1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**33 - 1), st.lists(st.integers(-200, 10**6), min_size=1, max_size=60))
def test_a_clock_that_wraps_runs_on(start: int, steps: list[int]) -> None:
    times = [start + step for step in itertools.accumulate(steps, initial=0)]
    turns = Turns(2**33)
    found = [time % 2**33 + turns.turn(0, place, time % 2**33) for place, time in enumerate(times)]
    assert [time - found[0] for time in found] == [time - times[0] for time in times]


def test_a_presentation_time_of_another_part_follows_its_decoding_time() -> None:
    lags = Lags(2**33, 900_000)
    assert lags.presented(5, 2**33 - 95) == 2**33 + 5
    assert lags.presented(1_000_100, 1_000_000) == 1_000_100
    assert lags.presented(9_000_000, 1_003_600) == 1_003_700
    assert Lags(0, 900_000).presented(9_000_000, 1_003_600) == 9_000_000


def test_shifts_of_parts_and_turns_add_up() -> None:
    assert added([(0, 1), (5, 2)], [(0, 10), (3, 20)]) == [(0, 11), (3, 21), (5, 22)]
    assert StreamClock(((0, 11), (3, 21), (5, 22))).shifts_of([0, 2, 3, 4, 5, 9]) == [11, 11, 21, 21, 22, 22]


RATE_HZ = 16000
PACKET = 320  # 20 ms


def starts_of(times_s: np.ndarray, jitter_s: float) -> np.ndarray:
    """Where 20 ms packets that tell these times are placed, in seconds."""
    pieces = [(round(time_s * RATE_HZ), PACKET, place) for place, time_s in enumerate(times_s)]
    found = list(placed(pieces, RATE_HZ, jitter_s))
    assert [place for _, place in found] == list(range(len(times_s)))
    return np.array([start for start, _ in found]) / RATE_HZ


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.floats(0.004, 0.06), st.floats(0.0, 30.0))
def test_sound_whose_packets_jitter_is_one_run_at_its_place(seed: int, jitter_s: float, start_s: float) -> None:
    true_s = start_s + 0.02 * np.arange(600)
    off_s = np.random.default_rng(seed).uniform(-jitter_s, jitter_s, 600)
    found_s = starts_of(true_s + off_s, 0.586 * jitter_s)  # the median of two such offs apart
    assert np.abs(np.diff(found_s) - 0.02).max() < 1e-4
    assert np.abs(found_s - true_s).max() < 0.35 * jitter_s + 1e-4  # five times what the mean of 75 packets is off


def test_times_rounded_to_milliseconds_tear_nothing() -> None:
    true_s = np.arange(2000) * 1024 / 44100
    pieces = [(round(round(time_s, 3) * 44100), 1024, None) for time_s in true_s]
    starts = [start for start, _ in placed(pieces, 44100)]
    assert set(np.diff(starts)) == {1024}


@pytest.mark.parametrize("gap_s", [0.03, 0.1, 7.0])
def test_a_gap_in_exact_times_is_kept_to_the_sample(gap_s: float) -> None:
    true_s = 0.02 * np.arange(300) + np.where(np.arange(300) >= 150, gap_s, 0.0)
    assert np.abs(starts_of(true_s, 0.0) - true_s).max() < 1 / RATE_HZ


@pytest.mark.parametrize("gap_s", [0.15, 1.0])
def test_a_gap_in_noisy_times_is_kept_within_two_packets(gap_s: float) -> None:
    true_s = 0.02 * np.arange(600) + np.where(np.arange(600) >= 300, gap_s, 0.0)
    noisy_s = true_s + np.random.default_rng(0).uniform(-0.03, 0.03, 600)
    off_s = np.abs(starts_of(noisy_s, 0.0176) - true_s)
    away = np.abs(np.arange(600) - 300) > 3
    assert off_s[away].max() < 0.02


@pytest.mark.parametrize("jitter_s", [0.0, 0.03])
def test_a_clock_that_drifts_is_followed(jitter_s: float) -> None:
    told_s = 0.02 * np.arange(6000) * 1.001 + np.random.default_rng(1).uniform(-jitter_s, jitter_s, 6000)
    assert np.abs(starts_of(told_s, 0.586 * jitter_s) - 0.02 * np.arange(6000) * 1.001).max() < 0.045


def test_a_lone_packet_with_a_wrong_time_stays_in_its_run() -> None:
    told_s = 0.02 * np.arange(100)
    told_s[50] += 0.5
    assert np.abs(starts_of(told_s, 0.0) - 0.02 * np.arange(100)).max() < 1e-6


def test_pieces_without_a_time_follow_the_one_before() -> None:
    found = list(placed([(None, 320, "a"), (1000, 320, "b"), (None, 320, "c")], RATE_HZ))
    assert [start for start, _ in found] == [0, 1000, 1320]


def test_pictures_without_times_take_the_slots_of_decoding_in_shown_order() -> None:
    decoded = {0: 0, 1: 1, 2: 2, 3: 3}
    assert times_in_order([0, 2, 1, 3], {}, decoded, 1) == [0, 1, 2, 3]
    assert times_in_order([0, 3, 1], {}, decoded, 1) == [0, 1, 3]  # the packet that gave no picture leaves its slot
    assert times_in_order([0, 2, 1], {}, {}, 40) == [0, 40, 80]


def test_pictures_of_which_some_tell_their_time_are_between_and_beside_those() -> None:
    known = {4: 21, 5: 101, 6: 181}
    assert times_in_order([0, 1, 2, 4, 5, 3, 6, 7], known, {}, 40) == [-99, -59, -19, 21, 101, 141, 181, 221]
