"""One command line of a document: run, or parsed by the program's own parser.

Run, in a folder with stand-ins for the files that documents name (``stand_ins``) and with less to do (``trials``):

- ``python main.py --mode=sample`` (the default mode): with the embedded model's stand-in it draws; with another
  checkpoint, a picture to start from, or a mesh, it goes as far as --dry_run, which reads flags, files and pictures
  and compiles nothing;
- ``--mode=train`` and ``train_vqgan`` of one configuration each, as far as the first step: flags, configuration, data
  and models are read and a batch is checked, nothing is compiled, and a stand-in is left for what would be written;
- ``tokenize``, ``eval``, ``reduce_codebook`` and ``step_schedule``, a few pictures; what one of them writes is what
  the next one reads;
- ``--mode=convert`` and the scripts of convert/; ``python -m vqdiffusion_jax.data.scenes``.

Parsed only, because they need downloads, other networks, several devices or processes, or minutes:

- ``--mode=demo`` and ``serve``, and of the other modes what ``trials`` leaves out: flags, which of them the mode takes,
  the --config file with its changed fields, the evaluation protocol;
- ``python -m`` of other modules: the module's own argparse, up to the point where arguments are known, or that it
  takes none;
- ``make``: the target and its variables are in the Makefile; ``pip install``: the extras are in pyproject.toml;
- ``git clone``, ``hf download``, ``cd``: that they have as many arguments as they need.
"""

from __future__ import annotations

import argparse
import re
import runpy
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from absl import flags, logging
from packaging.requirements import Requirement

from tests.docs.trials import changes_for_trial, trial
from tests.in_process import left_as_it_was
from vqdiffusion_jax.cli import main as cli
from vqdiffusion_jax.cli.help import check_taken
from vqdiffusion_jax.embedded import NAMES
from vqdiffusion_jax.text.known_words import read_words

REPO = Path(__file__).resolve().parents[2]
RUN_MODULES = ("vqdiffusion_jax.data.scenes",)


class WrongCommand(AssertionError):
    """A command that would not do what the document says."""


def check(words: list[str]) -> None:
    """Run or parse one command in the current folder.  Raises WrongCommand."""
    program, rest = words[0], words[1:]
    if program == "vqdiffusion-jax":
        return _main(rest)
    if program == "python" and rest[:1] == ["main.py"]:
        return _main(rest[1:])
    if program == "python" and rest[:1] == ["-m"] and len(rest) > 1:
        return _module(rest[1], rest[2:])
    if program == "python" and rest and rest[0].startswith("convert/"):
        return _script(REPO / rest[0], rest[1:])
    known = {"make": _make, "pip": _pip, "git": _git, "hf": _hf, "cd": _cd}
    if program not in known:
        raise WrongCommand(f"{' '.join(words[:2])} is no command that the check of documents knows")
    known[program](rest)


def _main(arguments: list[str]) -> None:
    modules, argv, before = cli.mode_modules(), ["main.py", *arguments], sys.argv
    if "--help" in arguments:
        return _succeeds(cli.run, argv)
    level = logging.get_verbosity()
    try:
        with left_as_it_was():
            sys.argv = argv  # where ml_collections looks for changed fields of a --config
            _succeeds(lambda: len(cli.parse(argv)) - 1)  # what is left over is no flag
            _succeeds(lambda: _settles(modules, flags.FLAGS.mode))
            more = changes_for_trial()
        if more is None:
            return
        sys.argv = argv + more
        with (
            left_as_it_was(),
            trial(sys.argv),
        ):  # flags anew: those of changed fields are defined when they are parsed
            _succeeds(lambda: cli.dispatch(cli.parse(sys.argv)))
            for name in NAMES:
                if f"--checkpoint={name}" in more:
                    _succeeds(lambda: _known(name, flags.FLAGS.prompt or []))  # noqa: B023  called at once
    finally:
        sys.argv = before
        logging.set_verbosity(level)


def _settles(modules: dict, mode: str) -> None:
    """Check what a mode checks before it opens its data: that its flags and its configuration go together."""
    from vqdiffusion_jax.evaluation.protocol import with_settings
    from vqdiffusion_jax.evaluation.protocols import find_protocol
    from vqdiffusion_jax.evaluation.sweep import parse_sweep
    from vqdiffusion_jax.training.config import run_config
    from vqdiffusion_jax.training.denoiser.config import train_config
    from vqdiffusion_jax.training.vqgan.config import VQGANTrainConfig

    given = flags.FLAGS
    check_taken(modules, mode)
    if mode in ("train", "tokenize"):
        train_config(given.config)
    elif mode == "train_vqgan":
        run_config(VQGANTrainConfig, given.config)
    elif mode == "eval":
        protocol = with_settings(find_protocol(given.protocol), dict(text.split("=", 1) for text in given.set))
        for point in parse_sweep(given.sweep).points if given.sweep else ():
            with_settings(protocol, point)
    needed = {"train": ["config", "workdir"], "train_vqgan": ["config", "workdir"], "tokenize": ["config"]}
    if missing := [name for name in needed.get(mode, []) if not given[name].present]:
        raise ValueError(f"--{missing[0]} is needed")


