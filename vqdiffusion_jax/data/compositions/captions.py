"""A composition in words as people type them: always true of the picture, with many facts left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...text.known_words import words_of
from ..scenes.words import COLOURS
from .colours import WORDS
from .composition import Composition, Thing
from .layouts import SMALL
from .library import ANY_COLOUR, Library
from .vocabulary import Name, with_article

STYLE_WORDS = {
    "fluent-3d": "3d",
    "noto": "shaded",
    "twemoji": "flat",
    "fxemoji": "outlined",
    "fluent-color": "gradient",
    "fluent-flat": "simple",
    "emojione": "cartoon",
}
_NUMBERS = {2: ("two", "two", "2"), 3: ("three", "three", "3"), 4: ("four", "four", "4"), 5: ("five", "five", "5")}
_PLACES = {
    "left": ("on the left", "at the left"),
    "right": ("on the right", "at the right"),
    "top": ("at the top", "near the top"),
    "bottom": ("at the bottom", "near the bottom"),
    "top left": ("in the top left corner", "at the top left", "top left"),
    "top right": ("in the top right corner", "at the top right", "top right"),
    "bottom left": ("in the bottom left corner", "at the bottom left", "bottom left"),
    "bottom right": ("in the bottom right corner", "at the bottom right", "bottom right"),
    "centre": ("in the middle", "in the centre", "in the center"),
}
# Of two things in reading order: the first's place seen from the second, and the other way round.
_RELATIONS = {
    "horizontal": (("to the left of", "left of", "on the left of"), ("to the right of", "right of", "on the right of")),
    "vertical": (("above", "over", "on top of"), ("below", "under", "underneath")),
}
_BESIDE = ("next to", "beside")
_BACKGROUNDS = ("on {a} background", "on {a} background", "on {colour}", "with {a} background", ", {colour} background")
_BACKGROUNDS_BEFORE = ("{colour} background with", "{colour} background,")
_SIZES = {"small": ("small", "little", "tiny"), "big": ("big", "large")}
_GREYS = ("grey", "gray")
_OPENINGS = ("a picture of", "picture of", "an emoji of", "a drawing of", "draw")
_TELL_STYLE, _TELL_NATURAL_COLOUR, _TELL_ANY_COLOUR = 0.15, 0.25, 0.6
_TELL_WHITE, _USUAL_NAME, _ARTICLE = 0.15, 0.6, 0.65


def words_besides_names() -> frozenset[str]:
    """Return all words of ``caption`` but those of the things' names, whatever styles and colours a library has."""
    wordings = [*_NUMBERS.values(), *_PLACES.values(), *_RELATIONS["horizontal"], *_RELATIONS["vertical"]]
    wordings += [_BESIDE, _BACKGROUNDS, _BACKGROUNDS_BEFORE, *_SIZES.values(), _GREYS, _OPENINGS]
    wordings += [tuple(STYLE_WORDS.values()), tuple(COLOURS), WORDS, ("a", "an", "the", "one", "and")]
    told = (wording.replace("{a}", "").replace("{colour}", "") for several in wordings for wording in several)
    return frozenset(word for wording in told for word in words_of(wording))


def caption(composition: Composition, library: Library, rng: np.random.Generator) -> str:
    """Return one way to say what ``composition`` shows.

    A plain prompt leaves open what people leave open: a drawing's own colour, its style, white, how A and B lie.
    What departs from the usual is told: another colour, another background, a small drawing (by size or place).
    """
    articles = rng.random() < _ARTICLE
    several = len(composition.cells) > 1
    style_told = rng.random() < _TELL_STYLE
    small = not several and composition.cells[0].side == SMALL
    size_told = small and (composition.place == "centre" or rng.random() < 0.5)
    size = _pick(_SIZES["small"], rng) if size_told else ""
    if not several and not small and rng.random() < 0.05:
        size = _pick(_SIZES["big"], rng)
    phrases = [
        _phrase(thing, library, library.names[thing.concept], rng, articles=articles, style_told=style_told, size=size)
        for thing in composition.things
    ]
    parts = [_joined(composition, phrases, rng)]
    if small and composition.place != "centre" and not (size_told and rng.random() < 0.3):
        parts.append(_pick(_PLACES[composition.place], rng))
    elif small and rng.random() < 0.5:
        parts.append(_pick(_PLACES["centre"], rng))
    opening, before, white = rng.random(3)
    if composition.background != "white" or white < _TELL_WHITE:
        colour = "gray" if composition.background == "grey" and rng.random() < 0.5 else composition.background
        if before < 0.06:
            parts.insert(0, _pick(_BACKGROUNDS_BEFORE, rng).format(colour=colour))
        else:
            parts.append(_pick(_BACKGROUNDS, rng).format(colour=colour, a=with_article(colour)))
    if opening < 0.04 and not parts[0].endswith((" with", ",")):
        parts.insert(0, _pick(_OPENINGS, rng))
    return " ".join(parts).replace(" ,", ",")


def _phrase(
    thing: Thing,
    library: Library,
    names: Sequence[Name],
    rng: np.random.Generator,
    *,
    articles: bool,
    style_told: bool,
    size: str,
) -> str:
    if thing.count > 1:
        names = [name for name in names if name.kind == "count"] or names[:1]
    name = names[0] if rng.random() < _USUAL_NAME else _pick(names, rng)
    adjectives = [size, _colour_word(thing, library, name, rng)]
    if style_told and thing.style in STYLE_WORDS:
        adjectives.insert(int(rng.random() * 2), STYLE_WORDS[thing.style])
    noun = name.plural if thing.count > 1 else name.text
    words = " ".join(word for word in (*adjectives, noun) if word)
    if thing.count > 1:
        return f"{_pick(_NUMBERS[thing.count], rng)} {words}"
    if not articles or name.kind != "count":
        return words
    article = rng.random()
    return f"the {words}" if article < 0.07 else f"one {words}" if article < 0.1 else with_article(words)


def _colour_word(thing: Thing, library: Library, name: Name, rng: np.random.Generator) -> str:
    if thing.style == ANY_COLOUR:
        return thing.colour if rng.random() < _TELL_ANY_COLOUR else ""
    if thing.colour:
        return thing.colour
    word = library.palette(thing.drawing).word
    if not word or rng.random() >= _TELL_NATURAL_COLOUR or word in name.text.split():
        return ""
    return "gray" if word == "grey" and rng.random() < 0.5 else word


def _joined(composition: Composition, phrases: list[str], rng: np.random.Generator) -> str:
    if len(phrases) == 1:
        return phrases[0]
    if composition.arrangement == "group":
        order = rng.permutation(len(phrases)).tolist()
        phrases = [phrases[i] for i in order]
        return " and ".join([", ".join(phrases[:-1]), phrases[-1]])
    first, second = phrases
    way = rng.random()
    if way < 0.3:
        return f"{first} and {second}" if rng.random() < 0.5 else f"{second} and {first}"
    if way < 0.36 and composition.arrangement == "horizontal":
        pair = (first, second) if rng.random() < 0.5 else (second, first)
        return f"{pair[0]} {_pick(_BESIDE, rng)} {pair[1]}"
    forwards, backwards = _RELATIONS[composition.arrangement]
    if rng.random() < 0.5:
        return f"{first} {_pick(forwards, rng)} {second}"
    return f"{second} {_pick(backwards, rng)} {first}"


def _pick(things: Sequence, rng: np.random.Generator):
    return things[int(rng.random() * len(things))]
