"""Forgery of whole files of a format: every checksum is right, and what they say is hostile."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import _hostile_mutations as mutate

_TEXT = (
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    "\ud800".encode("utf-8", "surrogatepass"),
    b"\x1b[31m",
    b"\x85",
    b"\xe2\x80\xa8",
    b'"' * 3001,
    b'"',
    b"'",
    b",",
    b"\t" * 500,
    b"\r",
    b"\r\r\n",
    b"\n" * 3000,
    b"../../etc/passwd",
    b"/etc/passwd",
    b"=1+1",
    b"sep=x\n",
    b"a" * 200_000,
    b"[" * 3000,
    b"['a', 'b'",
    b"['a', 'b']",
    b"{'a': 1}",
    b"nan",
    b"1e999",
    b"9" * 5000,
    b'{"a": NaN}\n',
    b"\\ud800",
    b'"\\u0000"',
)


def of_text(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return a text with hostile pieces in it, or with cells, lines and fields dropped, doubled or exchanged."""
    between = draw.choice((b"\n", b",", b"\t", b'"', b" ", b":"))
    parts = data.split(between)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at, kind = draw.randrange(len(parts)), draw.randrange(6)
        if kind == 0:
            parts[at] = draw.choice(_TEXT)
        elif kind == 1:
            parts[at] += draw.choice(_TEXT)
        elif kind == 2 and len(parts) > 1:
            del parts[at]
        elif kind == 3:
            parts[at:at] = parts[at : at + 1] * draw.choice((1, 2, 3000))
        elif kind == 4:
            other = draw.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        else:
            parts[at] = parts[at].swapcase()
    text = between.join(parts)
    if draw.random() < 0.1:
        text = text.decode("latin-1").encode(draw.choice(("utf-16", "utf-32", "utf-16-be", "utf-8-sig")))
    return text


def of_npz(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return an archive of arrays of other shapes, types and headers, some of which unpack to gigabytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    name, kind = draw.choice(list(entries)), draw.randrange(7)
    if kind == 0:
        entries[name] = _npy(draw.choice(mutate.INTEGERS), draw)
    elif kind == 1:
        entries[name] = entries[name] + bytes(draw.choice((1, 2**20, 2**28)))
    elif kind == 2:
        entries[name] = _header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**31},)}}") + bytes(2**27)
    elif kind == 3:
        text = draw.choice(
            (
                "(" * 5000,
                "{'descr': 'O', 'fortran_order': False, 'shape': ()}",
                "{'descr': '|V0', 'shape': (10**9,)}",
                "[]",
                "{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (1,)}",
                "{'descr': '<f8', 'shape': (1e9,)}",
                "9" * 9000,
                "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 5)}",
                "{'descr': '<U999999999', 'shape': (1,)}",
                "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,)}",
                "{'descr': '<f8', 'fortran_order': 2, 'shape': [1]}",
            )
        )
        entries[name] = _header(text) + entries[name][-64:]
    elif kind == 4:
        array = np.zeros(
            tuple(draw.choice((0, 1, 2, 5)) for _ in range(draw.randrange(6))),
            draw.choice(("f2", "c16", "S3", "U2", "?", "u8")),
        )
        entries[name] = _array(array)
    elif kind == 5:
        entries[draw.choice(("../x.npy", "x", "\n.npy", "a" * 3000 + ".npy", name + ".npy"))] = entries.pop(name)
    else:
        entries = {key: mutate.of_bytes(value, draw) for key, value in entries.items()}
    out = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(out, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as made,
    ):
        warnings.simplefilter("ignore")
        for key, value in entries.items():
            made.writestr(key, value)
    return out.getvalue()


def _npy(number: int, draw: random.Random) -> bytes:
    shape = draw.choice(((number,), (number, 0), (0, number), (2, number), (number, number)))
    return _header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}") + bytes(64)


def _header(text: str) -> bytes:
    data = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data


