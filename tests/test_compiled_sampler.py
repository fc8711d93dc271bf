"""A sampler compiled in one process, and drawn with in another that compiles nothing."""

import io
import json
import logging
import os
import pickle
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from absl.flags import FLAGS

from tests.in_process import left_as_it_was
from tests.networks import random_network
from tests.test_cli import REPO, run
from tests.told import own
from vqdiffusion_jax import VQDiffusionPipeline, loading, preset, targets
from vqdiffusion_jax.compiled import CompiledSampler
from vqdiffusion_jax.compiled.depends import difference
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.errors import CompiledError, UnusedSettingWarning
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling.settings import SamplingSettings

COMPILED = {"prepare", "advance", "_rendered", "marked", "_generate"}  # functions, as JAX's log names them
GUIDED = "--guidance_scale=2"
DRAWN = ("--prompt=a red apple", GUIDED, "--num_images_per_prompt=3", "--seed=4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled") / "model"
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text"))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(folder):
    """A file that a process of its own wrote, for guided batches of two."""
    out = folder.parent / "tiny.compiled"
    flags = [f"--checkpoint={folder}", GUIDED, "--batch_size=2", f"--out={out}"]
    ran = subprocess.run(
        [sys.executable, "main.py", "--mode=compile", *flags],
        cwd=REPO,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert [row[0] for row in rows[2:6]] == ["prepare", "advance", "render", "mark"]
    assert all(float(cell) >= 0 for row in rows[2:6] for cell in row[1:])
    assert rows[-1][:2] == ["written:", str(out)]
    return out


@pytest.fixture
def compilations(caplog):
    """A list that is filled with the names of the functions that are compiled."""
    caplog.set_level(logging.WARNING, logger="jax")
    jax.config.update("jax_log_compiles", True)
    yield lambda: {name for name in COMPILED for one in caplog.messages if f"Compiling jit({name})" in one}
    jax.config.update("jax_log_compiles", False)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("0*"))}


def test_pictures_are_those_of_a_run_that_compiles(made, folder, tmp_path, compilations):
    first = run(f"--checkpoint={folder}", *DRAWN, f"--compiled={made}", f"--out={tmp_path / 'ready'}")
    assert first.returncode == 0, first.stderr
    assert not compilations()
    plain = run(f"--checkpoint={folder}", *DRAWN, "--batch_size=2", f"--out={tmp_path / 'plain'}")
    assert plain.returncode == 0, plain.stderr
    assert compilations()
    drawn = bytes_of(tmp_path / "ready")
    assert len(drawn) == 6 and drawn == bytes_of(tmp_path / "plain")


def test_from_python(made, folder, compilations):
    pipeline = VQDiffusionPipeline.from_pretrained(folder, compiled=made)
    seen = []
    watching = {"callback": lambda done, *_: seen.append(done), "callback_steps": 3}
    out = pipeline("a red apple", seed=4, guidance_scale=2.0, **watching)
    assert seen[-1] == pipeline.num_calls()
    for settings in ({"num_inference_steps": 5}, {"truncation_rate": 0.5, "seed": 7}):  # no part of the programs
        pipeline("a green pear", guidance_scale=3.0, **settings)
    assert not compilations()
    pipeline.compiled = None
    again = pipeline("a red apple", seed=4, guidance_scale=2.0, batch_size=2)
    np.testing.assert_array_equal(out.tokens, again.tokens)
    np.testing.assert_array_equal(np.asarray(out.images[0]), np.asarray(again.images[0]))


def test_a_server_draws_batches_of_the_file(made, folder, compilations):
    for needed in ("fastapi", "prometheus_client"):
        pytest.importorskip(needed)
    from vqdiffusion_jax.cli.api import service_of

    pipeline = VQDiffusionPipeline.from_pretrained(folder, compiled=made)
    asked = SamplingSettings.of(prompt="a red apple", guidance_scale=2.0, seed=4, output_type="uint8")
    with left_as_it_was():
        FLAGS(["main.py"])
        service = service_of(pipeline, str(folder), ComputeConfig())
        FLAGS(["main.py", "--max_batch=1"])
        assert service_of(pipeline, str(folder), ComputeConfig()).limits.max_batch == 1
    (picture,) = service.studio.pictures_of(asked)
    assert picture.together == 2 and len(service.studio.draw([picture.settings], lambda: False)) == 1
    assert not compilations()


def test_a_call_of_other_settings_compiles_and_is_told(made, folder):
    pipeline = VQDiffusionPipeline.from_pretrained(folder, compiled=made)
    with pytest.warns(UnusedSettingWarning, match="guidance is 'on' in the file, and 'off' here") as told:
        assert len(pipeline("a red apple", num_inference_steps=2).images) == 1
        pipeline.stream(SamplingSettings.of(prompt="a red apple"))
    assert [one.filename for one in own(told)] == [__file__] * 2  # as the caller's line


