"""A codec's training in the loop: repeated, stopped, continued, measured, exported; and the table of codes in use."""

import json
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

from vqdiffusion_jax.checkpoint import _without_keys
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.image_similarity import psnr
from vqdiffusion_jax.interop.codecs import read_reduction
from vqdiffusion_jax.loading import load_codec, write_folder
from vqdiffusion_jax.models.vqgan import VQGAN, images_to_float, to_255, to_uint8
from vqdiffusion_jax.training.batch import filled, place_batch
from vqdiffusion_jax.training.config import CheckpointConfig, WatchConfig
from vqdiffusion_jax.training.loop import train
from vqdiffusion_jax.training.vqgan.codebook_usage import codebook_use
from vqdiffusion_jax.training.vqgan.config import DiscriminatorConfig, VQGANTrainConfig
from vqdiffusion_jax.training.vqgan.reduce_codebook import count_codes, kept_codes, reduced_part
from vqdiffusion_jax.training.vqgan.task import VQGANTask

from .toy import CODEC, ToyLoader, make_codec, make_config, make_images, make_task, one_device, placed

ADVERSARY = DiscriminatorConfig(weight=0.5, channels=8, num_layers=2, norm_groups=4, start=2)
WATCH = WatchConfig(log_every=1, eval_every=6, sample_every=6)
CONFIG = make_config("ema", discriminator=ADVERSARY, steps=6, checkpoint=CheckpointConfig(every=3), watch=WATCH)

# One program each: op by op, a codec is more than a hundred.
encode, decode = jax.jit(VQGAN.encode), jax.jit(VQGAN.decode)


class Validation:
    def __iter__(self):
        return iter([{"images": make_images(number)} for number in (8, 9)])


def run(folder, steps=6):
    task = make_task(CONFIG)
    task.config = replace(CONFIG, steps=steps)  # the same compiled programs
    lines = []
    return train(task, folder, ToyLoader(), validation=Validation(), log=lines.append), lines


