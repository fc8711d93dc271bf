"""Pickles made to fill memory or to take for ever end in one line, soon and in little memory."""

import os
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.interop.test_torch_zip import NUMBERS, PROTOCOL, archive, error_of, tensor_pickle
from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.interop.files import pickle_machine, torch_zip
from vqdiffusion_jax.interop.files.torch_zip import open_checkpoint, state_dict
from vqdiffusion_jax.lazy_tensor import LazyTensor, Storage

SECONDS = 8.0
TEXT_A = b"X\x01\x00\x00\x00a"
TEXT_B = b"X\x01\x00\x00\x00b"


def twice(levels: int, make: bytes) -> bytes:
    """A pickle in which each container holds the one before twice."""
    pickled = PROTOCOL + b"K\x01q\x00"
    for level in range(levels):
        before, after = bytes([level]), bytes([level + 1])
        pickled += make.replace(b"<", b"h" + before) + b"q" + after
    return pickled + b"."


PICKLES = {
    "a memo index of 2^28": PROTOCOL + b"}r\x00\x00\x00\x10.",
    "a memo index of 2^31 in text": b"(dp2147483648\n.",
    "a memo index below zero": b"(dp-1\n.",
    "millions of sets": PROTOCOL + b"\x8f" * 2_000_000 + b".",
    "millions of tables": PROTOCOL + b"}" * 2_000_000 + b".",
    "millions of marks": PROTOCOL + b"(" * 4_000_000 + b".",
    "millions of nulls": PROTOCOL + b"N" * 4_000_000 + b".",
    "a table copied again and again": (
        PROTOCOL + b"cpytorch_lightning\nx\n)\x81q\x00}(" + b"".join(TEXT_A + b"N" for _ in range(10))
        + b"uq\x01b" + b"h\x01b" * 100_000 + b"."
    ),
    "an OrderedDict copied again and again": (
        PROTOCOL + b"ccollections\nOrderedDict\nq\x01]("
        + b"".join(b"J" + struct.pack("<i", i) + b"N\x86" for i in range(50_000))
        + b"e\x85q\x00" + b"0h\x01h\x00R" * 100_000 + b"."
    ),
    "torch.Size copied again and again": (
        PROTOCOL + b"ctorch\nSize\nq\x01(" + b"N" * 50_000 + b"t\x85q\x00" + b"0h\x01h\x00R" * 100_000 + b"."
    ),
    "a number of a megabit": PROTOCOL + b"\x8b" + struct.pack("<i", 2**17) + b"\x7f" * 2**17 + b".",
    "a number of many digits": b"I" + b"9" * 100_000 + b"\n.",
    "a long of negative length": PROTOCOL + b"\x8b\xff\xff\xff\xff.",
    "a text of 2^62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "a frame that lies": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
    "keys of equal hash": PROTOCOL + b"}(" + b"".join(
        b"\x8a\x20" + (i * (2**61 - 1)).to_bytes(32, "little") + b"N" for i in range(1, 30_000)
    ) + b"u.",
    "a class named by numbers": b"\x80\x04K\x01K\x02\x93.",
    "thousands of classes": PROTOCOL + b"".join(b"ctyping\nA%d\n0" % i for i in range(100_000)) + b"N.",
    "a persistent id that is a number": PROTOCOL + b"K\x01Q.",
    "a persistent id in text": b"Pstorage\n.",
    "an extension": PROTOCOL + b"\x82\x01.",
    "a buffer out of band": b"\x80\x05\x97.",
    "a value from nowhere": PROTOCOL + b".",
    "appending to a number": PROTOCOL + b"K\x01K\x02a.",
    "a list as key": PROTOCOL + b"}]K\x01s.",
    "a tensor of 2^48 rows": tensor_pickle(shape=(2**30, 2**30), strides=(0, 1)),
    "a storage that counts below zero": tensor_pickle(count=-1),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles_are_one_line_soon(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pickle_machine, "MOST_INSTRUCTIONS", 200_000)
    path = archive(tmp_path / "a.pt", PICKLES[name], {"0": NUMBERS.tobytes()}, zipfile.ZIP_DEFLATED)
    begun = time.perf_counter()
    try:
        state_dict(open_checkpoint(path))
    except CheckpointError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    assert time.perf_counter() - begun < SECONDS


@pytest.mark.parametrize(
    "make",
    [b"}(" + TEXT_A + b"<" + TEXT_B + b"<u", b"](<<e", b"<<\x86", b"\x8f(<<\x90", b"(<<\x91"],
    ids=["tables", "lists", "tuples", "sets", "frozensets"],
)
def test_what_holds_the_one_before_twice_is_not_followed_for_ever(tmp_path, monkeypatch, make):
    monkeypatch.setattr(torch_zip, "MOST_VISITS", 50_000)
    path = archive(tmp_path / "a.pt", twice(200, make))
    begun = time.perf_counter()
    try:
        assert state_dict({"a": open_checkpoint(path)}) == {}
    except CheckpointError as error:
        assert "\n" not in str(error)
    assert time.perf_counter() - begun < SECONDS


def test_names_do_not_grow_for_ever(tmp_path):
    """Each table holds the next under a name of a million letters, which the pickle holds once."""
    name = b"X" + struct.pack("<I", 2**20) + b"x" * 2**20
    pickled = PROTOCOL + name + b"q\x00" + b"}" + b"h\x00}" * 300 + b"h\x00N" + b"s" * 301 + b"."
    state_dict(open_checkpoint(archive(tmp_path / "a.pt", pickled)))


@pytest.mark.parametrize("name", [b"\xed\xa0\x80", b"a\nb", b"\x1b[31m"])
def test_names_that_cannot_be_printed_are_refused(tmp_path, name):
    pickled = tensor_pickle().replace(b"X\x01\x00\x00\x00w", b"X" + struct.pack("<I", len(name)) + name)
    tree = open_checkpoint(archive(tmp_path / "a.pt", pickled, {"0": NUMBERS.tobytes()}))
    with pytest.raises(CheckpointError) as caught:
        state_dict(tree)
    assert str(caught.value).isprintable()


def test_tensors_that_repeat_what_is_stored_are_refused_together():
    """Each is within the limit of one tensor."""
    storage = Storage(Path(), 0, 24, np.dtype(np.float32), NUMBERS.tobytes())
    tensor = LazyTensor(storage, storage.dtype, 0, (2**20,), (0,))
    assert np.asarray(state_dict({"a": tensor})["a"]).shape == (2**20,)
    with pytest.raises(CheckpointError, match="are stored"):
        state_dict({str(i): tensor for i in range(100)})


@pytest.mark.parametrize("change", ["encrypted", "lzma", "bzip2", "a long byte order", "a huge directory"])
def test_archives_that_lie_are_one_line(tmp_path, change):
    kinds = {"lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}
    path = archive(tmp_path / "a.pt", tensor_pickle(), {"0": NUMBERS.tobytes()}, kinds.get(change, zipfile.ZIP_STORED))
    if change == "a long byte order":
        with zipfile.ZipFile(path, "a") as out:
            out.writestr("archive/byteorder", "little" + " " * 1000)
    data = bytearray(path.read_bytes())
    if change == "encrypted":
        at = data.index(b"PK\x01\x02")
        data[at + 8] |= 1
    if change == "a huge directory":
        at = data.index(b"PK\x05\x06")
        data[at + 12 : at + 16] = struct.pack("<I", 2**30)
    path.write_bytes(data)
    error_of(path)


def test_a_named_pipe_is_one_line(tmp_path):
    os.mkfifo(tmp_path / "a.pth")
    assert "named pipe" in error_of(tmp_path / "a.pth")


def test_memory_stays_small(tmp_path):
    """The most that one pickle may take, in a process of its own."""
    worst = PROTOCOL + b"\x8f" * 499_000 + b"N" * 1_000_000 + b"."
    archive(tmp_path / "a.pt", worst, {}, zipfile.ZIP_DEFLATED)
    code = (
        "import resource, sys; from vqdiffusion_jax.interop.files.torch_zip import open_checkpoint;"
        "b = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; open_checkpoint(sys.argv[1]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - b)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.pt")], stdout=-1, text=True, check=True)
    assert int(out.stdout) * 1024 < 500 * 2**20
