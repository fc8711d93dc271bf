"""The bytes and products of a compiled GPU program, kernel by kernel, read from its optimised HLO.

Every fusion, library call and copy is a kernel that reads its operands from memory and writes its results once; what a
kernel keeps in registers costs nothing, and caches are not counted.  A fusion that slices an operand reads the slice.
Loops count by their trips.
"""

from __future__ import annotations

import collections
import math
import re
from dataclasses import dataclass, field, replace

from benchmarks._compiled import LOOP
from benchmarks._hlo import ARRAY, REFERENCE, Instruction, bytes_of, instructions_of, sides_of

FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "partition-id", "replica-id", "after-all"}
SLICES = {"dynamic-slice", "slice", "gather"}

_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|true_computation=%?([\w.\-]+), false_computation=%?([\w.\-]+)")


@dataclass(frozen=True)
class Kernel:
    """A kernel: its runs in one execution of the program, and what one run reads, writes and multiplies."""

    name: str
    opcode: str
    operation: str
    target: str
    read: int
    written: int
    flops: int
    runs: int = 1
    inside: frozenset[str] = field(default=frozenset(), repr=False)  # opcodes in a fusion

    @property
    def bytes_moved(self) -> int:
        return self.runs * (self.read + self.written)


def kernels_of(text: str) -> list[Kernel]:
    """Return the kernels of an optimised HLO module of a GPU."""
    computations, entry = instructions_of(text)
    kernels: list[Kernel] = []

    def visit(name: str, runs: int) -> None:
        types = {one.name: one.result for one in computations[name]}
        for one in computations[name]:
            if one.opcode == "while":
                _, body = LOOP.search(one.line).groups()
                trips = _TRIPS.search(one.line)
                visit(body, runs * (int(trips[1]) if trips else 1))  # a loop that may end early counts as one turn
            elif one.opcode == "conditional":
                for branch in REFERENCE.findall(_BRANCHES.search(one.line)[0]):
                    visit(branch, runs)  # every branch, an upper bound
            elif one.opcode in {"call", "async-start"} and (called := _CALLED.search(one.line)):
                visit(called[1], runs)
            elif one.opcode not in FREE and not one.opcode.endswith("-done"):
                kernels.append(replace(_kernel(one, types, computations), runs=runs))

    visit(entry, 1)
    return kernels


def _kernel(one: Instruction, types: dict[str, str], computations: dict[str, list[Instruction]]) -> Kernel:
    read = sum(bytes_of(types[operand]) for operand in dict.fromkeys(one.operands))
    written, flops, inside = bytes_of(one.result), 0, frozenset()
    if one.opcode == "fusion":
        body = computations[_CALLED.search(one.line)[1]]
        read, written = _fusion_read(one, types, body), _fusion_written(one, body)
        flops = sum(_dot_flops(part, {other.name: other.result for other in body}) for part in body)
        inside = frozenset(part.opcode for part in body)
    elif one.opcode == "custom-call":
        written = bytes_of(_without_workspace(one.result))
        flops = _library_flops(one, types)
    elif one.opcode in SLICES:
        read = written
    elif one.opcode == "dot":
        flops = _dot_flops(one, types)
    elif one.opcode == "dynamic-update-slice":
        read = written = bytes_of(types[one.operands[1]])
    return Kernel(one.name, one.opcode, one.operation, one.target, read, written, flops, inside=inside)


def _fusion_read(one: Instruction, types: dict[str, str], body: list[Instruction]) -> int:
    users = collections.defaultdict(list)
    for part in body:
        for operand in part.operands:
            users[operand].append(part)
    parameters = {
        int(re.search(r"parameter\((\d+)\)", part.line)[1]): part for part in body if part.opcode == "parameter"
    }

    def read_of(name: str, whole: int) -> int:
        total = 0
        for user in users[name]:
            if user.opcode in SLICES and user.operands[0] == name:
                total += bytes_of(user.result)
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                continue  # written in place
            elif user.opcode == "bitcast":
                total += read_of(user.name, whole)
            else:
                return whole
        return min(total, whole)

    seen, total = set(), 0
    for number, operand in enumerate(one.operands):
        whole = bytes_of(types[operand])
        count = read_of(parameters[number].name, whole)
        total += 0 if operand in seen and count == whole else count
        seen.add(operand)
    return total


