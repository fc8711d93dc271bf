"""The words for each concept: names, synonyms, plurals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from ...errors import DataError
from ..scenes.concepts import all_concepts

_SAME_LETTER_ENDINGS = ("s", "x", "z", "ch", "sh")
_VOWELS = "aeiou"
_SPOKEN_AS_CONSONANT = ("uni", "eu", "ewe", "one", "ufo", "u-")
_SPOKEN_AS_VOWEL = ("8 ball", "x-")


@dataclass(frozen=True)
class Name:
    """One way to call a thing.

    kind: "count" (takes an article and numbers), "plural" (a plural already: "glasses") or "mass" ("milk", "letter a").
    """

    text: str
    plural: str
    kind: str = "count"

    @classmethod
    def parse(cls, written: str) -> Name:
        """Read ``cat``, ``mouse>mice`` (irregular plural), ``glasses*`` (plural) or ``milk~`` (uncountable)."""
        if written.endswith("*"):
            return cls(written[:-1], written[:-1], "plural")
        if written.endswith("~"):
            return cls(written[:-1], written[:-1], "mass")
        singular, _, plural = written.partition(">")
        return cls(singular, plural or _plural_of(singular))


def read_vocabulary() -> dict[str, tuple[Name, ...]]:
    """Concept -> its names, the usual one first; the most recognisable concepts first, as in vocabulary.txt."""
    text = files("vqdiffusion_jax.data.compositions").joinpath("vocabulary.txt").read_text(encoding="utf-8")
    entries = (line.split(": ", 1) for line in text.splitlines())
    return {concept: tuple(map(Name.parse, names.split(", "))) for concept, names in entries}


def names_of(concepts: Sequence[str]) -> dict[str, tuple[Name, ...]]:
    """Concept -> names; of a concept that vocabulary.txt does not have, the concept itself is its only name."""
    known = read_vocabulary()
    return {concept: known.get(concept) or (_name_of(concept),) for concept in concepts}


def choose_concepts(wanted: int | str | Sequence[str]) -> list[str]:
    """Return the first ``wanted`` concepts of the vocabulary (0: all), or those named.

    ``"all"`` adds those of scenes/concepts.txt.

    Raises:
      DataError: fewer than two concepts, or one that the vocabulary does not have.
    """
    known = list(read_vocabulary())
    if wanted == "all":
        return list(dict.fromkeys([*known, *(concept.lower() for concept in all_concepts())]))
    if isinstance(wanted, str):
        raise DataError(f"concepts is {wanted!r}; it must be 'all', a number, or a list of names")
    if isinstance(wanted, int):
        if not (wanted == 0 or 2 <= wanted <= len(known)):
            raise DataError(f"concepts is {wanted}; it must be 0 (all), 2 to {len(known)}, or a list of names")
        return known[: wanted or None]
    names = [name.lower() for name in wanted]
    everything = {*known, *(concept.lower() for concept in all_concepts())}
    if unknown := [name for name in names if name not in everything]:
        raise DataError(f"concepts names {unknown[0]!r}, which neither vocabulary.txt nor concepts.txt has")
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"concepts names {len(names)} things, {len(set(names))} of them different; give two or more")
    return names


def with_article(words: str) -> str:
    """``words`` after "a" or "an"."""
    vowel = words[0] in _VOWELS and not words.startswith(_SPOKEN_AS_CONSONANT)
    return f"{'an' if vowel or words.startswith(_SPOKEN_AS_VOWEL) else 'a'} {words}"


def _name_of(concept: str) -> Name:
    words = concept.replace("’", "'")
    return Name(words, words, "plural") if words.endswith("s") and not words.endswith("ss") else Name.parse(words)


def _plural_of(word: str) -> str:
    if word.endswith("y") and word[-2] not in _VOWELS:
        return f"{word[:-1]}ies"
    if word.endswith(_SAME_LETTER_ENDINGS) or word in ("tomato", "mango", "volcano", "tornado"):
        return f"{word}es"
    return f"{word}s"
