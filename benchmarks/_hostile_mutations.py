"""Damage and forgery of bytes, of instructions of pickles and of trees of values, by a random generator."""

from __future__ import annotations

import io
import json
import os
import pickletools
import random
import socket
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

INTEGERS = (
    0,
    1,
    -1,
    2,
    127,
    255,
    256,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**48,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    -(2**63),
)


def of_bytes(data: bytes, draw: random.Random) -> bytes:
    """Return damaged bytes: cut, flipped, overwritten, repeated, moved, or with a number that lies."""
    if not data:
        return draw.randbytes(20)
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 5, 50))):
        if not out:
            break
        near = draw.choice((len(out), len(out), min(len(out), 600)))
        at = draw.randrange(near) if draw.random() < 0.7 else max(0, len(out) - 1 - draw.randrange(near))
        size = draw.choice((1, 2, 4, 8, 64, 1000))
        kind = draw.randrange(8)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            out[at : at + size] = draw.randbytes(size)
        elif kind == 3:
            out[at : at + size] = bytes(size)
        elif kind == 4:
            del out[at : at + size]
        elif kind == 5:
            out[at:at] = out[at : at + size] * draw.choice((1, 2, 100))
        elif kind == 6:
            number = draw.choice(INTEGERS) % 2**64
            form = draw.choice(("<I", ">I", "<Q", ">Q", "<H", "B"))
            width = struct.calcsize(form)
            out[at : at + width] = struct.pack(form, number % 2 ** (8 * width))
        else:
            out[at:at] = draw.choice(
                (b"\xff\xfe", b"\x00" * 100, b"[" * 5000, b"\xed\xa0\x80", b"9" * 5000, b"\n\x1b[31m")
            )
    return bytes(out)


def _code(canary: Path) -> list[bytes]:
    """Return pieces of pickles that would run a command which makes ``canary``."""
    command = f"touch {canary}".encode()
    text = b"X" + struct.pack("<I", len(command)) + command
    calls = (
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("subprocess", "getoutput"),
    )
    pieces = [f"c{module}\n{name}\n(".encode() + text + b"tR" for module, name in calls]
    return [*pieces, b"(S'touch " + str(canary).encode() + b"'\nios\nsystem\n", b"cnumpy\nload\n(" + text + b"tR"]


_LARGEST = 2**26  # bytes of a repeated instruction: what is measured is the reader's memory
_PIECES = [
    b"}r\x00\x00\x00\x10", b"\x8f" * 5000, b"}" * 5000, b"(" * 5000, b"N" * 5000, b"]q\x00" + b"h\x00a" * 50,
    b"\x8b" + struct.pack("<i", 4000) + b"\x7f" * 4000, b"\x8b\xff\xff\xff\x7f", b"\x8e" + struct.pack("<Q", 2**60),
    b"\x95" + struct.pack("<Q", 2**60), b"(h\x00h\x00tq\x00" * 60, b"](h\x00h\x00eq\x00" * 60, b"2" * 3000, b"0", b"1",
    b"b", b"R", b"\x81", b"\x92", b"o", b"Q", b"s", b"u", b"e", b"a", b"\x90", b"\x91", b"\x85", b"\x86", b"\x87", b"t",
    b"l", b"d", b"P1\n", b"I" + b"9" * 5000 + b"\n", b"L5L\n", b"F1e400\n", b"F nan\n", b"ctorch\nSize\n",
    b"ccollections\nOrderedDict\n)R", b"ctyping\nAny\n)\x81}b", b"\x8c\x02os\x8c\x06system\x93",
    b"X\x03\x00\x00\x00\xed\xa0\x80",
    b"K\x01K\x02\x93", b"\x82\x01", b"\x97", b"\x98", b"\x94" * 3000, b"cposix\nsystem\n",
]  # fmt: skip


