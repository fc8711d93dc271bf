"""Machines to compile for: this one, and TPUs and an H100 that are not here, by their own compilers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax

from .errors import CompiledError, one_line

GIB = 2**30
MEMORY = {"v4": 32 * GIB, "v5e": 16 * GIB, "v5p": 95 * GIB, "v6e": 32 * GIB}  # bytes of a chip: public figures
H100_MEMORY = 80 * 10**9
# Without a device to tune on, XLA's search for tiles of its own products fails; the products are cuBLAS's then.
XLA_FLAGS = "--xla_gpu_enable_triton_gemm=false"
# What the CUDA plugin asks to know of a GPU that is not here, from public figures.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84978434048
  shared_memory_per_block_optin: 232448 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 13 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@dataclass(frozen=True)
class Target:
    """Devices to compile for.

    name: as it was typed.  platform: "cpu", "tpu" or "cuda".  memory: bytes of each device, None if not known.
    """

    name: str
    platform: str
    devices: tuple[Any, ...]
    memory: int | None


def target_of(name: str) -> Target:
    """Return the target "cpu" (this machine), "h100", or a TPU's generation and shape, such as "v5e:2x2".

    For an H100 it must be called before JAX starts a backend, as it sets flags of XLA.
    Raises CompiledError, one line, for another name and where the compiler is not installed.
    """
    if name == "cpu":
        return Target(name, "cpu", tuple(jax.devices("cpu")), None)
    generation = name.partition(":")[0]
    if name != "h100" and not (generation in MEMORY and name != generation):
        known = f"cpu, h100, or a TPU's generation and shape, such as v5e:2x2 ({', '.join(MEMORY)})"
        raise CompiledError(f"the target {name} is not known; give {known}")
    try:
        devices = (_h100_device(),) if name == "h100" else tuple(tpu_devices(name))
    except Exception as error:  # a plugin that is absent, or does not know the shape, raises errors of many classes
        raise CompiledError(f"{name} cannot be compiled for: {one_line(error)[:300]}; {_hint(name)}") from error
    return Target(name, "cuda" if name == "h100" else "tpu", devices, MEMORY.get(generation, H100_MEMORY))


def tpu_devices(topology: str) -> list[Any]:
    """Return the devices of a TPU topology that is not here, such as "v5e:4x4"."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no machine to ask about
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no chip, so that processes need not take turns
    from jax.experimental import topologies

    return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices


def set_xla_flags() -> None:
    """Set the flags of XLA that compiling for a GPU without one needs, before JAX starts a backend."""
    if "triton_gemm" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS}".strip()


def _hint(name: str) -> str:
    """Return what to do about a target that cannot be compiled for."""
    plugin, extra = ("jax_cuda13_plugin", "accelerators_gpu") if name == "h100" else ("libtpu", "accelerators")
    if find_spec(plugin) is None:
        return f'its compiler comes with pip install "vqdiffusion-jax[{extra}]"'
    if name == "h100":
        return f"its compiler must be of JAX's version, {jax.__version__}"
    return "give a shape that the generation has, such as v5e:2x2, v5e:4x4, v5p:2x2x1"


def _h100_device() -> Any:
    """Return an H100 to compile for.  Raises RuntimeError or NotImplementedError without the CUDA plugin."""
    set_xla_flags()
    from jax._src import xla_bridge  # jax.experimental.topologies takes no plugin that has been registered

    jax.devices()
    make: Any = xla_bridge.make_pjrt_topology
    return make("cuda", "h100", topology="1x1x1", target_config=_H100)._make_compile_only_devices()[0]