def _fusion_written(one: Instruction, body: list[Instruction]) -> int:
    by_name = {part.name: part for part in body}
    root = next(part for part in body if part.root)
    roots = [by_name[name] for name in root.operands] if root.opcode == "tuple" else [root]

    def written(part: Instruction) -> int:
        while part.opcode == "bitcast":
            part = by_name[part.operands[0]]
        if part.opcode == "dynamic-update-slice":
            return bytes_of(by_name[part.operands[1]].result)
        return bytes_of(part.result)

    return sum(written(part) for part in roots)


def _without_workspace(result: str) -> str:
    """Return the type of a library call's results without the bytes of its workspace, the last of a tuple."""
    return re.sub(r", [su]8\[\d+\]\{0\}\)$", ")", result.strip())


def _dot_flops(part: Instruction, types: dict[str, str]) -> int:
    if part.opcode not in {"dot", "convolution"}:
        return 0
    if part.opcode == "convolution":
        return _convolution_flops(part, types)
    contracted = sides_of(re.search(r"lhs_contracting_dims=\{([\d,]*)\}", part.line)[1])
    left = sides_of(ARRAY.search(types[part.operands[0]])[2])
    result = sides_of(ARRAY.search(part.result)[2])
    return 2 * math.prod(result) * math.prod(left[axis] for axis in contracted)


def _convolution_flops(one: Instruction, types: dict[str, str]) -> int:
    """Return the FLOPs of a convolution, also a library's: every output is a sum over a kernel of one feature."""
    labels = re.search(r"dim_labels=\w+_(\w+)->\w+", one.line)
    kernel = sides_of(ARRAY.search(types[one.operands[1]])[2])
    result = sides_of(ARRAY.search(one.result)[2])
    if "BackwardFilter" in one.target:
        # The result is a filter: every sample and place of the output adds to each of its numbers.
        outputs = kernel
        features = outputs[-1]
        return 2 * math.prod(result) * math.prod(outputs) // features
    return 2 * math.prod(result) * math.prod(kernel) // kernel[labels[1].index("o")]


def _library_flops(one: Instruction, types: dict[str, str]) -> int:
    first = [sides_of(ARRAY.search(types[operand])[2]) for operand in one.operands[:2]]
    if one.target.startswith("__cublas"):
        numbers = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', one.line)[1]
        contracted = math.prod(first[0][int(axis)] for axis in re.findall(r"\d+", numbers))
        return 2 * math.prod(sides_of(ARRAY.search(one.result)[2])) * contracted
    if one.target.startswith("__cudnn$fmha"):
        (batch, queries, heads, width), keys = first[0], first[1][1]
        # Two products forward; backward five, as the scores are made again.
        return (10 if "Backward" in one.target else 4) * batch * heads * queries * keys * width
    if one.target.startswith("__cudnn$conv"):
        return _convolution_flops(one, types)
    return 0


def stack_copies(kernels: list[Kernel], least: int) -> list[Kernel]:
    """Return the kernels that do nothing but copy ``least`` bytes or more, slices of a weight stack among them."""
    plain = {"parameter", "constant", "bitcast", "tuple", "copy", "convert", "reshape"} | SLICES
    plain |= {"compare", "select", "add", "clamp", "subtract"}  # of an index
    return [
        kernel
        for kernel in kernels
        if kernel.written >= least
        and (kernel.opcode in {"copy", "dynamic-slice", "slice"} or (kernel.inside & SLICES and kernel.inside <= plain))
    ]
