"""The instructions of an optimised HLO module, as text."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from benchmarks._compiled import OPERATION

SIZES = {"pred": 1, "bf16": 2, "token": 0, "opaque": 0}  # bytes; other types tell their bits in their names

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_NAME = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*)$")
ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_OPCODE = re.compile(r"[\])}] ([a-z][\w\-]*)\(")
REFERENCE = re.compile(r"%([\w.\-]+)")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')


@dataclass(frozen=True)
class Instruction:
    name: str
    opcode: str
    result: str  # its type as written: f32[8,4]{1,0}, or a tuple of these
    operands: tuple[str, ...]
    line: str
    root: bool

    @property
    def operation(self) -> str:
        return match[1] if (match := OPERATION.search(self.line)) else ""

    @property
    def target(self) -> str:
        return match[1] if (match := _TARGET.search(self.line)) else ""


def bytes_of(result: str) -> int:
    """Return the bytes of a type as HLO writes it; a tuple's are its parts'."""
    return sum(_width(kind) * math.prod(sides_of(sides)) for kind, sides in ARRAY.findall(result))


def _width(kind: str) -> int:
    return SIZES[kind] if kind in SIZES else max(int(re.findall(r"\d+", kind)[0]) // 8, 1)


def sides_of(text: str) -> list[int]:
    """Return the sizes of a shape as HLO writes it: "8,4"."""
    return [int(side) for side in text.split(",") if side]


def instructions_of(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Return the instructions of every computation by its name, and the name of the entry."""
    found, current, entry = {}, None, ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = found[head[2]] = []
            entry = head[2] if head[1] else entry
        elif current is not None and (match := _NAME.match(line)) and (opcode := _OPCODE.search(match[3])):
            inside = match[3][opcode.end() :]
            operands = tuple(REFERENCE.findall(inside[: _closing(inside)]))
            result = match[3][: opcode.start() + 1]
            current.append(Instruction(match[2], opcode[1], result, operands, line, bool(match[1])))
    return found, entry


def _closing(text: str) -> int:
    """Return the place of the bracket that closes a list of operands."""
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place
    return len(text)
