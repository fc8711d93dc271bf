"""The list of tests that are not fast is written from measured costs, and marks what it lists."""

import json

import pytest

from tests import costs


@pytest.fixture
def medium(tmp_path, monkeypatch):
    file = tmp_path / "tests" / "medium.txt"
    file.parent.mkdir()
    monkeypatch.setattr(costs, "MEDIUM", file)
    return file


def test_expensive_files_are_listed_and_others_keep_their_line(medium, tmp_path):
    medium.write_text("# head\ntests/gone.py  9\ntests/measured.py  9\ntests/not_run.py  ?\n")
    (tmp_path / "tests" / "not_run.py").touch()
    rows = [("tests/measured.py", 0.5, 0.5), ("tests/slow.py", 5.0, 1.0), ("tests/slow.py", 1.0, 4.0)]
    lines = [json.dumps({"test": f"{file}::test", "own": own, "children": more}) for file, own, more in rows]
    (tmp_path / "costs.jsonl").write_text("\n".join(lines) + "\n")
    costs.list_medium(tmp_path / "costs.jsonl")
    assert medium.read_text() == "# head\ntests/not_run.py  ?\ntests/slow.py  11\n"
    assert costs.medium_files() == {"tests/not_run.py", "tests/slow.py"}


def test_tests_of_listed_files_are_marked(request):
    marked = {item.path for item in request.session.items if item.get_closest_marker("medium")}
    listed = {request.config.rootpath / name for name in costs.medium_files()}
    assert marked <= listed
    assert all(item.path not in listed or item.path in marked for item in request.session.items)


def test_every_listed_file_is_there(request):
    assert not [name for name in costs.medium_files() if not (request.config.rootpath / name).is_file()]
