"""Run by the tests in a process of its own: a visitor in a headless Chromium; prints what it saw as one JSON object.

    python drive_browser.py CHROMIUM URL MEDIA OUT

Every wait has a limit, and the process ends itself after LIFE_S, whatever the browser does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, TimeoutError, sync_playwright

LIFE_S = 150.0
WAIT_MS = 20_000
HAND_MS = 300  # from seeing an answer to the next press, for a quick visitor
TRIES = 3
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage", "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
PLAY = """async () => {
    const audio = document.querySelector('#history audio');
    await Promise.race([audio.play(), new Promise((_, no) => setTimeout(() => no('late'), 10000))]);
    await new Promise(done => setTimeout(done, 600));
    return [audio.duration, audio.currentTime];
}"""
STATUS = "among => document.querySelector('#status ' + among)?.innerHTML ?? null"
PICTURES = "() => [...document.querySelectorAll('img.spectrogram')].map(i => i.naturalWidth)"
PART = "() => ['from', 'to'].map(id => document.querySelector(`#${id} input`).value)"
SHOWN = "() => document.querySelectorAll('img.spectrogram').length"


def press(page: Page, kind: str, among: str) -> str:
    """Press a tab's button; what the page says then."""
    before = page.evaluate(STATUS, among)
    changed = f"([among, before]) => ![before, null].includes(({STATUS})(among))"
    shown = page.inner_text("#status")
    page.wait_for_timeout(HAND_MS)
    for _ in range(TRIES):
        page.click(f"#make-{kind}")
        try:
            page.wait_for_function(changed, arg=[among, before])
            break
        except TimeoutError:  # a page that was not ready has not heard the click: then nothing has begun
            if page.inner_text("#status") != shown:
                page.wait_for_function(changed, arg=[among, before])
                break
    return page.inner_text(f"#status {among}")


def choose(page: Page, kind: str, path: Path) -> None:
    """Open a tab and give it a file."""
    page.get_by_role("tab", name={"image": "Picture", "video": "Video"}[kind]).click()
    with page.expect_response(lambda reply: "/gradio_api/upload" in reply.url and reply.request.method == "POST"):
        page.locator(f"#{kind} input[type=file]").set_input_files(str(path))
    page.wait_for_selector(f"#{kind} {'img' if kind == 'image' else 'video'}", state="attached")


def visit(page: Page, url: str, media: Path, out: Path, width: int) -> dict[str, Any]:
    """Everything that a visitor does, on a page of this width."""
    seen: dict[str, Any] = {}
    page.goto(url)
    page.fill("#text textarea", "a small glass bell ringing slowly")
    seen["text"] = press(page, "text", "[role=status]")
    page.wait_for_selector("#sounds img.spectrogram")
    page.wait_for_function("() => document.querySelector('#sounds').innerText.includes('0:04')")
    seen["played"] = page.evaluate(PLAY)
    page.wait_for_function("() => document.querySelector('img.spectrogram').complete")
    seen["pictures"] = page.evaluate(PICTURES)
    seen["width"] = page.evaluate("() => document.documentElement.scrollWidth")
    page.wait_for_timeout(500)
    page.screenshot(path=str(out / f"demo-text-{width}.png"), full_page=True)
    choose(page, "image", media / "bell.png")
    page.fill("#variations input[type=number]", "4")
    page.locator("#variations input[type=number]").blur()
    seen["image"] = press(page, "image", "[role=status]")
    page.wait_for_function(f"() => ({SHOWN})() === 4")
    page.wait_for_timeout(500)
    seen["variations"] = page.evaluate(SHOWN)
    seen["width_of_four"] = page.evaluate("() => document.documentElement.scrollWidth")
    page.screenshot(path=str(out / f"demo-picture-{width}.png"), full_page=True)
    return seen


