"""Text that people list files with: a row that cannot be used costs itself, everything else is taken as it stands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import makers_ingest as makers
import pytest

from clipsonic.errors import UsageError
from clipsonic.ingest.lists import Entry, ListFormat, read_list
from clipsonic.ingest.recipe import load_list_format, load_recipe
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.ingest.sources import Remarks, list_jobs
from clipsonic.shards.writer import read_shard
from clipsonic.specs import CorpusSpec

OPTIONS = IngestOptions(spec=CorpusSpec(16000, 1.0, 1.0), workers=1)


def listed(path: Path, data: str | bytes) -> tuple[list[str], Remarks]:
    """Names of the files that a manifest of this content lists, and what was remarked."""
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    remarks = Remarks()
    return [Path(job.path).name for job in list_jobs([path], remarks)], remarks


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"path": 3}', "path is 3: give a text"),
        ('{"path": ["a.mp4"]}', "path is ['a.mp4']: give a text"),
        ('{"path": null}', "no path"),
        ("null", "it is no object"),
        ("3", "it is no object"),
        ('"a.mp4"', "it is no object"),
        ('{"path": "b.mp4"', "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ('{"path": "b.mp4", "start_s": NaN}', "start_s is nan"),
        ('{"path": "b.mp4", "start_s": -1}', "start_s is -1"),
        ('{"path": "b.mp4", "start_s": true}', "start_s is True"),
        ('{"path": "b.mp4", "start_s": [1]}', "start_s is [1]"),
        ('{"path": "b.mp4", "end_s": 1' + "0" * 400 + "}", "end_s is 1000"),
        ('{"path": "b.mp4", "start_s": 4, "end_s": 4}', "end_s 4 must be above start_s 4"),
        ('{"path": "b.mp4", "caption": 7}', "caption is 7: give a text"),
        ('{"path": "b.mp4", "path": "c.mp4"}', "the key path twice"),
        ('{"path": "b\\u0000.mp4"}', "holds a NUL"),
        ('{"path": "b\\ud800.mp4"}', "holds half a character"),
        ('{"path": "\\udcff.mp4"}', "is no UTF-8, and no file is called so"),
        ('{"path": "ftp://host/b.mp4"}', "is not read: give a path, or s3"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_line_and_the_others_are_taken(
    tmp_path: Path, row: str, words: str
) -> None:
    names, remarks = listed(tmp_path / "list.jsonl", f'{{"path": "a.mp4"}}\n{row}\n{{"path": "z.mp4"}}\n')
    assert names == ["a.mp4", "z.mp4"]
    (outcome,) = remarks.outcomes
    assert (outcome.source, outcome.records, outcome.reason) == ("list.jsonl, line 2", 0, "bad_row")
    assert words in str(outcome.detail)


def test_listed_is_ingested_and_refused_rows_of_manifests_included(tmp_path: Path) -> None:
    makers.make_video(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "list.csv").write_text('path,start_s,caption\na.mp4,,"a bell"\nb.mp4,soon,\n,,\na.mp4,"0.5,x\n')
    result = ingest([tmp_path / "list.csv"], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert (result.listed, result.num_refused, result.index.num_records) == (3, 2, 1)
    assert result.reasons == {"bad_row": 2}
    lines = [json.loads(line) for line in (tmp_path / "out" / "refused.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == ["list.csv, line 3", "list.csv, line 5"]
    assert "start_s is 'soon'" in lines[0]["detail"]
    assert "is a quotation mark not closed?" in lines[1]["detail"]
    assert len(result.outcomes) == result.listed


def test_a_row_that_was_mended_is_taken_by_the_same_command(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        makers.make_video(tmp_path / name, seconds=1)
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"path": "a.mp4"}\n{"path": "b.mp4", "start_s": "x"}\n')
    ingest([manifest], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    manifest.write_text('{"path": "a.mp4"}\n{"path": "b.mp4"}\n')
    result = ingest([manifest], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert (result.listed, result.num_refused, result.index.num_records) == (2, 0, 2)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("\ufeffpath,start_s\na.mp4,1\n", ["a.mp4"]),
        ("Path , Start_s\na.mp4,1\n", ["a.mp4"]),
        ("# made by hand\npath,caption\na.mp4,x\n", ["a.mp4"]),
        ("path\r\na.mp4\r\n,\r\n  \r\nb.mp4\r\n", ["a.mp4", "b.mp4"]),
        ("path\ra.mp4\rb.mp4\r", ["a.mp4", "b.mp4"]),
        ('path,caption\na.mp4,"two\nlines, ""quoted"""\nb.mp4,\n', ["a.mp4", "b.mp4"]),
        ('path,caption\na.mp4,5" tall\nb.mp4,"A" dog\n', ["a.mp4", "b.mp4"]),
        ("path,caption\na.mp4,\u2028x\u0085y\nb.mp4,\n", ["a.mp4", "b.mp4"]),
        ("path,label,label\na.mp4,1,2\n", ["a.mp4"]),
    ],
)
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path, text: str, names: list[str]) -> None:
    found, remarks = listed(tmp_path / "list.csv", text)
    assert found == names
    assert remarks.outcomes == []


