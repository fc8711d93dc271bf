"""Flags made from the fields of ``SamplingSettings`` and of the strategies: ``--name`` for the field ``name``."""

from __future__ import annotations

import sys
from typing import Any

from absl import flags

from ..sampling.choice import takers
from ..sampling.fields import Setting, default_in_words, settings_of
from ..sampling.registry import STRATEGIES
from ..sampling.settings import HOW, OUTPUT, START, WHAT, SamplingSettings, all_settings

GROUPS = {
    WHAT: "mode sample: what",
    START: "mode sample: start",
    HOW: "mode sample: how",
    OUTPUT: "mode sample: output",
}
FLAGS = flags.FLAGS
# Flags of settings that have another name in Python, or cannot be typed.
_NEAREST = {
    "prompt_embeds": "--prompts_file",
    "prompts": "--prompts_file",
    "data": "--data_root",
    "clip": "--score_clip",
}


def define() -> None:
    """Define the flag of every setting that can be typed.  Its value is None unless it is given."""
    own = settings_of(SamplingSettings)
    for name, about in own.items():
        if about.type is not None:
            _define(name, about, about.help, default_in_words(SamplingSettings, name))
    told = "Order and number of tokens that each network call reveals; see docs/strategies.md. [the model's]"
    flags.DEFINE_enum("strategy", None, list(STRATEGIES), told, module_name=GROUPS[HOW])
    for name, about in all_settings().items():
        if name not in own:
            defaults = {one: default_in_words(STRATEGIES[one], name) for one in takers(name)}
            alike = len(set(defaults.values())) == 1
            each = ", ".join(f"{one} {default}" for one, default in defaults.items())
            _define(
                name, about, f"{', '.join(defaults)}: {about.help}", next(iter(defaults.values())) if alike else each
            )


def typed() -> list[str]:
    """Return the names of the settings that have a flag."""
    return ["strategy", *(name for name, about in all_settings().items() if about.type is not None)]


def given() -> dict[str, Any]:
    """Return the settings whose flags are given, as ``SamplingSettings.changed`` takes them."""
    values = {name: FLAGS[name].value for name in typed() if FLAGS[name].present}
    return {name: _parsed(name, value) for name, value in values.items()}


def of_text(name: str, text: str) -> Any:
    """Return the value that a setting's flag has if ``text`` is typed, once; the text itself if it is none."""
    about = all_settings().get(name)
    if about is None or about.type is str and not about.many or about.repeated and about.type is str:
        return text
    try:
        return _parsed(name, FLAGS[name].parser.parse(text))
    except (ValueError, TypeError):
        return text  # for the field's own check to refuse


def spell(field: str) -> str:
    """Return the spelling of a field on the command line; of one that has none, the nearest flag."""
    return _NEAREST.get(field, f"--{field}")


def with_todays_names(argv: list[str]) -> list[str]:
    """Return the arguments with former names of flags replaced by today's, each of which is told on stderr."""
    today = {about.formerly: name for name, about in all_settings().items() if about.formerly}
    return [_with_todays_name(argument, today) for argument in argv]


def _with_todays_name(argument: str, today: dict[str, str]) -> str:
    dashes = argument[: len(argument) - len(argument.lstrip("-"))]
    name, equals, value = argument.removeprefix(dashes).partition("=")
    no = "no" if name.startswith("no") and name.removeprefix("no") in today else ""
    former = name.removeprefix(no)
    if dashes not in ("-", "--") or former not in today:
        return argument
    print(f"warning: --{former} is now --{today[former]}; the next release drops the former name", file=sys.stderr)
    return f"--{no}{today[former]}{equals}{value}"


def _define(name: str, about: Setting, words: str, default: str) -> None:
    """Define the flag of one setting, whose help ends with the default in brackets."""
    group = GROUPS[about.group or HOW]
    words = f"{words}{'  Repeat the flag for more.' if about.repeated else ''} [{default or 'none'}]"
    if about.repeated:
        define = flags.DEFINE_multi_integer if about.type is int else flags.DEFINE_multi_string
        define(name, None, words, module_name=group)
    elif about.many:
        flags.DEFINE_list(name, None, words, module_name=group)
    elif about.choices:
        flags.DEFINE_enum(name, None, list(about.choices), words, module_name=group)
    else:
        by_type = {int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}
        by_type.get(about.type or str, flags.DEFINE_string)(name, None, words, module_name=group)


def _parsed(name: str, value: Any) -> Any:
    """Return a list with commas as numbers, or, for the field's own check to refuse, as the text that was typed."""
    about = all_settings().get(name)
    if about is None or not about.many or about.repeated or about.type is None:
        return value
    try:
        return tuple(about.type(one) for one in value)
    except ValueError:
        return ",".join(value)
