"""The page's parts: tabs to ask in, choices, players; each with its place, none with behaviour.

Guarantee: every choice has a default that needs no thought. Price: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from clipsonic.demo import limits, rendering
from clipsonic.demo.answer import Answer
from clipsonic.demo.examples import EXAMPLES, TEXTS
from clipsonic.demo.studio import Studio
from clipsonic.generate.known import kinds_text
from clipsonic.prior.closer_names import CLOSERS

_FONTS = ("system-ui", "sans-serif")


def theme() -> gr.themes.Base:
    """Plain, in the visitor's own fonts."""
    fonts = [gr.themes.Font(name) for name in _FONTS]
    return gr.themes.Soft(font=fonts, font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")])


PART, ALL, ON = "Make a part anew", "Vary all of it", "Go on after its end"
"""How a sound can be changed."""
STRENGTH = 0.4
"""How strongly a sound is varied, if nothing is said."""
AT_ONCE: dict[str, Any] = {"queue": False, "api_visibility": "private"}
"""For events that compute next to nothing: outside of gradio's queue. Its page closes its stream when nothing waits any
more, and never answers a press that joined while it closed (gradio 6.31)."""


@dataclass(frozen=True)
class EditTab:
    """A sound, its waveform, how it is changed, and the button."""

    sound: Any
    waveform: Any
    how: Any
    from_s: Any
    to_s: Any
    strength: Any
    extend_s: Any
    text: Any
    button: Any

    @property
    def inputs(self) -> list[Any]:
        """In the order of `edit_values`."""
        return [self.how, self.from_s, self.to_s, self.strength, self.extend_s, self.text]


def edit_values(how: str, from_s: Any, to_s: Any, strength: Any, extend_s: Any, text: Any) -> dict[str, Any]:
    """The fields of a wish that the tab's inputs say."""
    fields = {
        PART: {"from_s": from_s or 0.0, "to_s": to_s or 0.0},
        ALL: {"strength": strength},
        ON: {"extend_s": extend_s},
    }
    return {**fields.get(str(how), {}), "text": text.strip() if isinstance(text, str) else text}


@dataclass(frozen=True)
class Prompts:
    """The ways to ask: for each kind its input and its button, for some an example; where in a video; a sound."""

    tabs: Any
    inputs: dict[str, Any]
    buttons: dict[str, Any]
    examples: dict[str, Any]
    start: Any
    edit: EditTab


def prompt_tabs(studio: Studio) -> Prompts:
    """Four tabs."""
    inputs: dict[str, Any] = {}
    buttons: dict[str, Any] = {}
    examples: dict[str, Any] = {}
    with gr.Tabs(elem_id="prompts") as tabs:
        with gr.Tab("Text", id="text"):
            inputs["text"] = gr.Textbox(
                label="What should be heard?", placeholder="a small glass bell ringing slowly", lines=2,
                max_length=limits.MAX_TEXT, elem_id="text", autofocus=True,
            )  # fmt: skip
            if studio.is_bundled:
                gr.Examples([[text] for text in TEXTS], inputs["text"], label="For instance")
                with gr.Accordion("What this model knows", open=False):
                    gr.Markdown("\n".join(f"- {line}" for line in kinds_text().splitlines()))
            buttons["text"] = _button("text")
        with gr.Tab("Picture", id="image"):
            inputs["image"] = gr.Image(
                label="A picture of what sounds", sources=["upload", "clipboard"], type="filepath", height=260,
                elem_id="image", buttons=[],
            )  # fmt: skip
            examples.update(_example(studio, "image"))
            buttons["image"] = _button("image")
        with gr.Tab("Video", id="video"):
            inputs["video"] = gr.Video(
                label="A video that lacks its sound", sources=["upload"], height=260, elem_id="video", buttons=[]
            )
            examples.update(_example(studio, "video"))
            start = gr.Number(0, label="Begin in the video at (seconds)", minimum=0, elem_id="start")
            buttons["video"] = _button("video")
        with gr.Tab("Edit", id="edit"):
            edit = _edit_tab(studio)
    return Prompts(tabs, inputs, buttons, examples, start, edit)


def _edit_tab(studio: Studio) -> EditTab:
    longest_s = studio.limits.max_duration_s
    sound = gr.Audio(
        label="A sound to change", sources=["upload"], type="filepath", elem_id="sound", buttons=[], editable=False
    )
    waveform = gr.Image(
        type="filepath", format="png", interactive=False, visible=False, show_label=False, container=False,
        elem_id="waveform", buttons=[],
    )  # fmt: skip
    how = gr.Radio(
        [PART, ALL, ON], value=PART, label="What is to be done?", elem_id="how",
        info="A part is chosen by two clicks on the sound above, or in seconds below.",
    )  # fmt: skip
    with gr.Row():
        from_s = gr.Number(0, label="From (seconds)", minimum=0, elem_id="from", min_width=140)
        to_s = gr.Number(0, label="To (seconds)", minimum=0, elem_id="to", min_width=140)
        strength = gr.Slider(
            0.05, 1, STRENGTH, step=0.05, label="Strength: more is further from what it was", visible=False,
            elem_id="strength", min_width=280,
        )  # fmt: skip
        extend_s = gr.Slider(
            0.1, max(0.1, longest_s), min(1.0, longest_s), step=0.1, label="Seconds more", visible=False,
            elem_id="extend", min_width=280,
        )  # fmt: skip
    text = gr.Textbox(
        label="What should be heard there? It may be left empty", max_length=limits.MAX_TEXT, elem_id="edit-text"
    )
    button = gr.Button("Change the sound", variant="primary", elem_id="make-edit")
    how.change(
        lambda how: [gr.update(visible=how == wanted) for wanted in (PART, PART, ALL, ON)],
        how,
        [from_s, to_s, strength, extend_s],
        **AT_ONCE,
    )
    return EditTab(sound, waveform, how, from_s, to_s, strength, extend_s, text, button)


def _button(kind: str) -> gr.Button:
    return gr.Button("Make the sound", variant="primary", elem_id=f"make-{kind}")


def _example(studio: Studio, kind: str) -> dict[str, Any]:
    """A button for an example, where examples would be of what the model knows."""
    if not studio.is_bundled:
        return {}
    return {kind: gr.Button(EXAMPLES[kind][0], size="sm", elem_id=f"example-{kind}")}


@dataclass(frozen=True)
class Choices:
    """Inputs by their names in a wish (and `random`); a value equal to its default counts as not given."""

    inputs: dict[str, Any]
    defaults: dict[str, float]


def choices_below(studio: Studio) -> Choices:
    """What may be chosen, folded away."""
    config, longest_s = studio.pipeline.config, studio.limits.max_duration_s
    defaults = {
        "steps": config["num_inference_steps"],
        "guidance": config["guidance_scale"],
        "duration_s": round(min(longest_s, studio.segment_s), 1),
        "best_of": 1,
    }
    closers = ["auto", *(name for name in CLOSERS if studio.pipeline.why_no_closer(name) is None)]
    with gr.Row():
        count = gr.Slider(1, limits.MAX_SOUNDS, 1, step=1, label="Variations", min_width=280, elem_id="variations")
        length = gr.Slider(
            0.5,
            max(0.5, round(longest_s, 1)),
            defaults["duration_s"],
            step=0.1,
            label="Length (seconds)",
            min_width=280,
        )
    with gr.Accordion("More choices", open=False):
        negative = gr.Textbox(label="What should not be heard", max_length=limits.MAX_TEXT, elem_id="negative")
        best_of = gr.Slider(
            1, limits.MAX_BEST_OF, defaults["best_of"], step=1, visible=studio.has_ear, elem_id="best-of",
            label="Best of: make so many, keep those that fit best (1: keep what is made)",
        )  # fmt: skip
        with gr.Row():
            random = gr.Checkbox(True, label="Another sound at every press", elem_id="random")
            seed = gr.Number(0, label="Seed, if not", precision=0, minimum=0, maximum=limits.MAX_SEED, elem_id="seed")
        with gr.Row():
            steps = gr.Slider(
                1, limits.MAX_STEPS, defaults["steps"], step=1, label="Steps: more are slower", min_width=280
            )
            guidance = gr.Slider(0, 8, defaults["guidance"], step=0.1, label="Guidance: more is closer", min_width=280)
        closer = gr.Dropdown(closers, value="auto", label="From text to picture by")
        loud = gr.Checkbox(True, label="Even loudness (-14 LUFS)")
    inputs = {
        "num_sounds": count, "duration_s": length, "negative_text": negative, "best_of": best_of, "random": random,
        "seed": seed, "steps": steps, "guidance": guidance, "closer": closer, "loud": loud,
    }  # fmt: skip
    return Choices(inputs, defaults)


@dataclass(frozen=True)
class Players:
    """Where the answer is shown: words, columns of player and spectrogram (the first for the sound before an edit, each
    other one with two buttons that go on from it), videos, history."""

    status: Any
    columns: list[Any]
    audios: list[Any]
    pictures: list[Any]
    more: list[Any]
    change: list[Any]
    videos: Any
    history: Any

    @property
    def outputs(self) -> list[Any]:
        """In the order of `showing` and `unchanged`."""
        return [self.status, *self.columns, *self.audios, *self.pictures, self.videos, self.history]

    def unchanged(self, status: str) -> list[Any]:
        """Other words, all else as it was."""
        return [status, *(gr.skip() for _ in self.outputs[1:])]

    def showing(self, made: Answer, status: str, history: str) -> list[Any]:
        """An answer."""
        sounds = [made.before, *made.sounds, *[None] * (limits.MAX_SOUNDS - len(made.sounds))]
        return [
            status,
            *(gr.update(visible=sound is not None) for sound in sounds),
            *(None if sound is None else str(sound.wave) for sound in sounds),
            *("" if sound is None else rendering.spectrogram(sound) for sound in sounds),
            rendering.videos(made),
            history,
        ]


def players_below() -> Players:
    """Empty players."""
    status = gr.HTML(rendering.empty(), elem_id="status", min_height=60)
    columns, audios, pictures, more, change = [], [], [], [], []
    with gr.Row(elem_id="sounds"):
        for index in range(limits.MAX_SOUNDS + 1):
            with gr.Column(visible=False, min_width=220) as column:
                label = f"Sound {index}" if index else "Before"
                audios.append(gr.Audio(label=label, interactive=False, type="filepath", buttons=["download"]))
                pictures.append(gr.HTML())
                if index:
                    with gr.Row():
                        more.append(gr.Button("More like this", size="sm", min_width=100, elem_id=f"more-{index}"))
                        change.append(gr.Button("Change a part", size="sm", min_width=100, elem_id=f"change-{index}"))
            columns.append(column)
    videos = gr.HTML(elem_id="videos")
    with gr.Accordion("Made before", open=True):
        history = gr.HTML(rendering.history([]), elem_id="history")
    return Players(status, columns, audios, pictures, more, change, videos, history)
