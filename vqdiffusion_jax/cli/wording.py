"""What a mistake is about, in the words of who made it: errors of the library name arguments, those of the command line flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..sampling import STRATEGIES

# What the library's errors say: what a person at the command line would have typed.
_FLAGS = {
    "prompt or prompt_embeds": "--prompt or --prompts_file",
    "prompt": "--prompt",
    "class_labels": "--class_label",
    "num_images_per_prompt": "--num_images",
    "negative_prompt": "--negative_prompt",
    "null=": "--null=",
    "strength": "--strength",
    "strength and strategy": "--strength and --strategy",
    "num_inference_steps": "--steps",
    "num_steps": "--steps",
    "guidance_scale": "--guidance_scale",
    "Guidance.scale": "--guidance_scale",
    "guidance_interval": "--guidance_interval",
    "Guidance.interval": "--guidance_interval",
    "truncation_rate": "--truncation_rate",
    "TopR.rate": "--truncation_rate",
    "top_k": "--top_k",
    "TopK.k": "--top_k",
    "Schedule.jumps": "--timesteps",
    "margins left, top, right, bottom are": "--outpaint is",
    "mesh data": "--mesh data",
    "mesh of": "--mesh of",
    "or None for": "or leave it out for",
}
for _name, _named in STRATEGIES.items():
    _FLAGS[_named.cls.__name__] = f"--strategy={_name}"
    _FLAGS |= {f"{_named.cls.__name__}.{argument}": f"--{flag}" for flag, argument in _named.settings.items()}
_SAID = re.compile(
    r"(?<![\w-])(" + "|".join(re.escape(name) for name in sorted(_FLAGS, key=len, reverse=True)) + r")(?!\w)"
)


@contextmanager
def saying_flags() -> Iterator[None]:
    """A ValueError about arguments of a call, raised inside, names the flags that they came from.  Not for errors that quote paths."""
    try:
        yield
    except ValueError as error:
        raise ValueError(_SAID.sub(lambda said: _FLAGS[said[1]], str(error))) from error