def assert_identical(one, other):
    for a, b in zip(jax.tree.leaves(_without_keys(one)), jax.tree.leaves(_without_keys(other)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)[0].state


def test_again_and_in_two_pieces_is_the_same(whole, tmp_path):
    run(tmp_path / "pieces", steps=3)
    continued, lines = run(tmp_path / "pieces")
    assert any("resuming from checkpoint 3" in line for line in lines)
    assert_identical(continued.state, whole[1])
    assert_identical(run(tmp_path / "again")[0].state, whole[1])


def test_pictures_that_fill_a_batch_up_count_for_nothing():
    task, codec = make_task(CONFIG), make_codec(CONFIG)
    short = {"images": make_images()[:3]}

    def measured(*batches):
        return task.validate(SimpleNamespace(ema=codec), (place_batch(batch, one_device()) for batch in batches))

    assert measured(filled(short, 16)) == pytest.approx(measured(short), rel=1e-4)
    # Three of nineteen pictures have three nineteenths of the weight.
    whole = {"images": make_images(1)}
    for name in ("reconstruction_loss", "psnr", "ssim"):
        expected = (16 * measured(whole)[name] + 3 * measured(short)[name]) / 19
        assert measured(whole, filled(short, 16))[name] == pytest.approx(expected, rel=1e-4)


def test_what_a_run_leaves(whole):
    folder, state = whole
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    measured = next(record for record in records if "validation_psnr" in record)
    images = images_to_float(np.concatenate([make_images(8), make_images(9)]))
    tokens = encode(state.ema, images)
    made = decode(state.ema, tokens)
    assert measured["validation_psnr"] == pytest.approx(float(psnr(to_255(images), to_255(made)).mean()), rel=1e-4)
    assert measured["validation_codes_used"] == pytest.approx(len(np.unique(tokens)) / 24)
    assert measured["validation_reconstruction_loss"] > 0 and -1 <= measured["validation_ssim"] <= 1
    assert {"loss", "reconstruction_loss", "discriminator_loss", "perplexity", "restarted_codes"} <= set(records[0])

    codec = load_codec(folder / "model")
    np.testing.assert_array_equal(encode(codec, images), tokens)
    grid = make_task(CONFIG).pictures(state)
    shown = make_images()[:3]
    assert grid.shape == (32, 48, 3)
    np.testing.assert_array_equal(grid[:16], np.concatenate(list(shown), axis=1))
    below = to_uint8(decode(codec, encode(codec, images_to_float(shown))), rounding="round")
    assert np.abs(grid[16:].astype(int) - np.concatenate(list(np.asarray(below)), axis=1)).max() <= 1


def test_starts_from_a_given_codec(whole):
    state = VQGANTask(CONFIG, one_device(), codec=jax.tree.map(np.asarray, whole[1].ema)).first_state()
    assert_identical(state.codec, whole[1].ema)
    assert int(state.step) == 0


def test_wrong_batches_and_missing_networks():
    task = make_task(CONFIG)
    with pytest.raises(ConfigError, match="leave data.cache empty"):
        task.check_batch({"tokens": np.zeros((16, 64), np.int32)})
    with pytest.raises(ConfigError, match="this codec expects"):
        task.check_batch({"images": np.zeros((16, 8, 8, 3), np.uint8)})
    perceptual = replace(CONFIG.reconstruction, perceptual=1.0, vgg="a", lins="b")
    with pytest.raises(ConfigError, match="no LPIPS network"):
        VQGANTask(make_config(reconstruction=perceptual), one_device())
    assert "none were given" in VQGANTask(CONFIG, one_device()).pictures(None)


@pytest.mark.slow
def test_random_weights_are_those_of_the_module():
    task = VQGANTask(CONFIG, one_device())
    assert_identical(task.first_state().codec, jax.jit(lambda: VQGAN(CONFIG.codec, rngs=nnx.Rngs(CONFIG.seed)))())


def test_table_of_codes_in_use(whole, tmp_path):
    codec, batches = whole[1].ema, [placed(make_images(number)) for number in (0, 1)]
    counts = count_codes(codec, batches)
    tokens = np.concatenate([np.asarray(encode(codec, images_to_float(batch["images"]))) for batch in batches])
    np.testing.assert_array_equal(counts, np.bincount(tokens.reshape(-1), minlength=24))

    table = kept_codes(counts, least=3)
    assert table.dtype == np.int64
    expected, number = np.zeros(24, int), 0
    for code in range(
        1, 24
    ):  # as in the released tables: 0 takes code 0 and what is dropped, the others keep their order
        if counts[code] >= 3:
            number += 1
            expected[code] = number
    np.testing.assert_array_equal(table, expected)

    np.save(tmp_path / "kept.npy", table)
    reduction = read_reduction(tmp_path / "kept.npy", codebook_size=24)
    write_folder(tmp_path / "codec", reduced_part(codec, table), None)
    reduced = load_codec(tmp_path / "codec")
    assert reduced.config.num_codes == number + 1
    images = images_to_float(make_images(5))
    np.testing.assert_array_equal(encode(reduced, images), reduction.full_to_reduced[np.asarray(encode(codec, images))])


def test_config_comes_back_from_a_table():
    from configs.vqgan_emoji import get_config
    from vqdiffusion_jax.training.config import run_config, to_table
    from vqdiffusion_jax.training.config_dict import vqgan_config_dict

    assert to_table(run_config(VQGANTrainConfig, get_config())) == get_config().to_dict() | {
        "codec": get_config().codec.to_dict()
    }
    assert run_config(VQGANTrainConfig, vqgan_config_dict(codec=CODEC, batch_size=4, steps=1)).optimizer.b1 == 0.5
    assert float(codebook_use(np.ones(4))[0]) == 1.0


def test_a_given_codec_keeps_its_codes(monkeypatch):
    codec = make_task(CONFIG)._codec  # made before steps are recorded: it makes a step itself
    fresh = []
    monkeypatch.setattr(
        "vqdiffusion_jax.training.vqgan.task.make_step", lambda *_, **options: fresh.append(options["fresh"])
    )
    VQGANTask(CONFIG, one_device())
    VQGANTask(CONFIG, one_device(), codec=codec)
    assert fresh == [True, False]