def _array(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def of_safetensors(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return a file whose header is a changed table: other places, shapes, types and names."""
    size = int.from_bytes(data[:8], "little")
    table = mutate.of_tree(json.loads(data[8 : 8 + size]), draw)
    try:
        text = json.dumps(table).encode("utf-8", "surrogatepass")
    except RecursionError:
        text = b"[" * 5000
    if draw.random() < 0.2:
        text = draw.choice((b"[" * 10_000, b"{}", b" " * 2**20 + text, text + b" " * 2**24, b'{"a":' * 9000, b"null"))
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def of_picture(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return a small picture file that promises much: many pixels, frames, colours, or texts that unpack to much."""
    kind = draw.randrange(10)
    side = draw.choice((0, 1, 13_000, 20_000, 65_535, 2**31 - 1, 2**32 - 1))
    bits, colours = draw.choice(((1, 0), (8, 0), (16, 0), (8, 2), (16, 6), (8, 3), (1, 3), (3, 9)))
    if kind < 6:
        rows = zlib.compress(bytes(2 ** draw.choice((4, 10, 24))), 9)
        bomb = zlib.compress(bytes(2 ** draw.choice((10, 26, 28))), 9)
        extra = {
            0: b"",
            1: _chunk(b"iCCP", b"icc\0\0" + bomb),
            2: _chunk(b"zTXt", b"vqdiffusion\0\0" + bomb),
            3: _chunk(b"iTXt", b"x\0\1\0\0\0" + bomb),
            4: _chunk(b"tEXt", b"a\0b") * 3000,
            5: _chunk(b"eXIf", b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", 65_000) + b"\1\x12\0\3" * 3000),
        }[kind]
        if draw.random() < 0.5:
            side = 16
        head = _chunk(
            b"IHDR",
            struct.pack(
                ">II5B", side % 2**32, draw.choice((16, side)) % 2**32, bits, colours, 0, 0, draw.choice((0, 1))
            ),
        )
        palette = _chunk(b"PLTE", bytes(draw.choice((3, 768, 4)))) if colours == 3 else b""
        return b"\x89PNG\r\n\x1a\n" + head + extra + palette + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    if kind == 6:
        letter, pixels = draw.choice(
            ((b"P6", b"255\n"), (b"P5", b"65535\n"), (b"P4", b""), (b"Pf", b"-1.0\n"), (b"P3", b"255\n"))
        )
        number = draw.choice((b"16", b"20000", b"9" * 4000, b"-5", b"# comment" * 9999, b"0"))
        return (
            letter
            + b"\n"
            + number
            + b" "
            + draw.choice((b"16", number))
            + b"\n"
            + pixels
            + bytes(draw.choice((768, 9)))
        )
    if kind == 7:
        frame = b"," + struct.pack("<HHHHB", 0, 0, side % 2**16, side % 2**16, 0) + b"\x02\x02\x44\x01\x00"
        return (
            b"GIF89a"
            + struct.pack("<HHBBB", side % 2**16, 9, 0x80, 0, 0)
            + bytes(6)
            + frame * draw.choice((1, 9999))
            + b";"
        )
    if kind == 8:
        return (
            b"BM"
            + struct.pack(
                "<IHHIIiiHHIIIIII",
                60,
                0,
                0,
                54,
                40,
                side % 2**31,
                draw.choice((16, -16, side % 2**31)),
                1,
                draw.choice((1, 4, 8, 16, 24, 32, 7)),
                draw.choice((0, 1, 2, 3, 9)),
                0,
                1,
                1,
                draw.choice((0, 2**31)),
                0,
            )
            + bytes(99)
        )
    order = draw.choice("<>")
    tags = [
        (256, side),
        (257, draw.choice((16, side))),
        (258, 8),
        (259, draw.choice((1, 5, 7, 8, 32773))),
        (262, 2),
        (273, 8),
        (277, draw.choice((1, 3, 65_535))),
        (278, draw.choice((1, 0, side))),
        (279, 100),
        (330, 8),
        (34665, 8),
    ]
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 4, draw.choice((1, 1, 1, 2**30)), value % 2**32) for tag, value in tags
    )
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", draw.choice((0, 8)))
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + directory + bytes(200)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def of_tar(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return a tar file of other members: links, devices, sparse files, headers of pax and GNU, sizes that lie."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar if info.isreg()]  # type: ignore[union-attr]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=draw.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as tar:
        for info, content in members:
            if draw.random() < 0.3:
                kind = draw.randrange(7)
                if kind == 0:
                    info.type = draw.choice(
                        (
                            tarfile.SYMTYPE,
                            tarfile.LNKTYPE,
                            tarfile.FIFOTYPE,
                            tarfile.CHRTYPE,
                            tarfile.DIRTYPE,
                            tarfile.GNUTYPE_SPARSE,
                            b"Z",
                        )
                    )
                    info.linkname = draw.choice((info.name, "/etc/passwd", "../x", members[0][0].name))
                elif kind == 1:
                    info.name = draw.choice(
                        ("../../x.png", "/x.png", "a" * 5000 + ".png", "\udcff.png", "\n.png", "x", ".png", "a.b.c.png")
                    )
                elif kind == 2:
                    info.pax_headers = {
                        draw.choice(
                            ("size", "path", "mtime", "GNU.sparse.major", "GNU.sparse.map", "hdrcharset")
                        ): draw.choice(("9" * 30, "-1", "x", "", "1", "a" * 100_000))
                    }
                elif kind == 3:
                    content = b""
                elif kind == 4:
                    info.mtime = draw.choice((0, 2**33, 1e300))
                elif kind == 5:
                    content = of_picture(content, draw, canary)
                else:
                    content = of_text(content, draw, canary)
            info.size = len(content)
            try:
                tar.addfile(info, io.BytesIO(content))
            except (ValueError, OverflowError, UnicodeError):
                continue
    return mutate.of_bytes(out.getvalue(), draw) if draw.random() < 0.2 else out.getvalue()


def of_gzip(data: bytes, draw: random.Random, canary: Path) -> bytes:
    """Return a packed tar file with other contents, or one that unpacks to 2 GiB of nothing."""
    if draw.random() < 0.2:
        packer = zlib.compressobj(9, wbits=31)
        return b"".join(packer.compress(bytes(2**24)) for _ in range(2**7)) + packer.flush()
    unpacked = gzip.decompress(data)
    return gzip.compress(
        draw.choice((of_tar, lambda data, draw, _: mutate.of_bytes(data, draw)))(unpacked, draw, canary), 1
    )


def of_plain_pickle(data: bytes, draw: random.Random, canary: Path) -> bytes:
    return mutate.of_pickle(data, draw, canary)


FORGERS: dict[str, Callable[[bytes, random.Random, Path], bytes]] = {
    ".npz": of_npz,
    ".safetensors": of_safetensors,
    ".tar": of_tar,
    ".tgz": of_gzip,
    ".pickle": of_plain_pickle,
    ".csv": of_text,
    ".tsv": of_text,
    ".txt": of_text,
    ".jsonl": of_text,
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tiff"), of_picture),
}
