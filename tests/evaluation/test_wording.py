"""Settings in messages: by their names from Python, by their flags on the command line."""

import pytest

from vqdiffusion_jax import preset
from vqdiffusion_jax.cli.setting_flags import spell
from vqdiffusion_jax.errors import EvaluationError, EvaluationSettingError
from vqdiffusion_jax.evaluation import Networks, find_protocol, run
from vqdiffusion_jax.evaluation.chunks import ChunkStore
from vqdiffusion_jax.evaluation.clip_score import load_towers
from vqdiffusion_jax.evaluation.inception_weights import load_inception
from vqdiffusion_jax.evaluation.metrics import ReferenceFeatures, choose, measure
from vqdiffusion_jax.evaluation.subjects import subjects
from vqdiffusion_jax.evaluation.sweep import parse_sweep


def other_identity(folder):
    for seed in (0, 1):
        ChunkStore(folder, 2, 2, {"seed": seed})


def evaluation(folder, **settings):
    run(find_protocol("own"), "emoji", out=folder, **settings)


MISTAKES = {
    "sweep={x} is neither": lambda folder: parse_sweep("{x}"),
    "inception=absent.pth does not exist": lambda folder: load_inception("absent.pth"),
    "clip=absent.pt does not exist": lambda folder: load_towers("absent.pt"),
    "give data, or prompts": lambda folder: subjects(find_protocol("coco30k"), preset("tiny_text"), None),
    "give another out, or delete it": other_identity,
    "give data, not only reference": lambda folder: evaluation(folder, reference="a.npz", what=["likelihood"]),
    "give data and inception, and not reference": lambda folder: evaluation(folder, write_reference=folder / "a.npz"),
    "a.txt must be an .npz file": lambda folder: evaluation(
        folder, write_reference=folder / "a.txt", data=folder, networks=Networks(inception="a.pth")
    ),
}
FLAGS = {
    "data": "--data_root",
    "prompts": "--prompts_file",
    "clip": "--score_clip",
    **{name: f"--{name}" for name in ("inception", "out", "reference", "sweep", "write_reference")},
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_names_its_settings_as_they_were_given(said, tmp_path):
    with pytest.raises(EvaluationError) as raised:
        MISTAKES[said](tmp_path)
    error = raised.value
    assert isinstance(error, EvaluationSettingError) and said in str(error)
    assert not any(flag in str(error) for flag in FLAGS.values())
    names = {name: f"<{name}>" for name in error.fields}
    told = error.told(names.__getitem__)
    assert names and error.told(spell) == _with_flags(told, names)


def _with_flags(told, names):
    for name, mark in names.items():
        told = told.replace(mark, FLAGS[name])
    return told


@pytest.mark.parametrize("spelling, flags", [(str, ("inception=", "clip=", "judge=")), (spell, None)])
def test_a_score_that_is_left_out_names_the_network_it_needs(spelling, flags, tmp_path):
    store = ChunkStore(tmp_path, 2, 2, {})
    store.fill(lambda pictures: {"other": [0.0] * 2})
    told = measure(store, ReferenceFeatures(), metrics=choose(["fid", "clip_score", "following"]), spell=spelling)
    for warning, flag in zip(told.warnings, flags or ("--inception=", "--score_clip=", "--judge="), strict=True):
        assert f"({flag}" in warning
