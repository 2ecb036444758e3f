"""Videos in tars: listed with their captions, read as if they were files, and never written under their own names."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from pathlib import Path

import makers_ingest as makers
import numpy as np
import pytest

from clipsonic.ingest.jobs import leads_out
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.ingest.sources import list_jobs
from clipsonic.shards.writer import CorpusIndex, read_shard
from clipsonic.specs import CorpusSpec

OPTIONS = IngestOptions(spec=CorpusSpec(16000, 2.0, 1.0), workers=1, frame_tolerance_s=0.0)


def tar_of(path: Path, files: dict[str, bytes], *links: str) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return makers.make_video(tmp_path_factory.mktemp("made") / "a.mp4").read_bytes()


def test_members_are_listed_with_their_captions_in_the_order_of_the_archive(tmp_path: Path) -> None:
    files = {
        "0002.mp4": b"x",
        "0001.json": b"{}",
        "0001.txt": b" a dog barks\n",
        "0001.mp4": b"x",
        "a/3.MKV": b"x",
    }
    tar_of(tmp_path / "00000.tar", files, "link.mp4")
    jobs = list_jobs([tmp_path])
    root = tmp_path.name
    assert [job.source for job in jobs] == [f"{root}/00000.tar/{name}" for name in ("0002.mp4", "0001.mp4", "a/3.MKV")]
    assert [job.caption for job in jobs] == [None, "a dog barks", None]
    assert len({job.entry_id for job in jobs}) == 3


def test_a_video_in_a_tar_gives_the_record_that_it_gives_as_a_file(video: bytes, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.mp4").write_bytes(video)
    (tmp_path / "packed").mkdir()
    tar_of(tmp_path / "packed" / "00000.tar", {"a.mp4": video, "a.txt": b"a flash"})
    records = []
    for name in ("plain", "packed"):
        ingest([tmp_path / name], tmp_path / f"out-{name}", OPTIONS, embedder=makers.DoubleEmbedder())
        (shard,) = CorpusIndex.load(tmp_path / f"out-{name}").shards
        records.append(list(read_shard(tmp_path / f"out-{name}" / shard["name"])))
    for plain, packed in zip(*records, strict=True):
        assert np.array_equal(plain.wave, packed.wave)
        assert np.array_equal(plain.frames, packed.frames)
        assert (plain.caption, packed.caption) == (None, "a flash")


def test_names_that_lead_out_are_refused_and_nothing_is_written_outside(video: bytes, tmp_path: Path) -> None:
    names = ["../escaped.mp4", "/absolute.mp4", "a/../../b.mp4", "pipe:touch pwned.mp4", "good.mp4"]
    (tmp_path / "in").mkdir()
    tar_of(tmp_path / "in" / "x.tar", dict.fromkeys(names, video))
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    result = ingest([tmp_path / "in"], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert [outcome.reason for outcome in result.outcomes] == ["unsafe_name"] * 4 + [None]
    assert {path for path in tmp_path.rglob("*") if "out" not in path.relative_to(tmp_path).parts} == before
    assert not Path("/absolute.mp4").exists()


@pytest.mark.parametrize(
    ("name", "unsafe"),
    [("a.mp4", False), ("a/b..c.mp4", False), ("C:\\x.mp4", True), ("https://x/y.mp4", True), ("a\\..\\b.mp4", True)],
)
def test_which_names_lead_out(name: str, unsafe: bool) -> None:
    assert leads_out(name) is unsafe


def test_what_is_larger_than_may_be_copied_is_refused_and_the_rest_goes_on(video: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tar_of(tmp_path / "in" / "x.tar", {"big.mp4": video + bytes(2_000_000), "small.mp4": video})
    options = dataclasses.replace(OPTIONS, max_copy_gb=0.0015)
    result = ingest([tmp_path / "in"], tmp_path / "out", options, embedder=makers.DoubleEmbedder())
    assert [outcome.reason for outcome in result.outcomes] == ["too_large", None]
    assert "at most 1500000 are copied" in str(result.outcomes[0].detail)


def test_a_tar_that_ends_early_gives_what_is_whole_and_one_that_is_none_is_refused(
    video: bytes, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    whole = tar_of(tmp_path / "in" / "cut.tar", {"a.mp4": video, "b.mp4": video}).read_bytes()
    (tmp_path / "in" / "cut.tar").write_bytes(whole[: 512 + len(video) + 2000])
    (tmp_path / "in" / "none.tar").write_bytes(b"this is no archive")
    result = ingest([tmp_path / "in"], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert {outcome.source: outcome.reason for outcome in result.outcomes} == {
        "in/cut.tar/a.mp4": None, "in/cut.tar/b.mp4": "decode_error", "in/none.tar": "not_media",
    }  # fmt: skip
