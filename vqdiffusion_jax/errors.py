"""Every exception of the package.

Each is a ValueError whose message is one line: what is wrong, where, what is allowed, what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from string import Formatter
from typing import Any


class ConfigError(ValueError):
    """A configuration that cannot be built."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written."""


class ConversionError(ValueError):
    """A foreign file that does not fill a model exactly; the message names every key at fault."""


class DataError(ValueError):
    """A data set that cannot be trained on."""


class BrokenRecord(ValueError):
    """A picture or caption that cannot be used; it is counted, named and replaced.

    name: the record's id; reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: object):
        super().__init__(name, one_line(reason))

    @property
    def name(self) -> str:
        return self.args[0]

    @property
    def reason(self) -> str:
        return self.args[1]

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class EvaluationError(ValueError):
    """Pictures, statistics or settings that cannot be evaluated."""


class NonFiniteLoss(ValueError):
    """A loss that is no number any more; the message says where, and from what to go on."""


class UsageError(ValueError):
    """Flags that do not go together."""


class SettingError(ValueError):
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


class EvaluationSettingError(SettingError, EvaluationError):
    """A setting of an evaluation that cannot be used, told in the spelling of whoever made it."""


def tell(template: str, spell: Callable[[str], str] = str, **values: Any) -> str:
    """Return the sentence of a template as of ``SettingError``, with each field's name as ``spell`` writes it."""
    names = {name: spell(name) for name in _names(template) if name not in values}
    return one_line(template.format(**values, **names))


def one_line(text: object) -> str:
    """Return the text with every run of white space as one space; of an empty one the name of its type."""
    return " ".join(str(text).split()) or type(text).__name__


def _names(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name]
