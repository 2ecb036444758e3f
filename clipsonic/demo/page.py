"""The page: three ways to ask, sounds that are changed, a few choices, players side by side, and what was made before.

Guarantee: the same wishes as over HTTP, by the same path; a refusal is a sentence on the page. It works without any
other server: system fonts, no analytics, nothing fetched for a visitor. Price: gradio, three seconds to import.
"""

from __future__ import annotations

import inspect
import os
import secrets
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr
from gradio import processing_utils
from PIL import Image

from clipsonic.demo import rendering
from clipsonic.demo.answer import Answer, Tell, answer, answer_edit
from clipsonic.demo.body import plain_name
from clipsonic.demo.examples import EXAMPLES
from clipsonic.demo.limits import MAX_SEED, NUM_HISTORY
from clipsonic.demo.looker import Upload
from clipsonic.demo.parts import (
    ALL,
    AT_ONCE,
    PART,
    STRENGTH,
    Choices,
    Players,
    Prompts,
    choices_below,
    edit_values,
    players_below,
    prompt_tabs,
    theme,
)
from clipsonic.demo.refusals import DemoError, sentence_of
from clipsonic.demo.studio import Studio
from clipsonic.demo.waveform import Waveform
from clipsonic.demo.wish import EditWish, Wish, wish_of
from clipsonic.errors import ClipsonicError

STYLE = Path(__file__).with_name("style.css")
_KNOWN = "6.31.0"
_PROGRESS = gr.Progress()  # gradio looks for it among the defaults of a handler
_ASKED = {
    "text": "write what should be heard", "image": "choose a picture", "video": "choose a video",
    "sound": "choose a sound",
}  # fmt: skip


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
        _edits(studio, prompts, choices, players, history)
    page.queue(max_size=4 * studio.limits.places, api_open=False)
    return page


def _edits(studio: Studio, prompts: Prompts, choices: Choices, players: Players, history: Any) -> None:
    """What happens in the tab that changes sounds, and at the buttons that go on from one that was made."""
    edit, heard = prompts.edit, gr.State(None)
    edit.sound.change(
        partial(_listened, studio), edit.sound, [heard, edit.from_s, edit.to_s, edit.waveform, players.status],
        preprocess=False, **AT_ONCE,
    )  # fmt: skip
    part = [edit.from_s, edit.to_s]
    edit.waveform.select(_chosen, [heard, *part], [*part, edit.waveform], show_progress="hidden", **AT_ONCE)
    gr.on(
        [edit.from_s.input, edit.to_s.input],
        _marked, [heard, *part], edit.waveform, show_progress="hidden", **AT_ONCE,
    )  # fmt: skip
    changes = [(edit.button, edit.sound, edit.inputs)]
    varied = [gr.State(value) for value in (ALL, None, None, STRENGTH, None, None)]
    changes += [(button, audio, varied) for button, audio in zip(players.more, players.audios[1:], strict=True)]
    for button, sound, inputs in changes:
        button.click(
            _edit_handler(studio, choices, players),
            inputs=[sound, *inputs, history, *choices.inputs.values()],
            outputs=[*players.outputs, history],
            preprocess=False,
            concurrency_limit=studio.limits.places,
            show_progress_on=players.status,
            api_visibility="private",
        )
    for button, audio in zip(players.change, players.audios[1:], strict=True):
        button.click(
            partial(_taken_over, studio), audio, [edit.sound, prompts.tabs, edit.how],
            preprocess=False, **AT_ONCE,
        )  # fmt: skip


def _taken_over(studio: Studio, sound: Any) -> list[Any]:
    """The tab that changes sounds, with a sound that was made."""
    try:
        return [str(_upload_of(studio, "sound", sound).path), gr.Tabs(selected="edit"), PART]
    except DemoError:
        return [gr.skip()] * 3


def _listened(studio: Studio, sound: Any) -> list[Any]:
    """The waveform of a sound that was chosen, its middle marked."""
    if not sound:
        return [None, 0, 0, gr.update(value=None, visible=False), gr.skip()]
    try:
        with studio.place():
            heard = studio.looker.listen(_upload_of(studio, "sound", sound))
    except DemoError as error:
        return [None, 0, 0, gr.update(value=None, visible=False), rendering.refusal(sentence_of(error))]
    waveform = Waveform.of(heard.wave_CT, heard.rate_hz)
    half_s = 0.5 * min(waveform.seconds / 4, studio.limits.max_duration_s)
    from_s, to_s = (round(waveform.seconds / 2 + sign * half_s, 2) for sign in (-1, 1))
    return [waveform, from_s, to_s, gr.update(value=_picture(waveform, from_s, to_s), visible=True), gr.skip()]