def _known(model: str, prompts: list[str]) -> None:
    """Raise ValueError for a prompt to an embedded model that names nothing, or has a word, which it was not taught."""
    words = read_words(REPO / "vqdiffusion_jax" / "assets" / model)
    assert words is not None
    for prompt in prompts:
        if not any(re.search(rf"\b{re.escape(name)}(e?s)?\b", prompt.lower()) for name in words.names):
            raise ValueError(f"{prompt!r} names nothing that {model} knows")
        if unknown := words.unknown(prompt):
            raise ValueError(f"{prompt!r}: {model} was not taught {', '.join(unknown)}")


class _Parsed(BaseException):
    """Raised where the arguments are good and the work would begin."""


def _module(name: str, arguments: list[str]) -> None:
    if "parse_args" not in _source(name):  # it would run at once
        if arguments:
            raise WrongCommand(f"python -m {name} takes no arguments")
        return
    if name in RUN_MODULES:
        return _run(lambda: runpy.run_module(name, run_name="__main__"), name, arguments)
    original, before = argparse.ArgumentParser.parse_args, sys.argv

    def parse_and_stop(self, *args, **kwargs):
        original(self, *args, **kwargs)
        raise _Parsed

    argparse.ArgumentParser.parse_args = parse_and_stop
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(name, run_name="__main__")
    except _Parsed:
        return
    except SystemExit as stop:
        raise WrongCommand(f"python -m {name} ends with status {stop.code} (see above)") from stop
    finally:
        argparse.ArgumentParser.parse_args = original
        sys.argv = before
    raise WrongCommand(f"python -m {name} parses no arguments")


def _source(module: str) -> str:
    """Return the text of the file that ``python -m module`` runs.  Raises WrongCommand if there is none."""
    place = REPO / module.replace(".", "/")
    found = [path for path in (place / "__main__.py", place.with_suffix(".py")) if path.is_file()]
    if not found:
        raise WrongCommand(f"there is no module {module} to run")
    return found[0].read_text(encoding="utf-8")


def _script(path: Path, arguments: list[str]) -> None:
    if not path.is_file():
        raise WrongCommand(f"there is no {path.name}")
    _run(lambda: runpy.run_path(str(path), run_name="__main__"), path.name, arguments)


def _run(program: Callable[[], None], name: str, arguments: list[str]) -> None:
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        program()
    except SystemExit as stop:
        if stop.code:
            raise WrongCommand(f"{name} ends with status {stop.code} (see above)") from stop
    finally:
        sys.argv = before


def _succeeds(run, *arguments) -> None:
    """``run`` returns 0 or None; its mistakes are told on stderr, which a failing test shows."""
    try:
        status = run(*arguments)
    except (ValueError, OSError, AttributeError, KeyError) as error:
        raise WrongCommand(str(error)) from error
    except SystemExit as stop:
        status = stop.code
    if status:
        raise WrongCommand(f"status {status} (see above)")


def _make(arguments: list[str]) -> None:
    makefile = (REPO / "Makefile").read_text()
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        kind, pattern = ("variable", r"^{} *\??=") if equals else ("target", r"^{}:")
        if not re.search(pattern.format(re.escape(name)), makefile, re.MULTILINE):
            raise WrongCommand(f"make {argument}: the Makefile has no such {kind}")


def _pip(arguments: list[str]) -> None:
    if arguments[:1] != ["install"] or len(arguments) < 2:
        raise WrongCommand(f"pip {' '.join(arguments)} installs nothing")
    extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for argument in (argument for argument in arguments[1:] if not argument.startswith("-")):
        if ours := re.fullmatch(r"\.(?:\[([\w,-]+)\])?", argument):
            if unknown := set((ours[1] or "").split(",")) - {""} - set(extras):
                raise WrongCommand(f"pyproject.toml has no extra {', '.join(unknown)}")
        else:
            Requirement(argument)


def _git(arguments: list[str]) -> None:
    if arguments[:1] != ["clone"] or len(arguments) != 2 or not arguments[1].startswith("https://"):
        raise WrongCommand(f"git {' '.join(arguments)} is not git clone https://...")


def _hf(arguments: list[str]) -> None:
    if len(arguments) != 4 or arguments[0] != "download" or "/" not in arguments[1] or arguments[2] != "--local-dir":
        raise WrongCommand(f"hf {' '.join(arguments)} is not hf download OWNER/NAME --local-dir FOLDER")


def _cd(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise WrongCommand("cd takes one folder")
