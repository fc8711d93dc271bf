"""Key tables applied: a module filled from a foreign file's tensors, or such tensors written from a module.

A table is a list of ``Rule`` and a list of ``Ignore``.  ``apply`` accounts for every foreign key and every parameter of
ours, and raises one error that lists all that does not fit.  ``unapply`` is its inverse.  Both run on the host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import ConversionError, first_of
from ...paths import leaves_by_path, path_of
from .report import Mapped, Report
from .rules import LAYER, Ignore, Rule

Module = TypeVar("Module")
Entry = TypeVar("Entry", Rule, Ignore)


def _is_abstract(tensor: Any) -> bool:
    return isinstance(tensor, jax.ShapeDtypeStruct)


def _view(tensor: Any) -> np.ndarray:
    """Return the tensor as a numpy array; a shape alone becomes one repeated element, which takes no memory."""
    if _is_abstract(tensor):
        return np.broadcast_to(np.empty((), tensor.dtype), tensor.shape)
    return np.asarray(tensor)


class _Filling:
    """Our leaves while they are filled: memory is taken leaf by leaf; a stacked leaf is written layer by layer."""

    def __init__(self, leaves: dict[str, Any], keep_dtype: Callable[[str], bool], abstract: bool):
        self.expected = leaves
        self.filled: dict[str, Any] = {}
        self.written: dict[str, set[int | None]] = {}
        self.keep_dtype = keep_dtype
        self.abstract = abstract

    def problem(self, path: str, layer: int | None, shape: tuple[int, ...], dtype: Any) -> str | None:
        if path not in self.expected:
            return f"our {path} does not exist in this model"
        ours = tuple(self.expected[path].shape)
        if layer is not None and (not ours or layer >= ours[0]):
            return f"our {path} has {ours[0] if ours else 0} layers, so there is no layer {layer}"
        if shape != (ours if layer is None else ours[1:]):
            return f"our {path} has shape {ours if layer is None else ours[1:]}, the file gives {shape}"
        if jnp.issubdtype(self.expected[path].dtype, jnp.floating) and not jnp.issubdtype(dtype, jnp.floating):
            return f"our {path} holds floats, the file gives {dtype}; quantised weights are not read"
        if layer in self.written.get(path, ()):
            return f"our {path} was already filled from another key"
        return None

    def write(self, path: str, layer: int | None, value: np.ndarray) -> None:
        if path not in self.filled:
            ours = self.expected[path]
            dtype = value.dtype if self.keep_dtype(path) else ours.dtype
            self.filled[path] = (
                jax.ShapeDtypeStruct(ours.shape, dtype) if self.abstract else np.empty(ours.shape, dtype)
            )
        self.written.setdefault(path, set()).add(layer)
        if not self.abstract:
            self.filled[path][... if layer is None else layer] = value

    def missing(self, path: str) -> list[str]:
        written = self.written.get(path)
        if not written:
            return [path]
        if written == {None}:
            return []
        return [f"{path}[{i}]" for i in range(self.expected[path].shape[0]) if i not in written]


def apply(
    rules: Sequence[Rule],
    ignores: Sequence[Ignore],
    tensors: Mapping[str, Any],
    module_abstract: Module,
    *,
    optional: Iterable[str] = (),
    keep_dtype: Callable[[str], bool] | None = None,
    what: str = "the file",
    check: bool = True,
) -> tuple[Module, Report]:
    """Fill a module with the tensors of a foreign file.

    The first rule that matches a key decides; where no rule matches, the first Ignore that does.

    Args:
        rules: the key table.
        ignores: keys left out on purpose.  They are never read.
        tensors: foreign key to anything with ``.shape`` and ``.dtype`` that ``numpy.asarray`` reads (read one key at a
            time), or to jax.ShapeDtypeStruct to check shapes without memory.
        module_abstract: the module from ``jax.eval_shape`` (or a real one), which gives shapes and dtypes.
        optional: patterns of our paths that may be absent; those leaves stay as ``module_abstract`` has them.
        keep_dtype: predicate of our paths that keep the file's dtype; the others take the module's.
        what: the file's name in an error.
        check: False reports what does not fit instead of raising; such parameters stay as ``module_abstract`` has them.

    Returns:
        The module with numpy arrays for leaves (ShapeDtypeStructs if that is what came in), and the report.

    Raises:
        ConversionError: as ``Report.check`` raises it, for missing, unknown and misshapen keys.
    """
    flat, treedef = jax.tree_util.tree_flatten_with_path(module_abstract)
    paths = [path_of(path) for path, _ in flat]
    leaves = {path: leaf for path, (_, leaf) in zip(paths, flat, strict=True)}
    abstract = any(_is_abstract(tensor) for tensor in tensors.values())
    filling, report = _Filling(leaves, keep_dtype or (lambda path: False), abstract), Report()
    for foreign, tensor in tensors.items():
        if found := _first(rules, foreign):
            _place(*found, foreign, tensor, filling, report)
        elif ignored := _first(ignores, foreign):
            report.ignored.append((foreign, ignored[0].reason))
        else:
            report.unmapped.append(f"{foreign} {tuple(tensor.shape)}")
    allowed = [re.compile(pattern) for pattern in optional]
    for path in paths:
        absent = filling.missing(path)
        if absent == [path] and any(pattern.fullmatch(path) for pattern in allowed):
            report.left.append(path)
        else:
            report.missing += absent
    if check:
        report.check(what)
    return treedef.unflatten([filling.filled.get(path, leaves[path]) for path in paths]), report


def _first(entries: Sequence[Entry], foreign: str) -> tuple[Entry, re.Match[str]] | None:
    """Return the first entry that matches a key, with the match."""
    for entry in entries:
        if match := entry.regex.fullmatch(foreign):
            return entry, match
    return None


def _place(rule: Rule, match: re.Match, foreign: str, tensor: Any, filling: _Filling, report: Report) -> None:
    groups = match.groupdict()
    layer = int(groups[LAYER]) if rule.stacked else None
    shape = tuple(tensor.shape)
    targets = [target.format(**groups) for target in rule.targets]
    hollow: tuple[np.ndarray, ...] = ()
    try:
        hollow = rule.layout.forward(np.broadcast_to(np.empty((), tensor.dtype), shape))
        problems = [
            p
            for path, part in zip(targets, hollow, strict=True)
            if (p := filling.problem(path, layer, part.shape, part.dtype))
        ]
    except ValueError as error:
        problems = [str(error)]
    if problems:
        report.wrong_shape += [f"{foreign} {shape}: {problem}" for problem in problems]
        for path in targets:  # reported once, as misshapen, and not again as missing
            if path in filling.expected:
                filling.written.setdefault(path, set()).add(layer)
        return
    parts = hollow if filling.abstract else rule.layout.forward(_view(tensor))
    for path, part in zip(targets, parts, strict=True):
        filling.write(path, layer, part)
        report.mapped.append(Mapped(foreign, path, shape, part.shape, layer, rule.layout.name))


def unapply(rules: Sequence[Rule], module: Any, *, skip: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Return the foreign tensors that ``apply(rules, ...)`` would read into ``module``.

    If several rules lead to one parameter, the first one names the key.

    Args:
        rules: the key table; each pattern used must be a literal key with named groups.
        module: a filled module.
        skip: patterns of our paths that the foreign format does not hold.

    Returns:
        Foreign key to array, in the dtypes of ``module``; views of its arrays where the layout allows.

    Raises:
        ConversionError: with the first parameters that no rule writes.
        ValueError: if a rule that is used does not say what to write.
    """
    leaves = leaves_by_path(module)
    skipped = [re.compile(pattern) for pattern in skip]
    tensors: dict[str, np.ndarray] = {}
    done: set[str] = set()
    for path in leaves:
        if path in done or any(pattern.fullmatch(path) for pattern in skipped):
            continue
        for rule in rules:
            match = rule.target_regex.fullmatch(path)
            if match and all(target.format(**match.groupdict()) in leaves for target in rule.targets):
                break
        else:
            continue
        targets = [target.format(**match.groupdict()) for target in rule.targets]
        arrays = [np.asarray(leaves[target]) for target in targets]
        done.update(targets)
        for layer in range(arrays[0].shape[0]) if rule.stacked else (None,):
            parts = tuple(a if layer is None else a[layer] for a in arrays)
            tensors[rule.foreign_key(match.groupdict(), layer)] = rule.layout.inverse(parts)
    if absent := [p for p in leaves if p not in done and not any(pattern.fullmatch(p) for pattern in skipped)]:
        raise ConversionError(f"no rule writes {len(absent)} of our parameters: {first_of(absent)}")
    return tensors