def visit_more(page: Page, url: str, media: Path, out: Path) -> dict[str, Any]:
    """Videos, good and bad, and the history."""
    seen: dict[str, Any] = {}
    page.goto(url)
    page.wait_for_selector("#make-text")
    seen["nothing"] = press(page, "text", "[role=alert]")
    page.fill("#text textarea", "<b>quarterly</b> earnings")
    seen["unknown"] = press(page, "text", ".notice")
    choose(page, "video", media / "scene.mp4")
    seen["trims"] = page.locator("#video button[aria-label^=Trim]").is_visible()
    seen["video"] = press(page, "video", "[role=status]")
    page.wait_for_function("() => { const v = document.querySelector('#videos video'); return v && v.duration > 0 }")
    seen["video_s"] = page.evaluate("() => document.querySelector('#videos video').duration")
    page.screenshot(path=str(out / "demo-video-1280.png"), full_page=True)
    page.get_by_role("tab", name="Picture").click()
    page.click("#example-image")
    page.wait_for_selector("#image img")
    seen["drawn"] = press(page, "image", "[role=status]")
    seen["history"] = page.inner_text("#history")
    page.reload()
    choose(page, "video", media / "broken.mp4")
    seen["broken"] = press(page, "video", "[role=alert]")
    page.screenshot(path=str(out / "demo-refused-1280.png"), full_page=True)
    return seen


def visit_edit(page: Page, url: str, media: Path, out: Path) -> dict[str, Any]:
    """A sound is changed, the new one varied, and a part of that changed again."""
    seen: dict[str, Any] = {}
    page.goto(url)
    page.get_by_role("tab", name="Edit").click()
    seen["nothing"] = press(page, "edit", "[role=alert]")
    with page.expect_response(lambda reply: "/gradio_api/upload" in reply.url and reply.request.method == "POST"):
        page.locator("#sound input[type=file]").set_input_files(str(media / "bell.wav"))
    picture = page.locator("#waveform img")
    picture.wait_for()
    seen["proposed"] = chosen_part(page)
    box = picture.bounding_box()
    assert box is not None
    for share, part in ((0.25, ["0.75", "0.75"]), (0.5, ["0.75", "1.5"])):
        page.wait_for_timeout(HAND_MS)
        picture.click(position={"x": share * box["width"], "y": 0.5 * box["height"]})
        page.wait_for_function(f"part => JSON.stringify(({PART})()) === JSON.stringify(part)", arg=part)
    seen["chosen"] = chosen_part(page)
    seen["part"] = press(page, "edit", "[role=status]")
    page.wait_for_function(f"() => ({SHOWN})() === 2")
    page.wait_for_function("() => [...document.querySelectorAll('img.spectrogram')].every(i => i.complete)")
    seen["pictures"] = page.evaluate(PICTURES)
    seen["labels"] = page.inner_text("#sounds")
    page.wait_for_timeout(500)
    page.screenshot(path=str(out / "demo-edit-1280.png"), full_page=True)
    seen["width"] = page.evaluate("() => document.documentElement.scrollWidth")
    said = page.evaluate(STATUS, "[role=status]")
    page.wait_for_timeout(HAND_MS)
    page.click("#more-1")
    page.wait_for_function(f"said => ![said, null].includes(({STATUS})('[role=status]'))", arg=said)
    seen["more"] = page.inner_text("#status [role=status]")
    page.get_by_role("tab", name="Text").click()
    page.click("#change-1")
    page.wait_for_selector("#make-edit", state="visible")
    page.fill("#edit-text textarea", "a bell ringing fast")
    seen["again"] = press(page, "edit", "[role=status]")
    seen["history"] = page.inner_text("#history")
    return seen


def chosen_part(page: Page) -> list[str]:
    """The seconds from and to which a part is chosen."""
    return list(page.evaluate(PART))


def main() -> None:
    """Drive, and print what was seen."""
    chromium, url, media, out = sys.argv[1:]
    watch = threading.Timer(LIFE_S, os._exit, args=(3,))
    watch.daemon = True
    watch.start()
    seen: dict[str, Any] = {"elsewhere": [], "errors": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=WAIT_MS)
        for width, height in ((1280, 900), (390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(WAIT_MS)
            page.on(
                "request", lambda sent: seen["elsewhere"].append(sent.url) if _is_elsewhere(sent.url, url) else None
            )
            page.on("pageerror", lambda error: seen["errors"].append(str(error)))
            seen[str(width)] = visit(page, url, Path(media), Path(out), width)
            if width == 1280:
                seen["more"] = visit_more(page, url, Path(media), Path(out))
                seen["edit"] = visit_edit(page, url, Path(media), Path(out))
            page.close()
        browser.close()
    print(json.dumps(seen))


def _is_elsewhere(asked: str, url: str) -> bool:
    return not asked.startswith((url, "data:", "blob:"))


if __name__ == "__main__":
    main()
