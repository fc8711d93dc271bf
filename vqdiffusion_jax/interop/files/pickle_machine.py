"""An interpreter of pickles that executes nothing and whose memory and time the size of the pickle bounds.

Python's own unpickler allocates what a pickle asks for: a memo of 2^28 places, a copy a byte.  This one keeps the memo
in a table, copies nothing unasked, and counts instructions, containers and copied items against limits that weights
never reach.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

MOST_INSTRUCTIONS = 1_500_000  # some 45 a tensor, so 270,000 for ITHQ's 2,000 weights, their averages and its optimizer
MOST_CONTAINERS = 500_000
MOST_GLOBALS = 2_000
MOST_BITS = 256  # of a whole number

Constructor = Callable[..., Any]


class Class:
    """A class or function that a pickle names and may call with ``build``."""

    def __init__(self, build: Constructor):
        self.build = build


class Inert:
    """An object of a class that is not loaded: it takes whatever the pickle does to it, and does nothing with it."""

    global_name = "?"

    def __init__(self, *unused: Any):
        self.attributes: dict[Any, Any] = {}  # the state that the pickle gave it

    def __repr__(self) -> str:
        return f"<{self.global_name}, not loaded>"


class Table(dict):
    """An OrderedDict of a pickle; its attributes (PyTorch's ``_metadata``) are dropped."""


def run(
    stream: BinaryIO,
    *,
    find_global: Callable[[str, str], Any] | None = None,
    find_persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Return the value of the pickle at the stream's position, and leave the stream behind its end.

    find_global: from module and name to a ``Class`` or a subclass of ``Inert``; without it globals are refused.
    find_persistent: from a persistent id to its object; without it they are refused.

    Raises UnpicklingError, ValueError, TypeError, IndexError, KeyError or OverflowError for a pickle that is damaged
    or beyond the limits, and whatever the two functions raise.
    """
    return _Machine(find_global, find_persistent).run(stream)


class _Machine:
    def __init__(self, find_global: Callable | None, find_persistent: Callable | None):
        self._find_global, self._find_persistent = find_global, find_persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}
        self._globals: dict[tuple[str, str], Any] = {}
        self._instructions = self._containers = 0

    def run(self, stream: BinaryIO) -> Any:
        instructions = _INSTRUCTIONS
        for opcode, argument, _ in pickletools.genops(stream):
            self._spend(1)
            if opcode.name == "STOP":
                return self._pop()
            instruction = instructions.get(opcode.name)
            if instruction is None:
                raise pickle.UnpicklingError(f"it has the instruction {opcode.name}, which no checkpoint has")
            instruction(self, argument)
        raise EOFError("it ends in the middle")

    def _spend(self, steps: int) -> None:
        self._instructions += steps
        if self._instructions > MOST_INSTRUCTIONS:
            raise pickle.UnpicklingError(f"it takes more than {MOST_INSTRUCTIONS} steps, far more than weights do")

    def _pop(self) -> Any:
        if not self._stack:
            raise pickle.UnpicklingError("it takes a value where it has none")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise pickle.UnpicklingError("it takes a value where it has none")
        return self._stack[-1]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _push_container(self, value: Any) -> None:
        self._containers += 1
        if self._containers > MOST_CONTAINERS:
            raise pickle.UnpicklingError(f"it makes more than {MOST_CONTAINERS} containers, far more than weights do")
        self._stack.append(value)

    def _pop_to_mark(self) -> list[Any]:
        if not self._below:
            raise pickle.UnpicklingError("it takes values from a mark that it has not set")
        values, self._stack = self._stack, self._below.pop()
        return values

    def _take(self, count: int) -> tuple[Any, ...]:
        if len(self._stack) < count:
            raise pickle.UnpicklingError("it takes a value where it has none")
        values = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        return values

    # Instructions.  Each takes the instruction's argument.

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _discard(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_to_mark()

    def _whole(self, number: int) -> None:
        if number.bit_length() > MOST_BITS:
            raise pickle.UnpicklingError(f"it has a whole number of {number.bit_length()} bits")
        self._stack.append(number)

    def _get(self, place: int) -> None:
        if place not in self._memo:
            raise pickle.UnpicklingError(f"it takes value {place}, which it has not kept")
        self._stack.append(self._memo[place])

    def _put(self, place: int) -> None:
        self._memo[place] = self._top()

    def _tuple(self, count: int) -> None:
        self._push_container(self._take(count))

    def _dict(self, _: Any) -> None:
        found: dict[Any, Any] = {}
        _set_items(found, self._pop_to_mark())
        self._push_container(found)

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Inert):
            raise pickle.UnpicklingError(f"it appends to a {type(target).__name__}")

    def _set(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, dict):
            _set_items(target, values)
        elif not isinstance(target, Inert):
            raise pickle.UnpicklingError(f"it sets items of a {type(target).__name__}")

    def _add(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, set):
            target.update(value for value in values if _is_key(value))
        elif not isinstance(target, Inert):
            raise pickle.UnpicklingError(f"it adds to a {type(target).__name__}")

    def _global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise pickle.UnpicklingError("it names a class by something that is no text")
        if (module, name) not in self._globals:
            if self._find_global is None:
                raise pickle.UnpicklingError("it names a class where plain values are expected")
            if len(self._globals) >= MOST_GLOBALS:
                raise pickle.UnpicklingError(f"it names more than {MOST_GLOBALS} classes")
            self._globals[module, name] = self._find_global(module, name)
        self._stack.append(self._globals[module, name])

    def _call(self, called: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls a class with something that is no tuple")
        self._spend(sum(len(value) for value in arguments if isinstance(value, list | tuple | dict | set | str)))
        if isinstance(called, Class):
            self._push_container(called.build(*arguments))
        elif isinstance(called, type) and issubclass(called, Inert):
            self._containers += 1  # for its attributes
            self._push_container(called())
        else:
            raise pickle.UnpicklingError(f"it calls a {type(called).__name__}")

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Inert):
            target.attributes = state if isinstance(state, dict) else {}
        elif not isinstance(target, Table):
            raise pickle.UnpicklingError(f"a pickle tries to alter a {type(target).__name__}")

    def _persistent(self, identity: Any) -> None:
        if self._find_persistent is None:
            raise pickle.UnpicklingError("it refers to another object where plain values are expected")
        self._stack.append(self._find_persistent(identity))

    def _reduce(self, _: Any) -> None:
        called, arguments = self._take(2)
        self._call(called, arguments)

    def _new_with_names(self, _: Any) -> None:
        called, arguments, _named = self._take(3)
        self._call(called, arguments)

    def _instance(self, names: str) -> None:
        arguments = tuple(self._pop_to_mark())
        self._global(*names.split(" ", 1))
        self._call(self._pop(), arguments)

    def _object(self, _: Any) -> None:
        called, *arguments = self._pop_to_mark()
        self._call(called, tuple(arguments))


def as_table(items: Any = ()) -> Table:
    """Return the OrderedDict of a list of pairs, or of another table."""
    table = Table()
    pairs = items.items() if isinstance(items, Mapping) else items
    _set_items(table, [value for key, item in pairs for value in (key, item)])
    return table


def as_tuple(items: Any = ()) -> tuple[Any, ...]:
    """Return the items of a list or tuple as a tuple."""
    if not isinstance(items, list | tuple):
        raise pickle.UnpicklingError(f"it makes a tuple of a {type(items).__name__}")
    return tuple(items)


def as_set(items: Iterable[Any] = ()) -> set[Any]:
    """Return the set of those items that a table may have as keys."""
    return {item for item in items if _is_key(item)}


def _set_items(target: dict[Any, Any], values: list[Any]) -> None:
    if len(values) % 2:
        raise pickle.UnpicklingError("it sets a key without a value")
    for key, value in zip(values[::2], values[1::2], strict=True):
        if _is_key(key):
            target[key] = value


def _is_key(key: Any) -> bool:
    """Return whether a key is kept: a plain value or a class.

    Tuples are not: many of them may be made with equal hashes, or nested so that hashing one takes for ever, and no
    weight has such a key.  Raises UnpicklingError for what Python refuses as a key.
    """
    if isinstance(key, int):
        return key.bit_length() <= 64  # larger ones may be made with equal hashes
    if key is None or isinstance(key, str | bytes | float | type):
        return True
    if isinstance(key, tuple | frozenset | Inert | Class):
        return False
    raise pickle.UnpicklingError(f"it has a key that is a {type(key).__name__}")


def _text_of_python_2(machine: _Machine, value: str) -> None:
    machine._push(value.encode("latin-1").decode("utf-8"))


_Instruction = Callable[[_Machine, Any], Any]
_PUSHED = "BINFLOAT FLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 STRING"
_INSTRUCTIONS: dict[str, _Instruction] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(_PUSHED.split(), _Machine._push),
    **dict.fromkeys("INT BININT BININT1 BININT2 LONG LONG1 LONG4".split(), _Machine._whole),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), _text_of_python_2),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._put),
    "MEMOIZE": lambda machine, _: machine._put(len(machine._memo)),
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "MARK": _Machine._mark,
    "POP": _Machine._discard,
    "POP_MARK": lambda machine, _: machine._pop_to_mark(),
    "DUP": lambda machine, _: machine._push(machine._top()),
    "EMPTY_LIST": lambda machine, _: machine._push_container([]),
    "EMPTY_DICT": lambda machine, _: machine._push_container({}),
    "EMPTY_SET": lambda machine, _: machine._push_container(set()),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "LIST": lambda machine, _: machine._push_container(machine._pop_to_mark()),
    "DICT": _Machine._dict,
    "TUPLE": lambda machine, _: machine._push_container(tuple(machine._pop_to_mark())),
    "TUPLE1": lambda machine, _: machine._tuple(1),
    "TUPLE2": lambda machine, _: machine._tuple(2),
    "TUPLE3": lambda machine, _: machine._tuple(3),
    "FROZENSET": lambda machine, _: machine._push_container(frozenset(as_set(machine._pop_to_mark()))),
    "APPEND": lambda machine, _: machine._append([machine._pop()]),
    "APPENDS": lambda machine, _: machine._append(machine._pop_to_mark()),
    "SETITEM": lambda machine, _: machine._set(list(machine._take(2))),
    "SETITEMS": lambda machine, _: machine._set(machine._pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine._add(machine._pop_to_mark()),
    "GLOBAL": lambda machine, names: machine._global(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine._global(*machine._take(2)),
    "REDUCE": _Machine._reduce,
    "NEWOBJ": _Machine._reduce,
    "NEWOBJ_EX": _Machine._new_with_names,
    "INST": _Machine._instance,
    "OBJ": _Machine._object,
    "BUILD": _Machine._build,
    "PERSID": _Machine._persistent,
    "BINPERSID": lambda machine, _: machine._persistent(machine._pop()),
}
