"""Many edits in one run: a table with one a row, or a folder of sounds that are all edited alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clipsonic.audio.formats import read_tags
from clipsonic.cli import main
from clipsonic.edit.rows import regions


def batch(model: Path, path: Path, *words: object) -> int:
    return main(["edit", "--model", str(model), "--batch", str(path), *map(str, words)])


def report(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "report.jsonl").read_text(encoding="utf-8").splitlines()]
    return sorted(lines, key=lambda line: line["row"])


@pytest.fixture
def folder(given: dict[str, str], tmp_path: Path) -> Path:
    """Where the files lie that rows name."""
    (tmp_path / "in").mkdir()
    for path in given.values():
        shutil.copy(path, tmp_path / "in")
    return tmp_path / "in"


ROWS = [
    {"sound": "noise.wav", "remake": "0.3:0.4 0.6:0.7", "out": "deep/a.flac", "seed": 3},
    {"sound": "noise.wav", "extend_s": 0.1, "fill": "no", "text": "a dog"},
    {"sound": "film.mp4", "remake": ["1.2:1.4"], "out": "b.mkv"},
    {"sound": "noise.wav", "remake": "0.3-0.4", "out": "c.wav"},
    {"sound": "noise.wav", "remake": "0.9:3", "out": "d.wav"},
    {"sound": "noise.wav", "extend_s": -1, "out": "e.wav"},
]


def test_every_row_is_edited_with_its_own_options_and_bad_ones_cost_themselves(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    assert batch(model, path, "--out", tmp_path / "out") == 1
    assert "3 of 6 rows are made" in capsys.readouterr().err
    lines = report(tmp_path / "out")
    assert [line["files"] for line in lines] == [["deep/a.flac"], ["0002.wav"], ["b.mkv"], [], [], []]
    assert "FROM:TO" in lines[3]["error"]
    assert "1.200 s" in lines[4]["error"]
    assert lines[5]["error"].startswith("--extend-s -1 must be")
    assert read_tags(tmp_path / "out" / "deep" / "a.flac")["edited"] == "remake 0.3:0.4, remake 0.6:0.7"
    assert len(soundfile.read(tmp_path / "out" / "0002.wav")[0]) == 52920 + 4410
    before = (tmp_path / "out" / "deep" / "a.flac").stat().st_mtime_ns
    assert batch(model, path, "--out", tmp_path / "out") == 1  # continues
    assert (tmp_path / "out" / "deep" / "a.flac").stat().st_mtime_ns == before


def test_a_csv_and_one_sound_for_all_rows(model: Path, given: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("remake,seed\n0.3:0.4,1\n0.3:0.4,2\n", encoding="utf-8")
    assert batch(model, tmp_path / "rows.csv", given["sound"], "--out", tmp_path / "out") == 0
    first, second = (soundfile.read(tmp_path / "out" / name)[0] for name in ("0001.wav", "0002.wav"))
    assert np.array_equal(first[:13230], second[:13230])
    assert not np.array_equal(first, second)


def test_a_folder_of_sounds_is_edited_alike(model: Path, folder: Path, tmp_path: Path) -> None:
    assert batch(model, folder, "--remake", "0.3:0.4", "--out", tmp_path / "out") == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["film.mp4", "noise.wav", "report.jsonl"]
    assert batch(model, folder, "--remake", "0.3:0.4", "--out", folder) == 1  # onto themselves
    assert all("is the given sound itself" in line["error"] for line in report(folder))


def test_a_batch_takes_no_spectrogram_and_a_folder_without_sounds_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    assert batch(model, tmp_path / "in", "--spectrogram", "a.png", "--out", tmp_path / "out") == 2
    assert batch(model, tmp_path / "in", "--out", tmp_path / "out") == 2
    assert "holds no sounds or videos" in capsys.readouterr().err


def test_regions_are_read_from_words_and_lists() -> None:
    assert regions("1:2  3:4.5") == regions(["1:2", "3:4.5"]) == [(1.0, 2.0), (3.0, 4.5)]
    for wrong in ("", [], 3, "1"):
        with pytest.raises(ValueError):
            regions(wrong)
