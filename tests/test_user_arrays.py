"""NumPy's files are read as numpy reads them, and damaged or hostile ones end in one line."""

import io
import struct
import zipfile

import numpy as np
import pytest

from vqdiffusion_jax.user_arrays import names_in_npz, read_npy, read_npz

ARRAYS = {
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalar": np.float64(3.5),
    "empty": np.zeros((0, 4), np.int32),
    "text": np.array('{"a": 1}'),
    "flags": np.array([True, False]),
}


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_saved(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    read = read_npz(tmp_path / "a.npz")
    assert list(read) == names_in_npz(tmp_path / "a.npz") == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype and read[name].shape == array.shape and read[name].flags.writeable
    assert list(read_npz(tmp_path / "a.npz", ("text", "absent"))) == ["text"]
    np.save(tmp_path / "a.npy", ARRAYS["fortran"])
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), ARRAYS["fortran"])


HEADERS = {
    "2^40 items": "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}",
    "items below zero": "{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}",
    "no items of 2^63 rows": "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808, 0)}",
    "rows of nothing": "{'descr': '<f4', 'fortran_order': False, 'shape': (140737488355328, 140737488355328, 0)}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
    "arrays of arrays": "{'descr': '(9,9)f4', 'fortran_order': False, 'shape': (1,)}",
    "items without size": "{'descr': '<U0', 'fortran_order': False, 'shape': (1099511627776,)}",
    "texts of a terabyte": "{'descr': '<U274877906944', 'fortran_order': False, 'shape': (1,)}",
    "a shape that is a number": "{'descr': '<f4', 'fortran_order': False, 'shape': 4}",
    "no table": "[1, 2]",
    "a deep header": "(" * 5000,
    "a header of code": "__import__('os').system('true')",
    "a long header": " " * 20_000,
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie_are_one_line(tmp_path, name, version):
    data = npy(HEADERS[name], bytes(16), version)
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out:
        out.writestr("a.npy", data)
    for read, file in ((read_npy, "a.npy"), (read_npz, "a.npz")):
        with pytest.raises(ValueError) as caught:
            read(tmp_path / file)
        assert file in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 600


def test_damage_anywhere_is_one_line_or_harmless(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.arange(4), b=np.array("x"))
    whole, path = buffer.getvalue(), tmp_path / "a.npz"
    for position in range(len(whole)):
        for data in (
            whole[:position],
            whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :],
        ):
            path.write_bytes(data)
            try:
                read_npz(path)
            except ValueError as error:
                assert "a.npz" in str(error) and "\n" not in str(error)


def test_a_small_file_of_many_zeros_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as out, out.open("a.npy", "w") as entry:
        entry.write(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (536870912,)}"))
        for _ in range(2**29 // 2**24):
            entry.write(bytes(2**24))
    with pytest.raises(ValueError, match="unpacks"):
        read_npz(tmp_path / "a.npz")
