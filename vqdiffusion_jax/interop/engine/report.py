"""The report of a conversion: every key accounted for, and the one error that it raises."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...errors import ConversionError, first_of, printable


@dataclass(frozen=True)
class Mapped:
    """An array that found its place; ``our_shape`` is without the layer axis."""

    foreign: str
    ours: str
    shape: tuple[int, ...]
    our_shape: tuple[int, ...]
    layer: int | None
    transform: str


@dataclass
class Report:
    """Every foreign key and every parameter of ours, accounted for."""

    mapped: list[Mapped] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)  # (foreign key, reason)
    left: list[str] = field(default_factory=list)  # ours: optional and absent from the file, so left as they were
    missing: list[str] = field(default_factory=list)  # ours
    unmapped: list[str] = field(default_factory=list)  # foreign
    wrong_shape: list[str] = field(default_factory=list)  # one line each
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if the file fills the model."""
        return not (self.missing or self.unmapped or self.wrong_shape)

    def check(self, what: str = "the file") -> None:
        """Raise ConversionError unless ``ok``.

        Its message is one line with the first keys that are missing, not recognised or of the wrong shape; its note,
        which tracebacks show, lists all.
        """
        if self.ok:
            return
        faults = {"missing": self.missing, "not recognised": self.unmapped, "wrong shape": self.wrong_shape}
        told, listed = [], []
        for heading, keys in faults.items():
            if keys:
                lines = _merge(keys)
                told.append(f"{len(keys)} {heading}: {first_of(lines)}")
                listed.append(f"{len(keys)} {heading}:\n  " + "\n  ".join(map(printable, lines)))
        error = ConversionError(f"{what} does not fill the model; {'; '.join(told)}")
        error.add_note("\n".join(listed))
        raise error

    def table(self) -> str:
        """Return the conversion as text, one line a parameter; the layers of a stack share a line."""
        groups: dict[tuple, list[Mapped]] = {}
        for entry in self.mapped:
            name = entry.foreign if entry.layer is None else re.sub(rf"\b{entry.layer}\b", "N", entry.foreign, count=1)
            groups.setdefault((name, entry.ours, entry.shape, entry.our_shape, entry.transform), []).append(entry)
        rows = [("foreign key", "shape", "our parameter", "shape", "layout")]
        for (name, ours, shape, our_shape, transform), entries in groups.items():
            stack = f" x{len(entries)}" if entries[0].layer is not None else ""
            rows.append((name, _shape(shape) + stack, ours, _shape(our_shape), transform))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        reasons: dict[str, list[str]] = {}
        for foreign, reason in self.ignored:
            reasons.setdefault(reason, []).append(foreign)
        for reason, keys in reasons.items():
            lines.append(f"ignored, {reason}: " + ", ".join(_merge(keys)))
        for heading, keys in (
            ("left as initialised", self.left),
            ("MISSING", self.missing),
            ("NOT RECOGNISED", self.unmapped),
            ("WRONG SHAPE", self.wrong_shape),
            ("note", self.notes),
        ):
            lines += [f"{heading}: {line}" for line in _merge(keys)]
        lines.append(f"{len(self.mapped)} arrays mapped, {len(self.ignored)} ignored, {len(self.missing)} missing")
        return "\n".join(lines)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _merge(keys: list[str]) -> list[str]:
    """Return keys that differ in one number only as one line each: ``blocks.N.mask (N: 0, 1, 2)``."""
    groups: dict[str, list[str]] = {}
    for name in keys:
        found = re.search(r"(?<=[.\[])\d+(?=[.\]])", name)
        template = name[: found.start()] + "N" + name[found.end() :] if found else name
        groups.setdefault(template, []).append(found.group() if found else "")
    return [_merged(template, numbers) for template, numbers in groups.items()]


def _merged(template: str, numbers: list[str]) -> str:
    if numbers == [""]:
        return template
    return template.replace("N", numbers[0], 1) if len(numbers) == 1 else f"{template} (N: {_runs(numbers)})"


def _runs(numbers: list[str]) -> str:
    runs: list[list[int]] = []
    for value in sorted({int(n) for n in numbers if n}):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)
