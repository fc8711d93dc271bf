"""What a compiled program of a GPU moves and multiplies, kernel by kernel, read from its optimised HLO.

Every fusion, library call and copy is a kernel that reads its operands from memory and writes its results once; what a
kernel keeps in registers costs nothing, and caches are not counted.  A fusion that slices an operand reads the slice.
Loops count by their trips.
"""

from __future__ import annotations

import collections
import math
import re
from dataclasses import dataclass, field, replace

from benchmarks._compiled import LOOP, OPERATION

SIZES = {"pred": 1, "bf16": 2, "token": 0, "opaque": 0}  # bytes; other types tell their bits in their names
FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "partition-id", "replica-id", "after-all"}
SLICES = {"dynamic-slice", "slice", "gather"}

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_NAME = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_OPCODE = re.compile(r"[\])}] ([a-z][\w\-]*)\(")
_REFERENCE = re.compile(r"%([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|true_computation=%?([\w.\-]+), false_computation=%?([\w.\-]+)")
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


def bytes_of(result: str) -> int:
    """Return the bytes of a type as HLO writes it; a tuple's are its parts'."""
    return sum(_width(kind) * math.prod(_sides(sides)) for kind, sides in _ARRAY.findall(result))


def _width(kind: str) -> int:
    return SIZES[kind] if kind in SIZES else max(int(re.findall(r"\d+", kind)[0]) // 8, 1)


def _sides(text: str) -> list[int]:
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
            operands = tuple(_REFERENCE.findall(inside[: _closing(inside)]))
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
                for branch in _REFERENCE.findall(_BRANCHES.search(one.line)[0]):
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
    contracted = _sides(re.search(r"lhs_contracting_dims=\{([\d,]*)\}", part.line)[1])
    left = _sides(_ARRAY.search(types[part.operands[0]])[2])
    result = _sides(_ARRAY.search(part.result)[2])
    return 2 * math.prod(result) * math.prod(left[axis] for axis in contracted)


def _convolution_flops(one: Instruction, types: dict[str, str]) -> int:
    """Return the FLOPs of a convolution, also a library's: every output is a sum over a kernel of one feature."""
    labels = re.search(r"dim_labels=\w+_(\w+)->\w+", one.line)
    kernel = _sides(_ARRAY.search(types[one.operands[1]])[2])
    result = _sides(_ARRAY.search(one.result)[2])
    if "BackwardFilter" in one.target:
        # The result is a filter: every sample and place of the output adds to each of its numbers.
        outputs = kernel
        features = outputs[-1]
        return 2 * math.prod(result) * math.prod(outputs) // features
    return 2 * math.prod(result) * math.prod(kernel) // kernel[labels[1].index("o")]


def _library_flops(one: Instruction, types: dict[str, str]) -> int:
    first = [_sides(_ARRAY.search(types[operand])[2]) for operand in one.operands[:2]]
    if one.target.startswith("__cublas"):
        numbers = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', one.line)[1]
        contracted = math.prod(first[0][int(axis)] for axis in re.findall(r"\d+", numbers))
        return 2 * math.prod(_sides(_ARRAY.search(one.result)[2])) * contracted
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
