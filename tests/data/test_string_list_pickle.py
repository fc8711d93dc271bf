"""Pickled name lists are read, and nothing else is."""

import os
import pickle

import pytest

from vqdiffusion_jax.data.sources.string_list_pickle import read_string_list
from vqdiffusion_jax.errors import DataError

NAMES = [f"{i:03d}.Bird/Bird_{i}" for i in range(2500)] + ["001.Bird/Bird_1"]


@pytest.mark.parametrize("protocol", range(6))
def test_reads_every_protocol(tmp_path, protocol):
    path = tmp_path / "filenames.pickle"
    again = NAMES[7]
    path.write_bytes(pickle.dumps([*NAMES, again, again], protocol=protocol))
    assert read_string_list(path) == [*NAMES, again, again]


def test_reads_python_2(tmp_path):
    path = tmp_path / "filenames.pickle"
    name = "002.Laysan_Albatross/Laysan_Albatross_0002_1027"
    path.write_bytes(f"(lp0\nS'{name}'\np1\naS'b'\np2\nag1\na.".encode())
    assert read_string_list(path) == [name, "b", name]
    path.write_bytes(b"\x80\x02]q\x01(U\x03abcq\x02U\x01dq\x03e.")
    assert read_string_list(path) == ["abc", "d"]


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_runs_nothing(tmp_path, protocol):
    path, harm = tmp_path / "filenames.pickle", tmp_path / "harm"
    path.write_bytes(pickle.dumps(["name", Hostile(harm)], protocol=protocol))
    with pytest.raises(DataError, match="nothing of it was run"):
        read_string_list(path)
    assert not harm.exists()


@pytest.mark.parametrize("other", [{"a": 1}, ["a", 1], ["a", ["b"]], ("a",), "a", [b"a"], None])
def test_refuses_other_things(tmp_path, other):
    path = tmp_path / "filenames.pickle"
    path.write_bytes(pickle.dumps(other))
    with pytest.raises(DataError) as error:
        read_string_list(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("data", [b"", b"\x80", b"hello", b"\x80\x04]\x94(\x8c\xff"])
def test_refuses_damaged_files(tmp_path, data):
    path = tmp_path / "filenames.pickle"
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_string_list(path)
