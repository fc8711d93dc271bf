"""``--mode=env``: versions, devices and settings of this installation, for a bug report."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ..errors import one_line, shortened

SHARED = ()
# Distributions that decide how the package behaves; the last ones may be absent.
PACKAGES = (
    *(
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax-checkpoint",
        "tensorstore",
        "grain",
        "array-record",
        "numpy",
        "ml-dtypes",
    ),
    *("scipy", "pyarrow", "pillow", "ml-collections", "tokenizers", "safetensors", "huggingface-hub"),
    *("torch", "diffusers", "nicegui", "tensorflow-datasets", "resvg-py"),
)
_PLUGINS = ("jax-cuda", "jax-rocm", "libtpu", "nvidia-cudnn")  # what begins so runs an accelerator
# Variables that change what JAX, XLA, Flax or the package does.  Values of others may be secrets.
_VARIABLES = (
    "JAX_",
    "XLA_",
    "NNX_",
    "FLAX_",
    "LIBTPU_",
    "TPU_",
    "CUDA_VISIBLE_",
    "NVIDIA_TF32_",
    "OMP_",
    "HF_HUB_OFFLINE",
)


def main() -> None:
    print("\n".join(report()))


def report() -> Iterator[str]:
    """Yield the lines of the report, ``name: value``."""
    from .. import __version__

    yield f"vqdiffusion-jax: {__version__}, in {Path(__file__).parents[1]}"
    yield f"python: {platform.python_version()} ({platform.python_implementation()}), {sys.executable}"
    yield f"platform: {platform.platform()}, {platform.machine()}, {_cpus()}"
    installed = _installed()
    for name in PACKAGES:
        yield f"{name}: {installed.pop(name, 'not installed')}"
    for name in sorted(installed):
        if name.startswith(_PLUGINS):
            yield f"{name}: {installed[name]}"
    yield from _devices()
    for name in sorted(os.environ):
        if name.startswith(_VARIABLES):
            yield f"{name}={shortened(one_line(os.environ[name]), 200)}"


def _installed() -> dict[str, str]:
    """Return the version of every installed distribution by its name."""
    found = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:  # a damaged installation has none
            found.setdefault(name.lower().replace("_", "-"), one.version)
    return found


def _cpus() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{usable} of {os.cpu_count()} CPUs"


def _devices() -> Iterator[str]:
    """Yield the devices of JAX, or the reason why there are none, which may be the fault that is reported."""
    try:
        import jax

        yield f"backend: {jax.default_backend()}, {jax.process_count()} process(es)"
        for kind in sorted({device.device_kind for device in jax.devices()}):
            number = sum(device.device_kind == kind for device in jax.devices())
            yield f"devices: {number} x {kind}"
        yield f"compiled programs: {jax.config.jax_compilation_cache_dir or 'not kept'}"  # pyright: ignore[reportAttributeAccessIssue]  JAX makes it at run time
    except Exception as error:  # a plugin that fails to load raises errors of many classes
        yield f"backend: failed, {type(error).__name__}: {shortened(one_line(error), 500)}"
