import dataclasses

import jax
import numpy as np
import pytest

from tests.networks import random_network
from tests.training.toy import make_config, make_model
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.loading import write_folder
from vqdiffusion_jax.models.components import CLIPComponents
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.training.denoiser.init_from import adopt, load_pretrained


def changed(config, **fields):
    """The configuration with other denoiser fields."""
    denoiser = dataclasses.replace(config.model.denoiser, **fields)
    schedule = dataclasses.replace(config.model.schedule, num_timesteps=denoiser.num_timesteps)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, denoiser=denoiser, schedule=schedule))


def host(condition, seed, **fields):
    config = changed(make_config(condition, seed=seed), **fields)
    return jax.tree.map(np.asarray, random_network(Denoiser, config.model.denoiser, config.compute, seed=seed))


def test_null_embedding_may_be_missing():
    fresh, given = host("text", 0), host("text", 1, learnable_null=False)
    started, report = adopt(fresh, given)
    assert report == ["null_condition: not in the checkpoint, initialised"]
    np.testing.assert_array_equal(started.null_condition[...], fresh.null_condition[...])
    np.testing.assert_array_equal(started.blocks.mlp.up.kernel[...], given.blocks.mlp.up.kernel[...])


def test_class_rows_may_be_missing():
    fresh, given = host("class", 0, num_classes=6, learnable_null=True), host("class", 1)
    started, report = adopt(fresh, given)
    table, theirs = (np.asarray(d.blocks.mlp_norm.embedding.embedding[...]) for d in (started, given))
    np.testing.assert_array_equal(table[:, :5], theirs)
    np.testing.assert_allclose(table[:, 5], theirs.mean(1), rtol=1e-6)
    assert report == ["blocks.mlp_norm.embedding.embedding: 5 rows in the checkpoint, 1 more made from their mean"]


@pytest.mark.parametrize(("count", "rows"), [(4, [0, 3, 6, 9]), (28, [0, 0, *np.repeat(range(1, 9), 3), 9, 9])])
def test_timesteps_may_be_other_ones(count, rows):
    given = host("none", 1)
    started, report = adopt(host("none", 0, num_timesteps=count), given)
    table, theirs = (np.asarray(d.blocks.self_norm.embedding.embedding[...]) for d in (started, given))
    np.testing.assert_array_equal(table, theirs[:, rows])
    assert report == [f"blocks.self_norm.embedding.embedding: {count} of the checkpoint's 10 timesteps, evenly spaced"]


def test_other_misfits_are_one_line():
    with pytest.raises(
        ConfigError, match=r"does not fit the model: .* is \(.*\) in the checkpoint.* and \d+ more"
    ) as caught:
        adopt(host("class", 0), host("class", 1, width=32))
    assert "\n" not in str(caught.value)


def test_text_tower_computes_in_clip_dtype(tmp_path):
    config = make_config("text")
    model = make_model(config)
    write_folder(tmp_path / "model", model, None)
    tower = shapes_of(CLIPComponents, model.text_encoder.config, None)
    tower.text_encoder = model.text_encoder
    write_folder(tmp_path / "clip", tower, None)
    for given, dtype in (
        ({"init_from": tmp_path / "model", "clip_dtype": "float16"}, "float16"),
        ({"clip": tmp_path / "clip", "clip_dtype": "float16"}, "float16"),
        ({"clip": tmp_path / "clip"}, config.frozen_dtype),
    ):
        found = load_pretrained(config, **given, needs_codec=False).text_encoder
        assert found.compute.dtype == dtype
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("condition", "given", "message"),
    [
        (
            "text",
            {"clip_dtype": "float16"},
            "--clip_dtype is given, but it goes with a text tower .* of --init_from or --clip",
        ),
        (
            "class",
            {"init_from": "folder", "clip_dtype": "float16"},
            "--clip_dtype is given, but it goes with a text tower",
        ),
        (
            "class",
            {"init_from": "folder", "weights": "model"},
            "--weights is given, but it goes with --init_from=FILE; leave it out$",
        ),
        (
            "class",
            {"init_from": "folder", "config": "model.yaml"},
            "--reference_config is given, but it goes with --init_from=FILE",
        ),
        (
            "text",
            {"clip_weights": "ema"},
            "--clip_weights is given, but it goes with --init_from=FILE, unless --clip is given",
        ),
        (
            "class",
            {"codec_config": "a", "mapping": "b"},
            "--codec_config is given, .*; --mapping is given, .* --codec=FILE",
        ),
    ],
)
def test_companions_that_nothing_reads_are_named(condition, given, message, tmp_path):
    if "init_from" in given:
        given = given | {"init_from": tmp_path}
    with pytest.raises(ConfigError, match=message) as caught:
        load_pretrained(make_config(condition), **given)
    assert "\n" not in str(caught.value)


def test_a_trained_tower_has_no_dtype_of_its_own(tmp_path):
    with pytest.raises(ConfigError, match="--clip_dtype is given, but it goes with a text tower that is not trained"):
        load_pretrained(make_config("text", train_text_encoder=True), init_from=tmp_path, clip_dtype="float16")


def test_parts_come_from_a_model_folder(tmp_path):
    config = make_config("class")
    model = make_model(config)
    write_folder(tmp_path / "model", model, None)
    parts = load_pretrained(config, init_from=tmp_path / "model")
    jax.tree.map(np.testing.assert_array_equal, parts.trained.denoiser, model.denoiser)
    jax.tree.map(np.testing.assert_array_equal, parts.codec, model.codec)
    with pytest.raises(ConfigError, match="no codec is given; pass --init_from=MODEL or --codec=FILE"):
        load_pretrained(config)
    assert load_pretrained(config, needs_codec=False).codec is None
