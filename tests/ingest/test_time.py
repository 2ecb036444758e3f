"""Picture and sound of a kept moment are of the same moment of the film, whatever the container does with its clock.

Every picture tells its number and the sound is one known noise: around each kept picture the sound is found in the
noise, and must be of the picture's own moment within 25 ms and one picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import media_maker as maker
import numpy as np
import pytest
from scipy.signal import oaconvolve

from clipsonic.ingest.decode import PictureReader
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.probe import probe
from clipsonic.ingest.segments import ReadSettings, read_segments
from clipsonic.ingest.sound import SoundReader
from clipsonic.specs import CorpusSpec

RATE_HZ, FPS = 16000, 25
WINDOW_S = 0.4
SAME_S = 0.025
NO_B = (".webm", ".ogv")


@dataclass(frozen=True)
class Moment:
    """A kept picture: its time in the film that was read, that of what it shows, that of what is heard around it."""

    read_s: float
    seen_s: float
    heard_s: float

    @property
    def is_one(self) -> bool:
        return -SAME_S <= self.heard_s - self.seen_s <= 1 / FPS + SAME_S


def moments_of(path: Path, start_s: float | None = None, end_s: float | None = None) -> list[Moment]:
    """All kept pictures with true sound around them."""
    job = Job(str(path), path.name, "id", "entry", start_s, end_s)
    found = []
    for segment in read_segments(job, ReadSettings(CorpusSpec(RATE_HZ, 2.0, 1.0), stride_s=2.0)):
        wave = segment.sound.astype(np.float64) / 32768
        for time_s, picture in zip(segment.facts["frame_times_s"], segment.pictures, strict=True):
            first = max(0, round((time_s - WINDOW_S / 2) * RATE_HZ))
            window = wave[first : first + round(WINDOW_S * RATE_HZ)]
            if min(np.square(part).mean() for part in np.array_split(window[:6400], 8)) < 1e-3:
                continue  # there is a hole
            seen_s = maker.number_of(picture) / FPS
            heard_s = heard_near(window, seen_s) + time_s - first / RATE_HZ
            found.append(Moment(segment.facts["start_s"] + time_s, seen_s, heard_s))
    return found


def heard_near(window: np.ndarray, near_s: float) -> float:
    """Film second of the first sample, looked for within 2 s of a moment; far off if it is not there."""
    first = max(0, round((near_s - 2.0) * maker.NOISE_HZ))
    known = maker.noise()[first : first + 4 * maker.NOISE_HZ].astype(np.float64)
    sums = np.concatenate([[0.0], np.square(known).cumsum()])
    energy = (sums[len(window) :] - sums[: -len(window)]) * np.square(window).sum()
    match = oaconvolve(known, window[::-1], mode="valid") / np.sqrt(energy)
    return float("inf") if match.max() < 0.5 else (first + int(match.argmax())) / maker.NOISE_HZ


def assert_one_film(moments: list[Moment], least: int, begins_within_s: float = 0.15) -> None:
    """At least so many moments; each is one; and each is where the film says."""
    assert len(moments) >= least
    assert [moment for moment in moments if not moment.is_one] == []
    assert [moment for moment in moments if abs(moment.read_s - moment.heard_s) > begins_within_s] == []


def film(folder: Path, suffix: str, make: Callable[..., Path] = maker.write_film, **how: Any) -> Path:
    if suffix in NO_B:
        how.pop("b_pictures", None)
    return make(folder / f"film{suffix}", **{"rate_hz": 48000, **how})


@pytest.mark.parametrize("b_pictures", [0, 2])
@pytest.mark.parametrize(
    "suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".vob", ".flv", ".ogv", ".nut", ".asf", ".3gp", ".mxf"]
)
def test_in_every_container_what_is_seen_and_heard_is_of_one_moment(
    tmp_path: Path, suffix: str, b_pictures: int
) -> None:
    assert_one_film(moments_of(film(tmp_path, suffix, b_pictures=b_pictures)), least=11)


@pytest.mark.slow
@pytest.mark.parametrize("offset_s", [-1.0, -0.3, 80000.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts", ".vob", ".flv", ".asf"])
def test_a_film_may_begin_at_any_time(tmp_path: Path, suffix: str, offset_s: float) -> None:
    """MP4 says in an edit list that what lies before 0 is hidden."""
    hidden_s = -min(0.0, offset_s) if suffix == ".mp4" else 0.0
    moments = moments_of(film(tmp_path, suffix, offset_s=offset_s, b_pictures=2))
    assert_one_film(moments, least=9 if hidden_s else 11, begins_within_s=0.15 + hidden_s)
    assert all(moment.read_s <= moment.heard_s - hidden_s + 0.15 for moment in moments)


@pytest.mark.parametrize("before_s", [70.0, 59.0, 30.0, 3.0, 0.5])
@pytest.mark.parametrize("suffix", [".ts", ".vob"])
def test_a_film_may_begin_near_the_wrap_of_its_clock(tmp_path: Path, suffix: str, before_s: float) -> None:
    path = film(tmp_path, suffix, offset_s=maker.WRAP_S - before_s, b_pictures=2)
    assert_one_film(moments_of(path), least=11)


@pytest.mark.parametrize("second_offset_s", [0.0, -0.2, 1000.0, 95440.0])
@pytest.mark.parametrize("at_s", [1.0, 3.0])
@pytest.mark.parametrize("suffix", [".ts", ".vob"])
def test_joined_parts_are_one_film_wherever_the_second_clock_begins(
    tmp_path: Path, suffix: str, at_s: float, second_offset_s: float
) -> None:
    path = film(tmp_path, suffix, maker.write_joined, at_s=at_s, second_offset_s=second_offset_s, b_pictures=2)
    assert_one_film(moments_of(path), least=10, begins_within_s=0.25)


def test_three_joined_parts_of_which_one_has_no_sound_stay_in_sync(tmp_path: Path) -> None:
    parts = [
        maker.write_film(tmp_path / f"{place}.ts", from_s=2.0 * place, seconds=2.0, **how)
        for place, how in enumerate(({}, {"late_sound_s": 1.96}, {}))
    ]
    moments = moments_of(maker.join(tmp_path / "film.ts", parts))
    assert_one_film([moment for moment in moments if moment.seen_s < 2.0], least=3)
    assert_one_film([moment for moment in moments if moment.seen_s >= 4.0], least=3, begins_within_s=0.5)


@pytest.mark.parametrize("by_s", [9.98, 10.02, 30.0, 5000.0, 2147483.0])
@pytest.mark.parametrize("suffix", [".ts", ".flv"])
def test_a_leap_of_the_clock_is_no_hole_in_the_film(tmp_path: Path, suffix: str, by_s: float) -> None:
    """10 s is the border: picture and sound are on the same side of it, though one of them leaps by less."""
    moments = moments_of(film(tmp_path, suffix, leap=(3.0, by_s)))
    assert len(moments) >= 9
    assert [moment for moment in moments if not moment.is_one] == []
    if by_s > 11:
        assert_one_film(moments, least=9)


@pytest.mark.parametrize("by_s", [30.0, 55318.0])
@pytest.mark.parametrize("suffix", [".ts", ".flv"])
def test_a_first_packet_with_a_wrong_time_does_not_put_a_hole_before_the_film(
    tmp_path: Path, suffix: str, by_s: float
) -> None:
    path = film(tmp_path, suffix, leap=(0.03, by_s), offset_s=100.0)
    assert probe(path).picture_end_s < 7.0
    assert_one_film(moments_of(path), least=10, begins_within_s=0.3)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_where_the_clock_runs_on_a_leap_is_a_hole_and_what_follows_keeps_its_time(tmp_path: Path, suffix: str) -> None:
    moments = moments_of(film(tmp_path, suffix, leap=(3.0, 30.0)))
    assert_one_film([moment for moment in moments if moment.read_s < 3.0], least=5)
    late = [Moment(moment.read_s - 30.0, moment.seen_s, moment.heard_s) for moment in moments if moment.read_s > 3.0]
    assert_one_film(late, least=4)


@pytest.mark.slow
@pytest.mark.parametrize("jitter_s", [0.005, 0.015, 0.03, 0.06])
@pytest.mark.parametrize(
    ("suffix", "sound_codec"), [(".mkv", "libopus"), (".ts", "aac"), (".nut", "pcm_s16le"), (".flv", "aac")]
)
def test_times_of_sound_packets_may_jitter(tmp_path: Path, suffix: str, sound_codec: str, jitter_s: float) -> None:
    path = film(tmp_path, suffix, seconds=8.0, jitter_s=jitter_s, sound_codec=sound_codec)
    assert_one_film(moments_of(path), least=14)


@pytest.mark.parametrize("jitter_s", [0.015, 0.06])
def test_jitter_of_sound_packets_tears_nothing(tmp_path: Path, jitter_s: float) -> None:
    """20 ms packets: the sound of eight seconds correlates with the noise as that of a film without jitter does."""
    path = film(tmp_path, ".mkv", seconds=8.0, jitter_s=jitter_s, sound_codec="libopus")
    media = probe(path)
    with SoundReader(path, RATE_HZ, media.clock, media.sound_end_s) as reader:
        wave, _ = reader.read(1.0, 6 * RATE_HZ)
    known = maker.noise()[: 8 * maker.NOISE_HZ].astype(np.float64)
    match = oaconvolve(known, wave[::-1].astype(np.float64), mode="valid")
    place = int(match.argmax())
    piece = known[place : place + len(wave)]
    assert match[place] / np.sqrt(np.square(piece).sum() * np.square(wave).sum()) > 0.9
    assert place / maker.NOISE_HZ == pytest.approx(1.0, abs=0.012)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".vob", ".flv", ".webm"])
@pytest.mark.parametrize("how", [{"late_sound_s": 1.3}, {"late_picture_s": 1.28}, {"early_end_sound_s": 1.3}])
def test_a_stream_may_begin_late_or_end_early(tmp_path: Path, suffix: str, how: dict[str, float]) -> None:
    path = film(tmp_path, suffix, **how)
    shown_s = how.get("late_picture_s", 0.0) + 1 / FPS  # before, the first picture stands
    moments = [moment for moment in moments_of(path) if moment.read_s > shown_s + 0.1]
    assert_one_film(moments, least=5)


@pytest.mark.parametrize(
    "edits",
    [
        {"vide": [(4.0, 1.32)], "soun": [(4.0, 1.32)]},
        {"vide": [(0.5, None), (4.0, 0.0)], "soun": [(0.5, None), (4.0, 0.0)]},
        {"vide": [(4.0, 0.0)], "soun": [(0.8, None), (3.0, 0.8)]},
    ],
    ids=["cut", "later", "sound_later"],
)
def test_what_an_edit_list_hides_is_neither_seen_nor_heard(tmp_path: Path, edits: dict[str, Any]) -> None:
    path = maker.set_edits(film(tmp_path, ".mp4"), edits)
    moments = moments_of(path)
    assert len(moments) >= 5
    assert [moment for moment in moments if not moment.is_one] == []
    assert min(moment.seen_s for moment in moments) >= (edits["vide"][0][1] or 0.0)


@pytest.mark.parametrize("how", [{"codec": "libx264"}, {"packed": True}], ids=["h264", "packed"])
def test_pictures_that_an_avi_reorders_or_packs_are_shown_in_order(tmp_path: Path, how: dict[str, Any]) -> None:
    path = film(tmp_path, ".avi", **{"b_pictures": 1 if "packed" in how else 3, **how})
    media = probe(path)
    with PictureReader(path, media) as reader:
        numbers = [maker.number_of(picture) for picture in reader.read([(place + 0.5) / FPS for place in range(150)])]
    assert numbers == list(range(150))
    assert_one_film(moments_of(path), least=11)


@pytest.mark.slow
@pytest.mark.parametrize("place_s", [4.0, 57.0, 112.0])
@pytest.mark.parametrize("name", ["plain.mp4", "early.mkv", "wrap.ts", "joined.ts", "joined.vob", "reordered.avi"])
def test_a_listed_interval_of_a_long_film_is_of_the_films_time(long_films: Path, name: str, place_s: float) -> None:
    moments = moments_of(long_films / name, place_s, place_s + 4.0)
    assert_one_film(moments, least=7, begins_within_s=0.3)
    assert min(moment.read_s for moment in moments) == pytest.approx(place_s + 0.25)


@pytest.fixture(scope="module")
def long_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    how: dict[str, Any] = {"seconds": 120.0, "b_pictures": 2, "gop": 50}
    maker.write_film(folder / "plain.mp4", **how)
    maker.write_film(folder / "early.mkv", offset_s=-1.0, **how)
    maker.write_film(folder / "wrap.ts", offset_s=maker.WRAP_S - 60.0, **how)
    maker.write_joined(folder / "joined.ts", 50.0, **how)
    maker.write_joined(folder / "joined.vob", 50.0, **how)
    maker.write_film(folder / "reordered.avi", **how)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joined.ts", "joined.vob", "early.mkv", "reordered.avi", "wrap.ts"])
def test_a_far_picture_is_the_same_whether_read_to_or_decoded_to(long_films: Path, name: str) -> None:
    path = long_films / name
    media = probe(path)
    with PictureReader(path, media) as reader:
        far = [maker.number_of(picture) for picture in reader.read([30.0, 80.02, 115.0])]
        back = [maker.number_of(picture) for picture in reader.read([10.0])]
    with PictureReader(path, media) as reader:
        all_s = [float(second) for second in range(116)]
        near = dict(zip(all_s, (maker.number_of(picture) for picture in reader.read(all_s)), strict=True))
    assert (far[0], far[2], back[0]) == (near[30.0], near[115.0], near[10.0])
