"""Small models compiled by the TPU's own compiler, where it is installed: what their programs promise.

They are compiled in a process of its own, as a TPU's compiler is started once in one (tests/tpu_programs.py).
"""

import collections
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks._hlo import ARRAY, bytes_of, instructions_of, sides_of
from benchmarks._tpu_program import kernels_of, runs_of
from tests.tpu_programs import LAYERS, STEPS
from vqdiffusion_jax.models.space_to_depth import PLACES

SAMPLING = ["prepare", "loop", "decoder", "data_parallel", "of_classes"]
TRAINING = ["train", "train_codec"]
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
WIDTH = 128  # of the small denoiser
FAST = "S(1)"  # memory on the chip, which a compiler fills beforehand if an array is small


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    if find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed (extra accelerators), which compiles for a TPU without one")
    folder = tmp_path_factory.mktemp("tpu")
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS" and not name.startswith("JAX_")}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.tpu_programs", str(folder)],
        cwd=Path(__file__).parent.parent,
        env=clean | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return {path.stem: path.read_text() for path in folder.glob("*.hlo")}


def every(text):
    """Return every instruction of a program, and the types of what its computation holds, by name."""
    for computation in instructions_of(text)[0].values():
        types = {one.name: one.result for one in computation}
        for one in computation:
            yield one, types


def float32_products(text):
    """Return the products and convolutions of which a factor is float32."""
    return [
        one
        for one, types in every(text)
        if one.opcode in {"convolution", "dot"} and any(types[name].startswith("f32") for name in one.operands)
    ]


def collectives(text):
    return [one for one, _ in every(text) if one.opcode.startswith(COLLECTIVES)]


@pytest.mark.parametrize("name", SAMPLING + TRAINING)
def test_no_program_holds_float64(texts, name):
    assert kernels_of(texts[name])
    assert "f64[" not in texts[name]


@pytest.mark.parametrize("name", SAMPLING)
def test_products_of_sampling_are_bfloat16(texts, name):
    """So are the factors of the decoder's last convolution at a TPU's default precision; its sums are float32."""
    assert not float32_products(texts[name]), [one.line[:300] for one in float32_products(texts[name])]
    if name in {"decoder", "data_parallel", "of_classes"}:
        assert [one for one, _ in every(texts[name]) if one.opcode == "convolution" and pixels(one)]


def pixels(convolution):
    """Return whether a convolution makes the three float32 values of each place of a square."""
    kind, sides = ARRAY.search(convolution.result).groups()
    return kind == "f32" and sides_of(sides)[-1] == 3 * PLACES and "/decoder/" in convolution.operation


def test_products_of_a_train_step_are_bfloat16(texts):
    """In the blocks every factor is bfloat16, whatever the parameters and gradients are."""
    assert not [one.line[:300] for one in float32_products(texts["train"]) if "/blocks/" in one.operation]


@pytest.mark.parametrize(("name", "kernels"), [("loop", 2), ("data_parallel", 2), ("of_classes", 1), ("train", 2)])
def test_attention_is_one_kernel(texts, name, kernels):
    """Self attention is, and the cross attention of a model of texts; in training forward, anew, and backward."""
    calls = [one for one, _ in every(texts[name]) if one.target == "tpu_custom_call"]
    forward = [one for one in calls if one.name.startswith("fused_attention")]
    backward = [one for one in calls if one.name.startswith("gradients_of_fused_attention")]
    assert (len(forward), len(backward)) == ((2 * kernels, kernels) if name == "train" else (kernels, 0))


@pytest.mark.parametrize("name", ["prepare", "loop", "decoder", "of_classes"])
def test_one_device_sends_nothing(texts, name):
    assert not collectives(texts[name])


def test_data_parallel_sampling_sends_one_flag_a_call(texts):
    """A tie that truncation splits anywhere ends a loop on all devices; nothing else leaves a device."""
    runs, found = runs_of(texts["data_parallel"]), collectives(texts["data_parallel"])
    assert len(found) <= 1
    for one in found:
        assert bytes_of(one.result) <= 4 and "/truncation/while/cond/" in one.operation
    assert STEPS in runs.values()


@pytest.mark.parametrize("name", ["loop", "of_classes", "data_parallel"])
def test_stacks_of_weights_are_read_in_place(texts, name):
    """Within the loop over calls no array as large as a stack of all layers is made; slices are a layer's."""
    text = texts[name]
    computations, runs = instructions_of(text)[0], runs_of(text)
    assert STEPS * LAYERS in runs.values()  # the loop over layers in the loop over calls
    made = collections.Counter()
    for computation in (name for name, times in runs.items() if times >= STEPS):
        for one in computations[computation]:
            if one.opcode in {"parameter", "get-tuple-element", "tuple", "while", "bitcast"}:
                continue
            shapes = (sides_of(sides) for _, sides in ARRAY.findall(one.result))
            made[one.name] += any(sides[:2] == [LAYERS, WIDTH] and len(sides) > 2 for sides in shapes)
    assert not +made


def test_train_step_gathers_no_more_than_a_layer(texts):
    gathered = [one for one in collectives(texts["train"]) if one.opcode.startswith("all-gather")]
    assert gathered
    widest = 4 * WIDTH * 4 * WIDTH  # bytes of an MLP's kernel in float32
    for one in gathered:
        sizes = (bytes_of(f"{kind}[{sides}]") for kind, sides in ARRAY.findall(one.result))
        assert "/blocks/" not in one.operation or max(sizes) <= widest
