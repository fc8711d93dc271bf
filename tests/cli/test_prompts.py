"""Prompts from a file: lines, byte order marks and encodings; and prompts that cannot be stored are refused."""

import pytest

from vqdiffusion_jax.cli.tools import read_prompts
from vqdiffusion_jax.errors import SettingError
from vqdiffusion_jax.sampling.settings import SamplingSettings

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def file(tmp_path):
    def written(data):
        (tmp_path / "prompts.txt").write_bytes(data)
        return str(tmp_path / "prompts.txt")

    return written


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_as_files_end_them(file, end):
    data = (
        BOM + b"a red apple" + end + b" " + end + "a\u2028star\x0cin\x85the\x0bsky\x1c".encode() + end + BOM + b"a dog"
    )
    assert read_prompts(file(data)) == ["a red apple", "a\u2028star\x0cin\x85the\x0bsky\x1c", "a dog"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a caf\u00e9\n".encode("latin-1"), "its line 1 has the byte 0xe9.*save it as UTF-8"),
        ("a star\n".encode("utf-16"), "UTF-16"),
        ("a star\n".encode("utf-16-be"), "UTF-16"),
        ("a star\n".encode("utf-32"), "UTF-32"),
        (b"a star\na\0b\n", "its line 2 has a null character"),
        (BOM + b" \r\n\r\n", "holds no prompt"),
        (b"", "holds no prompt"),
    ],
)
def test_other_files_are_refused_in_one_line(file, data, message):
    with pytest.raises(ValueError, match=message) as error:
        read_prompts(file(data))
    assert str(error.value).startswith("--prompts_file=") and "\n" not in str(error.value)


def test_what_is_no_file_is_named(tmp_path):
    for name in (tmp_path, tmp_path / "absent.txt", "a\0b"):
        with pytest.raises(ValueError, match="cannot be read.*give a text file in UTF-8"):
            read_prompts(str(name))


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a caf\udce9", "has the byte 0xe9, which is no UTF-8"),
        ("a\0b", "has a null character"),
        ("\ud800", "has half a"),
    ],
)
def test_prompts_that_cannot_be_stored_are_no_settings(name, text, message):
    with pytest.raises(SettingError, match=message) as error:
        SamplingSettings(prompt="a dog").changed(**{name: ["a cat", text + "x" * 100_000]})
    assert len(str(error.value)) < 500 and str(error.value).isprintable() and error.value.field == name


def test_other_characters_are_prompts():
    for text in ("a\x1b[31m dog", "\U0001f680 \u05ea\u05e4\u05d5\u05d7", "a\tb\nc", "x" * 100_000):
        assert SamplingSettings(prompt=text).prompt == (text,)
