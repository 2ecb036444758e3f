"""A corpus described in words and on a page: the numbers are true and the page stands by itself."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import makers_ingest as makers
import makers_streams as streams
import numpy as np
import pytest
import soundfile

from clipsonic.cli import main
from clipsonic.ingest.page import NUM_SHOWN, html_page
from clipsonic.ingest.plan import length_in_words
from clipsonic.ingest.report import corpus_report, report_in_words
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.shards.heard import save_answers, with_heard
from clipsonic.shards.selection import is_silent
from clipsonic.shards.writer import CorpusIndex, corpus_facts, write_facts
from clipsonic.specs import CorpusSpec


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "videos"
    folder.mkdir()
    makers.make_video(folder / "a.mp4", seconds=4, clicks_s=[place / 10 for place in range(40)])
    makers.make_video(folder / "b_silent.mp4", seconds=1, silent=True)
    makers.make_video(folder / "c_still.mp4", seconds=1, still=True)
    makers.make_video(folder / "d <script>alert(1)</script>.mp4".replace("/", "_"), sound_codec=None)
    (folder / "e_text.mp4").write_text("words " * 100)
    (folder / "f_text.mp4").write_text("words " * 100)
    out = tmp_path_factory.mktemp("out") / "corpus"
    options = IngestOptions(spec=CorpusSpec(16000, 1.0, 1.0), workers=1)
    ingest([folder], out, options, embedder=makers.DoubleEmbedder())
    return out


def test_the_numbers_are_those_of_the_corpus(corpus: Path) -> None:
    report = corpus_report(corpus)
    assert (report.records, report.shards, report.listed, report.ingested, report.refused) == (6, 1, 6, 3, 3)
    assert report.reasons == {"not_media": 2, "no_audio": 1}
    assert report.hours == pytest.approx(6 / 3600)
    assert report.silent == pytest.approx(2 / 6, abs=1e-4), "the still one has no click in its second"
    assert report.still == pytest.approx(1 / 6, abs=1e-4)
    assert report.black == report.clipped == report.faintly_mixed == 0.0
    assert sum(report.loudness.counts) == sum(report.lengths.counts) == 6
    assert report.num_bytes == sum(path.stat().st_size for path in corpus.glob("*.tar"))
    assert report.codecs == {"h264 + aac": 6}


def test_records_whose_channels_were_mixed_faintly_are_counted(tmp_path: Path) -> None:
    left, other = 0.1 * np.random.default_rng(5).standard_normal((2, 48000))
    (tmp_path / "raw").mkdir()
    for number, by in enumerate((1.0, 0.0, -0.4, -1.0)):
        sound = {"codec": "pcm_s16le", "wave": np.stack([left, by * left + np.sqrt(1 - by**2) * other])}
        picture = {"codec": "libx264", "pictures": streams.numbered(25)}
        streams.write(tmp_path / "raw" / f"{number}.mkv", [picture, sound])
    options = IngestOptions(spec=CorpusSpec(16000, 1.0, 0.9), workers=1)
    ingest([tmp_path / "raw"], tmp_path / "corpus", options, embedder=makers.DoubleEmbedder())
    report = corpus_report(tmp_path / "corpus")
    assert (report.records, report.faintly_mixed) == (4, 0.25)
    assert "faintly mixed 25.0%" in report_in_words(report)
    assert "faintly mixed records" in html_page(tmp_path / "corpus", report)


def test_the_words_say_what_was_refused_and_why(corpus: Path) -> None:
    words = report_in_words(corpus_report(corpus))
    assert "6 records" in words
    assert "6 listed = 3 ingested + 3 refused" in words
    assert "not_media 2" in words
    assert "videos/e_text.mp4" in words


def test_the_page_stands_by_itself_and_trusts_no_name(corpus: Path) -> None:
    page = html_page(corpus, corpus_report(corpus))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<audio") == page.count("<img") == 6 <= NUM_SHOWN
    for sound in re.findall(r"data:audio/flac;base64,([^\"]+)", page):
        wave, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sound)))
        assert (len(wave), rate_hz) == (16000, 16000)
    assert page.count("<svg") == 2
    assert "not_media" in page


def test_what_was_heard_is_shown_with_the_ends_to_look_at_and_hear_and_the_silent_left_out(
    corpus: Path, tmp_path: Path
) -> None:
    plain = corpus_report(corpus)
    assert (plain.belongs, plain.least, plain.most, sum(plain.belonging.counts)) == ([], [], [], 0)
    assert "belong" not in report_in_words(plain) + html_page(corpus, plain)
    heard = shutil.copytree(corpus, tmp_path / "heard")
    keys = [item["key"] for item in corpus_facts(corpus)]
    silent = {item["key"] for item in corpus_facts(corpus) if is_silent(item)}
    shares = {key: 0.0 if key in silent else (place + 1) / 10 for place, key in enumerate(keys)}
    (shard,) = CorpusIndex.load(heard).shards
    save_answers(heard, shard, "ears", shares)
    write_facts(heard, with_heard(heard, corpus_facts(heard), [shard]))
    report = corpus_report(heard)
    audible = [key for key in keys if key not in silent]
    assert (report.least, report.most) == (audible, audible[::-1])
    assert sum(report.belonging.counts) == len(audible) == 4
    values = [shares[key] for key in audible]
    assert report.belongs == pytest.approx(np.percentile(values, [5, 25, 50, 75, 95]), abs=5e-4)
    assert f"least {audible[0]}" in report_in_words(report)
    page = html_page(heard, report)
    assert page.count("<svg") == 3
    assert page.count("<audio") == page.count("<img") == 6 + 2 * 4
    assert page.index("together least") < page.index("together most") < page.index("Some records")
    shown = [float(share) for share in re.findall(r"belongs ([0-9.]+)<", page)]
    assert shown == [*values, *values[::-1], *(shares[key] for key in keys)]


def test_equal_corpora_give_equal_pages(corpus: Path) -> None:
    report = corpus_report(corpus)
    assert html_page(corpus, report) == html_page(corpus, report)


def test_the_command_prints_words_or_json_and_writes_the_page(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "pages" / "page.html"
    assert main(["inspect", str(corpus), "--html", str(page)]) == 0
    assert "6 records" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["inspect", str(corpus), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["records"], values["refused"], values["reasons"]["no_audio"]) == (6, 3, 1)


def test_what_is_no_corpus_is_one_sentence_and_exit_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7250.0, "2.01 hours"), (3599.0, "60.0 minutes"), (66.0, "1.1 minutes"), (6.0, "6.0 seconds")],
)
def test_lengths_are_said_in_a_fitting_unit(seconds: float, words: str) -> None:
    assert length_in_words(seconds) == words
