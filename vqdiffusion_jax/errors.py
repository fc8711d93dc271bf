"""Every exception and warning of the package that leaves the module which raises it.

What a user reads is one line: what is wrong, where, what is allowed, what to do.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from string import Formatter
from typing import Any

_LONGEST_VALUE = 120  # characters of a value in a message
_LONGEST_REASON = 600
LONGEST_REFUSAL = 500  # characters of a message of the API
# Control characters, lone surrogates, line separators and marks that turn the direction of writing.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class OneLineError(ValueError):
    """An error whose message is one printable line, whatever names of files and values went into it."""

    def __str__(self) -> str:
        said = super().__str__()
        return said if said.isprintable() else one_line(said)


class ConfigError(OneLineError):
    """A configuration that cannot be built."""


class CheckpointError(OneLineError):
    """A checkpoint that cannot be read or written."""


class ConversionError(OneLineError):
    """A foreign file that does not fill a model exactly; the message names the first keys at fault, its note all."""


class DataError(OneLineError):
    """A data set that cannot be trained on."""


class BrokenRecord(OneLineError):
    """A picture or caption that cannot be used; it is counted, named and replaced.

    name: the record's id; reason: what is wrong with it.  Both are printable.
    """

    def __init__(self, name: str, reason: object):
        super().__init__(printable(name), shortened(one_line(reason), _LONGEST_REASON))

    @property
    def name(self) -> str:
        return self.args[0]

    @property
    def reason(self) -> str:
        return self.args[1]

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class MissingCaption(BrokenRecord):
    """A record without a caption, which ``DataConfig.missing_captions`` drops, keeps without a condition or refuses."""

    REASON = "it has no caption"

    def __init__(self, name: str, reason: object = REASON):
        super().__init__(name, reason)


class PictureError(OneLineError):
    """A picture or mask that cannot be used; the message is the reason, said of "it"."""


class EvaluationError(OneLineError):
    """Pictures, statistics or settings that cannot be evaluated."""


class NonFiniteLoss(OneLineError):
    """A loss that is no number any more; the message says where, and from what to go on."""


class NonFiniteNumbers(OneLineError):
    """A picture that the networks cannot draw, because their numbers overflow."""


class StorageError(OneLineError):
    """An address of a bucket that cannot be served, reached, read or written."""


class CompiledError(OneLineError):
    """A file of compiled programs that cannot be read, or was compiled for something else; or no compiler for it."""


class UsageError(OneLineError):
    """Flags that do not go together."""


class SettingError(OneLineError):
    """A setting that cannot be used, told in the spelling of whoever made it.

    template: the sentence, with names of fields in braces, and of ``values``:
    ``SettingError("{top_k} is {value!r}; it must be at least {least}", value=0, least=1)``.
    field: the first field that the template names.  fields: all of them, in order.
    """

    def __init__(self, template: str, **values: Any):
        super().__init__(template, values)
        self.template, self.values = template, values
        self.fields = list(dict.fromkeys(name for name in _names(template) if name not in values))

    @property
    def field(self) -> str | None:
        return self.fields[0] if self.fields else None

    @property
    def value(self) -> Any:
        return self.values.get("value")

    def told(self, spell: Callable[[str], str]) -> str:
        """Return the sentence with each field's name as ``spell`` writes it: a flag, a label of a page."""
        return tell(self.template, spell, **self.values)

    def __str__(self) -> str:
        return self.told(lambda name: name)


class UnusedSettingWarning(UserWarning):
    """A setting is given that changes nothing beside the others."""


class UnknownWordsWarning(UserWarning):
    """A prompt has words that the model was not taught."""


class EvaluationSettingError(SettingError, EvaluationError):
    """A setting of an evaluation that cannot be used, told in the spelling of whoever made it."""


class NoAnswer(TimeoutError):
    """A machine that has said nothing, or next to nothing, for too long."""


class TooMuch(OSError):
    """A machine that sends more than it may."""


class ApiError(ValueError):
    """A request to the API that is refused: an HTTP status, and a line about a field or about the request as a whole.

    param: the field, as the request spelled it.  retry_after: seconds after which to come again.
    """

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str = "", retry_after: int = 0
    ):
        super().__init__(shortened(message, LONGEST_REFUSAL))
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after


