"""What is installed: every file that the package reads, its version, and the mark that it is typed."""

import subprocess
import sys
import tomllib
from glob import glob
from importlib.metadata import version
from pathlib import Path

import vqdiffusion_jax

REPO = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = REPO / "vqdiffusion_jax"
HEAVY = ("torch", "diffusers", "transformers", "grain", "orbax", "ml_collections", "scipy", "nicegui")


def test_everything_beside_the_code_is_package_data():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["vqdiffusion_jax"]
    packed = {PACKAGE / name for pattern in patterns for name in glob(pattern, root_dir=PACKAGE, recursive=True)}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert not {str(path.relative_to(PACKAGE)) for path in files - packed if path.suffix != ".py"}
    assert PACKAGE / "py.typed" in packed


def test_every_folder_of_code_is_a_package():
    assert {path.parent for path in PACKAGE.rglob("*.py")} == {path.parent for path in PACKAGE.rglob("__init__.py")}


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["project"]["dynamic"]
    assert version("vqdiffusion-jax") == vqdiffusion_jax.__version__


def test_the_package_is_imported_without_what_is_heavy():
    script = f"import sys, vqdiffusion_jax; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPO)
    assert done.stdout == "[]\n", done.stdout + done.stderr
