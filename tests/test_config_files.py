"""Configurations of the package by name; a file of the user's own is never taken for one of them, nor the reverse."""

import pytest

from vqdiffusion_jax import config_files
from vqdiffusion_jax.cli.configuration_file import read_configuration
from vqdiffusion_jax.errors import UsageError


def test_a_name_is_the_file_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_configuration("cub200_small").model.denoiser.width == 192
    assert read_configuration("configs/emoji_tiny.py").data.source == "npz"
    (tmp_path / "coco").mkdir()  # such as a data set
    assert read_configuration("coco").model.denoiser.width == 1024


@pytest.mark.parametrize("path", ["configs/coco.py", "coco.py", "./coco"])
def test_a_file_that_is_there_is_itself(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / path).write_text("def get_config():\n    return {'mine': True}\n")
    assert read_configuration(path).mine


@pytest.mark.parametrize("path", ["coco.py", "elsewhere/coco.py", "./coco", "configs/coco"])
def test_other_paths_are_no_names(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"cannot be read: {path}: No such file or directory; did you mean coco\\?$"):
        read_configuration(path)


def test_an_unknown_name():
    with pytest.raises(UsageError, match=r"nowhere_near: No such file or directory$"):
        read_configuration("nowhere_near")
    with pytest.raises(ValueError, match="no configuration is called 'coko'; there are .*coco"):
        config_files.config_of("coko")
