"""Whole ingests: everything listed is accounted for, and the bytes depend on sources and options only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import makers_ingest as makers
import numpy as np
import pytest
import torch

from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.ingest.executors import BATCH_PICTURES
from clipsonic.ingest.plan import each_outcome
from clipsonic.ingest.run import IngestOptions, fit_of, ingest
from clipsonic.ingest.segments import Fit
from clipsonic.refusals import RefusalReason
from clipsonic.shards.merge import merge
from clipsonic.shards.writer import CorpusIndex, corpus_facts, read_shard
from clipsonic.specs import CorpusSpec

SPEC = CorpusSpec(16000, 1.0, 0.5)
OPTIONS = IngestOptions(spec=SPEC, shard_files=3, workers=1, timeout_s=30.0)


def bytes_of(folder: Path) -> dict[str, str]:
    """Relative path -> hash, of everything in a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight files: five good ones of different kinds, three bad ones."""
    folder = tmp_path_factory.mktemp("raw") / "videos"
    folder.mkdir()
    makers.make_video(folder / "a.mp4", seconds=2.6)
    makers.make_video(folder / "b é 漢.mp4", seconds=1.2)
    makers.make_video(folder / "c.webm", codec="libvpx-vp9", sound_codec="libopus", rate_hz=48000, seconds=2)
    makers.make_video(folder / "d_no_sound.mp4", sound_codec=None)
    makers.make_video(folder / "e.mkv", codec="ffv1", sound_codec="flac", seconds=3)
    (folder / "f_text.mp4").write_text("no media\n" * 30)
    makers.make_video(folder / "g_short.mp4", seconds=0.3)
    makers.make_video(folder / "h.avi", codec="mpeg4", sound_codec="pcm_s16le", rate_hz=11025, seconds=1)
    return folder


class OnGpu(makers.DoubleEmbedder):
    """One that says it is on a GPU, and notes how products are computed while it embeds."""

    device = torch.device("cuda", 0)

    def embed_pictures(self, pictures: Any, batch_size: int = 64) -> np.ndarray:
        self.precision = torch.get_float32_matmul_precision()
        return super().embed_pictures(pictures, batch_size)


def test_products_of_a_gpu_are_in_tf32_only_while_it_embeds_and_the_index_says_so(videos: Path, tmp_path: Path) -> None:
    embedder, before = OnGpu(), torch.get_float32_matmul_precision()
    made = ingest([videos / "a.mp4"], tmp_path / "gpu", OPTIONS, embedder=embedder)
    assert (embedder.precision, torch.get_float32_matmul_precision()) == ("high", before)
    assert made.index.products == CorpusIndex.load(tmp_path / "gpu").products == "tf32"
    ingest([videos / "e.mkv"], tmp_path / "cpu", OPTIONS, embedder=makers.DoubleEmbedder())
    assert "products" not in json.loads((tmp_path / "cpu" / "index.json").read_text())
    assert merge([tmp_path / "gpu", tmp_path / "cpu"], tmp_path / "both").products == "tf32"


@pytest.fixture(scope="module")
def corpus(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "corpus"
    ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
    return out


def test_everything_listed_is_ingested_or_refused_with_its_reason(corpus: Path, videos: Path) -> None:
    outcomes = list(each_outcome(corpus))
    assert [outcome.source for outcome in outcomes] == [f"videos/{path.name}" for path in sorted(videos.iterdir())]
    refused = {outcome.source: outcome.reason for outcome in outcomes if outcome.refused}
    assert refused == {
        "videos/d_no_sound.mp4": "no_audio", "videos/f_text.mp4": "not_media", "videos/g_short.mp4": "too_short",
    }  # fmt: skip
    lines = [json.loads(line) for line in (corpus / "refused.jsonl").read_text().splitlines()]
    assert {line["source"]: line["reason"] for line in lines} == refused
    assert all(line["detail"] for line in lines)
    index = CorpusIndex.load(corpus)
    assert sum(outcome.records for outcome in outcomes) == index.num_records == 3 + 1 + 2 + 3 + 1


def test_records_hold_what_their_facts_say(corpus: Path) -> None:
    index = CorpusIndex.load(corpus)
    records = [record for shard in index.shards for record in read_shard(corpus / shard["name"])]
    facts = corpus_facts(corpus)
    assert [record.key for record in records] == [item["key"] for item in facts]
    assert len({record.key for record in records}) == len(records)
    for record, item in zip(records, facts, strict=True):
        assert record.facts == {name: value for name, value in item.items() if name not in ("key", "shard")}
        assert len(record.wave) == round(item["seconds"] * 16000)
        assert record.frames.shape == (len(item["frame_times_s"]), index.width)
        norms = np.linalg.norm(record.frames.astype(np.float32), axis=1)
        assert np.abs(norms - 1).max() < 1e-3  # float16 has 11 bits
        assert record.thumbnail is not None
        assert record.thumbnail.startswith(b"\xff\xd8")


def test_without_tolerance_the_embeddings_are_those_of_the_pictures_at_the_frame_times(
    videos: Path, tmp_path: Path
) -> None:
    from clipsonic.ingest.decode import frames_at

    embedder = makers.DoubleEmbedder()
    ingest([videos], tmp_path, dataclasses.replace(OPTIONS, frame_tolerance_s=0.0), embedder=embedder)
    for record in read_shard(tmp_path / "shard-000000.tar"):
        times_s = [record.facts["start_s"] + time_s for time_s in record.facts["frame_times_s"]]
        pictures = frames_at(videos.parent / record.facts["source"], times_s)
        assert np.array_equal(record.frames, embedder.embed_pictures(pictures).astype(np.float16))


def test_no_path_of_this_machine_is_in_the_corpus(corpus: Path, videos: Path) -> None:
    for path in corpus.rglob("*"):
        if path.is_file():
            assert str(videos.parent).encode() not in path.read_bytes(), path.name


def test_batches_are_of_one_size_whatever_the_number_of_pictures(videos: Path, tmp_path: Path) -> None:
    embedder = makers.DoubleEmbedder()
    ingest([videos], tmp_path / "out", OPTIONS, embedder=embedder)
    assert set(embedder.batches) == {BATCH_PICTURES}


def test_a_rerun_adds_nothing_and_changes_no_byte(corpus: Path, videos: Path) -> None:
    before = bytes_of(corpus)
    embedder = makers.DoubleEmbedder()
    ingest([videos], corpus, OPTIONS, embedder=embedder)
    assert bytes_of(corpus) == before
    assert embedder.batches == []


def test_a_run_that_broke_off_goes_on_and_ends_with_the_bytes_of_an_unbroken_one(
    corpus: Path, videos: Path, tmp_path: Path
) -> None:
    class Breaking(makers.DoubleEmbedder):  # type: ignore[misc, name-defined]
        def embed_pictures(self, pictures: Any, batch_size: int = 64) -> np.ndarray:
            if len(self.batches) == 1:
                raise KeyboardInterrupt
            return super().embed_pictures(pictures, batch_size)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        ingest([videos], out, OPTIONS, embedder=Breaking())
    assert not (out / "index.json").exists()
    embedder = makers.DoubleEmbedder()
    ingest([videos], out, OPTIONS, embedder=embedder)
    assert bytes_of(out) == bytes_of(corpus)
    assert len(embedder.batches) == 2, "three units, of which one was done"


def test_a_lost_shard_is_built_again_by_the_same_command(corpus: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
    (out / "shard-000001.tar").unlink()
    (out / ".shard-000002.tar.tmp").write_bytes(b"left by a killed run")
    ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
    assert bytes_of(out) == bytes_of(corpus)


def test_sources_that_have_grown_are_appended(videos: Path, tmp_path: Path) -> None:
    out, files = tmp_path / "out", sorted(videos.iterdir())
    first = ingest(files[:2], out, OPTIONS, embedder=makers.DoubleEmbedder())
    shard = (out / "shard-000000.tar").read_bytes()
    result = ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
    assert (out / "shard-000000.tar").read_bytes() == shard
    assert first.index.shards == result.index.shards[:1]
    assert len(result.outcomes) == len(files)
    assert len({item["key"] for item in corpus_facts(out)}) == result.index.num_records == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": CorpusSpec(16000, 2.0, 0.5)}, {"spec": CorpusSpec(8000, 1.0, 0.5)}, {"stride_s": 0.5},
        {"max_segments": 1}, {"thumbnails": False}, {"shard_files": 2}, {"shard_records": 7},
    ],
)  # fmt: skip
def test_other_options_on_a_begun_corpus_are_refused_and_nothing_is_touched(
    corpus: Path, videos: Path, changes: dict[str, Any]
) -> None:
    before = bytes_of(corpus)
    options = IngestOptions(**{**OPTIONS.__dict__, **changes})
    with pytest.raises(UsageError, match="was begun with"):
        ingest([videos], corpus, options, embedder=makers.DoubleEmbedder())
    assert bytes_of(corpus) == before


def test_another_clip_or_other_sources_on_a_begun_corpus_are_refused(corpus: Path, videos: Path) -> None:
    other = makers.DoubleEmbedder()
    other.fingerprint = "double/1"
    with pytest.raises(UsageError, match="double/1"):
        ingest([videos], corpus, OPTIONS, embedder=other)
    with pytest.raises(UsageError, match="other sources"):
        ingest([videos / "a.mp4"], corpus, OPTIONS, embedder=makers.DoubleEmbedder())


def test_a_folder_with_shards_of_unknown_origin_and_a_damaged_plan_are_refused(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "shard-000000.tar").write_bytes(b"")
    with pytest.raises(UsageError, match="new folder"):
        ingest([videos], tmp_path / "strange", OPTIONS, embedder=makers.DoubleEmbedder())
    (tmp_path / "broken" / "ingest").mkdir(parents=True)
    (tmp_path / "broken" / "ingest" / "plan.json").write_text("{")
    with pytest.raises(ClipsonicError, match="damaged"):
        ingest([videos], tmp_path / "broken", OPTIONS, embedder=makers.DoubleEmbedder())
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        ingest([videos], tmp_path / "file", OPTIONS, embedder=makers.DoubleEmbedder())


def test_a_corpus_without_a_single_record_is_one_sentence_and_its_reasons_are_there(
    videos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ClipsonicError, match=r"none of the 2 .*no_audio 1, not_media 1") as caught:
        ingest(
            [videos / "d_no_sound.mp4", videos / "f_text.mp4"],
            tmp_path / "out",
            OPTIONS,
            embedder=makers.DoubleEmbedder(),
        )
    assert caught.value.exit_code == 1
    assert len((tmp_path / "out" / "refused.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "out" / "index.json").exists()


def test_many_records_of_a_unit_fill_several_shards(videos: Path, tmp_path: Path) -> None:
    options = IngestOptions(spec=SPEC, shard_records=4, workers=1)
    result = ingest([videos], tmp_path / "out", options, embedder=makers.DoubleEmbedder())
    assert [(shard["name"], shard["records"]) for shard in result.index.shards] == [
        ("shard-000000.tar", 4), ("shard-000000-001.tar", 4), ("shard-000000-002.tar", 2),
    ]  # fmt: skip
    for item in corpus_facts(tmp_path / "out"):
        assert any(record.key == item["key"] for record in read_shard(tmp_path / "out" / item["shard"]))


def test_captions_of_a_manifest_are_kept_beside_the_records(videos: Path, tmp_path: Path) -> None:
    manifest = videos.parent / "list.csv"
    manifest.write_text("path,start_s,end_s,caption\nvideos/a.mp4,0.5,2.5,numbers\nvideos/h.avi,,,\n")
    ingest([manifest], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    records = list(read_shard(tmp_path / "out" / "shard-000000.tar"))
    assert [(record.facts["start_s"], record.caption) for record in records] == [
        (0.5, "numbers"), (1.5, "numbers"), (0.0, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "option", [{"workers": 0}, {"stride_s": 0.0}, {"max_segments": 0}, {"timeout_s": 0}, {"memory_mb": 1}]
)
def test_options_that_cannot_be_are_wrong_usage(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="too small"):
        IngestOptions(**option)


@pytest.mark.parametrize(
    ("preprocess", "fit"),
    [
        ({"size": 96, "resize_mode": "squash", "interpolation": "bicubic"}, Fit(96, "squash")),
        ({"size": (224, 224), "resize_mode": "shortest", "interpolation": "bicubic"}, Fit(224, "shortest")),
        ({"size": (224, 112), "resize_mode": "shortest", "interpolation": "bicubic"}, None),
        ({"size": 224, "resize_mode": "longest", "interpolation": "bicubic"}, None),
        ({"size": 224, "resize_mode": "shortest", "interpolation": "bilinear"}, None),
        ({}, None),
    ],
)
def test_only_usual_transforms_are_done_by_the_decoding_processes(preprocess: dict[str, Any], fit: Fit | None) -> None:
    assert fit_of(SimpleNamespace(config={"preprocess_cfg": preprocess})) == fit
    assert fit_of(object()) is None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_equal_bytes(corpus: Path, videos: Path, tmp_path: Path, workers: int) -> None:
    options = dataclasses.replace(OPTIONS, workers=workers)
    ingest([videos], tmp_path / "out", options, embedder=makers.DoubleEmbedder())
    assert bytes_of(tmp_path / "out") == bytes_of(corpus)


def test_a_disk_that_takes_no_more_stops_it_in_one_sentence_and_the_same_command_ends_it(
    videos: Path, tmp_path: Path
) -> None:
    """A limit on the length of files stands for the full disk: the system refuses the write in the same way."""
    out, options = tmp_path / "out", dataclasses.replace(OPTIONS, shard_files=1)
    ingest([videos], tmp_path / "unbroken", options, embedder=makers.DoubleEmbedder())
    sizes = {shard["name"]: shard["bytes"] for shard in CorpusIndex.load(tmp_path / "unbroken").shards}
    largest = max(sizes, key=lambda name: sizes[name])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[largest] - 1, limits[1]))
    try:
        with pytest.raises(OSError, match=largest):
            ingest([videos], out, options, embedder=makers.DoubleEmbedder())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    earlier = [name for name in sizes if name < largest]
    assert earlier == sorted(path.name for path in out.iterdir() if path.is_file())
    ingest([videos], out, options, embedder=makers.DoubleEmbedder())
    assert bytes_of(out) == bytes_of(tmp_path / "unbroken")


@pytest.mark.slow
def test_a_matrix_of_broken_files_each_refused_once_with_its_reason_and_all_good_ones_in(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    good = makers.make_video(folder / "good.mp4", seconds=3, container_options={"movflags": "faststart"})
    data = good.read_bytes()
    moov_last = makers.make_video(tmp_path / "moov_last.mp4", seconds=3).read_bytes()
    expected = {"good.mp4": None}

    def put(name: str, content: bytes, reason: str | None) -> None:
        (folder / name).write_bytes(content)
        expected[name] = reason

    put("zero.mp4", b"", "not_media")
    put("text.mkv", b"just words " * 100, "not_media")
    put("zeros.avi", bytes(5000), "not_media")
    put("truncated_index_last.mp4", moov_last[: len(moov_last) * 6 // 10], "decode_error")
    put("truncated_index_first.mp4", data[: len(data) * 7 // 10], None)
    put("truncated_early.mp4", data[: len(data) * 5 // 10], "decode_error")
    start = data.find(b"mdat") + 900
    noise = np.random.default_rng(0).integers(0, 256, len(data) - start, dtype=np.uint8).tobytes()
    put("overwritten.mp4", data[:start] + noise, "decode_error")
    put("GOOD_TOO.MP4", data, None)
    for name, how, reason in (
        ("no_sound.mp4", {"sound_codec": None}, "no_audio"),
        ("sound_only.m4a", {"has_video": False}, "no_video"),
        ("one_picture.mp4", {"seconds": 1 / 15}, "too_short"),
        ("short_sound.mkv", {"sound_seconds": 0.4, "sound_codec": "flac", "clicks_s": (0.2,)}, "too_short"),
        ("silent.mp4", {"silent": True}, None),
        ("still.mp4", {"still": True}, None),
        ("ten_bit.mp4", {"pix_fmt": "yuv420p10le"}, None),
        ("hevc.mp4", {"codec": "libx265"}, None),
        ("av1.mkv", {"codec": "libsvtav1"}, None),
        ("vp9.webm", {"codec": "libvpx-vp9", "sound_codec": "libopus", "rate_hz": 48000}, None),
        ("prores.mov", {"codec": "prores", "pix_fmt": "yuv422p10le", "sound_codec": "pcm_s24le"}, None),
        ("mpeg2.ts", {"codec": "mpeg2video", "fps": 25, "sound_codec": "ac3", "rate_hz": 48000}, None),
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "sound_codec": "pcm_u8", "rate_hz": 11025}, None),
        ("five_one.mp4", {"rate_hz": 48000, "layout": "5.1"}, None),
        ("one_per_second.mp4", {"fps": 1, "seconds": 4}, None),
    ):
        makers.make_video(folder / name, **how)
        expected[name] = reason
    makers.turn(makers.make_video(folder / "turned.mp4"), (0, 1, -1, 0))
    expected["turned.mp4"] = None
    (folder / "dead_link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    expected["dead_link.mp4"] = "decode_error"
    os.mkfifo(folder / "pipe.mp4")
    expected["pipe.mp4"] = "timeout"

    options = IngestOptions(spec=CorpusSpec(16000, 2.0, 1.0), workers=2, timeout_s=5.0)
    result = ingest([folder], tmp_path / "out", options, embedder=makers.DoubleEmbedder())
    found = {
        outcome.source.removeprefix("videos/"): outcome.reason if outcome.refused else None
        for outcome in result.outcomes
    }
    assert found == expected
    assert len(result.outcomes) == len(list(folder.iterdir()))
    assert {str(outcome.reason) for outcome in result.outcomes if outcome.refused} <= {
        str(reason) for reason in RefusalReason
    }


@pytest.mark.slow
def test_real_and_odd_files_are_all_accounted_for(real_media: Path, tmp_path: Path) -> None:
    options = IngestOptions(spec=CorpusSpec(16000, 2.56, 2.56), workers=2)
    result = ingest(
        [real_media / "videos", real_media / "odd"], tmp_path / "out", options, embedder=makers.DoubleEmbedder()
    )
    listed = [path for name in ("videos", "odd") for path in (real_media / name).iterdir()]
    assert len(result.outcomes) == len(listed)
    reasons = {outcome.source.removeprefix("odd/"): outcome.reason for outcome in result.outcomes if outcome.refused}
    assert not any(source.startswith("videos/") for source in reasons)
    assert reasons["truncated_no_moov.mp4"] == "decode_error"
    assert reasons["zero_bytes.mp4"] == reasons["text_file.mp4"] == "not_media"
    assert reasons["audio_only.mp4"] == reasons["audio_only.m4a"] == "no_video"
    assert reasons["no_audio.mp4"] == reasons["tc_av1_video.mkv"] == "no_audio"
    assert reasons["one_frame.mp4"] == reasons["very_short_0.3s.mp4"] == "too_short"
    assert "truncated_faststart_60pct.mp4" not in reasons
    assert "sources.jsonl" in {path.name for path in (tmp_path / "out").iterdir()}