def test_a_call_with_another_form_of_condition_compiles_and_is_told(made, folder):
    pipeline = VQDiffusionPipeline.from_pretrained(folder, compiled=made)
    settings = {"negative_prompt": "blue", "guidance_scale": 2.0, "seed": 4, "num_inference_steps": 2}
    with pytest.warns(UnusedSettingWarning, match="null condition is \"the model's own\" in the file, and 'token ids"):
        drawn = pipeline("a red apple", **settings)
    with jax.enable_x64(True), pytest.warns(UnusedSettingWarning, match="64-bit types is False in the file, and True"):
        pipeline("a red apple", guidance_scale=2.0, num_inference_steps=2)
    pipeline.compiled = None
    np.testing.assert_array_equal(drawn.tokens, pipeline("a red apple", batch_size=2, **settings).tokens)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--negative_prompt=blue"], "null condition is \"the model's own\" in the file, and 'token ids (8,) int32'"),
        (["--batch_size=1"], "--compiled={file} was compiled for other settings: batch_size is 2 in the file, and 1"),
        (
            ["--strategy=fast"],
            "was compiled for other settings: strategy is 'Ancestral()' in the file, and 'ReferenceFast()' here",
        ),
        (["--guidance_scale=1"], "was compiled for other settings: guidance is 'on' in the file, and 'off' here"),
        (["--dtype=bfloat16"], "compute.dtype is 'float32' in the file, and 'bfloat16' here; compile it anew for this"),
        (["--faithful"], "precision of products is 'default' in the file, and 'highest' here"),
        (["--checkpoint=emoji"], "was compiled for something else: model.denoiser"),
        (["--compiled=main.py"], "main.py is no compiled sampler, or damaged: File is not a zip file"),
        (["--compiled=absent"], "absent: No such file or directory"),
    ],
)
def test_what_does_not_fit_is_one_line(made, folder, tmp_path, flags, told):
    ran = run(f"--checkpoint={folder}", *DRAWN, f"--compiled={made}", *flags, f"--out={tmp_path / 'out'}")
    assert ran.returncode == 1 and ran.stdout == ""
    assert ran.stderr.startswith("error: ") and ran.stderr.count("\n") == 1
    assert told.format(file=made) in ran.stderr
    assert not (tmp_path / "out").exists()


def changed(file, out, **entries):
    """Write ``out``, the archive ``file`` with other entries."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, entries.get(name.partition(".")[0], old.read(name)))
    return out


@pytest.mark.parametrize(
    ("field", "value"), [("jax", "0.1"), ("jaxlib", "0.1"), ("vqdiffusion-jax", "0.0.1"), ("format", 0)]
)
def test_other_versions_are_named_before_weights_are_read(made, folder, tmp_path, monkeypatch, field, value):
    monkeypatch.setattr(loading.OpenedModel, "load", lambda *_, **__: pytest.fail("weights are read"))
    with zipfile.ZipFile(made) as archive:
        header = json.loads(archive.read("header.json"))
    other = changed(made, tmp_path / "other", header=json.dumps(header | {field: value}))
    with pytest.raises(CompiledError, match=f"{field} is {value!r} in the file, and "):
        VQDiffusionPipeline.from_pretrained(folder, compiled=other)


def test_a_recorded_batch_is_not_replaced_by_that_of_the_file(made, folder, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"prompt": "a red apple", "guidance_scale": 2.0, "batch_size": 1}')
    ran = run(f"--checkpoint={folder}", f"--again={recipe}", f"--compiled={made}", f"--out={tmp_path / 'out'}")
    assert ran.returncode == 1 and "batch_size is 2 in the file, and 1 here" in ran.stderr


@pytest.mark.parametrize(
    ("there", "name", "told"),
    [
        ((), "v5e:9x9", 'comes with pip install "vqdiffusion-jax\\[accelerators]"'),
        (("libtpu",), "v5e:9x9", "give a shape that the generation has, such as v5e:2x2"),
        (("libtpu",), "h100", 'comes with pip install "vqdiffusion-jax\\[accelerators_gpu]"'),
        (("jax_cuda13_plugin",), "h100", f"its compiler must be of JAX's version, {jax.__version__}"),
    ],
)
def test_what_to_do_about_a_target_depends_on_what_is_installed(monkeypatch, there, name, told):
    def refuse(*_):
        raise RuntimeError("no such layout")

    monkeypatch.setattr(targets, "tpu_devices", refuse)
    monkeypatch.setattr(targets, "_h100_device", refuse)
    monkeypatch.setattr(targets, "find_spec", lambda plugin: plugin if plugin in there else None)
    with pytest.raises(CompiledError, match=f"{name} cannot be compiled for: no such layout; .*{told}"):
        targets.target_of(name)


class Stranger:
    """An object that runs a command where a pickle of it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_program_of_a_stranger_is_not_read(made, folder, tmp_path):
    payload = io.BytesIO()
    pickle.Pickler(payload).dump((Stranger(tmp_path / "ran"), [], True))
    forged = changed(made, tmp_path / "forged", prepare=payload.getvalue())
    pipeline = VQDiffusionPipeline.from_pretrained(folder, compiled=forged)
    with pytest.raises(CompiledError, match="forged: prepare names .*system, which no program of JAX's holds"):
        pipeline("a red apple", guidance_scale=2.0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", [b"", b"\x80\x04.", b"no pickle"])
def test_a_damaged_program_is_one_line(made, folder, tmp_path, damage):
    pipeline = VQDiffusionPipeline.from_pretrained(folder, compiled=changed(made, tmp_path / "damaged", prepare=damage))
    with pytest.raises(CompiledError, match="damaged: prepare is damaged: "):
        pipeline("a red apple", guidance_scale=2.0)


SIGNED = '"arguments": {"prepare": "", "advance": "", "render": "", "mark": ""}'


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        "{}",
        f"{{{SIGNED}}}",
        f'{{{SIGNED}, "settings": {{"batch_size": 2.5}}}}',
        f'{{{SIGNED}, "settings": {{"batch_size": 0}}}}',
        f'{{{SIGNED}, "settings": {{"batch_size": 1000000000}}}}',
        '{"arguments": ["prepare", "advance", "render", "mark"], "settings": {"batch_size": 2}}',
        '{"arguments": {"prepare": "", "advance": "", "render": ""}, "settings": {"batch_size": 2}}',
    ],
)
def test_a_damaged_header_is_one_line(made, tmp_path, header):
    with pytest.raises(CompiledError, match="is no compiled sampler"):
        CompiledSampler(changed(made, tmp_path / "damaged", header=header))