def of_pickle(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return a pickle with instructions dropped, repeated, moved or changed, or with hostile pieces between them."""
    places = [position for _, _, position in pickletools.genops(data)] + [len(data)]
    parts = [data[a:b] for a, b in zip(places, places[1:], strict=False)]
    for _ in range(draw.choice((1, 1, 1, 2, 3, 20))):
        at = draw.randrange(len(parts))
        kind = draw.randrange(7)
        if kind == 0:
            parts[at] = b""
        elif kind == 1:
            times = draw.choice((2, 3, 1000, 200_000))
            parts[at] *= min(times, max(2, _LARGEST // max(1, len(parts[at]))))
        elif kind == 2:
            other = draw.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif kind in (3, 4):
            parts[at] = draw.choice(_PIECES) + parts[at]
        elif kind == 5:
            parts[at] = draw.choice(_code(canary)) + draw.choice((b"", parts[at]))
        elif parts[at][:1] == b"J":
            parts[at] = b"\x8a\x10" + (draw.choice(INTEGERS)).to_bytes(16, "little", signed=True)
    return b"".join(parts)


def of_archive(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return an archive of PyTorch with a forged pickle, or entries that are dropped, renamed, doubled or packed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    kind = draw.randrange(10)
    if kind < 7:
        entries = [(name, of_pickle(d, draw, canary) if name.endswith(".pkl") else d) for name, d in entries]
    elif kind == 7:
        del entries[draw.randrange(len(entries))]
    elif kind == 8:
        name, content = draw.choice(entries)
        entries.append((draw.choice((name, name + "x", "../x", "/x", "archive/byteorder")), of_bytes(content, draw)))
    else:
        entries = [(name, bytes(2**24) if draw.random() < 0.1 else d) for name, d in entries]
    out, packed = io.BytesIO(), draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packed) as archive:
        warnings.simplefilter("ignore")  # two entries of one name
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def of_tensors(tensors: dict[str, np.ndarray], draw: random.Random) -> dict[str, Any]:
    """Return a state dict with tensors of other shapes, other names, missing or too many."""
    out: dict[str, Any] = dict(tensors)
    for _ in range(draw.choice((1, 1, 2, 10))):
        name = draw.choice(list(out))
        array = np.asarray(out[name]) if not isinstance(out[name], dict) else np.zeros(3, np.float32)
        kind = draw.randrange(9)
        if kind == 0:
            del out[name]
        elif kind == 1:
            out[name] = array.reshape(-1)
        elif kind == 2:
            out[name] = np.zeros(tuple(draw.choice((0, 1, 2, 7, 64)) for _ in range(draw.randrange(5))), np.float32)
        elif kind == 3:
            out[name] = np.float32(1.0).reshape(())
        elif kind == 4:
            out[name.replace("0", draw.choice(("999999", "10", "-1", "00", "9" * 30)))] = array
        elif kind == 5:
            out[draw.choice(("a" * 5000, "\n", "", ".", "...", "transformer.", "\x1b[31m"))] = array
        elif kind == 6:
            out[name] = {"0": array, "weight": array}
        elif kind == 7:
            out[name] = array.T
        else:
            out[name] = array.astype(np.int64)
        if not out:
            break
    return out


def hostile_value(draw: random.Random, depth: int = 0) -> Any:
    """Return a value of JSON that no configuration has."""
    kind = draw.randrange(11)
    if kind == 0:
        return draw.choice(INTEGERS)
    if kind == 1:
        return draw.choice((0.0, -1.0, 1e308, float("nan"), float("inf"), -float("inf"), 0.5, 1e-320))
    if kind == 2:
        return draw.choice(
            ("", " ", "x" * 10_000, "\n\x1b[31m", "\ud800", "../../etc/passwd", "/dev/zero", "os:system", "nan")
        )
    if kind == 3:
        return draw.choice((None, True, False))
    if kind == 4:
        return []
    if kind == 5:
        return {}
    if kind == 6 and depth < 3:
        return [hostile_value(draw, depth + 1) for _ in range(3)]
    if kind == 7 and depth < 3:
        return {str(draw.randrange(9)): hostile_value(draw, depth + 1)}
    if kind == 8 and depth == 0:
        value: Any = []
        for _ in range(draw.choice((50, 200, 900))):
            value = [value]
        return value
    if kind == 9:
        return list(range(draw.choice((2, 50, 5000))))
    return draw.choice((3, 7, 1000, 10**6, 10**9, 10**12, "8", "16"))


def of_tree(tree: Any, draw: random.Random) -> Any:
    """Return a tree of JSON with values replaced, dropped, renamed or added."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        places = list(_places(tree))
        if not places:
            return hostile_value(draw)
        holder, key = draw.choice(places)
        kind = draw.randrange(6)
        if kind < 4:
            holder[key] = hostile_value(draw)
        elif kind == 4:
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw.choice(("x", "", "a" * 3000, "\n", "__class__"))] = holder[key]
    return tree


def _places(tree: Any):
    """Yield every (container, key) of a tree, which may be nested deeper than Python can recurse."""
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            for key in holder if isinstance(holder, dict) else range(len(holder)):
                yield holder, key
                waiting.append(holder[key])


def of_json(data: bytes, draw: random.Random) -> bytes:
    """Return a damaged JSON file, mostly a whole one of other values."""
    if draw.random() < 0.3:
        return of_bytes(data, draw)
    return _as_json(of_tree(json.loads(data), draw))


def _as_json(tree: Any) -> bytes:
    try:
        return json.dumps(tree).encode("utf-8", "surrogatepass")
    except RecursionError:  # a deep value in a deep value
        return b"[" * 5000 + b"]" * 5000


_YAML = (
    "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
    "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 11)),
    "x: &x {<<: *x}\n", "x: !!python/object/apply:os.system ['touch CANARY']\n", "? [1]\n: 2\n", "x: 2001-99-99\n",
    "x: " + "1:" * 3000 + "1\n", "x: " + "9" * 6000 + "\n", "[" * 3000, "{a: " * 2000, "x: !!timestamp ''\n",
    "%YAML 9.9\n---\n",
    "x: !!binary '*'\n", "x: !!float ''\n", "--- a\n--- b\n", "\t", "x: *nothing\n", "? ? ? ?\n",
    "x: !!set {[1]}\n", "- " * 3000,
)  # fmt: skip


def of_yaml(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return a damaged yaml file, mostly a whole one of other values."""
    import yaml

    kind = draw.random()
    if kind < 0.2:
        return of_bytes(data, draw)
    if kind < 0.4:
        lines = data.decode().splitlines(keepends=True)
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(_YAML).replace("CANARY", str(canary)))
        return "".join(lines).encode()
    tree = of_tree(yaml.safe_load(data), draw)
    try:
        return yaml.safe_dump(tree).encode("utf-8", "surrogatepass")
    except Exception:  # nested too deep for the writer
        return _as_json(tree)


def irregular(path: Path, draw: random.Random) -> None:
    """Put something that is no regular file at ``path``."""
    kind = draw.randrange(6)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to("/dev/zero")
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        path.symlink_to(path.name)
    elif kind == 4:
        path.symlink_to("/proc/self/environ")
    else:
        with socket.socket(socket.AF_UNIX) as one:
            here = os.getcwd()
            try:
                os.chdir(path.parent)  # the name of a socket may be no longer than 107 bytes
                one.bind(path.name)
            finally:
                os.chdir(here)
