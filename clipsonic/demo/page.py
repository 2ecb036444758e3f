"""The page: three ways to ask, a few choices, players side by side, and what was made before.

Guarantee: the same wishes as over HTTP, by the same path; a refusal is a sentence on the page. It works without any
other server: system fonts, no analytics, nothing fetched for a visitor. Price: gradio, three seconds to import.
"""

from __future__ import annotations

import inspect
import os
import secrets
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr
from gradio import processing_utils

from clipsonic.demo import rendering
from clipsonic.demo.answer import answer
from clipsonic.demo.body import plain_name
from clipsonic.demo.examples import EXAMPLES
from clipsonic.demo.limits import MAX_SEED, NUM_HISTORY
from clipsonic.demo.looker import Upload
from clipsonic.demo.parts import Choices, Players, choices_below, players_below, prompt_tabs, theme
from clipsonic.demo.refusals import DemoError, sentence_of
from clipsonic.demo.studio import Studio
from clipsonic.demo.wish import Wish, wish_of
from clipsonic.errors import ClipsonicError

STYLE = Path(__file__).with_name("style.css")
_KNOWN = "6.31.0"
_PROGRESS = gr.Progress()  # gradio looks for it among the defaults of a handler
_ASKED = {"text": "write what should be heard", "image": "choose a picture", "video": "choose a video"}


def mount_page(app: Any, studio: Studio) -> Any:
    """The application with the page at its root.

    Raises:
        ClipsonicError: this gradio lacks what is replaced or switched off in it.
    """
    _replace(processing_utils, "async_ssrf_protected_download", _fetch_nothing)
    options: dict[str, Any] = {
        "path": "/", "max_file_size": studio.limits.upload_mb * 2**20, "allowed_paths": [str(studio.folder.path)],
        "theme": theme(), "css_paths": STYLE, "footer_links": [], "run_history": False, "ssr_mode": False, "pwa": False,
        "mcp_server": False, "enable_monitoring": False, "app_kwargs": {"docs_url": None, "redoc_url": None},
    }  # fmt: skip
    if unknown := sorted(options.keys() - inspect.signature(gr.mount_gradio_app).parameters.keys()):
        raise _other_gradio(f"gradio.mount_gradio_app without {', '.join(unknown)}, which the page sets")
    return gr.mount_gradio_app(app, build_page(studio), **options)


def build_page(studio: Studio) -> Any:
    """The page's parts, and what happens when a button is pressed."""
    with gr.Blocks(title="clipsonic", analytics_enabled=False) as page:
        gr.HTML(rendering.heading(studio))
        prompts = prompt_tabs(studio)
        choices = choices_below(studio)
        players = players_below()
        history = gr.State([])
        for kind, button in prompts.examples.items():
            make = EXAMPLES[kind][1]
            button.click(partial(make, studio.folder), outputs=prompts.inputs[kind], api_visibility="private")
        for kind in prompts.buttons:
            events = [prompts.buttons[kind].click]
            if kind == "text":
                events.append(prompts.inputs[kind].submit)
            gr.on(
                events,
                _handler(studio, kind, choices, players),
                inputs=[prompts.inputs[kind], history, prompts.start, *choices.inputs.values()],
                outputs=[*players.outputs, history],
                preprocess=False,  # an upload is a path to us, never opened by this process
                concurrency_limit=studio.limits.places,
                show_progress_on=players.status,
                api_visibility="private",
            )
    page.queue(max_size=4 * studio.limits.places, api_open=False)
    return page


def _handler(studio: Studio, kind: str, choices: Choices, players: Players) -> Any:
    """What a press of this tab's button does."""

    def press(prompt: Any, history: list[dict[str, Any]], start: Any, progress: Any = _PROGRESS, *values: Any) -> Any:
        started = time.perf_counter()
        try:
            with studio.place():
                upload = None if kind == "text" else _upload_of(studio, kind, prompt)
                wish = _wish_of(choices, kind, prompt, start, values)
                made = answer(studio, wish, upload, tell=lambda share, words: progress(share, desc=words))
        except Exception as error:
            if not hasattr(error, "exit_code"):
                traceback.print_exc()
            return [*players.unchanged(rendering.refusal(sentence_of(error))), history]
        title = str(wish.text if upload is None else upload.name)
        history = [rendering.remembered(title, made), *history][:NUM_HISTORY]
        words = rendering.report(made, time.perf_counter() - started)
        return [*players.showing(made, words, rendering.history(history)), history]

    return press


def _wish_of(choices: Choices, kind: str, prompt: Any, start: Any, values: tuple[Any, ...]) -> Wish:
    """The wish in the raw values of the page, which a visitor's program may have made up."""
    given = dict(zip(choices.inputs, values, strict=True))
    for name, default in choices.defaults.items():
        if given[name] == default:
            given[name] = None
    if given.pop("random"):
        given["seed"] = secrets.randbelow(MAX_SEED)
    if not given.pop("loud"):
        given["loudness"] = "off"
    if kind == "text":
        if not isinstance(prompt, str) or not prompt.strip():
            raise DemoError(f"there is nothing to go by: {_ASKED['text']}")
        given["text"] = prompt
    if kind == "video":
        given["start_s"] = start or 0.0
    return wish_of({name: value for name, value in given.items() if value not in (None, "")})


def _upload_of(studio: Studio, kind: str, value: Any) -> Upload:
    """The file that was chosen; only one in the demo's folder is believed."""
    facts = value if isinstance(value, dict) else {}
    path = Path(str(facts.get("path") or "")).resolve()
    if not path.is_relative_to(studio.folder.path.resolve()) or not path.is_file():
        raise DemoError(f"there is nothing to go by: {_ASKED[kind]}")
    return Upload(path, plain_name(str(facts.get("orig_name") or path.name), kind), kind)


def _replace(module: Any, name: str, by: Any) -> None:
    """Put a function of ours in the place of one of gradio's that is called in the same way."""
    found, wanted = getattr(module, name, None), inspect.signature(by)
    if not inspect.iscoroutinefunction(found) or [*inspect.signature(found).parameters] != [*wanted.parameters]:
        words = ", ".join(wanted.parameters)
        raise _other_gradio(f"no async {module.__name__}.{name}({words}), which the page replaces")
    setattr(module, name, by)


def _other_gradio(what: str) -> ClipsonicError:
    return ClipsonicError(f"gradio {gr.__version__} has {what}: install gradio {_KNOWN}, for which the page was made")


async def _fetch_nothing(url: str, cache_dir: str) -> str:
    """Instead of gradio's download of an address that a visitor's program names as its file."""
    raise gr.Error("an address is not fetched: upload the file itself")