def test_a_quotation_mark_that_is_not_closed_costs_its_own_line(tmp_path: Path) -> None:
    rows = ["path,caption", "a.mp4,x", 'b.mp4,"never closed', "c.mp4,y", 'd.mp4,"good, ""too"""', 'e.mp4,"open']
    names, remarks = listed(tmp_path / "list.csv", "\n".join(rows))
    assert names == ["a.mp4", "c.mp4", "d.mp4"]
    assert [outcome.source for outcome in remarks.outcomes] == ["list.csv, line 3", "list.csv, line 6"]


def test_a_cell_of_200000_letters_costs_its_own_line(tmp_path: Path) -> None:
    names, remarks = listed(tmp_path / "list.csv", f"path,caption\na.mp4,{'x' * 200_000}\nb.mp4,y\n")
    assert names == ["b.mp4"]
    assert [outcome.source for outcome in remarks.outcomes] == ["list.csv, line 2"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"", "lists nothing"),
        ("a.csv", b"\xef\xbb\xbf", "lists nothing"),
        ("a.csv", b"path,start_s\n", "lists nothing"),
        ("a.jsonl", b"\n\n", "lists nothing"),
        ("a.txt", b"\n", "lists nothing"),
        ("a.csv", b"path,start_s,start_s\na.mp4,1,2\n", "has the column start_s twice"),
        ("a.csv", b"path;start_s\na.mp4;1\n", "has its columns between ';': put commas there"),
        ("a.csv", b"path\tstart_s\na.mp4\t1\n", "put commas there"),
        ("a.txt", "a.mp4\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("a.csv", "path\na.mp4\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("a.jsonl", b'[\n{"path": "a.mp4"},\n]', "line 1: it is no JSON"),
    ],
)
def test_a_manifest_that_lists_nothing_says_why_in_a_sentence(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        listed(tmp_path / name, data)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_a_folder_s_secret_says_so_and_not_that_it_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").symlink_to("/proc/self/mem")  # the system gives an I/O error
    with pytest.raises(UsageError, match=r"list.txt' cannot be read: Input/output error$"):
        list_jobs([tmp_path / "list.txt"])


def test_a_line_that_begins_with_a_hash_is_a_file_if_there_is_one_and_else_a_comment_that_is_counted(
    tmp_path: Path,
) -> None:
    (tmp_path / "#1 hit.mp4").write_bytes(b"x")
    for name, text in (
        ("list.txt", "#1 hit.mp4\n# a note\na.mp4\n#2 gone.mp4\n"),
        ("list.csv", '#1 hit.mp4,0,5\n"# a note, long"\na.mp4\n#2 gone.mp4,1\n'),
        ("list.jsonl", '{"path": "#1 hit.mp4"}\n# a note\n{"path": "a.mp4"}\n{"path": "#2 gone.mp4"}\n'),
    ):
        names, remarks = listed(tmp_path / name, text)
        assert names == ["#1 hit.mp4", "a.mp4"], name
        assert remarks.comments == 2, name


def test_names_that_are_no_utf8_are_taken_from_a_list_as_the_bytes_they_are(tmp_path: Path) -> None:
    latin = os.fsdecode(b"caf\xe9.mp4")
    try:
        (tmp_path / latin).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    names, remarks = listed(tmp_path / "list.txt", b"a.mp4\ncaf\xe9.mp4\nth\xe9.mp4\n")
    assert names == ["a.mp4", latin]
    assert [outcome.source for outcome in remarks.outcomes] == ["list.txt, line 3"]
    assert "\\xe9.mp4' is no UTF-8" in str(remarks.outcomes[0].detail)


@pytest.mark.parametrize("letter", ["\u2028", "\u0085", "\u3000", "\x1c"])
def test_letters_at_which_other_programs_cut_lines_belong_to_names(tmp_path: Path, letter: str) -> None:
    name = f"a{letter}b.mp4{letter}"
    for path, text in (
        (tmp_path / "list.txt", f"{name}\nc.mp4\n"),
        (tmp_path / "list.jsonl", json.dumps({"path": name}, ensure_ascii=False) + '\n{"path": "c.mp4"}\n'),
    ):
        assert listed(path, text)[0] == [name, "c.mp4"]


def test_a_byte_order_mark_before_json_lines_is_no_part_of_them(tmp_path: Path) -> None:
    assert listed(tmp_path / "list.jsonl", '\ufeff{"path": "a.mp4"}\n')[0] == ["a.mp4"]


def test_half_characters_in_captions_do_not_stop_a_run(tmp_path: Path) -> None:
    makers.make_video(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "list.jsonl").write_text('{"path": "a.mp4", "caption": "a dog \\ud83d barks"}\n')
    ingest([tmp_path / "list.jsonl"], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    (record,) = read_shard(tmp_path / "out" / "shard-000000.tar")
    assert record.caption == "a dog \ufffd barks"


def test_a_name_of_84_chinese_letters_is_ingested(tmp_path: Path) -> None:
    try:
        video = makers.make_video(tmp_path / f"{'漢' * 83}.mp4", seconds=1)  # 253 bytes of 255
    except OSError:
        pytest.skip("this file system has shorter names")
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": video.name}) + "\n" + json.dumps({"path": "漢" * 84}))
    result = ingest([tmp_path / "list.jsonl"], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert [(outcome.records, outcome.reason) for outcome in result.outcomes] == [(1, None), (0, "decode_error")]


def test_a_loop_of_links_is_refused_by_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    makers.make_video(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "list.txt").write_text("loop.mp4\na.mp4\n")
    result = ingest([tmp_path / "list.txt"], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert [outcome.reason for outcome in result.outcomes] == ["decode_error", None]


VGGSOUND = ListFormat("csv", ("id", "start_s", "caption", "split"))


def test_a_line_of_a_publisher_s_list_that_cannot_be_used_is_refused_by_itself(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "# by hand\nid,start,label,split\naaaa,1,bell,train\nbbbb,2,a, b,train\nccccc,-3,bell,train\n,1,bell,train\n"
        'dddd,5,"a bell,train\neeee,7,bell,test\n'
    )
    remarks = Remarks()
    entries = read_list(tmp_path / "list.csv", VGGSOUND, remarks=remarks)
    assert [entry.id for entry in entries] == ["aaaa", "eeee"]
    assert [outcome.source for outcome in remarks.outcomes] == [f"list.csv, line {n}" for n in (2, 4, 5, 6, 7)]
    assert {outcome.reason for outcome in remarks.outcomes} == {"bad_row"}
    assert "start_s is 'start'" in str(remarks.outcomes[0].detail)
    assert remarks.comments == 1


def test_an_interval_that_ends_before_it_begins_is_refused_by_itself(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a,30,40\nb,40,30\n")
    remarks = Remarks()
    assert read_list(tmp_path / "list.csv", ListFormat("csv", ("id", "start_s", "end_s")), remarks=remarks) == [
        Entry("a", 30.0, 40.0)
    ]
    assert "end_s 30 must be above start_s 40" in str(remarks.outcomes[0].detail)


def test_ids_of_other_types_in_a_list_by_label_are_refused_by_themselves(tmp_path: Path) -> None:
    videos = {"cello": ["aaaa", None, 7, "", "b\ud800"], "drum": "cccc", "harp": None}
    (tmp_path / "list.json").write_text(json.dumps({"videos": videos}))
    remarks = Remarks()
    entries = read_list(tmp_path / "list.json", ListFormat("json_by_label"), remarks=remarks)
    assert [entry.id for entry in entries] == ["aaaa", "b\ufffd"]
    assert [outcome.source for outcome in remarks.outcomes] == [
        "list.json, label 'cello', place 2", "list.json, label 'cello', place 3", "list.json, label 'cello', place 4",
        "list.json, label 'drum'", "list.json, label 'harp'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("list: {columns: id}", "columns is 'id', it must be a list of names"),
        ("list: {columns: 3}", "it must be a list of names"),
        ("list: {columns: [1, {}]}", "it must be a list of names"),
        ("list: {columns: [start_s]}", "give id"),
        ("list: {columns: [id, start_s, start_s]}", "no name but ignored twice"),
        ("list: {seconds: long}", "seconds is 'long', it must be of type float"),
        ("list: {seconds: -1}", "seconds -1: give a length above 0"),
        ("list: {seconds: .nan}", "seconds nan: give a length above 0"),
        ("list: {kind: [csv]}", "is unknown: choose one of csv"),
    ],
)
def test_a_recipe_whose_list_has_values_of_other_types_is_refused_in_a_sentence(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError, match=words.replace("[", r"\[")):
        load_list_format(tmp_path / "r.yaml")


@pytest.mark.parametrize("text", ["options: {1: 2}", "options: {[a]: 2}", "options: [x]", "[" * 2000, "a: \x00"])
def test_a_recipe_that_is_none_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"unknown options|is not YAML") as caught:
        load_recipe(tmp_path / "r.yaml")
    assert "\n" not in str(caught.value)


def test_a_length_that_is_no_number_is_too_small() -> None:
    with pytest.raises(UsageError, match="--stride-s nan is too small"):
        IngestOptions(stride_s=float("nan"))
