"""What may be asked of the demo: one schema for the page, the service and its documentation.

Guarantee: a wish that constructs is within the fixed ranges; `checked` adds what depends on the model. Values of a form
may come as text ("3"); unknown fields are refused. Price: pydantic, which comes with the page's packages.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipsonic.demo import limits
from clipsonic.demo.limits import Limits
from clipsonic.demo.refusals import DemoError
from clipsonic.prior.closer_names import CLOSERS

AnyWish = TypeVar("AnyWish", bound="Asked")
TextCloser = Literal["auto", "zero-shot", "mean-shift", "neighbours", "prior"]
GUIDANCE_AWAY = 2.0
"""Guidance where a negative text is given, none is said, and the model's own is 1, at which it would have no effect."""


class Asked(BaseModel):
    """What every wish may say."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    text: str | None = Field(
        None, min_length=1, max_length=limits.MAX_TEXT, description="What to hear, in words; or send a file instead."
    )
    negative_text: str | None = Field(
        None, min_length=1, max_length=limits.MAX_TEXT, description="What to move away from; needs guidance above 1."
    )
    closer: TextCloser = Field(
        "auto", description="; ".join(f"{name}: {what}" for name, what in CLOSERS.items()) + "; auto: the model's best."
    )
    seed: int = Field(0, ge=0, le=limits.MAX_SEED, description="Another seed, another sound.")
    steps: int | None = Field(None, ge=1, le=limits.MAX_STEPS, description="Solver steps; default: the model's.")
    guidance: float | None = Field(
        None,
        ge=0.0,
        le=limits.MAX_GUIDANCE,
        allow_inf_nan=False,
        description="How closely to follow the prompt; 1 is without guidance; default: the model's.",
    )
    num_sounds: int = Field(1, ge=1, le=limits.MAX_SOUNDS, description="Variations; more than one is told as JSON.")


class Wish(Asked):
    """A sound to make."""

    duration_s: float | None = Field(
        None,
        ge=limits.MIN_DURATION_S,
        allow_inf_nan=False,
        description="Seconds of sound; default: the model's segment, of a video at most what is left of it.",
    )
    best_of: int | None = Field(
        None,
        ge=1,
        le=limits.MAX_BEST_OF,
        description="Make so many and keep the num_sounds in which the model's ear hears best what was asked for.",
    )
    start_s: float = Field(
        0.0, ge=0.0, le=limits.MAX_START_S, allow_inf_nan=False, description="Where in a video the sound begins."
    )
    loudness: Annotated[float, Field(ge=-60.0, le=0.0)] | Literal["off"] = Field(
        -14.0, description="LUFS, or off: as the model made it."
    )


class EditWish(Asked):
    """A change of a sound that is there: a part made anew, seconds more, or all of it varied."""

    sound: str | None = Field(
        None, max_length=64, description="The name of a sound that was made here, ID.wav; or send a file."
    )
    from_s: float | None = Field(
        None, ge=0.0, le=limits.MAX_GIVEN_S, allow_inf_nan=False, description="Where the part that is made anew begins."
    )
    to_s: float | None = Field(None, ge=0.0, le=limits.MAX_GIVEN_S, allow_inf_nan=False, description="Where it ends.")
    extend_s: float | None = Field(
        None, ge=limits.MIN_DURATION_S, allow_inf_nan=False, description="Seconds that are made after its end."
    )
    strength: float | None = Field(
        None, gt=0.0, le=1.0, allow_inf_nan=False, description="How far all of it, or the part, may leave what it was."
    )
    from_text: str | None = Field(
        None, min_length=1, max_length=limits.MAX_TEXT, description="What the given sound is, in words, for a restyle."
    )

    @property
    def made_s(self) -> float | None:
        """Seconds that are made; None for as many as the sound has."""
        if self.from_s is not None and self.to_s is not None:
            return self.to_s - self.from_s
        return self.extend_s


def wish_of(values: dict[str, Any], kind: type[AnyWish] = Wish) -> AnyWish:  # type: ignore[assignment]
    """The wish in these values.

    Raises:
        DemoError: an unknown field or a value out of its range, as one sentence.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise DemoError(_sentence(error, kind)) from None


def checked(wish: Wish, kind: str | None, allowed: Limits) -> None:
    """Refuse what does not go together; `kind` is that of the file sent along: image, video or None.

    Raises:
        DemoError: not exactly one prompt, a start in what is no video, a sound that is too long, fewer sounds to choose
            from than are to be kept.
    """
    if (wish.text is None) == (kind is None):
        found = "no prompt" if kind is None else f"a text and a file ({kind})"
        raise DemoError(f"{found} given: give exactly one of a text, a picture and a video")
    if wish.start_s and kind != "video":
        raise DemoError(f"start_s {wish.start_s:g} is a time in a video: give it with a video")
    if wish.duration_s is not None and wish.duration_s > allowed.max_duration_s + 1e-9:
        raise DemoError(
            f"duration_s {wish.duration_s:g} is too long: at most {allowed.max_duration_s:g} seconds are made here"
        )
    if wish.best_of is not None and wish.best_of < wish.num_sounds:
        raise DemoError(
            f"best_of {wish.best_of} is below num_sounds {wish.num_sounds}, which are kept: make more, or keep fewer"
        )


def checked_edit(wish: EditWish, given_s: float, allowed: Limits) -> None:
    """Refuse what does not go together, or is more than is made here of a sound that lasts `given_s`.

    Raises:
        DemoError: nothing or too much is to be made.
    """
    if (wish.from_s is None) != (wish.to_s is None):
        raise DemoError("one end of the part is given: give both from_s and to_s, in seconds")
    if wish.made_s is None and wish.strength is None:
        raise DemoError("nothing is to be changed: give a part (from_s and to_s), extend_s, or a strength")
    made_s = given_s if wish.made_s is None else wish.made_s
    if made_s > allowed.max_duration_s + 1e-9:
        raise DemoError(
            f"{made_s:.4g} s would be made anew, and at most {allowed.max_duration_s:g} are here: choose a shorter part"
        )


def _sentence(error: ValidationError, kind: type[Asked]) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "the request"
    if first["type"] == "extra_forbidden":
        return f"field {name[:60]!r} is unknown: the fields are {', '.join(kind.model_fields)}"
    given = repr(first["input"])
    shown = given if len(given) <= 60 else f"{given[:57]}..."
    rule = str(first["msg"]).removeprefix("Input ").removeprefix("String ")
    return f"{name} {shown} cannot be taken: it {rule}"
