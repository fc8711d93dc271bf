"""The file in --config: its ``get_config`` run, and every failure of it told in one line with the place."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from .. import config_files
from ..errors import UsageError, did_you_mean, one_line, shown
from ..user_files import read_text

_MODULE = "config_of_the_run"  # the name under which the file's classes are pickled
_LARGEST = 2**20  # bytes


class ConfigurationFile(flags.ArgumentParser):
    """A parser of flags that reads a configuration file."""

    def parse(self, argument: Any) -> Any:
        return read_configuration(argument)

    def flag_type(self) -> str:
        return "configuration file"


def read_configuration(path: str) -> ConfigDict:
    """Return what ``get_config`` of a Python file returns, locked; ``FILE:TEXT`` passes TEXT to it.

    FILE may be the name of a configuration that comes with the package (see ``config_files.located``).

    Raises UsageError, one line with file and line, for a file that cannot be read or run.
    """
    typed, colon, argument = path.partition(":")
    file = config_files.located(typed)
    try:
        source = read_text(file, most=_LARGEST)
    except OSError as error:
        raise UsageError(f"--config cannot be read: {file}: {error.strerror or error}{_nearest(typed)}") from error
    except ValueError as error:
        raise UsageError(f"--config cannot be read: {error}") from error
    try:
        code = compile(source, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise UsageError(f"{file}, line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{file} is no Python file: {one_line(error)}") from error
    module = ModuleType(_MODULE)
    module.__file__ = os.path.abspath(file)
    sys.modules[_MODULE] = module  # where dataclasses look for the file's names
    try:
        exec(code, module.__dict__)
        made = _config_of(module, file, *([argument] if colon else []))
    except UsageError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file of the user's own may raise anything, SystemExit too
        raise UsageError(_told(error, file)) from error
    if isinstance(made, Mapping):
        made = ConfigDict(made)
    if not isinstance(made, ConfigDict):
        raise UsageError(
            f"{file}: get_config returns {shown(made)}; it must return a ConfigDict, as train_config_dict and "
            "vqgan_config_dict of vqdiffusion_jax.training.config_dict make one"
        )
    made.lock()
    return made


def _nearest(typed: str) -> str:
    """Return the configuration of ours whose name is nearest to what was typed, as the end of a message."""
    return did_you_mean(os.path.basename(typed).removesuffix(".py"), config_files.names())


def _config_of(module: ModuleType, file: str, *arguments: str) -> Any:
    make = getattr(module, "get_config", None)
    if not callable(make):
        raise UsageError(f"{file} has no function get_config; define one that returns a ConfigDict, see configs/")
    return make(*arguments)


def _told(error: BaseException, file: str) -> str:
    """Return one line about an exception, with the last line of the file that it passed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f"{file}, line {lines[-1]}" if lines else file
    if isinstance(error, SyntaxError) and error.filename:  # of a module that the file imports
        return f"{where}: {error.filename}, line {error.lineno}: {error.msg}"
    kind = "" if isinstance(error, ValueError | ImportError) and str(error) else f"{type(error).__name__}: "
    return f"{where}: {kind}{one_line(error)}"
