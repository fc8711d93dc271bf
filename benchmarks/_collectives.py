"""The exchanges between devices in a compiled program of a TPU, and what is scheduled while it is under way."""

from __future__ import annotations

import collections
import re
from dataclasses import dataclass

from benchmarks._hlo import ARRAY, Instruction, bytes_of, instructions_of
from benchmarks._tpu_program import cycles_in, runs_of

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_CALLED = re.compile(r"calls=%?([\w.\-]+)")
# A collective that the compiler carries through several fusions begins in one of the first name, ends in the second.
_BEGINS, _ENDS, _CARRIES = "async-collective-start", "async-collective-done", "async_collective_fusion"


@dataclass(frozen=True)
class Collective:
    """A collective: its runs in one execution, the bytes that one run makes on a device, cycles until it must end.

    size: of all its arrays, where several were put together.  largest: of one of them.
    between: estimated cycles of the kernels that are scheduled between its start and its end; None if it has no start
    of its own, and all waits for it.
    """

    kind: str
    runs: int
    size: int
    largest: int
    operation: str
    between: int | None

    @property
    def hidden(self) -> bool:
        return bool(self.between)


def collectives_of(text: str) -> list[Collective]:
    """Return the collectives of an optimised and scheduled HLO module of a TPU."""
    computations, _ = instructions_of(text)
    cycles = cycles_in(text)

    def inside(one: Instruction) -> Instruction | None:
        called = computations.get(match[1], []) if (match := _CALLED.search(one.line)) else []
        return next((part for part in called if part.opcode in KINDS), None)

    found = []
    for name, runs in runs_of(text).items():
        schedule = computations[name]
        ends = collections.ChainMap(*({operand: place} for place, one in _done(schedule) for operand in one.operands))
        for place, one in enumerate(schedule):
            what, kind = one, one.opcode.removesuffix("-start")
            if one.opcode == "fusion" and not one.name.startswith(_ENDS) and not _carries(one):
                what = inside(one) or one
                kind = what.opcode
            if kind not in KINDS:
                continue
            between = None
            if one.opcode.endswith("-start") or one.name.startswith(_BEGINS):
                end = ends.get(one.name) or _end_by_number(one, schedule)
                between = sum(cycles.get(part.name, 0) for part in schedule[place + 1 : end])
            arrays = [bytes_of(f"{dtype}[{sides}]") for dtype, sides in ARRAY.findall(what.result)]
            if what.opcode.endswith("-start"):  # its result holds the operands too
                types = {other.name: other.result for other in schedule}
                size = sum(arrays) - sum(bytes_of(types[operand]) for operand in what.operands)
            else:
                size = sum(arrays)
            found.append(Collective(kind, runs, size, max(arrays), what.operation, between))
    return found


def _carries(one: Instruction) -> bool:
    return bool((match := _CALLED.search(one.line)) and match[1].startswith(_CARRIES))


def _done(schedule: list[Instruction]) -> list[tuple[int, Instruction]]:
    return [(place, one) for place, one in enumerate(schedule) if one.opcode.endswith("-done")]


def _end_by_number(one: Instruction, schedule: list[Instruction]) -> int:
    """Return the place where a collective ends that is carried through fusions: start and end have one number."""
    wanted = one.name.replace(_BEGINS, _ENDS)
    return next((place for place, other in enumerate(schedule) if other.name == wanted), len(schedule))
