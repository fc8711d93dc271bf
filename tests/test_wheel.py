"""The wheel as a product: built, installed in a folder of its own, and used from an empty one."""

import email
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import vqdiffusion_jax
from vqdiffusion_jax.config_files import names

REPO = Path(__file__).resolve().parents[1]
SOURCES = (
    "configs",
    "vqdiffusion_jax",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "pyproject.toml",
    "requirements.txt",
    "setup.py",
)
BUILD = "import setuptools.build_meta as backend, sys; backend.build_wheel(sys.argv[1])"
RELATIVE = re.compile(r"\]\((?!https?://|#)")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools")
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in SOURCES:
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPO / name, source)
    done = subprocess.run([sys.executable, "-c", BUILD, place], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(place.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> dict[str, str]:
    """Return the variables under which Python finds the installed wheel, and not the checkout."""
    place = tmp_path_factory.mktemp("installed")
    options = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--target", str(place))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    return os.environ | {"PYTHONPATH": str(place), "COMMAND": str(place / "bin" / "vqdiffusion-jax")}


@pytest.fixture
def typed(environment, tmp_path):
    """Return a function that runs the installed command, or ``python -m``, in an empty folder."""

    def run(*arguments: str, module: bool = False) -> subprocess.CompletedProcess:
        program = [sys.executable, "-m", "vqdiffusion_jax"] if module else [sys.executable, environment["COMMAND"]]
        return subprocess.run([*program, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(file.read(name).decode())


def test_it_holds_the_package_and_the_configurations_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    package = REPO / "vqdiffusion_jax"
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    configurations = {f"vqdiffusion_jax/configs/{path.name}" for path in (REPO / "configs").glob("*.py")}
    assert held == {path.relative_to(REPO).as_posix() for path in files} | configurations
    assert {f"vqdiffusion_jax/configs/{name}.py" for name in names()} <= held


def test_its_metadata_says_what_it_is_and_where_to_read_on(wheel):
    told = metadata(wheel)
    assert (told["Version"], told["License-Expression"]) == (vqdiffusion_jax.__version__, "MIT")
    assert told["Requires-Python"] == ">=3.11" and told["Description-Content-Type"] == "text/markdown"
    assert all(url.split(", ")[1].startswith("https://") for url in told.get_all("Project-URL"))
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)} <= set(
        told.get_all("Classifier")
    )
    described = told.get_payload()
    assert described.startswith("# VQ-Diffusion in JAX") and not RELATIVE.search(described)


def test_links_of_its_description_are_absolute_once_the_repository_has_an_address():
    described = runpy.run_path(str(REPO / "setup.py"), run_name="setup")["long_description"]
    text = "![a](docs/a.png) [b](docs/b.md#c) [d](https://example.org) `e`\n"
    assert described(text, "https://example.org/x") == (
        "![a](https://example.org/x/raw/main/docs/a.png) [b](https://example.org/x/blob/main/docs/b.md#c) "
        "[d](https://example.org) `e`\n"
    )
    assert described(text, None) == " b [d](https://example.org) `e`\n"


def test_requirements_are_those_of_the_file(wheel):
    lines = (line.partition("#")[0].strip() for line in (REPO / "requirements.txt").read_text().splitlines())
    wanted = {re.match(r"[\w-]+", line)[0] for line in lines if line}
    plain = [line for line in metadata(wheel).get_all("Requires-Dist") if "extra ==" not in line]
    assert {re.match(r"[\w-]+", line)[0] for line in plain} == wanted


def test_version_and_help_name_the_command_that_was_typed(typed):
    done = typed("--version")
    assert (done.returncode, done.stdout) == (0, f"vqdiffusion-jax {vqdiffusion_jax.__version__}\n"), done.stderr
    done = typed("--mode=train", "--help")
    assert done.stdout.startswith("vqdiffusion-jax --mode=train [--flag=value ...]\n"), done.stderr
    done = typed("--zzzzzz=1", module=True)
    assert done.stderr == "error: unknown flag --zzzzzz; python -m vqdiffusion_jax --help lists the known ones\n"


def test_it_reports_its_environment(typed, environment):
    done = typed("--mode=env")
    assert done.returncode == 0, done.stderr
    place = Path(environment["PYTHONPATH"]) / "vqdiffusion_jax"
    assert done.stdout.startswith(f"vqdiffusion-jax: {vqdiffusion_jax.__version__}, in {place}\n")
    assert re.search(r"^devices: \d+ x ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", ["emoji_tiny", "configs/imagenet_cf.py"])
def test_a_configuration_is_found_by_its_name(name, typed):
    done = typed("--mode=train", f"--config={name}")  # without a place to train in, which is asked for next
    assert (done.returncode, done.stderr) == (
        1,
        "error: --workdir is needed: a folder for checkpoints, metrics and pictures\n",
    )


def test_it_draws(typed, tmp_path):
    done = typed("--prompt=a red apple", "--num_inference_steps=2", "--batch_size=1", "--noprogress", "--out=pictures")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "pictures" / "000000.png").size == (64, 64)
    assert json.loads((tmp_path / "pictures" / "000000.json").read_text())["prompt"] == "a red apple"


# The image: what can be checked without Docker.

INSTRUCTIONS = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (REPO / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def test_the_image_is_built_from_the_wheel():
    steps = instructions()
    assert {name for name, _ in steps} == INSTRUCTIONS
    stages = [words for name, words in steps if name == "FROM"]
    assert stages == ["python:${PYTHON}-slim AS wheel", "python:${PYTHON}-slim"]
    installs = [words for name, words in steps if name == "RUN" and "pip install" in words]
    assert len(installs) == 1 and "from=wheel" in installs[0] and "/wheel/*.whl" in installs[0]
    script = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["scripts"]
    assert [json.loads(words) for name, words in steps if name == "ENTRYPOINT"] == [list(script)]


def test_all_that_the_wheel_is_built_from_is_sent_to_docker():
    lines = (REPO / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == set(SOURCES)


@pytest.mark.parametrize(("extra", "words"), [("", []), ("cuda13", ["jax[cuda13]"])])
def test_the_build_argument_is_an_extra_of_jax(extra, words, tmp_path):
    """The shell of the image reads its pip command as meant."""
    run = next(words for name, words in instructions() if name == "RUN" and "pip install" in words)
    command = re.sub(r"--mount=\S+", "", run).partition("&&")[0].replace("python -m pip", "printf '%s\\n'")
    done = subprocess.run(
        ["sh", "-euc", command], env={"JAX_EXTRA": extra, "PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert done.stdout.split()[3:] == words, done.stderr
    if extra:
        from importlib.metadata import metadata as installed

        assert extra in installed("jax").get_all("Provides-Extra")
