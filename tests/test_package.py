"""The installed package: every file that the package reads, its version, and the mark that it is typed."""

import ast
import subprocess
import sys
import tomllib
from glob import glob
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def imported(tree: ast.AST) -> set[str]:
    """Return the packages that a module imports, also those that it asks ``data.extras`` for."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("needed", "check_installed"):
            found |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
    return {name.partition(".")[0] for name in found}


# Modules that a plain installation does without: the page (nicegui brings engineio), the API, places elsewhere, TFDS,
# drawing the emoji anew, and films.
SERVERS = {"nicegui", "engineio", "starlette", "fastapi", "uvicorn", "prometheus_client"}
OPTIONAL = SERVERS | {"fsspec", "aiohttp", "tensorflow_datasets", "resvg_py", "av"}


def test_a_plain_installation_brings_all_that_is_imported():
    lines = (line.partition("#")[0].strip() for line in (REPO / "requirements.txt").read_text().splitlines())
    required = {canonicalize_name(Requirement(line).name) for line in lines if line}
    modules = set().union(*(imported(ast.parse(path.read_text(encoding="utf-8"))) for path in PACKAGE.rglob("*.py")))
    modules -= set(sys.stdlib_module_names) | {"vqdiffusion_jax"} | OPTIONAL
    distributions = packages_distributions()
    absent = {
        name for name in modules if not required & {canonicalize_name(one) for one in distributions.get(name, [])}
    }
    assert not absent and "grain" in modules


def test_every_bound_has_its_reason():
    lines = (REPO / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if "<" in line.partition("#")[0].partition(";")[0] and "  # " not in line] == []


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_one_flax_goes_with_each_python(python):
    lines = (line.partition("#")[0].strip() for line in (REPO / "requirements.txt").read_text().splitlines())
    flax = [one for one in map(Requirement, filter(None, lines)) if one.name == "flax"]
    taken = [one for one in flax if one.marker.evaluate({"python_version": python})]
    assert len(taken) == 1
    assert ("0.12.8" in taken[0].specifier) == (python == "3.11") and ("0.12.12" in taken[0].specifier) == (
        python != "3.11"
    )


@pytest.mark.parametrize("extra", ["s3", "gcs"])
def test_no_client_of_buckets_of_years_ago_is_taken(extra):
    (needed,) = map(Requirement, PROJECT["project"]["optional-dependencies"][extra])
    assert version(needed.name) in needed.specifier and "2020.1" not in needed.specifier
