"""Many prompts in one run: a bad row costs that row, a stopped run continues, the report says what became of each."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from clipsonic.audio.formats import read_tags
from clipsonic.audio.wave import read_audio
from clipsonic.cli import main
from clipsonic.generate import command as making

ROWS = [
    {"text": "a dog", "out": "dogs/a.wav", "seed": 1},
    {"text": "a dog", "out": "dogs/b.mp3", "seed": 2, "loudness": "off", "stereo": "yes"},
    {"embeds": "e.npy", "out": "c.flac", "duration_s": 0.25, "num_sounds": 2, "fade_in_s": 0.1, "steps": 2},
    {"image": "dog.jpg"},
    {"video": "street.mp4", "start_s": 1, "out": "street.mkv", "duration_s": 0.5},
]


def write_csv(path: Path, rows: list[dict]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(prompts: dict[str, str], tmp_path: Path) -> Path:
    """Where the batch file lies, with the files that its rows name."""
    for kind in ("image", "video", "embeds"):
        shutil.copy(prompts[kind], tmp_path)
    return tmp_path


def batch(model: Path, path: Path, *words: object) -> int:
    return main(["generate", "--model", str(model), "--batch", str(path), *map(str, words)])


def report(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "report.jsonl").read_text(encoding="utf-8").splitlines()]
    return sorted(lines, key=lambda line: line["row"])


@pytest.mark.parametrize("write", [write_csv, write_lines])
def test_every_row_is_made_with_its_own_options_and_reported(model: Path, folder: Path, write) -> None:
    path = write(folder / ("rows.csv" if write is write_csv else "rows.jsonl"), ROWS)
    assert batch(model, path, "--out", folder / "out") == 0
    lines = report(folder / "out")
    files = [["dogs/a.wav"], ["dogs/b.mp3"], ["c-1.flac", "c-2.flac"], ["0004.wav"], ["street.mkv"]]
    assert [line["files"] for line in lines] == files
    assert all((folder / "out" / file).is_file() for names in files for file in names)
    assert read_tags(folder / "out" / "dogs" / "b.mp3")["seed"] == "2"
    assert len(read_audio(folder / "out" / "c-2.flac")[0]) == 4000
    assert lines[1]["levels"][0]["gain_db"] == 0.0
    assert lines[4]["start_s"] == 1.0


def test_a_batch_gives_the_files_that_single_commands_give(model: Path, folder: Path) -> None:
    path = write_csv(folder / "rows.csv", ROWS[:1])
    assert batch(model, path, "--out", folder / "out") == 0
    words = ["--text", "a dog", "--seed", "1", "--out", str(folder / "one.wav")]
    assert main(["generate", "--model", str(model), *words]) == 0
    assert (folder / "out" / "dogs" / "a.wav").read_bytes() == (folder / "one.wav").read_bytes()


def test_the_best_of_several_are_kept_in_a_batch_too_by_row_or_for_all_rows(with_ear: Path, folder: Path) -> None:
    rows = [
        {"text": "a dog", "duration_s": 1, "best_of": 3, "out": "a.wav"},
        {"image": "dog.jpg", "duration_s": 1, "num_sounds": 2, "out": "b.wav"},
        {"image": "dog.jpg", "duration_s": 0.5, "out": "c.wav"},
    ]
    assert batch(with_ear, write_csv(folder / "rows.csv", rows), "--best-of", 2, "--out", folder / "out") == 1
    first, second, third = report(folder / "out")
    assert (len(first["chosen"]), first["files"]) == (1, ["a.wav"])
    assert (sorted(second["chosen"]), second["files"]) == ([0, 1], ["b-1.wav", "b-2.wav"])
    assert third["error"].startswith("the best of 2 cannot be chosen, an ear hears nothing in 0.5 s")
    words = ["--text", "a dog", "--duration-s", "1", "--best-of", "3", "--out", str(folder / "one.wav")]
    assert main(["generate", "--model", str(with_ear), *words]) == 0
    assert (folder / "out" / "a.wav").read_bytes() == (folder / "one.wav").read_bytes()


def test_one_bad_row_costs_that_row_and_the_exit_says_so(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {
        "no prompt given": {"out": "x.wav"},
        "none.jpg does not exist": {"image": "none.jpg"},
        "seed 'many' cannot be read: give a whole number": {"text": "a", "seed": "many"},
        "stereo 'perhaps' cannot be read: give yes or no": {"text": "a", "stereo": "perhaps"},
        "must be a file inside of the output folder": {"text": "a", "out": "../x.wav"},
        "x.aiff must end in one of": {"text": "a", "out": "x.aiff"},
        "is also that of row 1": {"text": "another", "out": "dogs/a.wav"},
        "loudness 9 LUFS": {"text": "a", "loudness": 9},
        "true_peak 'high' cannot be read: give a number or off": {"text": "a", "true_peak": "high"},
    }
    path = write_csv(folder / "rows.csv", [ROWS[0], *bad.values(), ROWS[1]])
    assert batch(model, path, "--out", folder / "out") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "2 of 11 rows are made" in said
    assert "9 failed, the first is row 2: no prompt given" in said
    lines = report(folder / "out")
    for sentence, line in zip(bad, lines[1:-1], strict=True):
        assert sentence in line["error"]
        assert line["files"] == []
    assert lines[0]["files"] == ["dogs/a.wav"]
    assert lines[-1]["files"] == ["dogs/b.mp3"]
    assert not (folder / "x.wav").exists()


BAD_LINES = {
    "{text: 1}": "it is no JSON object",
    "[1]": "it is no JSON object (it is no object in {...})",
    '{"text": "a", "text": "b"}': "it names 'text' twice",
    '{"text": "a", "volume": 3}': "it has a value 'volume': use only text, image",
    '{"text": 5}': "text 5 cannot be read: give a word",
    '{"text": ["a", "b"]}': "text ['a', 'b'] cannot be read: give a word",
    '{"text": "a", "seed": true}': "seed True cannot be read: give a whole number",
    '{"text": "a", "seed": 1e400}': "seed inf cannot be read: give a whole number",
    '{"text": "a", "duration_s": NaN}': "--duration-s nan",
    '{"text": "a", "loudness": [1]}': "loudness [1] cannot be read: give a number or off",
    '{"text": "a\\u0000b"}': "text 'a\ufffdb' holds a NUL: leave it out",
    '{"text": "a\\ud800"}': "text 'a\ufffd' is not valid Unicode",
    '{"video": "a\\u0000.mp4"}': "video 'a\ufffd.mp4' holds a NUL",
    '{"text": "a", "out": "x\\ud800.wav"}': "is not valid Unicode",
}


def test_a_line_that_is_no_row_costs_that_row_only(model: Path, folder: Path) -> None:
    good = json.dumps({"text": "a dog\u2028and\u0085a cat", "out": "good.wav"}, ensure_ascii=False)
    text = "\ufeff" + "\n".join([good, *BAD_LINES, json.dumps({"text": "a dog", "out": "last.wav"})])
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    assert batch(model, folder / "rows.jsonl", "--out", folder / "out") == 1
    lines = [json.loads(line) for line in (folder / "out" / "report.jsonl").read_text("utf-8").split("\n") if line]
    assert [lines[0]["files"], lines[-1]["files"]] == [["good.wav"], ["last.wav"]]
    assert "error" not in lines[0]
    for line, sentence in zip(lines[1:-1], BAD_LINES.values(), strict=True):
        assert sentence in line["error"]
        assert "unexpectedly" not in line["error"]


def test_a_row_with_more_fields_than_columns_costs_that_row_only(model: Path, folder: Path) -> None:
    (folder / "rows.csv").write_text("\ufefftext,out\na dog,a.wav,b,c\na dog,good.wav\n", encoding="utf-8")
    assert batch(model, folder / "rows.csv", "--out", folder / "out") == 1
    first, second = report(folder / "out")
    assert "it has 4 fields for 2 columns: quote fields with commas" in first["error"]
    assert second["files"] == ["good.wav"]


def test_what_fails_unexpectedly_costs_its_row_too(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = making.make

    def make(args, asked, pipeline):
        if args.seed == 1:
            raise ZeroDivisionError("as if by accident")
        return real(args, asked, pipeline)

    monkeypatch.setattr(making, "make", make)
    assert batch(model, write_csv(folder / "rows.csv", ROWS[:2]), "--out", folder / "out") == 1
    first, second = report(folder / "out")
    assert "ZeroDivisionError: as if by accident" in first["error"]
    assert second["files"] == ["dogs/b.mp3"]


def test_a_stopped_run_continues_and_makes_anew_only_what_changed(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "out"
    assert batch(model, write_csv(folder / "rows.csv", ROWS[:2]), "--out", out) == 0
    with (out / "report.jsonl").open("a") as file:
        file.write('{"row": 3, "out": "c.fl')  # the run was killed in the middle of a line
    first, second = (out / "dogs" / "a.wav").stat().st_mtime_ns, (out / "dogs" / "b.mp3").stat().st_mtime_ns
    capsys.readouterr()
    path = write_csv(folder / "rows.csv", [ROWS[0], {**ROWS[1], "seed": 3}, ROWS[2]])
    assert batch(model, path, "--out", out, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["made"], answer["kept"]) == (3, 3, 1)
    assert (out / "dogs" / "a.wav").stat().st_mtime_ns == first
    assert (out / "dogs" / "b.mp3").stat().st_mtime_ns > second
    assert [line["row"] for line in report(out)] == [1, 2, 3]
    assert batch(model, path, "--out", out, "--json", "--guidance", 1) == 0  # an option for all rows
    assert json.loads(capsys.readouterr().out)["kept"] == 0


def test_a_file_that_is_gone_or_a_prompt_that_changed_is_made_anew(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(folder / "rows.csv", [ROWS[2], ROWS[3]])
    assert batch(model, path, "--out", folder / "out") == 0
    (folder / "out" / "c-1.flac").unlink()
    (folder / "dog.jpg").touch()
    capsys.readouterr()
    assert batch(model, path, "--out", folder / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 0
    assert batch(model, path, "--out", folder / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2


def test_a_finished_run_loads_no_model(model: Path, folder: Path) -> None:
    path = write_csv(folder / "rows.csv", ROWS[:1])
    assert batch(model, path, "--out", folder / "out") == 0
    shutil.copytree(model, folder / "P", copy_function=shutil.copy2)
    shutil.rmtree(folder / "out")
    assert batch(folder / "P", path, "--out", folder / "out") == 0
    shutil.rmtree(folder / "P" / "denoiser")
    assert batch(folder / "P", path, "--out", folder / "out") == 0


def test_a_folder_of_videos_gives_a_video_for_each(model: Path, folder: Path) -> None:
    videos = folder / "videos"
    videos.mkdir()
    for name in ("a.mp4", "b.avi", "notes.txt"):
        shutil.copy(folder / "street.mp4", videos / name)
    assert batch(model, videos, "--out", folder / "out", "--duration-s", 0.5) == 0
    assert sorted(file.name for file in (folder / "out").iterdir()) == ["a.mp4", "b.mp4", "report.jsonl"]


REFUSED = {
    "missing": (None, None, "none.csv does not exist"),
    "suffix": ("rows.txt", "text\na\n", "must end in .csv or .jsonl"),
    "column": ("rows.csv", "text,volume\na,3\n", "has a column 'volume': use only text, image"),
    "empty": ("rows.csv", "text\n", "has no rows"),
    "nothing": ("rows.csv", "", "has no rows"),
    "nothing at all": ("rows.jsonl", "", "has no rows"),
    "twice": ("rows.csv", "text,seed,text\na,1,b\n", "has two columns 'text': keep one of them"),
    "quotes": ("rows.csv", 'text\n"a\n', "is no CSV that can be read"),
    "latin": ("rows.csv", b"text\n\xe9\n", "is no text that can be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_batch_file_that_cannot_be_read_is_wrong_usage(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file, text, sentence = REFUSED[name]
    path = tmp_path / (file or "none.csv")
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert batch(model, path, "--out", tmp_path / "out") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--text", "a", "--out", "out"], "--text is for one prompt and --batch for many"),
        (["--spectrogram", "a.png", "--out", "out"], "--spectrogram is for one prompt"),
        ([], "--out is missing: give the folder"),
        (["--out", "rows.csv"], "is a file: with --batch give a folder"),
    ],
)
def test_options_that_do_not_go_with_a_batch_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: list[str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "rows.csv", ROWS[:1])
    assert batch(model, Path("rows.csv"), *words) == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_without_videos_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(model, tmp_path, "--out", tmp_path / "out") == 2
    assert "holds no videos" in capsys.readouterr().err
