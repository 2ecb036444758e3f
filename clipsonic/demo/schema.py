"""The service's documentation of itself: the schema of a wish, the limits in force, and the model's facts.

Guarantee: made of the very objects that check requests, so it cannot say anything else. Price: none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from clipsonic import __version__
from clipsonic.demo import limits
from clipsonic.demo.studio import Studio
from clipsonic.demo.wish import Asked, EditWish, Wish

REFUSALS = {
    "400": "the request cannot be read, or is sent to a name that the demo does not answer to",
    "403": "a page of another site asks",
    "408": "the request took too long to arrive",
    "413": "the request, or what its file unpacks to, is too large",
    "415": "a content type, or a kind of file, that is not taken",
    "422": "a field that is unknown or out of its range, a file that is damaged or takes too long to open",
    "429": "all places are taken: come back after the seconds in Retry-After",
    "503": "the demo's disk space is full",
}


_FILES: dict[type[Asked], dict[str, str]] = {
    Wish: {"image": "A picture of what sounds.", "video": "A video, looked at from start_s for one segment."},
    EditWish: {"sound": "The sound to change: a file, or the name of one that was made here."},
}


def _form_schema(asked: type[Asked]) -> dict[str, Any]:
    schema = asked.model_json_schema()
    files = {
        name: {"type": "string", "format": "binary", "description": words} for name, words in _FILES[asked].items()
    }
    return {**schema, "properties": {**schema["properties"], **files}}


def _api(asked: type[Asked]) -> dict[str, Any]:
    """What OpenAPI says of a route that takes such wishes."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": asked.model_json_schema()},
                "multipart/form-data": {"schema": _form_schema(asked)},
            },
        },
        "responses": {
            "200": {
                "description": "One sound, its facts as JSON in the header X-Clipsonic-Facts; or, for several or where "
                "application/json is accepted, the facts and where the files are.",
                "content": {
                    "audio/wav": {"schema": {"type": "string", "format": "binary"}},
                    "application/json": {"schema": {"type": "object"}},
                },
            },
            **{status: {"description": f'{what}; {{"error": SENTENCE}}'} for status, what in REFUSALS.items()},
        },
    }


SOUNDS_API, EDITS_API = _api(Wish), _api(EditWish)
"""What OpenAPI says of `POST /v1/sounds` and `POST /v1/edits`."""


def facts_of_schema(studio: Studio) -> dict[str, Any]:
    """What `GET /v1/schema` answers."""
    pipeline = studio.pipeline
    return {
        "clipsonic": __version__,
        "request": _form_schema(Wish),
        "edit": _form_schema(EditWish),
        "limits": {
            **dataclasses.asdict(studio.limits),
            "max_sounds": limits.MAX_SOUNDS,
            "max_best_of": limits.MAX_BEST_OF,
            "max_steps": limits.MAX_STEPS,
            "max_text": limits.MAX_TEXT,
            "max_given_s": limits.MAX_GIVEN_S,
        },
        "model": {
            "name": studio.name,
            "segment_s": studio.segment_s,
            "sample_rate_hz": pipeline.segment.mel.sample_rate_hz,
            "steps": pipeline.config["num_inference_steps"],
            "guidance": pipeline.config["guidance_scale"],
            "has_ear": studio.has_ear,
        },
        "refusals": REFUSALS,
    }