class QueueFull(Exception):
    """A queue of requests that takes no more pictures for some seconds, ``retry_after``."""

    def __init__(self, retry_after: int):
        super().__init__(retry_after)
        self.retry_after = retry_after


class QueueClosed(Exception):
    """A queue of requests that draws nothing any more."""


class BatchStopped(Exception):
    """A batch that nobody waits for any more."""


class ClientLeft(Exception):
    """A request whose client left before its answer."""


def tell(template: str, spell: Callable[[str], str] = str, **values: Any) -> str:
    """Return the sentence of a template as of ``SettingError``, with each field's name as ``spell`` writes it."""
    names = {name: spell(name) for name in _names(template) if name not in values}
    values = {name: _Shown(value) if _is_long(value) else value for name, value in values.items()}
    return one_line(template.format(**values, **names))


def one_line(text: object) -> str:
    """Return the text, printable, with every run of white space as one space; of an empty one the name of its type."""
    return printable(" ".join(str(text).split())) or type(text).__name__


def printable(text: str) -> str:
    r"""Return the text with control characters and lone surrogates as escapes.

    A byte of a file name that is no UTF-8, which Python holds as a surrogate, becomes ``\xff``.  The result can be
    printed and stored as UTF-8, and stays the same when it is passed again.
    """
    return _UNPRINTABLE.sub(_escape, text)


def shortened(text: str, most: int) -> str:
    """Return the text, or its beginning and its length if it has more than ``most`` characters."""
    return text if len(text) <= most else f"{text[: most // 2]}... ({len(text)} characters)"


def brief(text: object, most: int = 200) -> str:
    """Return a text of any size for a message: printable, in one line, shortened; of an empty one its type's name."""
    return shortened(one_line(str(text)[: 10 * most] or type(text).__name__), most)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return ``"; did you mean X?"`` of the known name nearest to one that is not known, or no text if none is near.

    cutoff: how near it must be, from 0 to 1, as in ``difflib.get_close_matches``.
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def first_of(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, each shortened, with commas between, and the number of the others."""
    return and_more([brief(name) for name in names[:most]], len(names))


def and_more(told: Sequence[str], count: int, between: str = ", ") -> str:
    """Return the texts with ``between`` between them, and how many more of ``count`` there are."""
    return between.join(told) + (f" and {count - len(told)} more" if count > len(told) else "")


def shown(value: Any, most: int = _LONGEST_VALUE) -> str:
    """Return ``repr(value)`` for a message: printable, in one line, shortened, at no cost that grows with the value."""
    return shortened(one_line(_Repr(most).repr(value)), most + 40)


class _Repr(reprlib.Repr):
    """A repr of bounded size."""

    def __init__(self, most: int):
        super().__init__()
        self.most = self.maxother = most
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 10
        self.maxlevel = 4

    def repr_str(self, x: str, level: int) -> str:
        if len(x) <= self.most:
            return repr(x)
        return f"{x[: self.most // 2]!r}... ({len(x)} characters)"

    def repr_bytes(self, x: bytes, level: int) -> str:
        if len(x) <= self.most:
            return repr(x)
        return f"{x[: self.most // 2]!r}... ({len(x)} bytes)"

    def repr_int(self, x: int, level: int) -> str:
        digits = x.bit_length() * 30103 // 100000 + 1  # Python refuses to write integers of thousands of digits
        return repr(x) if digits <= 40 else f"a whole number of about {digits} digits"


class _Shown:
    """A long value in a template, shown in short under every conversion."""

    def __init__(self, value: Any):
        self._value = value

    def __repr__(self) -> str:
        return shown(self._value)

    def __str__(self) -> str:
        return shortened(one_line(self._value), _LONGEST_VALUE) if isinstance(self._value, str) else shown(self._value)


def _is_long(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray):
        return len(value) > _LONGEST_VALUE
    if isinstance(value, int):
        return value.bit_length() > 128
    return isinstance(value, list | tuple | dict | set | frozenset)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    # Python decodes the byte 0xff of a name as U+DCFF.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else match[0].encode("unicode_escape").decode("ascii")


def _names(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name]
