"""A folder that is, for every command of the documents, a person's working directory."""

import shutil
import sys

import pytest

from tests.docs import stand_ins
from tests.docs.commands import REPO
from vqdiffusion_jax import embedded


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand_ins")
    stand_ins.make(folder)
    return folder


@pytest.fixture
def place(files, tmp_path, monkeypatch):
    """The stand-ins and the configurations, in a folder of the test's own that is the current one."""
    for path in files.iterdir():
        if path.name != "runs":
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(files / "runs", tmp_path / "runs", symlinks=True)  # where commands write
    (tmp_path / "configs").symlink_to(REPO / "configs")
    for name in embedded.NAMES:
        monkeypatch.setitem(embedded._FOLDERS, name, tmp_path / stand_ins.EMBEDDED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # modules that documents write are found, ours first
    return tmp_path
