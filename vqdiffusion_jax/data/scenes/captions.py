"""A scene in words, lower case: always true of the picture, but not always all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...text.known_words import words_of
from .scene import Placed, Scene
from .words import COLOURS, STYLES

_SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium", "medium-sized"), "large": ("large", "big")}
_PLACES = {
    "left": ("on the left", "at the left"),
    "right": ("on the right", "at the right"),
    "top": ("at the top", "near the top"),
    "bottom": ("at the bottom", "near the bottom"),
    "top left": ("in the top left corner", "at the top left"),
    "top right": ("in the top right corner", "at the top right"),
    "bottom left": ("in the bottom left corner", "at the bottom left"),
    "bottom right": ("in the bottom right corner", "at the bottom right"),
}
_MIDDLE = ("in the middle", "in the centre", "in the center")
# Of two drawings in reading order: the first's place seen from the second, and the other way round.
_RELATIONS = {
    "horizontal": (("to the left of", "left of", "on the left of"), ("to the right of", "right of", "on the right of")),
    "vertical": (("above", "over"), ("below", "under")),
}
# The first of each is what ``complete_caption`` says.
_BACKGROUNDS = ("on a {} background", "on {}", "with a {} background", "against a {} background", ", {} background")
_STYLES_BEFORE = ("{} {}", "{} style {}")
_STYLES_AFTER = ("in {} style", "in the {} style", ", {} style")
_SINGULAR_ENDINGS = ("ss", "us")
_LIKE_YOU = ("uni", "eu", "ewe", "one-")  # vowels that are spoken as consonants


def words_besides_names() -> frozenset[str]:
    """Return all words of ``caption`` and ``complete_caption`` but those of the concepts' names."""
    wordings = [*_PLACES.values(), _MIDDLE, *_SIZE_WORDS.values(), *_RELATIONS["horizontal"], *_RELATIONS["vertical"]]
    told = [wording for several in wordings for wording in several]
    told += [*_BACKGROUNDS, *_STYLES_BEFORE, *_STYLES_AFTER, *STYLES.values(), *COLOURS, "gray", "a", "an", "and"]
    return frozenset(word for wording in told for word in words_of(wording.replace("{}", "")))


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return the scene as someone might put it, with some of its facts left out."""
    if scene.plain:
        return _spoken(scene.objects[0].concept)
    articles = rng.random() < 0.7
    style_told, size_told, background_told = (rng.random(3) < (0.5, 0.5, 0.9)).tolist()
    one_style = scene.objects[0].style if len({placed.style for placed in scene.objects}) == 1 else ""
    style_after = style_told and bool(one_style) and rng.random() < 0.5
    names = []
    for placed in scene.objects:
        words = _spoken(placed.concept)
        if style_told and not style_after:
            words = _pick(_STYLES_BEFORE, rng).format(STYLES[placed.style], words)
        if size_told and len(scene.objects) == 1:
            words = f"{_pick(_SIZE_WORDS[placed.size], rng)} {words}"
        names.append(_with_article(words, placed.concept) if articles else words)
    parts = [_joined(scene, names, rng) if len(names) == 2 else names[0]]
    if style_after:
        parts.append(_pick(_STYLES_AFTER, rng).format(STYLES[one_style]))
    if len(names) == 1:
        parts.append(_place(scene.objects[0], rng))
    if background_told or scene.background != "white":
        parts.append(_pick(_BACKGROUNDS, rng).format(_colour(scene.background, rng)))
    return _sentence(parts)


def complete_caption(scene: Scene) -> str:
    """All facts of the scene, in one wording for each: what a model is asked when it is judged."""
    names = []
    for placed in scene.objects:
        words = _STYLES_BEFORE[0].format(STYLES[placed.style], _spoken(placed.concept))
        if len(scene.objects) == 1:
            words = f"{_SIZE_WORDS[placed.size][0]} {words}"
        names.append(_with_article(words, placed.concept))
    if len(names) == 2:
        parts = [f"{names[0]} {_RELATIONS[scene.axis][0][0]} {names[1]}"]
    else:
        position = scene.objects[0].position
        parts = [names[0], _MIDDLE[0] if position == "centre" else _PLACES[position][0]]
    return _sentence([*parts, _BACKGROUNDS[0].format(scene.background)])


def _joined(scene: Scene, names: list[str], rng: np.random.Generator) -> str:
    """Two names and how they lie; either may come first.  "A and B" is said of A left of B, as they are read."""
    if scene.axis == "horizontal" and rng.random() < 0.1:
        return f"{names[0]} and {names[1]}"
    forwards, backwards = _RELATIONS[scene.axis]
    if rng.random() < 0.5:
        return f"{names[0]} {_pick(forwards, rng)} {names[1]}"
    return f"{names[1]} {_pick(backwards, rng)} {names[0]}"


def _place(placed: Placed, rng: np.random.Generator) -> str:
    if placed.position != "centre":
        return _pick(_PLACES[placed.position], rng)
    # A large drawing fills the picture, so where it lies is rarely worth a word.
    return _pick(_MIDDLE, rng) if rng.random() < (0.1 if placed.size == "large" else 0.3) else ""


def _colour(background: str, rng: np.random.Generator) -> str:
    return "gray" if background == "grey" and rng.random() < 0.5 else background


def _spoken(concept: str) -> str:
    """With the apostrophe that keyboards have."""
    return concept.replace("’", "'")


def _with_article(words: str, concept: str) -> str:
    if concept.endswith("s") and not concept.endswith(_SINGULAR_ENDINGS):
        return words  # most are plural: "glasses", "cherries"
    vowel = words[0] in "aeiou" and not words.startswith(_LIKE_YOU)
    return f"{'an' if vowel else 'a'} {words}"


def _pick(things: Sequence[str], rng: np.random.Generator) -> str:
    return things[int(rng.random() * len(things))]


def _sentence(parts: list[str]) -> str:
    return " ".join(part for part in parts if part).replace(" ,", ",")
