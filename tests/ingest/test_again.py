"""The same command again: files that have changed are read again, two runs at once are not, nothing else moves."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import makers_ingest as makers
import numpy as np
import pytest

from clipsonic.errors import ClipsonicError
from clipsonic.files import PROTOCOLS, held
from clipsonic.ingest.jobs import has_changed, with_hash
from clipsonic.ingest.reembed import reembed
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.ingest.sources import list_jobs
from clipsonic.shards.heard import save_answers
from clipsonic.shards.merge import merge
from clipsonic.shards.split import split
from clipsonic.shards.writer import CorpusIndex, corpus_facts
from clipsonic.specs import CorpusSpec

OPTIONS = IngestOptions(spec=CorpusSpec(16000, 1.0, 1.0), workers=1, shard_files=2, shard_records=2)


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ingested(videos: Path, out: Path) -> tuple[Any, list[int]]:
    """What a run ends with, and the batches it embedded."""
    embedder = makers.DoubleEmbedder()
    return ingest([videos], out, OPTIONS, embedder=embedder), embedder.batches


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Four files in two units; the first unit fills three shards."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, seconds in (("a.mp4", 4), ("b.mp4", 1), ("c.mp4", 1), ("d.mp4", 1)):
        makers.make_video(folder / name, seconds=seconds)
    return folder


def test_a_file_that_has_changed_is_read_again_and_the_corpus_is_that_of_the_files_as_they_are(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    ingested(videos, out)
    untouched = (out / "shard-000001.tar").stat().st_mtime_ns
    makers.make_video(videos / "a.mp4", seconds=1, clicks_s=(0.2,))
    result, batches = ingested(videos, out)
    assert (result.num_changed, result.index.num_records, len(batches)) == (1, 4, 1)
    assert "1 files have changed since they were ingested" in capsys.readouterr().err
    assert (out / "shard-000001.tar").stat().st_mtime_ns == untouched, "no file of its unit has changed"
    ingested(videos, tmp_path / "fresh")
    assert bytes_of(out) == bytes_of(tmp_path / "fresh"), "the two shards that are not needed any more are gone too"
    assert ingested(videos, out)[0].num_changed == 0


def test_what_was_heard_of_a_corpus_outlives_the_next_ingest_but_not_a_change_of_its_video(
    videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    index = ingested(videos, out)[0].index
    for shard in index.shards:
        keys = [item["key"] for item in corpus_facts(out) if item["shard"] == shard["name"]]
        save_answers(out, shard, "ears", dict.fromkeys(keys, 0.5))
    ingested(videos, out)
    assert [item["belongs"] for item in corpus_facts(out)] == [0.5] * 7
    makers.make_video(videos / "a.mp4", seconds=1, clicks_s=(0.2,))
    ingested(videos, out)
    kept = {item["source"]: item.get("belongs") for item in corpus_facts(out)}
    assert kept == {"videos/a.mp4": None, "videos/b.mp4": None, "videos/c.mp4": 0.5, "videos/d.mp4": 0.5}


def test_a_file_that_was_not_whole_when_it_was_read_is_taken_in_when_it_is(videos: Path, tmp_path: Path) -> None:
    whole = (videos / "b.mp4").read_bytes()
    (videos / "b.mp4").write_bytes(whole[:1000])
    result, _ = ingested(videos, tmp_path / "out")
    assert result.num_refused == 1
    (videos / "b.mp4").write_bytes(whole)
    result, _ = ingested(videos, tmp_path / "out")
    assert (result.num_refused, result.num_changed) == (0, 1)


def test_files_that_were_touched_or_copied_have_not_changed(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ingested(videos, out)
    before = bytes_of(out)
    for path in videos.iterdir():
        os.utime(path, (1e9, 1e9))
    result, batches = ingested(videos, out)
    assert (result.num_changed, batches, bytes_of(out)) == (0, [], before)
    videos.rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", videos, copy_function=shutil.copyfile)
    result, batches = ingested(videos, out)
    assert (result.num_changed, batches, bytes_of(out)) == (0, [], before)


def test_a_file_of_the_same_length_and_other_bytes_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(300_000))
    (before,) = list_jobs([path])
    then = with_hash(before)
    for place in (0, 150_000, 299_999):
        data = bytearray(300_000)
        data[place] = 1
        path.write_bytes(data)
        os.utime(path, (place, place))
        (now,) = list_jobs([path])
        assert has_changed(now, then), place
    assert not has_changed(before, then)


def test_a_listed_file_that_comes_later_is_taken_in_and_one_that_goes_keeps_its_records(
    videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("videos/c.mp4\nvideos/e.mp4\n")
    run = lambda: ingest([tmp_path / "list.txt"], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())  # noqa: E731
    assert run().reasons == {"decode_error": 1}
    (videos / "d.mp4").rename(videos / "e.mp4")
    result = run()
    assert (result.num_changed, result.index.num_records) == (1, 2)
    before = bytes_of(tmp_path / "out")
    (videos / "e.mp4").unlink()
    result = run()
    assert (result.num_changed, result.index.num_records, bytes_of(tmp_path / "out")) == (0, 2, before)


def test_a_changed_member_of_an_archive_is_read_again_and_its_neighbours_are_not_new(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    video = makers.make_video(tmp_path / "a.mp4", seconds=1).read_bytes()

    def pack(*members: tuple[str, bytes, int]) -> None:
        with tarfile.open(tmp_path / "v" / "x.tar", "w") as archive:
            for name, data, time in members:
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), time
                archive.addfile(info, io.BytesIO(data))

    pack(("a.mp4", video, 1), ("b.mp4", video[:900], 1))
    first, _ = ingested(tmp_path / "v", tmp_path / "out")
    assert first.num_refused == 1
    pack(("0.txt", b"x", 1), ("a.mp4", video, 1), ("b.mp4", video, 2))
    result, _ = ingested(tmp_path / "v", tmp_path / "out")
    assert (result.num_changed, result.num_refused, result.index.num_records) == (1, 0, 2)


def test_what_a_store_lists_with_another_tag_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "memory", "fsspec")
    store = fsspec.filesystem("memory")
    store.pipe("/tagged/v/a.mp4", b"x")
    find = store.find

    def tagged(tag: str) -> Any:
        def listed(path: str, **options: Any) -> Any:
            return {name: {**facts, "ETag": tag} for name, facts in find(path, **options).items()}

        monkeypatch.setattr(type(store), "find", lambda self, path, **options: listed(path, **options))
        (job,) = list_jobs(["memory://tagged/v"])
        return job

    before = with_hash(tagged("one"))
    assert [has_changed(tagged(tag), before) for tag in ("one", "two")] == [False, True]


def test_a_run_that_broke_off_while_it_read_changed_files_again_leaves_no_index_and_goes_on(
    videos: Path, tmp_path: Path
) -> None:
    class Breaking(makers.DoubleEmbedder):  # type: ignore[misc, name-defined]
        def embed_pictures(self, pictures: Any, batch_size: int = 64) -> np.ndarray:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    ingested(videos, out)
    makers.make_video(videos / "a.mp4", seconds=1, clicks_s=(0.2,))
    with pytest.raises(KeyboardInterrupt):
        ingest([videos], out, OPTIONS, embedder=Breaking())
    assert not (out / "index.json").exists(), "it would say that the corpus is complete"
    ingested(videos, out)
    ingested(videos, tmp_path / "fresh")
    assert bytes_of(out) == bytes_of(tmp_path / "fresh")


def test_a_second_run_into_a_folder_says_so_and_touches_nothing(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refusals = []

    class Twin(makers.DoubleEmbedder):  # type: ignore[misc, name-defined]
        def embed_pictures(self, pictures: Any, batch_size: int = 64) -> np.ndarray:
            before = bytes_of(out)
            with pytest.raises(ClipsonicError) as caught:
                ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
            refusals.append((str(caught.value), caught.value.exit_code, bytes_of(out) == before))
            return super().embed_pictures(pictures, batch_size)

    ingest([videos], out, OPTIONS, embedder=Twin())
    assert {(code, untouched) for _, code, untouched in refusals} == {(1, True)}
    assert f"another run (process {os.getpid()} on " in refusals[0][0]
    ingested(videos, tmp_path / "alone")
    assert bytes_of(out) == bytes_of(tmp_path / "alone"), "the lock leaves nothing behind"


def test_a_run_that_was_killed_leaves_nothing_locked(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from clipsonic.files import held\n"
    code += f"with held(Path({str(tmp_path / 'lock')!r}), 'it'): print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with (
        pytest.raises(ClipsonicError, match=f"it: another run .process {process.pid} on "),
        held(tmp_path / "lock", "it"),
    ):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with held(tmp_path / "lock", "it"):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_two_runs_into_one_bucket_from_one_machine_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from clipsonic.ingest.run import destination_of

    monkeypatch.setitem(PROTOCOLS, "memory", "fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with destination_of("memory://bucket/held") as first, destination_of("memory://bucket/held") as second:
        with first.held(), pytest.raises(ClipsonicError, match="another run"), second.held():
            pass
        with second.held():
            pass


def test_merge_split_and_reembed_keep_out_a_second_run_too(videos: Path, tmp_path: Path) -> None:
    options = IngestOptions(spec=OPTIONS.spec, workers=1)
    for name in ("a", "b"):
        ingest([videos / f"{name}.mp4"], tmp_path / name, options, embedder=makers.DoubleEmbedder())
    ingest([videos], tmp_path / "all", options, embedder=makers.DoubleEmbedder())
    out = tmp_path / "out"
    runs = {
        ".lock": lambda: merge([tmp_path / "a", tmp_path / "b"], out),
        "reembed/lock": lambda: reembed(tmp_path / "a", out, makers.DoubleEmbedder(), "double", thumbnails=True),
    }
    for lock, run in runs.items():
        with held(out / lock, "x"), pytest.raises(ClipsonicError, match="another run"):
            run()
    with held(out / ".lock", "x"), pytest.raises(ClipsonicError, match="another run"):
        split(tmp_path / "all", out, {"one": 0.5, "two": 0.5})
    shutil.rmtree(out)
    runs[".lock"]()
    assert CorpusIndex.load(out).num_records == 5
    assert not (out / ".lock").exists()
