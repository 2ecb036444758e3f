"""A visitor's way through the page, in a real browser, wide and on a phone.

The browser is driven by a process of its own, in a group of its own, with its output in files: whatever it does, it is
killed after its time, and the tests go on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(400)
LIFE_S = 160.0


@pytest.fixture(scope="session")
def chromium() -> str:
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    named = os.environ.get("CLIPSONIC_CHROMIUM")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs a Chromium, and there is none by the name {' or '.join(names)}")
    return found


@pytest.fixture(scope="module")
def seen(chromium: str, demo: Any, media: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a visitor sees; the screenshots lie in CLIPSONIC_SCREENSHOTS, if it is set."""
    folder = tmp_path_factory.mktemp("browser")
    out = Path(os.environ.get("CLIPSONIC_SCREENSHOTS") or folder)
    script = Path(__file__).with_name("drive_browser.py")
    with (folder / "said.json").open("wb") as said, (folder / "errors.txt").open("wb") as errors:
        driver = subprocess.Popen(
            [sys.executable, str(script), chromium, demo.url, str(media), str(out)],
            stdin=subprocess.DEVNULL, stdout=said, stderr=errors, start_new_session=True,
        )  # fmt: skip
        try:
            status: int | None = driver.wait(timeout=LIFE_S)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _kill_group(driver)
    words = (folder / "errors.txt").read_text(errors="replace")[-3000:]
    assert status == 0, f"the browser's driver ended with {status}: {words}"
    return dict(json.loads((folder / "said.json").read_text()))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait(timeout=10)


@pytest.mark.parametrize("width", ["1280", "390"])
def test_a_text_becomes_a_sound_that_plays(seen: dict[str, Any], width: str) -> None:
    duration_s, position_s = seen[width]["played"]
    assert duration_s == pytest.approx(4.096, abs=0.01)
    assert position_s > 0.1
    assert "1 sound of 4.10 s" in seen[width]["text"]


@pytest.mark.parametrize("width", ["1280", "390"])
def test_the_spectrogram_is_shown(seen: dict[str, Any], width: str) -> None:
    assert seen[width]["pictures"] == [640]


@pytest.mark.parametrize("width", ["1280", "390"])
def test_the_page_is_never_wider_than_the_screen(seen: dict[str, Any], width: str) -> None:
    assert seen[width]["width"] <= int(width)
    assert seen[width]["width_of_four"] <= int(width)


@pytest.mark.parametrize("width", ["1280", "390"])
def test_a_picture_becomes_four_variations_side_by_side(seen: dict[str, Any], width: str) -> None:
    assert "4 sounds" in seen[width]["image"]
    assert seen[width]["variations"] == 4


def test_a_video_comes_back_with_its_sound(seen: dict[str, Any]) -> None:
    assert "1 sound of 2.50 s" in seen["more"]["video"]
    assert seen["more"]["video_s"] == pytest.approx(2.5, abs=0.2)


def test_a_damaged_video_gets_a_friendly_sentence(seen: dict[str, Any]) -> None:
    assert re.fullmatch(r"No new sound: broken\.mp4 is .*: give an MP4.*\.", seen["more"]["broken"].strip())


def test_an_empty_wish_gets_a_friendly_sentence(seen: dict[str, Any]) -> None:
    assert "write what should be heard" in seen["more"]["nothing"]


def test_what_the_model_does_not_know_is_said_and_a_text_is_no_markup(seen: dict[str, Any]) -> None:
    assert "<b>quarterly</b> earnings" in seen["more"]["unknown"]


def test_who_has_no_picture_gets_one_drawn_and_the_page_remembers_what_was_made(seen: dict[str, Any]) -> None:
    assert "1 sound" in seen["more"]["drawn"]
    titles = re.findall(r"(.+?) seed \d+", seen["more"]["history"])
    assert titles == ["drawn example.png", "scene.mp4", "<b>quarterly</b> earnings"]


def test_a_part_of_a_sound_is_chosen_by_two_clicks_and_made_anew_beside_what_it_was(seen: dict[str, Any]) -> None:
    edit = seen["edit"]
    assert "choose a sound" in edit["nothing"]
    assert [float(at_s) for at_s in edit["proposed"]] == pytest.approx([1.125, 1.875], abs=0.01)
    assert edit["chosen"] == ["0.75", "1.5"]
    assert "1 sound of 3.00 s" in edit["part"]
    assert "kept as it was" in edit["part"]
    assert edit["pictures"] == [640, 640]
    assert edit["labels"].index("Before") < edit["labels"].index("Sound 1")
    assert edit["width"] <= 1280


def test_a_session_goes_on_from_a_sound_that_was_just_made(seen: dict[str, Any]) -> None:
    edit = seen["edit"]
    assert "0% kept as it was" in edit["more"]
    assert "kept as it was" in edit["again"]
    assert "0% kept as it was" not in edit["again"]
    titles = re.findall(r"(.+?), changed seed \d+", edit["history"])
    assert titles == ["a bell ringing fast", "the sound", "bell.wav"]


def test_what_would_fetch_a_program_from_elsewhere_is_not_offered(seen: dict[str, Any]) -> None:
    assert seen["more"]["trims"] is False


def test_nothing_is_asked_of_any_other_server(seen: dict[str, Any]) -> None:
    assert seen["elsewhere"] == []


def test_no_script_of_the_page_fails(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
