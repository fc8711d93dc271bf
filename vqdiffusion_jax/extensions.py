"""Classes that a configuration names: the package's own by a short name, anybody's own as ``package.module:Class``.

A table maps each short name to ``module:Class`` inside one package of ours, such as ``diffusion.schedules``; the module
is imported only when its name is asked for.  Importing runs code.  A class outside the package is therefore imported
only if its name comes
from the user: from a configuration of a run (``training.denoiser.config.train_config``), a data set's, or through
``trust``.  A model folder's config.json may come from anybody and never leads to an import by itself.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError, one_line, shown

_trusted: set[str] = set()


class Options(dict):
    """Keyword arguments of a named class: a dict of plain values that is not changed, so that it can be hashed."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__({name: _frozen(value) for name, value in dict(*args, **kwargs).items()})

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Options(value)
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def check_name(config: Any, field: str, builtin: Mapping[str, str]) -> None:
    """Raise ConfigError unless the field holds a name of ``builtin`` or looks like ``package.module:Class``."""
    name = getattr(config, field)
    if name not in builtin and ":" not in name:
        raise ConfigError(
            f"{type(config).__name__}.{field} is {shown(name)}; "
            f"allowed: {', '.join(builtin)}, or package.module:Class of your own"
        )


def trust(*names: str | type) -> None:
    """Let models name these classes outside the package, each ``"package.module:Class"`` or the class itself."""
    _trusted.update(name if isinstance(name, str) else f"{name.__module__}:{name.__qualname__}" for name in names)


def check_trusted(name: str, where: str) -> None:
    """Raise ConfigError if ``name`` stands for a class outside the package that the user has not trusted."""
    if ":" in name and name not in _trusted:
        raise ConfigError(
            f"{where} is {name!r}, code outside this package, which is not imported by itself; "
            f"if it is yours or you trust it, say so with --trust={name} or vqdiffusion_jax.trust({name!r})"
        )


def load_class(
    name: str,
    builtin: Mapping[str, str],
    package: str,
    *,
    where: str,
    kind: str,
    methods: Sequence[str],
    see: str,
    error: type[ValueError] = ConfigError,
) -> type:
    """Return the class that ``name`` stands for, importing its module.

    package: the package of ours that the modules of ``builtin`` lie in.  where, kind, see: for messages, the field that
    holds the name, what the class must be, and the file that says what that is.  methods: those it must have.  Raises
    ``error``, one line, for a class that cannot be imported or lacks a method.
    """
    if name in builtin:
        module, attribute = builtin[name].split(":")
        return getattr(importlib.import_module(f"{package}.{module}"), attribute)
    module, _, attribute = name.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except Exception as failure:  # a module of the user's own may raise anything
        raise error(
            f"{where} is {name!r}, which cannot be imported ({one_line(failure)}); "
            "give package.module:Class, where Python finds it (for instance with PYTHONPATH=.)"
        ) from failure
    if not isinstance(cls, type):
        raise error(f"{where} is {name!r}, which is no {kind}: it is no class; see {see}")
    # Not by hasattr: any class has the __call__ of its metaclass, which makes instances.
    own = {method: value for base in reversed(cls.__mro__) for method, value in vars(base).items()}
    if missing := [method for method in methods if own.get(method) is None]:
        raise error(f"{where} is {name!r}, which is no {kind}: it has no {' and no '.join(missing)}; see {see}")
    return cls


def check_options(cls: type, name: str, options: Mapping[str, Any], *, error: type[ValueError] = ConfigError) -> None:
    """Raise ``error`` unless every option is a keyword-only parameter of ``cls`` and none that it needs is missing.

    Values of parameters with plain annotations (int, float, bool, str, containers and unions of them) are checked too.
    """
    known = _keywords_of(cls)
    if unknown := sorted(set(options) - set(known)):
        raise error(f"{name} has no option {', '.join(unknown)}; known: {', '.join(known) or 'none'}")
    if missing := [option for option, p in known.items() if p.default is p.empty and option not in options]:
        raise error(f"{name} needs the option {', '.join(missing)}")
    if not options:
        return
    try:
        hints = get_type_hints(cls.__init__)
    except Exception:  # names that the class imports for type checkers alone
        return
    for option, value in options.items():
        if option in hints and not _fits(hints[option], value):
            raise error(f"{name}: the option {option} is {shown(value)}; it must be {_in_words(hints[option])}")


@functools.cache
def _keywords_of(cls: type) -> dict[str, inspect.Parameter]:
    return {p.name: p for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY}


def _fits(hint: Any, value: Any) -> bool:
    """Return whether a value is of a plain annotation; of any other annotation, True."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(one, value) for one in get_args(hint))
    if hint is Any or get_origin(hint) is Literal:
        return True
    kind = get_origin(hint) or hint
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if kind in (bool, str, Path, NoneType):
        return isinstance(value, (str, Path) if kind is Path else kind)
    if kind in (list, tuple, Sequence, Iterable):  # JSON and ConfigDicts hold lists and tuples alike
        return isinstance(value, list | tuple | Sequence) and (not isinstance(value, str | bytes))
    if kind in (dict, Mapping):
        return isinstance(value, Mapping)
    return True


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    NoneType: "null",
}


def _in_words(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_in_words(one) for one in get_args(hint))
    kind = get_origin(hint) or hint
    if kind in (dict, Mapping):
        return "a table"
    return _WORDS.get(kind, "a list" if kind in (list, tuple, Sequence, Iterable) else str(hint))
