"""The description of requests and answers for the API's own page, made from the settings."""

from __future__ import annotations

from typing import Any

from ..sampling.choice import takers
from ..sampling.fields import Setting, default_in_words, settings_of
from ..sampling.registry import STRATEGIES
from ..sampling.settings import SamplingSettings
from .asked import COUNT, FIXED, FORMATS, Model, inputs
from .limits import Limits

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_OF_FILES = {
    "image": {"type": "string", "format": "binary", "description": "The picture to change, as a file."},
    "mask": {
        "type": "string",
        "format": "binary",
        "description": "A picture of the same size, transparent where to paint.  Without it the transparent part of "
        "image is painted; or give strength, or outpaint.",
    },
}


def body_of(model: Model, limits: Limits, *, edits: bool) -> dict[str, Any]:
    """Return the request body of generations, JSON, or of edits, a form with files, as OpenAPI describes it."""
    known = inputs(limits, edits=edits)
    fields = {name: _schema(name, about, limits) for name, about in known.items()}
    own: dict[str, Any] = {
        "prompt": fields.pop("prompt"),
        "n": fields[COUNT] | {"description": f"Another name of {COUNT}."},
        "model": {"type": "string", "enum": [model.name]},
        "size": {"type": "string", "enum": ["auto", f"{model.size}x{model.size}"]},
        "response_format": {"type": "string", "enum": list(FORMATS), "default": FORMATS[0]},
        "user": {"type": "string", "description": "Taken and not used."},
    }
    own |= {name: {"enum": list(allowed), "description": "One way alone."} for name, allowed in FIXED.items()}
    if edits:
        schema = {"type": "object", "properties": _OF_FILES | own | fields, "required": ["image"]}
        return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    schema = {"type": "object", "properties": own | fields, "additionalProperties": False}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": _examples(limits)}}}


def answers() -> dict[int | str, dict[str, Any]]:
    """Return the answers to requests for pictures."""
    picture = {
        "b64_json": {"type": "string", "description": "The PNG file; its recipe stands inside too."},
        "url": {"type": "string", "description": "Where the PNG file is kept for a while."},
        "seed": {"type": "integer"},
        "recipe": {"type": "object", "description": "The settings that draw this picture again."},
    }
    data = {"type": "array", "items": {"type": "object", "properties": picture}}
    warnings = {"type": "array", "items": {"type": "string"}, "description": "Settings that change nothing, if any."}
    parts = {"created": {"type": "integer"}, "data": data, "warnings": warnings}
    found = {"type": "object", "properties": parts}
    texts = {name: {"type": "string", "nullable": name in ("param",)} for name in ("message", "type", "param", "code")}
    error = {"type": "object", "properties": {"error": {"type": "object", "properties": texts}}}

    def answer(about: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": about, "content": {"application/json": {"schema": schema}}}

    return {
        200: answer("The pictures.", found),
        400: answer("A field that cannot be used; param names it.", error),
        401: answer("The key is missing or wrong.", error),
        429: answer("Too many pictures wait; come again after Retry-After seconds.", error),
        503: answer("The server is ending; ask another one.", error),
    }


def _examples(limits: Limits) -> dict[str, Any]:
    first = {"prompt": "a red apple", "n": min(2, limits.pictures), "seed": 0}
    return {
        "two pictures": {"value": first},
        "another strategy": {
            "value": {"prompt": "a rocket", "strategy": "purity", "tokens_per_call": 2, "guidance_scale": 3.0}
        },
    }


def _schema(name: str, about: Setting, limits: Limits) -> dict[str, Any]:
    one: dict[str, Any] = {"type": _TYPES[about.type or str]}
    if about.choices:
        one["enum"] = list(about.choices)
    if about.type is str and not about.choices:
        one["maxLength"] = limits.length_of(name, about)
    if about.above is not None:
        one["exclusiveMinimum"] = about.above
    elif about.least is not None:
        one["minimum"] = about.least
    if about.most is not None:
        one["maximum"] = about.most
    several = {"type": "array", "items": one, "maxItems": about.count or limits.items, "minItems": about.count or 1}
    schema = {"anyOf": [one, several]} if about.repeated else several if about.many else one
    return schema | {"description": f"{_of_whom(name)}{about.help} [{_default(name, about) or 'none'}]"}


def _of_whom(name: str) -> str:
    strategies = takers(name)
    return f"{', '.join(strategies)}: " if strategies else ""


def _default(name: str, about: Setting) -> str:
    if about.default_help:
        return about.default_help
    if name in settings_of(SamplingSettings):
        return "random" if name == "seed" else default_in_words(SamplingSettings, name)
    return ", ".join(dict.fromkeys(default_in_words(STRATEGIES[one], name) for one in takers(name)))
