"""Sources behind addresses: read from a real web server, listed from a store, and nothing else is ever opened."""

from __future__ import annotations

import dataclasses
import http.server
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import makers_ingest as makers
import numpy as np
import pytest

from clipsonic.cli import main
from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.files import PROTOCOLS
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.ingest.sources import list_jobs
from clipsonic.shards.writer import CorpusIndex, corpus_facts, read_shard
from clipsonic.specs import CorpusSpec

OPTIONS = IngestOptions(spec=CorpusSpec(16000, 2.0, 1.0), workers=2, timeout_s=15.0)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; what is called stalled is promised and never sent."""

    def do_GET(self) -> None:
        if "stalled" not in self.path:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"\0" * 100)
        self.wfile.flush()
        time.sleep(90)
        return None

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "served" / "clips"
    folder.mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder.parent)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}/clips"
    server.shutdown()
    server.server_close()


def records_of(folder: Path) -> list[np.ndarray]:
    return [record.wave for shard in CorpusIndex.load(folder).shards for record in read_shard(folder / shard["name"])]


@pytest.mark.slow
def test_a_manifest_of_addresses_gives_what_the_files_give_and_a_stalled_server_is_a_timeout(
    served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = served
    makers.make_video(folder / "a.mp4")
    lines = [f"{url}/a.mp4", f"{url}/a.mp4?token=secret", f"{url}/missing.mp4", f"{url}/stalled.mp4", f"{url}/a.mp4"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    result = ingest([tmp_path / "list.txt"], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert [(outcome.source.partition("~")[0], outcome.reason) for outcome in result.outcomes] == [
        ("clips/a.mp4", None), ("clips/a.mp4", None), ("clips/missing.mp4", "decode_error"),
        ("clips/stalled.mp4", "timeout"),
    ]  # fmt: skip
    assert len({outcome.source for outcome in result.outcomes}) == 4
    ingest([folder / "a.mp4"], tmp_path / "local", OPTIONS, embedder=makers.DoubleEmbedder())
    assert np.array_equal(records_of(tmp_path / "out")[0], records_of(tmp_path / "local")[0])
    stored = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json*") if path.suffix != ".gz")
    assert "127.0.0.1" not in stored
    assert "secret" not in stored + str(corpus_facts(tmp_path / "out"))


def test_a_store_is_listed_to_the_bottom_and_only_media_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "memory", "fsspec")
    store = fsspec.filesystem("memory")
    for name in ("b.mp4", "deep/er/a.mkv", "notes.txt"):
        store.pipe(f"/bucket/videos/{name}", b"x")
    jobs = list_jobs(["memory://bucket/videos"])
    assert [job.source for job in jobs] == ["videos/b.mp4", "videos/deep/er/a.mkv"]
    assert all(job.path.startswith("memory://") for job in jobs)
    with pytest.raises(UsageError, match="holds no media file among 1"):
        list_jobs(["memory://bucket/videos/notes.txt/"])
    with pytest.raises(UsageError, match="holds no file"):
        list_jobs(["memory://bucket/nothing"])


@pytest.mark.parametrize("source", ["pipe://touch pwned", "ftp://host/a.mp4", "file:///etc/passwd", "github://a/b"])
def test_other_protocols_are_refused_wherever_they_stand(source: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not read: give a path, or s3, gs, hf, http, https"):
        list_jobs([source])
    (tmp_path / "list.txt").write_text(source)
    with pytest.raises(UsageError, match="is not read"):
        list_jobs([tmp_path / "list.txt"])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_package(url: str) -> Any:
        raise ImportError(url)

    monkeypatch.setattr("fsspec.core.url_to_fs", no_package)
    with pytest.raises(UsageError, match="needs the package s3fs: pip install s3fs"):
        list_jobs(["s3://bucket/videos"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos, and a tar of one of them."""
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    makers.make_video(folder / "a.mp4")
    makers.make_video(folder / "deep" / "b.mkv")
    with tarfile.open(folder / "packed.tar", "w") as archive:
        archive.add(folder / "a.mp4", "0001.mp4")
    return folder


