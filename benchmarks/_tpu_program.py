"""The kernels of a compiled program of a TPU: cycles by its compiler's estimate, loops counted by their trips.

A Pallas kernel carries no estimate.  It is counted by the FLOPs of its attention, head widths and keys padded to
multiples of 128; its gradients are five products where attention is two.
"""

from __future__ import annotations

import collections
import re
from dataclasses import dataclass, replace

from benchmarks._compiled import LOOP, OPERATION

LANES = 128  # a TPU pads the last axis to a multiple of it

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_ESTIMATE = re.compile(r'"estimated_cycles":"(\d+)"')
_NAME = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = ")
_COUNTER = re.compile(r"[su]32\[\]\S* constant\((\d+)\)")
_ENDS_EARLY = re.compile(r"ROOT \S+ = pred\[\]\S* and\(")
_ARRAY = re.compile(r"\w+\[([\d,]+)\]")

# Kinds of kernels by the scopes in their operation's name (docs/profiling.md); the first that is found counts.
KINDS = (
    ("attention", r"/attention/"),
    ("attention's projections and norms", r"/(self_attention|cross_attention)/"),
    ("MLP", r"/mlp/"),
    ("truncation", r"/truncation/"),
    ("guidance", r"/guidance/"),
    ("posterior and draw", r"/strategy/"),
    ("logits", r"/logits/"),
    ("optimizer", r"/optimizer/"),
    ("text tower", r"/text_tower/"),
    ("convolutions", r"conv_general_dilated"),
)


@dataclass(frozen=True)
class Kernel:
    """A kernel of a compiled program: its runs in one execution, and cycles or attention's FLOPs of one run."""

    name: str
    operation: str
    runs: int
    cycles: int = 0
    pallas_flops: int = 0

    @property
    def kind(self) -> str:
        if self.pallas_flops:
            return "attention (Pallas)"
        if re.match(r"copy|transpose", self.name):
            return "copies and transposes"
        return next((kind for kind, pattern in KINDS if re.search(pattern, self.operation)), "other")


def kernels_of(text: str) -> list[Kernel]:
    """Return the kernels of an optimised HLO module of a TPU that have an estimate of cycles or are Pallas calls."""
    own, current = collections.defaultdict(list), None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = head[2]
            continue
        operation = match[1] if (match := OPERATION.search(line)) else ""
        if found := _ESTIMATE.search(line):
            own[current].append(Kernel(_NAME.match(line)[1], operation, 1, cycles=int(found[1])))
        elif 'custom_call_target="tpu_custom_call"' in line:
            own[current].append(Kernel(_NAME.match(line)[1], operation, 1, pallas_flops=attention_flops(line)))
    return [replace(kernel, runs=times) for name, times in runs_of(text).items() for kernel in own[name]]


def cycles_in(text: str) -> dict[str, int]:
    """Return the estimated cycles of every kernel by its name, once; those of a loop are its body's, all turns."""
    own, bodies, current = collections.defaultdict(dict), {}, None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = head[2]
        elif found := _ESTIMATE.search(line):
            own[current][_NAME.match(line)[1]] = int(found[1])
        elif found := LOOP.search(line):
            bodies[_NAME.match(line)[1]] = current, found[2]
    runs = runs_of(text)

    def within(name: str) -> int:
        nested = sum(once(body, caller) for caller, body in bodies.values() if caller == name)
        return sum(own[name].values()) + nested

    def once(body: str, caller: str) -> int:
        return within(body) * (runs[body] // max(runs[caller], 1)) if body in runs else 0

    loops = {loop: once(body, caller) for loop, (caller, body) in bodies.items()}
    return {name: cycles for kernels in own.values() for name, cycles in kernels.items()} | loops


def runs_of(text: str) -> dict[str, int]:
    """Return how often the entry and the bodies of loops run in one execution, by a computation's name."""
    loops, counters = collections.defaultdict(list), collections.defaultdict(list)
    entry, current, early = None, None, set()
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = head[2]
            entry = current if head[1] else entry
            continue
        if _ENDS_EARLY.search(line):
            early.add(current)
        if found := _COUNTER.search(line):
            counters[current].append(int(found[1]))
        loops[current] += [(body, condition) for condition, body in LOOP.findall(line)]
    runs, waiting = collections.Counter({entry: 1}), [entry]
    while waiting:
        caller = waiting.pop()
        for body, condition in loops[caller]:
            # The condition of a counted loop holds one constant; a loop that may end early counts as one turn.
            counted = len(set(counters[condition])) == 1 and condition not in early
            trips = counters[condition][0] if counted else 1
            runs[body] += runs[caller] * trips
            waiting.append(body)
    return runs


def attention_flops(line: str) -> int:
    """Return the FLOPs of a Pallas attention call, (batch, length, heads x width) each, with padded widths and keys.

    Attention is two products, its gradients are five: scores are computed anew.  ``heads`` stands in the kernel's name,
    as ``attention_tpu`` writes it.  Raises ValueError for other Pallas calls.
    """
    named = re.search(r"fused_attention_of_(\d+)_heads", line)
    if named is None:
        raise ValueError(f"a Pallas call without a rule for its FLOPs: {line.strip()[:200]}")
    heads = int(named[1])
    operands = re.search(r"operand_layout_constraints=\{(.*?)\}\}", line)[1]
    (batch, queries, features), (_, keys, _), *_ = (
        [int(side) for side in sides.split(",")] for sides in _ARRAY.findall(operands)
    )
    keys = -(-keys // LANES) * LANES
    width = -(-features // heads // LANES) * LANES
    products = 5 if "gradients_of_fused_attention" in line else 2
    return products * 2 * batch * heads * queries * keys * width
