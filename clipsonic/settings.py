"""Settings that a file gives to somebody's constructor: each by a list of what may stand there.

Guarantee: what `taken` hands on has listed names only, each with a value of the listed kind; all else is refused in one
sentence, so that no file reaches an argument that loads code, follows a path or opens an address.
Price: a setting that a publisher invents is refused until it is listed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsonic.errors import CheckpointError

_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_SHOWN = 8


@dataclass(frozen=True)
class Kind:
    """What a value must be.

    Args:
        words: that, as the end of "it must be ...".
        fits: whether a value is.
    """

    words: str
    fits: Callable[[Any], bool]


def taken(values: Any, known: Mapping[str, Kind], where: Path | str) -> dict[str, Any]:
    """The settings of a file, all of them known and of their kinds.

    Args:
        values: of the file; names that begin with `_` are its writer's notes and are left out.
        known: name -> kind.
        where: the file (and the place in it), for refusals.

    Raises:
        CheckpointError: no object, a name that is not known, or a value of another kind.
    """
    if not isinstance(values, dict):
        raise CheckpointError(f"{where} is {_shown(values)}, it must be an object of settings: bring the file again")
    kept = {name: value for name, value in values.items() if not str(name).startswith("_")}
    for name, value in kept.items():
        if name not in known:
            raise CheckpointError(
                f"{where} has a setting that is not known ({name} = {_shown(value)}): known are {_listed(known)}; "
                "take it out, or bring the publisher's own file"
            )
        if not known[name].fits(value):
            raise CheckpointError(
                f"{where} has {name} = {_shown(value)}, it must be {known[name].words}: bring the publisher's own file"
            )
    return kept


def arguments_of(maker: Any) -> dict[str, Kind]:
    """The arguments of a class that this package names itself, each any plain value."""
    parameters = inspect.signature(maker.__init__).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name: PLAIN for one in parameters if one.kind in named and one.name != "self"}


def one_of(*choices: Any) -> Kind:
    """One of these, and of their types."""
    words = f"one of {', '.join(map(repr, choices))}"
    return Kind(words, lambda value: any(type(value) is type(one) and value == one for one in choices))


def either(*kinds: Kind) -> Kind:
    """Of one of these kinds."""
    return Kind(" or ".join(kind.words for kind in kinds), lambda value: any(kind.fits(value) for kind in kinds))


def list_of(kind: Kind) -> Kind:
    """A list of such values."""
    return Kind(
        f"a list, each {kind.words}", lambda value: isinstance(value, list | tuple) and all(map(kind.fits, value))
    )


def matching(pattern: str, words: str) -> Kind:
    """Text that is wholly of a regular expression."""
    compiled = re.compile(pattern, re.ASCII)
    return Kind(words, lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _is_hub_name(value: Any) -> bool:
    named = isinstance(value, str) and _HUB_NAME.fullmatch(value) is not None and ".." not in value
    return named and not Path(value).exists()


WHOLE = Kind("a whole number", lambda value: type(value) is int)
NUMBER = Kind("a number", lambda value: type(value) in (int, float))
YES_NO = Kind("true or false", lambda value: type(value) is bool)
TEXT = Kind("text", lambda value: isinstance(value, str))
NOTHING = Kind("null", lambda value: value is None)
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
PLAIN = Kind("a number, a word, true, false, null or a list of such", _is_plain)
ANYTHING = Kind("anything", lambda value: True)
"""For what the caller looks into, or never hands on."""
HUB_NAME = Kind("a name of a model hub, NAME or OWNER/NAME, and no path, address or folder here", _is_hub_name)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _listed(known: Mapping[str, Kind]) -> str:
    names = sorted(known)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