def _chosen(heard: Waveform | None, from_s: Any, to_s: Any, place: gr.SelectData) -> list[Any]:
    """A click: the begin of a part, or (where a begin alone is chosen) its end; marked."""
    if heard is None:
        return [gr.skip()] * 3
    at_s, from_s, to_s = heard.time_s(place.index[0]), from_s or 0.0, to_s or 0.0
    from_s, to_s = sorted((from_s, at_s)) if from_s == to_s else (at_s, at_s)
    return [from_s, to_s, _picture(heard, from_s, to_s)]


def _marked(heard: Waveform | None, from_s: Any, to_s: Any) -> Any:
    return gr.skip() if heard is None else _picture(heard, from_s or 0.0, to_s or 0.0)


def _picture(heard: Waveform, from_s: float, to_s: float) -> Image.Image:
    return Image.fromarray(heard.drawn(from_s, max(to_s, from_s + 0.005 * heard.seconds)))


def _edit_handler(studio: Studio, choices: Choices, players: Players) -> Any:
    """What a press of a button that changes a sound does."""

    def press(
        sound: Any, how: Any, from_s: Any, to_s: Any, strength: Any, extend_s: Any, text: Any,
        history: list[dict[str, Any]], progress: Any = _PROGRESS, *values: Any,
    ) -> Any:  # fmt: skip
        def make() -> tuple[str, Answer]:
            upload = _upload_of(studio, "sound", sound)
            given = _given_in(choices, values)
            asked = {name: value for name, value in given.items() if name in EditWish.model_fields}
            asked |= edit_values(how, from_s, to_s, strength, extend_s, text)
            wish = wish_of({name: value for name, value in asked.items() if value not in (None, "")}, EditWish)
            return f"{wish.text or upload.name}, changed", answer_edit(studio, wish, upload, _telling(progress))

        return _pressed(studio, players, history, make)

    return press


def _pressed(
    studio: Studio, players: Players, history: list[dict[str, Any]], make: Callable[[], tuple[str, Answer]]
) -> list[Any]:
    """The page after (title, answer) was made in one of the places, or refused."""
    started = time.perf_counter()
    try:
        with studio.place():
            title, made = make()
    except Exception as error:
        if not hasattr(error, "exit_code"):
            traceback.print_exc()
        return [*players.unchanged(rendering.refusal(sentence_of(error))), history]
    history = [rendering.remembered(title, made), *history][:NUM_HISTORY]
    words = rendering.report(made, time.perf_counter() - started)
    return [*players.showing(made, words, rendering.history(history)), history]


def _telling(progress: Any) -> Tell:
    return lambda share, words: progress(share, desc=words)


def _handler(studio: Studio, kind: str, choices: Choices, players: Players) -> Any:
    """What a press of this tab's button does."""

    def press(prompt: Any, history: list[dict[str, Any]], start: Any, progress: Any = _PROGRESS, *values: Any) -> Any:
        def make() -> tuple[str, Answer]:
            upload = None if kind == "text" else _upload_of(studio, kind, prompt)
            wish = _wish_of(choices, kind, prompt, start, values)
            return str(wish.text if upload is None else upload.name), answer(studio, wish, upload, _telling(progress))

        return _pressed(studio, players, history, make)

    return press


def _wish_of(choices: Choices, kind: str, prompt: Any, start: Any, values: tuple[Any, ...]) -> Wish:
    """The wish in the raw values of the page, which a visitor's program may have made up."""
    given = _given_in(choices, values)
    if kind == "text":
        if not isinstance(prompt, str) or not prompt.strip():
            raise DemoError(f"there is nothing to go by: {_ASKED['text']}")
        given["text"] = prompt
    if kind == "video":
        given["start_s"] = start or 0.0
    return wish_of({name: value for name, value in given.items() if value not in (None, "")})


def _given_in(choices: Choices, values: tuple[Any, ...]) -> dict[str, Any]:
    """The fields that the choices say, None where a choice is as it was."""
    given = dict(zip(choices.inputs, values, strict=True))
    for name, default in choices.defaults.items():
        if given[name] == default:
            given[name] = None
    if given.pop("random"):
        given["seed"] = secrets.randbelow(MAX_SEED)
    if not given.pop("loud"):
        given["loudness"] = "off"
    return given


def _upload_of(studio: Studio, kind: str, value: Any) -> Upload:
    """The file that was chosen; only one in the demo's folder is believed."""
    facts = value if isinstance(value, dict) else {}
    path = Path(str(facts.get("path") or "")).resolve()
    if not path.is_relative_to(studio.folder.path.resolve()) or not path.is_file():
        raise DemoError(f"there is nothing to go by: {_ASKED[kind]}")
    name = plain_name(str(facts.get("orig_name") or path.name), kind)
    return Upload(path, name if studio.folder.find(name) is None else f"the {kind}", kind)


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
