"""The reader of a GPU's compiled programs; small models compiled by the GPU's own compiler, where it is installed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks._gpu_program import kernels_of, stack_copies
from benchmarks._hlo import bytes_of
from vqdiffusion_jax import preset
from vqdiffusion_jax.models.attention import cudnn_refusal

PROGRAM = """
HloModule jit_f

%fused_slice (p0: bf16[12,4,4], p1: s32[]) -> bf16[1,4,4] {
  %p0 = bf16[12,4,4]{2,1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %dynamic-slice.1 = bf16[1,4,4]{2,1,0} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,4,4}
}

%body (x: (s32[], bf16[12,4,4], bf16[8,4])) -> (s32[], bf16[12,4,4], bf16[8,4]) {
  %x = (s32[], bf16[12,4,4]{2,1,0}, bf16[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%x), index=0
  %w = bf16[12,4,4]{2,1,0} get-tuple-element(%x), index=1
  %h = bf16[8,4]{1,0} get-tuple-element(%x), index=2
  %copied = bf16[1,4,4]{2,1,0} fusion(%w, %i), kind=kLoop, calls=%fused_slice, metadata={op_name="jit(f)/slice"}
  %kernel = bf16[4,4]{1,0} bitcast(%copied)
  %product = (bf16[8,4]{1,0}, s8[4096]{0}) custom-call(%h, %kernel), custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(f)/mlp/dot"}, backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}
  ROOT %out = (s32[], bf16[12,4,4]{2,1,0}, bf16[8,4]{1,0}) tuple(%i, %w, %h)
}

ENTRY %main (a: bf16[12,4,4]) -> bf16[8,4] {
  %a = bf16[12,4,4]{2,1,0} parameter(0)
  %while.6 = (s32[], bf16[12,4,4]{2,1,0}, bf16[8,4]{1,0}) while(%a), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"12"}}
}
"""  # noqa: E501  as a compiler writes it

# In a process of its own, as XLA reads its flags once.
COMPILED = """
import sys
from argparse import Namespace
from vqdiffusion_jax.targets import target_of
device = target_of("h100").devices[0]
from benchmarks._compiled import compiled
from benchmarks.accelerators import programs_of
options = Namespace(preset="tiny_text", layers=None, dtype="bfloat16", attention="auto", batch=2, steps=4,
                    unroll=False, programs=["prepare", "loop", "decoder", "train"])
programs = programs_of(options, device)
options.unroll = True
programs["unrolled"] = programs_of(options, device)["loop"]
for name, (function, given) in programs.items():
    open(f"{sys.argv[1]}/{name}.hlo", "w").write(compiled(function, given, "cuda").as_text())
"""


def test_kernels_of_a_program():
    found = {one.name: (one.runs, one.read, one.written, one.flops) for one in kernels_of(PROGRAM)}
    assert found == {
        "copied": (12, 32 + 4, 32, 0),  # the slice, and its place
        "product": (12, 64 + 32, 64, 2 * 8 * 4 * 4),  # without the workspace
    }
    assert [one.name for one in stack_copies(kernels_of(PROGRAM), 32)] == ["copied"]
    assert stack_copies(kernels_of(PROGRAM), 33) == []


def test_bytes_of_types():
    assert bytes_of("(f32[2,3]{1,0}, pred[5]{0}, bf16[], f8e4m3fn[7]{0})") == 24 + 5 + 2 + 7


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if find_spec("jax_cuda13_plugin") is None:
        pytest.skip("jax-cuda13-plugin is not installed (extra accelerators_gpu), which compiles for a GPU without one")
    folder = tmp_path_factory.mktemp("h100")
    root = Path(__file__).parent.parent
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS" and not name.startswith("JAX_")}
    command = [sys.executable, "-c", COMPILED, str(folder)]
    ran = subprocess.run(command, cwd=root, env=clean | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return {path.stem: path.read_text() for path in folder.glob("*.hlo")}


@pytest.mark.parametrize("name", ["prepare", "loop", "decoder", "train"])
def test_a_small_model_compiles_for_an_h100_as_promised(compiled, name):
    text = compiled[name]
    assert kernels_of(text)
    assert "f64[" not in text
    assert "all-reduce" not in text and "all-gather" not in text
    if name == "loop" and cudnn_refusal((16, 2, 8), (16, 2, 8), "bfloat16") is None:
        assert "__cudnn$fmhaSoftmax" in text


def test_the_denoiser_multiplies_bfloat16(compiled):
    """Products of the blocks take bfloat16 factors, the loop over calls was counted, and all are in it."""
    products = [line for line in compiled["loop"].splitlines() if "__cublas" in line and "/blocks/" in line]
    assert products
    types = {
        line.split(" = ")[0].split()[-1]: line.split(" = ")[1]
        for line in compiled["loop"].splitlines()
        if " = " in line
    }
    for line in products:
        factors = line.split("custom-call(")[1].split(")")[0].split(", ")[:2]
        assert all(types[factor].startswith("bf16[") for factor in factors), line[:200]
    assert {one.runs % 4 for one in kernels_of(compiled["loop"]) if "/blocks/" in one.operation} == {0}


def test_unrolled_layers_are_read_in_place(compiled):
    """In a scan each layer's weights are copied out of their stack in every call, and unrolled in none."""
    denoiser = preset("tiny_text").denoiser
    least = 2 * denoiser.width * denoiser.mlp_width  # bytes of a kernel of the MLP
    scanned, unrolled = (
        [
            one
            for one in stack_copies(kernels_of(compiled[name]), least)
            if one.runs >= 4 and "/blocks/" in one.operation
        ]
        for name in ("loop", "unrolled")
    )
    assert scanned and not unrolled
