"""Files that a user names."""

from __future__ import annotations

import json
import os
import socket
import tracemalloc

import pytest

from vqdiffusion_jax.user_files import (
    check_tree,
    decode_text,
    lines_of,
    open_regular,
    parse_json,
    plain_table,
    read_bytes,
    read_json,
    read_text,
)


def test_a_regular_file_is_read_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_bytes(tmp_path / "a", most=3) == read_bytes(tmp_path / "link", most=3) == b"abc"


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path, kind in (("pipe", "a named pipe"), ("socket", "a socket"), ("zero", "a device"), (".", "a folder")):
        with pytest.raises(OSError, match=kind) as caught:
            open_regular(tmp_path / path)
        assert caught.value.filename == str(tmp_path / path)
    server.close()


def test_a_folder_of_regular_files_is_accepted_and_places_are_visited_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "a" / "link").symlink_to("file")
    for name in ("round", "again"):
        (tmp_path / "a" / name).symlink_to(".")
    check_tree(tmp_path)


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (os.mkfifo, "a named pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
    ],
)
def test_a_folder_with_anything_else_is_refused(tmp_path, put, said):
    (tmp_path / "a").mkdir()
    put(tmp_path / "a" / "b")
    with pytest.raises(OSError, match=said) as caught:
        check_tree(tmp_path)
    assert caught.value.filename == str(tmp_path / "a" / "b")


def test_a_path_with_a_null_character_is_an_os_error():
    with pytest.raises(OSError, match="null"):
        open_regular("a\0b")


def test_what_is_too_large_is_refused_also_where_no_size_is_stated(tmp_path):
    (tmp_path / "a").write_bytes(b"abcd")
    with pytest.raises(OSError, match="it has 4 bytes, and at most 3 are read"):
        read_bytes(tmp_path / "a", most=3)
    with pytest.raises(OSError, match="more than 3 bytes"):
        read_bytes("/proc/self/status", most=3)


@pytest.mark.parametrize("text", ["", "é\r\nb\n", "\u2028"])
def test_text_has_no_byte_order_mark(tmp_path, text):
    for data in (text.encode(), text.encode("utf-8-sig")):
        (tmp_path / "a.txt").write_bytes(data)
        assert read_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    "data, said",
    [
        ("é".encode("utf-16"), "it seems to be UTF-16"),
        ("é".encode("utf-16-be"), "its line 1 has the byte 0xe9"),
        ("a\r\né".encode("latin-1"), "its line 2 has the byte 0xe9, as Latin-1"),
    ],
)
def test_another_encoding_is_named(data, said):
    with pytest.raises(ValueError, match=f"^a.txt is no UTF-8 text: {said}.*; save it as UTF-8$"):
        decode_text(data, "a.txt")


def test_lines_end_at_no_other_character():
    assert lines_of("a\u2028b\x0cc\x85d\r\ne\rf\n") == ["a\u2028b\x0cc\x85d", "e", "f"]
    assert lines_of("") == [] and lines_of("a\n\n") == ["a", ""]


def test_json_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes(json.dumps({"a": [1, "é"]}).encode("utf-8-sig"))
    assert read_json(tmp_path / "a.json") == {"a": [1, "é"]}
    assert parse_json("[" * 100 + "]" * 100, "a")


@pytest.mark.parametrize(
    "text, said",
    [
        ("[" * 102 + "]" * 102, "nested more than 100 deep"),
        ("[" * 101 + "]" * 101, "nested more than 100 deep"),
        ('{"a": [1, {"b": ' * 51 + "0" + "}]}" * 51, "nested more than 100 deep"),
        ("[" + "1, " * 100_000 + "[" * 101 + "]" * 101 + "]", "nested more than 100 deep"),
        ("[" * 100_000, "nested more than 100 deep"),
        ('{"a":' * 100_000, "nested more than 100 deep"),
        ("[" * 101, "nested more than 100 deep"),  # no Python's parser gives up here
        ("[" * 100, "is no JSON: line 1, column 101"),
        ("[" + r'"\"[[[[", ' * 50, "is no JSON: line 1, column"),
        ("[" + "[]," * 200, "is no JSON: line 1, column"),
        ("{\n1}", "is no JSON: line 2, column 1"),
        ("9" * 5000, "is no JSON: .*digits"),
        ("", "is no JSON"),
    ],
)
def test_what_is_no_json_is_told_in_one_line(text, said):
    with pytest.raises(ValueError, match=said) as caught:
        parse_json(text, "a.json")
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"image": "a.jpg", "caption": "a red dog"}',
        '{"image":"a.jpg","caption":["a","b"],"n":1}',
        '{"a": [' + "[" * 90 + "]" * 90 + "]}",
        "{}",
    ],
)
def test_a_plain_table_is_read_as_any_other(text):
    assert plain_table(text) == parse_json(text, "a", unique=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "x", "a": "y"}',  # a field twice
        r'{"a": "x", "\u0061": "y"}',
        '{"a": "x", "a": "y", "b": "at 10:30"}',
        '{"a": "at 10:30"}',  # more colons than fields
        '{"a": {"b": 1}}',
        '{"a": 1} x',
        '{"a": 1',
        '{"a": ' + "[" * 100 + "]" * 100 + "}",
        "[" * 100_000,
        "[1]",
        "",
    ],
)
def test_what_is_no_plain_table_is_left_to_the_whole_reader(text):
    assert plain_table(text) is None


def test_reading_takes_no_more_memory_than_the_file_has(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        assert len(read_bytes(tmp_path / "a", most=1 << 28)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
