"""Trouble of the machine is never charged to a file for good: it is told apart, said, and tried again."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import makers_ingest as makers
import pytest

from clipsonic.cli import main
from clipsonic.errors import ClipsonicError
from clipsonic.ingest import run as run_module
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.ingest.segments import ReadSettings, read_segments
from clipsonic.ingest.sources import Remarks, list_jobs
from clipsonic.refusals import RefusalReason, RefusedError, refusal_of
from clipsonic.shards.writer import CorpusIndex, read_files
from clipsonic.specs import CorpusSpec

OPTIONS = IngestOptions(spec=CorpusSpec(16000, 1.0, 1.0), workers=1, shard_files=2)
UNREADABLE = "/proc/self/mem"
"""A file that the system opens and then answers with an I/O error, as a dying disk does."""

pytestmark = pytest.mark.skipif(not Path(UNREADABLE).exists(), reason="only Linux has a file that cannot be read")


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def no_more_files() -> Iterator[None]:
    """As many files are open as may be."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def deep_folder(root: Path) -> None:
    """A video at a path longer than any program may name: its folder cannot be listed, whoever asks."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=here)
        below = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two good files, and between them one that the system cannot read now."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "c.mp4"):
        makers.make_video(folder / name, seconds=2)
    (folder / "b.mp4").symlink_to(UNREADABLE)
    return folder


def test_an_io_error_is_said_and_the_same_command_reads_the_file_when_it_can(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_module, "load_embedder", lambda *_: makers.DoubleEmbedder())
    out = tmp_path / "out"
    words = ["ingest", str(videos), "--out", str(out), "--seconds", "1", "--min-seconds", "1", "--workers", "1"]
    words += ["--shard-files", "2"]
    assert main([*words, "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert (values["listed"], values["ingested"], values["refused"], values["not_read"]) == (3, 2, 1, 1)
    assert values["reasons"] == {"trouble": 1}
    refused = json.loads((out / "refused.jsonl").read_text())
    assert (refused["source"], refused["detail"]) == ("videos/b.mp4", "Input/output error")
    assert main(["inspect", str(out)]) == 0
    assert "1 could not be read by the machine: run the same ingest again" in capsys.readouterr().out
    assert main(words) == 1, "it still cannot be read"
    assert "the same command tries them again" in capsys.readouterr().out
    (videos / "b.mp4").unlink()
    makers.make_video(videos / "b.mp4", seconds=2)
    assert main(words) == 0
    assert main([*words[:3], str(tmp_path / "fresh"), *words[4:]]) == 0
    assert bytes_of(out) == bytes_of(tmp_path / "fresh")
    assert CorpusIndex.load(out).num_records == 6


def test_an_io_error_in_the_middle_of_a_file_does_not_pass_for_its_end(tmp_path: Path) -> None:
    """A library that is loaded before all others makes the system's `read` fail at one place of one file."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("no C compiler to make the failing read with")
    (tmp_path / "bad.c").write_text(FAILING_READ)
    library = tmp_path / "bad.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "bad.c", "-ldl"], check=True)
    found = {}
    for name in ("a.mp4", "a.mkv", "a.ts", "a.avi"):
        kinds = {"codec": "mpeg4", "sound_codec": "pcm_s16le"} if name == "a.avi" else {"options": {"crf": "1"}}
        path = makers.make_video(tmp_path / name, seconds=8, rate_hz=48000, size=(640, 360), **kinds)
        place = {"BAD_PATH": str(path), "BAD_AT": str(path.stat().st_size // 2)}
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_trouble as here; "
        code += f"print(here.records_of({str(path)!r}))"
        environment = {**os.environ, **place, "LD_PRELOAD": str(library)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        found[name] = done.stdout.strip()
    assert found == dict.fromkeys(found, "(0, 'trouble')"), found


FAILING_READ = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
ssize_t read(int file, void *data, size_t size) {
    static ssize_t (*given)(int, void *, size_t);
    if (!given) given = (ssize_t (*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length > 0) {
        name[length] = 0;
        long long at = atoll(getenv("BAD_AT")), here = lseek(file, 0, SEEK_CUR);
        if (!strcmp(name, getenv("BAD_PATH")) && here < at + 4096 && here + (long long)size > at) {
            if (here < at) return given(file, data, at - here);
            errno = EIO;
            return -1;
        }
    }
    return given(file, data, size);
}
"""


def records_of(path: str) -> tuple[int, str | None]:
    """How many segments a file gives, and why no more."""
    count = 0
    try:
        for _ in read_segments(Job(path, "a", "id", "id"), ReadSettings(OPTIONS.spec, stride_s=1.0)):
            count += 1
    except RefusedError as refused:
        return count, str(refused.reason)
    return count, None


def test_too_many_open_files_are_no_file_s_fault(tmp_path: Path) -> None:
    video = makers.make_video(tmp_path / "a.mp4", seconds=2)
    assert records_of(str(video)) == (2, None)
    with no_more_files():
        found = records_of(str(video))
    assert found == (0, "trouble")


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (OSError(28, "No space left on device", "/home/me/x"), "trouble", "No space left on device"),
        (PermissionError(13, "Permission denied", "/home/me/x"), "trouble", "Permission denied"),
        (OSError(116, "Stale file handle"), "trouble", "Stale file handle"),
        (OSError(12, "Cannot allocate memory"), "memory", "Cannot allocate memory"),
        (MemoryError(), "memory", "an allocation failed"),
        (FileNotFoundError(2, "No such file or directory", "/home/me/x"), "decode_error", "No such file or directory"),
        (ValueError("\ud800 is odd"), "decode_error", "\\ud800 is odd"),
        (RefusedError(RefusalReason.NO_AUDIO, "x"), "no_audio", "x"),
    ],
)
def test_whose_fault_an_error_is_and_no_path_of_this_machine_in_its_words(
    error: Exception, reason: str, words: str
) -> None:
    refused = refusal_of(error)
    assert (refused.reason, words in refused.detail, "/home" in refused.detail) == (reason, True, False)


def test_a_folder_that_cannot_be_listed_is_an_outcome_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_module, "load_embedder", lambda *_: makers.DoubleEmbedder())
    videos = tmp_path / "videos"
    (videos / "deep").mkdir(parents=True)
    makers.make_video(videos / "a.mp4", seconds=1)
    deep_folder(videos / "deep")
    words = ["ingest", str(videos), "--out", str(tmp_path / "out"), "--seconds", "1", "--workers", "1", "--json"]
    assert main(words) == 1
    values = json.loads(capsys.readouterr().out)
    assert (values["listed"], values["ingested"], values["not_read"], values["records"]) == (2, 1, 1, 1)
    refused = json.loads((tmp_path / "out" / "refused.jsonl").read_text())
    assert refused["source"].startswith("videos/deep/xxx")
    assert refused["source"].endswith("/")
    assert refused["detail"] == "this folder cannot be listed: File name too long"
    shutil.rmtree(videos / "deep")
    assert main(words) == 0, "what is gone needs no second try"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_without_permission_is_said_and_taken_in_when_it_is_given(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    (videos / "closed").mkdir(parents=True)
    makers.make_video(videos / "a.mp4", seconds=1)
    makers.make_video(videos / "closed" / "b.mp4", seconds=1)
    (videos / "closed").chmod(0)
    result = ingest([videos], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert (result.listed, result.num_open) == (2, 1)
    (videos / "closed").chmod(0o755)
    result = ingest([videos], tmp_path / "out", OPTIONS, embedder=makers.DoubleEmbedder())
    assert (result.listed, result.num_open, result.index.num_records) == (2, 0, 2)


def test_where_nothing_can_be_listed_that_is_said_and_not_that_there_is_nothing(videos: Path) -> None:
    with no_more_files():
        try:
            list_jobs([videos])
        except ClipsonicError as error:
            found = (error.exit_code, str(error))
    assert found == (
        1,
        "nothing could be listed, for instance 'videos/': this folder cannot be listed: Too many open files",
    )


def test_an_archive_that_cannot_be_read_is_no_video_and_none_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "x.tar").symlink_to(UNREADABLE)
    (tmp_path / "v" / "a.mp4").write_bytes(b"x")
    remarks = Remarks()
    assert [job.source for job in list_jobs([tmp_path / "v"], remarks)] == ["v/a.mp4"]
    (outcome,) = remarks.unlisted
    assert (outcome.source, outcome.reason) == ("v/x.tar", "trouble")
    assert "this archive cannot be listed" in str(outcome.detail)


def test_a_corpus_keeps_what_lies_in_a_folder_that_cannot_be_listed_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "deep").mkdir(parents=True)
    makers.make_video(videos / "a.mp4", seconds=1)
    makers.make_video(videos / "deep" / "b.mp4", seconds=1)
    ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
    before = bytes_of(out)
    scandir = os.scandir

    def failing(path: str) -> Any:
        if str(path).endswith("/deep"):
            raise OSError(5, "Input/output error", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(ClipsonicError) as caught:
        ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
    monkeypatch.undo()
    assert "has 1 files of videos/deep/, but this folder cannot be listed: Input/output error" in str(caught.value)
    assert caught.value.exit_code == 1
    assert bytes_of(out) == before


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with the status that is asked for."""

    def do_GET(self) -> None:
        self.send_error(int(self.path.strip("/").partition(".")[0]))

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


def test_a_server_in_trouble_is_tried_again_and_one_that_has_no_such_file_is_not(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    reasons = {}
    for status in (404, 410, 429, 500, 503):
        url = f"http://127.0.0.1:{server.server_address[1]}/{status}.mp4"
        reasons[status] = records_of(url)[1]
    server.shutdown()
    server.server_close()
    assert reasons == {404: "decode_error", 410: "decode_error", 429: "trouble", 500: "trouble", 503: "trouble"}
    assert records_of(url) == (0, "trouble"), "nobody answers there any more"


def test_a_shard_that_the_disk_does_not_give_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "shard-000000.tar").symlink_to(UNREADABLE)
    with pytest.raises(OSError, match="Input/output error"):
        list(read_files(tmp_path / "shard-000000.tar"))
