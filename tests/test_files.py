"""Files that appear whole or not at all."""

import os

import pytest

from vqdiffusion_jax.files import write_whole


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    file = tmp_path / "file"
    with write_whole(file) as place:
        place.write_text("first")
    with pytest.raises(KeyError), write_whole(file) as place:
        place.write_text("half")
        raise KeyError
    assert file.read_text() == "first" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_keeps_its_place(tmp_path, make):
    make(there := tmp_path / "there")
    with pytest.raises(OSError, match="it is no regular file, and is not replaced") as raised, write_whole(there):
        raise AssertionError
    assert raised.value.filename == str(there)
    assert there.exists() and not there.is_file() and os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("folder", ["absent", "file"])
def test_an_error_names_the_file_that_was_asked_for(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as raised, write_whole(tmp_path / folder / "x") as place:
        place.write_text("nothing")
    assert raised.value.filename == str(tmp_path / folder / "x")
