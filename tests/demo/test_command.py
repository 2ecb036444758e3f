"""`clipsonic demo` refuses what cannot be before anything is loaded."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from clipsonic.cli import main
from clipsonic.demo import options
from clipsonic.errors import ClipsonicError

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("missing", ["gradio", "fastapi", "multipart"])
def test_without_the_page_s_packages_one_sentence_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from clipsonic.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
    )
    assert done.returncode == 2
    assert "pip install clipsonic[demo]" in done.stderr
    assert missing in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--port", "70000"], "--port 70000"),
        (["--max-upload-mb", "0"], "--max-upload-mb 0"),
        (["--max-waiting", "0"], "--max-waiting 0"),
        (["--max-duration-s", "0"], "--max-duration-s 0"),
        (["--origin", "*"], "--origin '*'"),
        (["--origin", "https://a.example", "--origin", "sounds.example.org"], "--origin 'sounds.example.org'"),
    ],
)
def test_options_out_of_range_are_refused(words: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", *words]) == 2
    assert shown in capsys.readouterr().err


def test_a_port_in_use_is_refused_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "NEEDED", ())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port), "--model", "nothing/at/all"]) == 2
    shown = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in shown
    assert "--port" in shown


def test_the_demo_listens_to_this_computer_only_unless_told_otherwise() -> None:
    assert options.build_parser("clipsonic demo").parse_args([]).host == "127.0.0.1"


@pytest.mark.parametrize("name", ["async_ssrf_protected_download", "mount_gradio_app"])
def test_another_gradio_than_the_page_can_hold_is_refused_by_its_version(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradio = pytest.importorskip("gradio", reason="needs the packages of the page: pip install clipsonic[demo]")
    from gradio import processing_utils

    from clipsonic.demo.limits import Limits
    from clipsonic.demo.page import mount_page

    if name == "mount_gradio_app":
        monkeypatch.setattr(gradio, name, lambda app, blocks, path: app)
    else:
        monkeypatch.delattr(processing_utils, name)
    studio = SimpleNamespace(limits=Limits(1.0), folder=SimpleNamespace(path="/nowhere"))
    with pytest.raises(ClipsonicError, match=rf"gradio {re.escape(gradio.__version__)} has .*{name}.*: install gradio"):
        mount_page(None, studio)
