"""`belongs`: what the share is, who hears whom, and how the facts keep it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipsonic.cli import main
from clipsonic.ear import hear as hearing
from clipsonic.ear.belonging import Others, belonging, mean_frame
from clipsonic.ear.hear import hear
from clipsonic.ear.listeners import Listeners
from clipsonic.ear.tower import Ear
from clipsonic.errors import ClipsonicError, CorpusError
from clipsonic.files import held
from clipsonic.shards.expressions import keep_where
from clipsonic.shards.heard import answers_path
from clipsonic.shards.merge import merge
from clipsonic.shards.record import Record
from clipsonic.shards.selection import half_of
from clipsonic.shards.writer import CorpusIndex, corpus_facts, write_facts, write_shard
from clipsonic.specs import CorpusSpec

RATE_HZ, WIDTH, COUNT, PER_SHARD = 4000, 6, 14, 4
MEL = {"sample_rate_hz": RATE_HZ, "n_fft": 256, "hop_length": 64, "num_mels": 16, "f_max_hz": 2000.0}
MakeEar = Callable[..., Path]


def unit(*shape: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal(shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def make_ear(tmp_path_factory: pytest.TempPathFactory) -> MakeEar:
    """Untrained ears, whose answers differ by sound and by seed."""

    def make(half: int | None, seed: int = 0, space: str = "toy/1", **mel: Any) -> Path:
        torch.manual_seed(seed)
        shape = {"window_columns": 64, "channels": (4, 8), "depths": (1, 2), "hidden": 8}
        ear: Any = Ear(embed_width=WIDTH, space=space, half=half, **shape, **{**MEL, **mel})
        with torch.no_grad():
            ear.outer.bias.zero_()
            ear.inner.bias.zero_()
        folder = tmp_path_factory.mktemp("ear")
        ear.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def ears(make_ear: MakeEar) -> list[Path]:
    return [make_ear(0, seed=1), make_ear(1, seed=2)]


def new_record(number: int, name: str = "k", **facts: Any) -> Record:
    """Of every third video there are two records; lengths and numbers of frames differ, from below a second on."""
    rng, seconds = np.random.default_rng(number), (0.8, 1.0, 2.0)[number % 3]
    times_s = list(CorpusSpec.frame_times_s(seconds, 2 + number % 3))
    tone = np.sin(2 * np.pi * rng.uniform(100, 1800) * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    wave = (0.2 * tone + 0.02 * rng.standard_normal(len(tone))).astype(np.float32)
    values = {"source": f"{name}{number - (number % 3 == 2)}.mp4", "seconds": seconds, "sample_rate": RATE_HZ}
    frames = unit(len(times_s), WIDTH, seed=number).astype(np.float16)
    return Record(f"{name}{number:02d}", wave, frames, {**values, "frame_times_s": times_s, **facts})


def make_corpus(folder: Path, records: list[Record], fingerprint: str = "toy/1", rate_hz: int = RATE_HZ) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shards, facts = [], []
    for number, start in enumerate(range(0, len(records), PER_SHARD)):
        part = records[start : start + PER_SHARD]
        shards.append(write_shard(folder / f"shard-{number:06d}.tar", part))
        facts += [{**record.facts, "key": record.key, "shard": shards[-1]["name"]} for record in part]
    write_facts(folder, facts)
    CorpusIndex(CorpusSpec(rate_hz, 2.0, 0.5), fingerprint, "toy", WIDTH, shards).save(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "corpus", [new_record(number) for number in range(COUNT)])


def belongs_of(corpus: Path) -> dict[str, float]:
    return {item["key"]: item["belongs"] for item in corpus_facts(corpus)}


def bytes_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_share_counts_mean_cosines_of_other_videos_only() -> None:
    sound = np.array([[1.0, 0.0]])
    angles = np.deg2rad([10.0, 30.0, 50.0, 70.0])
    frames = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    others = Others(frames, np.array(["a", "b", "c", "d"]))
    assert belonging(sound, frames[1:2], ["b"], others).tolist() == [round(2 / 3, 4)]
    assert belonging(sound, frames[1:2], ["new"], others).tolist() == [0.5], "an equal fit is not worse"
    own = mean_frame(np.stack([frames[0], 5.0 * frames[3]]))
    assert own[0] == pytest.approx((np.cos(angles[0]) + np.cos(angles[3])) / 2), "the mean cosine, whatever the lengths"
    with pytest.raises(CorpusError, match="no frame of another video than b"):
        belonging(sound, frames[1:2], ["b"], Others(frames[1:2], np.array(["b"])))


def test_a_sound_that_says_its_frame_belongs_and_exchanged_ones_have_any_share_alike() -> None:
    frames, sources = unit(400, 32, seed=0), [str(number) for number in range(400)]
    others = Others(frames, np.array(sources))
    sounds = frames + 0.15 * unit(400, 32, seed=1) * np.sqrt(32) * 0.5
    assert belonging(sounds, frames, sources, others).min() > 0.95
    exchanged = belonging(sounds, np.roll(frames, 1, axis=0), sources, others)
    limit = 5 / np.sqrt(12 * 400)  # five deviations of the mean of as many equal draws
    assert abs(exchanged.mean() - 0.5) < limit


def test_each_video_is_heard_by_the_ear_of_the_other_half(corpus: Path, ears: list[Path]) -> None:
    hear(corpus, Listeners(ears[::-1]))
    heard = belongs_of(corpus)
    alone = {}
    for half, ear in enumerate(ears):
        hear(corpus, Listeners([ear], unseen=True))
        alone[half] = belongs_of(corpus)
    halves = {item["key"]: half_of(item["source"]) for item in corpus_facts(corpus)}
    assert set(halves.values()) == {0, 1}
    assert alone[0] != alone[1]
    assert heard == {key: alone[1 - half][key] for key, half in halves.items()}


def test_the_fact_is_what_the_definition_says(corpus: Path, ears: list[Path]) -> None:
    hear(corpus, Listeners(ears[:1], unseen=True))
    ear, records = Ear.load(ears[0]), [new_record(number) for number in range(COUNT)]
    heard = belongs_of(corpus)
    for mine in records:
        wave = np.pad(mine.wave, (0, max(0, RATE_HZ - len(mine.wave))))
        sound = ear.embed_sounds(wave[None], RATE_HZ).whole[0]
        fits = {record.key: np.mean(record.frames.astype(np.float64) @ sound) for record in records}
        foreign = [fits[r.key] for r in records if r.facts["source"] != mine.facts["source"]]
        assert heard[mine.key] == pytest.approx(np.mean(np.array(foreign) < fits[mine.key]), abs=1e-4)


def test_killed_anywhere_and_started_again_it_leaves_the_same_bytes(
    corpus: Path, ears: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = shutil.copytree(corpus, tmp_path / "unbroken")
    assert hear(unbroken, Listeners(ears)).heard_now == COUNT
    save = hearing.save_answers
    for killed_at in range(1, 4):
        with monkeypatch.context() as patch:

            def saved(folder: Path, shard: Any, *rest: Any, last: str = f"{killed_at:06d}") -> None:
                if last in shard["name"]:
                    raise KeyboardInterrupt
                save(folder, shard, *rest)

            patch.setattr(hearing, "save_answers", saved)
            with pytest.raises(KeyboardInterrupt):
                hear(corpus, Listeners(ears))
        assert "belongs" not in corpus_facts(corpus)[0]
    assert hear(corpus, Listeners(ears)).heard_now == COUNT - 3 * PER_SHARD
    assert bytes_of(corpus) == bytes_of(unbroken)


def test_equal_ears_are_not_asked_again_and_other_ears_are(
    corpus: Path, ears: list[Path], make_ear: MakeEar, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear(corpus, Listeners(ears))
    before, first = bytes_of(corpus), belongs_of(corpus)
    with monkeypatch.context() as patch:
        patch.setattr(Ear, "embed_sounds", None)
        patch.setattr(hearing, "write_facts", None)
        assert hear(corpus, Listeners(ears[::-1])).heard_now == 0
    assert bytes_of(corpus) == before
    assert hear(corpus, Listeners([make_ear(0, seed=5), ears[1]])).heard_now == COUNT
    changed = {key for key, share in belongs_of(corpus).items() if share != first[key]}
    assert changed
    assert changed <= {item["key"] for item in corpus_facts(corpus) if half_of(item["source"]) == 1}


def test_facts_that_are_built_again_from_the_shards_know_it_and_a_changed_shard_has_none(
    corpus: Path, ears: list[Path]
) -> None:
    hear(corpus, Listeners(ears))
    known = corpus_facts(corpus)
    (corpus / "facts.jsonl.gz").unlink()
    assert corpus_facts(corpus) == known
    index = CorpusIndex.load(corpus)
    index.shards[1] = write_shard(corpus / index.shards[1]["name"], [new_record(number) for number in (5, 6)])
    index.save(corpus)
    assert ["belongs" in item for item in corpus_facts(corpus)] == [True] * 4 + [False] * 2 + [True] * 6


def test_a_merged_corpus_keeps_it_and_a_filter_reads_it(corpus: Path, ears: list[Path], tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "other", [new_record(number, "z") for number in range(5)])
    for folder in (corpus, other):
        hear(folder, Listeners(ears))
    merge([corpus, other], tmp_path / "both")
    both = {**belongs_of(corpus), **belongs_of(other)}
    assert belongs_of(tmp_path / "both") == both
    keep = keep_where("belongs > 0.5")
    kept = {item["key"] for item in corpus_facts(tmp_path / "both") if keep(item)}
    assert kept == {key for key, share in both.items() if share > 0.5}
    assert 0 < len(kept) < len(both)
    assert hear(tmp_path / "both", Listeners(ears)).records == len(both)
    assert belongs_of(tmp_path / "both") != both, "they are held against all videos now"


def test_without_sound_or_frames_a_record_belongs_to_nothing_and_is_no_other(ears: list[Path], tmp_path: Path) -> None:
    records = [new_record(number) for number in range(6)]
    for number, facts in enumerate([{"rms_db": -70.0}, {"has_audio": False}, {"frame_times_s": []}]):
        deaf = new_record(20 + number, **facts)
        empty = np.zeros((0, WIDTH), np.float16)
        records.append(deaf if deaf.facts["frame_times_s"] else Record(deaf.key, deaf.wave, empty, deaf.facts))
    corpus, plain = make_corpus(tmp_path / "corpus", records), make_corpus(tmp_path / "plain", records[:6])
    hear(corpus, Listeners(ears))
    hear(plain, Listeners(ears))
    assert belongs_of(corpus) == {**belongs_of(plain), "k20": 0.0, "k21": 0.0, "k22": 0.0}
    none = make_corpus(tmp_path / "none", records[6:])
    with pytest.raises(CorpusError, match="no record with both sound and frames"):
        hear(none, Listeners(ears))
    with pytest.raises(CorpusError, match="of one video"):
        hear(make_corpus(tmp_path / "single", records[:1]), Listeners(ears))


def test_only_a_sample_of_others_is_held(corpus: Path, ears: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "NUM_OTHERS", 5)
    others = hearing._others(corpus, WIDTH)
    assert others.frames_RE.shape == (5, WIDTH)
    drawn = {tuple(np.round(frame, 6)) for frame in others.frames_RE}
    assert drawn < {tuple(np.round(mean_frame(new_record(n).frames), 6)) for n in range(COUNT)}
    hear(corpus, Listeners(ears))
    strangers = [item for item in corpus_facts(corpus) if item["source"] not in others.sources_R]
    assert len(strangers) >= COUNT - 2 * 5
    assert {item["belongs"] for item in strangers} <= {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}, "fifths"


@pytest.mark.parametrize(
    ("halves", "unseen", "said"),
    [
        ((1, 1), False, "have both learned from half 1"),
        ((0, None), False, "does not say which half"),
        ((None,), False, "does not say which half"),
        ((0,), False, "give an ear of half 1 too"),
        ((0, 1), True, "--unseen is for one ear"),
        ((0, 1, 1), False, "--ear is given 3 times"),
    ],
)
def test_ears_that_may_have_seen_a_video_are_refused_in_one_sentence(
    halves: tuple[int | None, ...], unseen: bool, said: str, corpus: Path, make_ear: MakeEar,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [word for half in halves for word in ("--ear", str(make_ear(half)))]
    assert main(["hear", str(corpus), *words, *(["--unseen"] if unseen else []), "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_another_space_another_rate_an_address_and_a_second_run_are_refused(
    corpus: Path, ears: list[Path], make_ear: MakeEar, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--unseen", "--device", "cpu", "--ear"]
    assert main(["hear", str(corpus), *words, str(make_ear(None, space="other/2"))]) != 0
    assert "answers in CLIP space other/2" in capsys.readouterr().err
    assert main(["hear", str(corpus), *words, str(make_ear(None, sample_rate_hz=8000))]) != 0
    assert "hears at 8000 Hz" in capsys.readouterr().err
    assert main(["hear", "s3://bucket/corpus", *words, str(ears[0])]) == 2
    assert "copy it to a disk" in capsys.readouterr().err
    for lock in ("heard/lock", "ingest/lock"):
        with held(corpus / lock, "x"), pytest.raises(ClipsonicError, match="another run"):
            hear(corpus, Listeners(ears))


def test_the_command_says_what_came_of_it(corpus: Path, ears: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["hear", str(corpus), "--ear", str(ears[0]), "--ear", str(ears[1]), "--device", "cpu", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["records"], told["heard_now"], len(told["ears"])) == (COUNT, COUNT, 2)
    expected = np.percentile(list(belongs_of(corpus).values()), [5, 25, 50, 75, 95])
    np.testing.assert_allclose(told["quantiles"], expected, atol=5e-4)


def test_facts_and_frames_that_do_not_go_with_the_shards_are_refused(
    corpus: Path, ears: list[Path], tmp_path: Path
) -> None:
    facts = corpus_facts(corpus)
    write_facts(corpus, [*facts, {**facts[-1], "key": "nobody"}])
    with pytest.raises(CorpusError, match=r"does not hold record nobody: delete facts\.jsonl\.gz"):
        hear(corpus, Listeners(ears))
    wide = new_record(1)
    wide = Record(wide.key, wide.wave, unit(3, WIDTH + 1, seed=1).astype(np.float16), wide.facts)
    with pytest.raises(CorpusError, match="record k01 has frames of shape"):
        hear(make_corpus(tmp_path / "wide", [new_record(0), wide]), Listeners(ears))


@pytest.mark.parametrize("damage", ["{", '{"of": 0, "sha256": "SHA", "belongs": {"k00": 7}}'])
def test_damaged_answers_are_refused_with_the_cure(corpus: Path, damage: str) -> None:
    shard = CorpusIndex.load(corpus).shards[0]
    path = answers_path(corpus, shard["name"])
    path.parent.mkdir()
    path.write_text(damage.replace("SHA", shard["sha256"]))
    (corpus / "facts.jsonl.gz").unlink()
    with pytest.raises(CorpusError, match="delete it and run clipsonic hear again"):
        corpus_facts(corpus)
