"""The words that a model was taught, and what to say of a prompt with others.

A model folder may carry them as ``words.json``: a table of ``names`` (of the things that the model draws), ``words``
(all others of its captions) and ``synonyms`` (a word that it was not taught: the name that it means).  Data sets that
know their captions' words give them to the folder at the end of training.  Without the file nothing is said.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, and_more, brief, printable, shortened
from ..files import write_whole
from ..user_files import read_json

FILE = "words.json"
_MOST_BYTES = 2**22  # of the file
_MOST_TOLD = 5  # unknown words that are named
_MOST_LINES = 3  # about several prompts
_LISTED = 4  # names that are listed where no known one is near
_LONGEST = 40  # characters of a word that are looked at
_NEAR = 0.8  # as in difflib: "rokcet" is near "rocket", "hello" is not near "yellow"
_SHORT, _NEAR_SHORT = 4, 0.85  # letters of a word that is near fewer others: "two" is not near "to"
_WORD = re.compile(r"\w+(?:['-]\w+)*")


@dataclass(frozen=True)
class KnownWords:
    """Words of a model's captions, in lower case.

    names: of things, such as "red apple".  words: all other words.  synonyms: words that the model was not taught, with
    the name that each means.
    """

    names: tuple[str, ...]
    words: frozenset[str] = frozenset()
    synonyms: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _known(self) -> frozenset[str]:
        return self.words.union(*(words_of(name) for name in self.names))

    @cached_property
    def _meant_by(self) -> dict[str, str]:
        """Every word that means something, with the known name or word that it means."""
        meant = {word: word for word in self.words}
        for name in reversed(self.names):  # of two names that share a word, the first is meant
            meant |= {word: name for word in words_of(name) if word not in self.words}
            meant[name] = name
        return {**self.synonyms, **meant}

    def unknown(self, prompt: str) -> list[str]:
        """Return the words of a prompt that the model was not taught, each once, in order."""
        return list(dict.fromkeys(word for word in words_of(prompt) if word not in self._known))

    def nearest(self, word: str) -> str:
        """Return the name, or the other known word, that an unknown word may mean; "" for none.

        A synonym or a plural means its name; of other words, the known one that is spelled most alike.
        """
        for form in singular_forms(word):
            if form in self._meant_by:
                return self._meant_by[form]
        cutoff = _NEAR_SHORT if len(word) <= _SHORT else _NEAR
        near = difflib.get_close_matches(word[:_LONGEST], self._meant_by, n=3, cutoff=cutoff)
        # People seldom mistype the first letter, other than with the second: "hello" is no shell.
        return next((self._meant_by[one] for one in near if one[0] in word[:2]), "")

    def told(self, prompt: str) -> str:
        """Return one printable line about the unknown words of a prompt; "" if there are none."""
        unknown = self.unknown(prompt)
        if not unknown:
            return ""
        nearest = {word: self.nearest(word) for word in unknown[:_MOST_TOLD]}
        told = [
            f'"{shortened(word, _LONGEST)}"' + (f" (did you mean {name}?)" * bool(name))
            for word, name in nearest.items()
        ]
        line = f"the model was not taught {and_more(told, len(unknown))}; it draws something, but not what that says"
        if not any(nearest.values()):
            line += f". It knows {and_more(self.names[:_LISTED], len(self.names))}"
        return printable(line)

    def told_of_all(self, prompts: Iterable[str]) -> list[str]:
        """Return lines about the unknown words of several prompts: of the first few, and how many others have some."""
        lines = list(dict.fromkeys(line for prompt in prompts if (line := self.told(prompt))))
        if more := len(lines) - _MOST_LINES:
            lines[_MOST_LINES:] = [f"more prompts with words that the model was not taught: {more}"] if more > 0 else []
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the words as plain JSON types; ``from_dict`` reads them."""
        return {"names": list(self.names), "words": sorted(self.words), "synonyms": dict(self.synonyms)}

    @classmethod
    def from_dict(cls, table: Any) -> KnownWords:
        """Return the words of such a table.  Raises ValueError for anything else."""
        if not isinstance(table, Mapping) or not _texts(table.get("names")) or not _texts(table.get("words", [])):
            raise ValueError('it must be a table whose "names" and "words" are lists of texts')
        synonyms = table.get("synonyms", {})
        if not isinstance(synonyms, Mapping) or not _texts([*synonyms, *synonyms.values()]):
            raise ValueError('"synonyms" must be a table from texts to texts')
        return cls(tuple(table["names"]), frozenset(table.get("words", [])), dict(synonyms))


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, as a text tower that ignores case reads them."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def singular_forms(word: str) -> list[str]:
    """Return the word, and what it would be the plural of."""
    endings = (("ies", "y"), ("es", ""), ("s", ""), ("'s", ""))
    return [word, *(word.removesuffix(end) + instead for end, instead in endings if word.endswith(end))]


def read_words(folder: Path) -> KnownWords | None:
    """Return the words of a model folder, or None if it has none.  Raises CheckpointError for another file."""
    file = folder / FILE
    try:
        return KnownWords.from_dict(read_json(file, most=_MOST_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = brief(getattr(error, "strerror", None) or error)
        raise CheckpointError(f"{file} cannot be used: {reason}; repair it or take it away") from error


def write_words(folder: Path, words: KnownWords | None) -> None:
    """Write the words into a model folder, if they are known."""
    if words is not None:
        with write_whole(folder / FILE) as place:
            place.write_text(json.dumps(words.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _texts(values: Any) -> bool:
    return isinstance(values, Iterable) and not isinstance(values, str) and all(isinstance(one, str) for one in values)