@pytest.mark.slow
def test_a_real_s3_server_gives_what_the_folder_gives(store: Any, folder: Path, tmp_path: Path) -> None:
    """Files and a tar in a bucket, read by the decoding processes."""
    for path in sorted(folder.rglob("*.*")):
        store.upload_file(str(path), "bucket", f"videos/{path.relative_to(folder).as_posix()}")
    options = dataclasses.replace(OPTIONS, timeout_s=60.0)
    ingest(["s3://bucket/videos"], tmp_path / "s3", options, embedder=makers.DoubleEmbedder())
    ingest([folder], tmp_path / "local", options, embedder=makers.DoubleEmbedder())
    shards = [(tmp_path / name / "shard-000000.tar").read_bytes() for name in ("s3", "local")]
    assert shards[0] == shards[1]
    assert CorpusIndex.load(tmp_path / "s3").num_records == 6


def objects_of(store: Any) -> dict[str, bytes]:
    found = store.list_objects_v2(Bucket="bucket", Prefix="corpora").get("Contents", [])
    return {item["Key"]: store.get_object(Bucket="bucket", Key=item["Key"])["Body"].read() for item in found}


class Breaking(makers.DoubleEmbedder):
    """Breaks off in the second unit."""

    def embed_pictures(self, pictures: Any, batch_size: int = 64) -> Any:
        if len(self.batches) == 1:
            raise KeyboardInterrupt
        return super().embed_pictures(pictures, batch_size)


@pytest.mark.slow
def test_a_corpus_in_a_bucket_has_the_bytes_of_one_in_a_folder_even_when_it_was_broken_off(
    store: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options, out = dataclasses.replace(OPTIONS, shard_files=1), "s3://bucket/corpora/one"
    local = tmp_path / "local"
    ingest([folder], local, options, embedder=makers.DoubleEmbedder())
    with pytest.raises(KeyboardInterrupt):
        ingest([folder], out, options, embedder=Breaking())
    broken = objects_of(store)
    assert "corpora/one/shard-000000.tar" in broken
    assert "corpora/one/index.json" not in broken
    again = makers.DoubleEmbedder()
    result = ingest([folder], out, options, embedder=again)
    assert len(again.batches) == 2, "the first unit was there already"
    expected = {f"corpora/one/{path.relative_to(local)}": path.read_bytes() for path in local.rglob("*.*")}
    assert objects_of(store) == expected
    assert [outcome.reason for outcome in result.outcomes] == [None] * 3
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pages = []
    for place in (out, str(local)):
        assert main(["inspect", place, "--html", str(tmp_path / "page.html"), "--json"]) == 0
        numbers = json.loads(capsys.readouterr().out)
        pages.append({name: value for name, value in numbers.items() if name not in ("message", "corpus")})
        pages[-1]["html"] = (tmp_path / "page.html").read_text().replace(place, "")
    assert pages[0] == pages[1]
    with pytest.raises(UsageError, match=r"--out s3://bucket/corpora/one was begun with seconds 2.0 \(now 1.0\)"):
        ingest([folder], out, dataclasses.replace(options, spec=CorpusSpec(16000, 1.0, 1.0)), embedder=again)
    store.delete_object(Bucket="bucket", Key="corpora/one/ingest/plan.json")
    with pytest.raises(UsageError, match=r"s3://bucket/corpora/one holds a corpus without ingest/plan.json"):
        ingest([folder], out, options, embedder=again)


def test_an_address_that_gives_more_than_may_be_copied_is_refused(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    makers.make_video(folder / "a.mp4")
    (folder / "big.mp4").write_bytes(bytes(2_000_000))
    (tmp_path / "list.txt").write_text(f"{url}/big.mp4\n{url}/a.mp4")
    options = dataclasses.replace(OPTIONS, max_copy_gb=0.0015)
    result = ingest([tmp_path / "list.txt"], tmp_path / "out", options, embedder=makers.DoubleEmbedder())
    assert [outcome.reason for outcome in result.outcomes] == ["too_large", None]
    assert "more than 1500000 bytes" in str(result.outcomes[0].detail)


@pytest.mark.slow
def test_a_store_that_refuses_says_so(store: Any, folder: Path) -> None:
    with pytest.raises(ClipsonicError, match=r"s3://nowhere/corpus.* refuses .*check address") as refused:
        ingest([folder], "s3://nowhere/corpus", OPTIONS, embedder=makers.DoubleEmbedder())
    assert refused.value.exit_code == 1, "it was no wrong usage: it may happen in the middle"


def test_a_web_address_cannot_be_written_to(folder: Path) -> None:
    with pytest.raises(UsageError, match="a web address can only be read"):
        ingest([folder], "https://host/corpus", OPTIONS, embedder=makers.DoubleEmbedder())
