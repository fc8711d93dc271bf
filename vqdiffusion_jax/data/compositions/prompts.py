"""The list of prompts, as people type them, that models of these pictures are judged by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One kind of thing that a picture should show, ``count`` times."""

    concepts: tuple[str, ...]  # any of these is right
    count: int = 1
    colour: str = ""  # "": any


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt and what a right picture shows.

    kind: "name", "synonym", "count", "colour", "pair", "relation" or "background".
    relation: "left of" or "above", said of the first object and the second; "" for none.
    background: a colour, or "" for any.
    """

    kind: str
    prompt: str
    objects: tuple[Wanted, ...]
    relation: str = ""
    background: str = ""


def read_prompts() -> list[Prompt]:
    """Return the 200 prompts of prompts.jsonl, written before any model was trained on these pictures."""
    text = files("vqdiffusion_jax.data.compositions").joinpath("prompts.jsonl").read_text(encoding="utf-8")
    return [_prompt(json.loads(line)) for line in text.splitlines()]


def _prompt(row: dict[str, Any]) -> Prompt:
    objects = tuple(Wanted(**(thing | {"concepts": tuple(thing["concepts"])})) for thing in row["objects"])
    facts = {key: value for key, value in row.items() if key != "objects"}
    return Prompt(objects=objects, **facts)