def test_a_program_that_asks_for_memory_is_not_read(made, folder, tmp_path):
    asks = b"\x80\x04Nr\xff\xff\xff\x0f."  # None, as object number 268,435,455: two GiB
    pipeline = VQDiffusionPipeline.from_pretrained(folder, compiled=changed(made, tmp_path / "asks", prepare=asks))
    with pytest.raises(CompiledError, match="prepare is damaged: it numbers more objects than it holds"):
        pipeline("a red apple", guidance_scale=2.0)


def test_another_model_after_the_first_picture_is_one_line(made, folder):
    pipeline = VQDiffusionPipeline.from_pretrained(folder, compiled=made)
    pipeline("a red apple", guidance_scale=2.0, num_inference_steps=2)
    pipeline.model = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), pipeline.model)
    with pytest.raises(CompiledError, match="prepare does not fit this model: [^\n]*$"):
        pipeline("a red apple", guidance_scale=2.0, num_inference_steps=2)


def test_the_first_difference_is_named():
    file, here = {"a": 1, "b": {"c": [1, 2], "d": None}}, {"a": 1, "b": {"c": [1, 3], "d": 4}}
    assert difference(file, here) == "b.c is [1, 2] in the file, and [1, 3] here"
    assert difference(file, {**file, "e": 5}) == "e is None in the file, and 5 here"
    assert difference(file, json.loads(json.dumps(file))) is None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--target=v9"],
            "the target v9 is not known; give cpu, h100, or a TPU's generation and shape, such as v5e:2x2",
        ),
        (["--target=v5e"], "the target v5e is not known"),
        (["--mesh=1,1,1"], "--mesh goes with a target of several chips, such as v5e:2x2; for cpu leave it out"),
        (["--dtype=bfloat16", "--faithful"], "--faithful and --dtype=bfloat16 are both given"),
        (["--out=."], "--out is needed: the file to write"),
        (["--out={here}/pipe"], "pipe: it is no regular file, and is not replaced; name another"),
        (["--prompt=a red apple"], "--prompt goes with --mode=sample, not compile"),
    ],
)
def test_what_cannot_be_compiled_is_one_line(tmp_path, flags, told):
    os.mkfifo(tmp_path / "pipe")
    ran = run("--mode=compile", f"--out={tmp_path / 'x'}", *[flag.format(here=tmp_path) for flag in flags])
    assert ran.returncode == 1 and ran.stderr.startswith("error: ") and ran.stderr.count("\n") == 1
    assert told in ran.stderr
    assert not (tmp_path / "x").exists()
