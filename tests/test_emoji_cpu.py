"""The inputs that ``benchmarks.emoji_cpu`` makes, and the judgement of ``benchmarks.emoji_prompts``."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from benchmarks._emoji_answers import answers, judge
from benchmarks._emoji_codebook import k_means, write_codec
from benchmarks._emoji_snapshot import box_psnr, newest, photograph_psnr
from benchmarks._emoji_tokens import encoder, write_cache
from benchmarks.emoji_prompts import Found, as_text, names, table, worst_first
from vqdiffusion_jax.checkpoint import TrainingCheckpoints
from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.data.compositions.library import Library
from vqdiffusion_jax.data.compositions.prompts import Prompt, Wanted
from vqdiffusion_jax.data.compositions.render import render
from vqdiffusion_jax.data.compositions.tokens import TokenLibrary
from vqdiffusion_jax.data.sources.compositions import Compositions
from vqdiffusion_jax.data.token_cache import TokenCache
from vqdiffusion_jax.loading import load_codec
from vqdiffusion_jax.models.vqgan import images_to_float, to_uint8
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import run_config
from vqdiffusion_jax.training.config_dict import vqgan_config_dict
from vqdiffusion_jax.training.vqgan.config import VQGANTrainConfig
from vqdiffusion_jax.training.vqgan.task import VQGANTask

CONCEPTS = ("red apple", "cat face", "star", "circle")
CODEC = VQGANConfig(
    quantizer="ema",
    codebook_size=64,
    embed_dim=8,
    image_size=64,
    channels=16,
    channel_multipliers=(1, 1, 1, 1),
    num_res_blocks=1,
    attention_levels=(),
    z_channels=8,
    norm_groups=8,
    encoder_window=8,
    network="linear",
)
GRAMMAR = {"kinds_held_out": ["relation"], "colour_rate": 0.5}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Discs, squares, crosses and rings of one colour each."""
    folder = tmp_path_factory.mktemp("drawings")
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(x, y)
    masks = [
        radius < 28,
        np.maximum(abs(x), abs(y)) < 26,
        np.minimum(abs(x), abs(y)) < 12,
        (radius < 30) & (radius > 8),
    ]
    colours = [(220, 30, 40), (60, 60, 60), (250, 200, 40), (47, 111, 219)]
    images, lines = [], []
    for concept, mask, colour in zip(CONCEPTS, masks, colours, strict=True):
        images.append(np.where(mask[..., None], np.array([*colour, 255], np.uint8), np.uint8(0)))
        style = "plain" if concept == "circle" else "fluent-flat"
        lines.append(f'{{"i": {len(lines)}, "caption": "{concept}", "style": "{style}"}}\n')
    np.savez(folder / "emoji.npz", images=np.stack(images))
    (folder / "captions.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def library(root):
    return Library(root, CONCEPTS, recoloured=("red apple",))


@pytest.fixture(scope="module")
def codec(library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "codebook"
    figures = write_codec(folder, CODEC, library, rounds=3)
    assert figures["cells"] > figures["codes"] > 40 and figures["psnr"] > 15
    return load_codec(folder)


def test_k_means_finds_what_is_apart():
    middles = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [5, 30]], np.float32)
    points = np.repeat(middles, 40, axis=0) + np.random.default_rng(0).normal(0, 0.1, (200, 2)).astype(np.float32)
    centres = k_means(points, np.ones(200, np.float32), middles[:1], 4, rounds=20, seed=0)
    np.testing.assert_array_equal(centres[:1], middles[:1])
    assert np.linalg.norm(middles[:, None] - centres, axis=-1).min(axis=1).max() < 0.1
    with pytest.raises(ValueError, match="take a smaller codebook"):
        k_means(points[:3], np.ones(3, np.float32), middles[:1], 4, rounds=1, seed=0)
    with pytest.raises(ValueError, match="fewer different cells than 4 codes"):
        k_means(np.repeat(points[:3], 9, axis=0), np.ones(27, np.float32), middles[:1], 4, rounds=1, seed=0)


def test_no_two_codes_are_nearly_the_same(codec):
    codebook = np.asarray(codec.quantizer.codebook, np.float64)
    apart = np.square(codebook[:, None] - codebook).sum(axis=-1) + np.eye(len(codebook))
    assert apart.min() > 1e-4


def test_codes_are_the_nearest_and_survive_bfloat16(codec, library):
    source_pictures = np.stack([render(answers(asked, library)[0], library) for asked in names(library)])
    tokens = encoder(codec)(source_pictures)
    small = jax.tree.map(
        lambda leaf: leaf.astype("bfloat16").astype(leaf.dtype) if leaf.dtype == "float32" else leaf, codec
    )
    np.testing.assert_array_equal(encoder(small)(source_pictures), tokens)
    restored = codec.decode_latents(codec.codes(tokens))  # by what undoes the encoder
    np.testing.assert_array_equal(codec.encode(restored), tokens)
    white = tokens[0, 0]  # a corner
    assert (tokens == white).sum() > 4 and len(np.unique(tokens)) > 10
    np.testing.assert_array_equal(encoder(codec)(np.full((1, 64, 64, 3), 255, np.uint8)), np.full((1, 64), white))


def test_psnr_is_of_what_lies_inside_the_drawings(codec, root):
    few = Library(root, ("red apple", "star"))
    found = box_psnr(codec, few, batch=2)
    assert set(found) == {"large", "large, worst tenth", "small", "small, worst tenth"}
    asked = [answers(ask(**{name: {}}), few)[0] for name in ("red_apple", "star")]  # pyright: ignore[reportArgumentType]
    images, (x, y, side) = np.stack([render(one, few) for one in asked]), asked[0].cells[0]
    made = np.asarray(to_uint8(codec.decode(codec.encode(images_to_float(images))), rounding="round"))
    errors = np.square(made.astype(float) - images)[:, y : y + side, x : x + side].mean((1, 2, 3))
    np.testing.assert_allclose(found["large"], np.mean(10 * np.log10(255**2 / errors)), rtol=1e-4)
    three = np.concatenate([images, images[:1]])  # more than a whole number of batches
    errors = np.square(made.astype(float) - images).mean((1, 2, 3))[[0, 1, 0]]
    whole = photograph_psnr(codec, three, batch=2)
    np.testing.assert_allclose(whole["photographs"], np.mean(10 * np.log10(255**2 / errors)), rtol=1e-4)


def test_the_cache_holds_the_tokens_of_the_pictures(codec, root, tmp_path):
    model = preset("emoji")
    model = replace(model, codec=CODEC, denoiser=replace(model.denoiser, num_codes=64),
                    schedule=replace(model.schedule, num_codes=64))  # fmt: skip
    options = {"concepts": list(CONCEPTS), "recoloured": ["red apple"], "grammar": GRAMMAR, "length": 30}
    source = Compositions(root, "train", **options)
    assert write_cache(tmp_path, source, model, codec, split="train", options=options) == 1
    assert write_cache(tmp_path, source, model, codec, split="train", options=options) == 0
    cache = TokenCache(tmp_path, "train", model)
    assert len(cache) == 30 and cache.known_words == source.known_words
    pictures = np.stack([render(source.composition(i), source.library) for i in range(30)])
    np.testing.assert_array_equal(np.concatenate([cache[i]["tokens"] for i in range(30)]), encoder(codec)(pictures))
    assert all(len(cache[i]["captions"]) == 2 for i in range(30))
    with pytest.raises(SystemExit, match="other settings"):
        write_cache(tmp_path, source, model, codec, split="train", options=options | {"seed": 1})


def test_a_snapshot_is_of_the_newest_checkpoint(tmp_path):
    table = vqgan_config_dict(codec=CODEC, batch_size=2, steps=9, watch=dict(eval_every=0))
    task = VQGANTask(run_config(VQGANTrainConfig, table), make_mesh(data=1, devices=jax.devices()[:1]), fresh=False)
    assert newest(tmp_path, task) is None
    checkpoints, state = TrainingCheckpoints(tmp_path / "checkpoints"), task.first_state()
    for step in (3, 9):
        checkpoints.save(step, replace(state, step=state.step + step), {"read": step})
    checkpoints.close()
    (tmp_path / "checkpoints" / "12.unfinished").mkdir()
    found = newest(tmp_path, task)
    assert found is not None and found[0] == 9 == int(found[1].step)
    assert (tmp_path / "checkpoints" / "12.unfinished").exists()  # what another process may be writing is left alone


def ask(prompt="", relation="", background="", **objects):
    wanted = tuple(Wanted(concepts=(name.replace("_", " "),), **facts) for name, facts in objects.items())
    return Prompt(kind="names", prompt=prompt, objects=wanted, relation=relation, background=background)


def test_answers_are_all_that_a_prompt_is_true_of(library):
    (one,) = answers(ask(red_apple={}), library)
    assert one.background == "white" and one.things[0].colour == "" and one.cells[0].side == 56
    assert {c.things[0].colour for c in answers(ask(red_apple={"colour": "red"}), library)} == {""}
    assert {c.things[0].colour for c in answers(ask(red_apple={"colour": "blue"}), library)} == {"blue"}
    assert len(answers(ask(circle={}), library)) == 7  # a shape has any colour
    assert answers(ask(star={"colour": "blue"}), library) == [] == answers(ask(unicorn={}), library)
    assert [len(c.cells) for c in answers(ask(star={"count": 3}), library)] == [3, 3]
    pairs = answers(ask(red_apple={}, star={}), library)
    assert len(pairs) == 4 and {c.arrangement for c in pairs} == {"horizontal", "vertical"}
    (above,) = answers(ask(relation="above", background="blue", star={}, red_apple={}), library)
    assert [thing.concept for thing in above.things] == ["star", "red apple"] and above.background == "blue"
    assert above.cells[0].y < above.cells[1].y
    assert len(answers(ask(red_apple={}, star={"count": 2}), library)) == 4


def test_pictures_are_judged_by_the_nearest_right_one(codec, library):
    tokens = TokenLibrary(library, encoder(codec))
    right = answers(ask(red_apple={}, star={}), library)
    true = tokens.tokens(right[2])
    assert judge(true, right, tokens) == judge(true.copy(), right[2:3], tokens)
    assert judge(true, right, tokens).wrong == 0 and judge(true, right, tokens).shown == 1.0
    blank = np.full(64, tokens.tokens(answers(ask(star={}), library)[0])[0])
    assert judge(blank, right, tokens).shown == 0.0
    spoiled = true.copy()
    spoiled[np.flatnonzero(true != blank[0])[:2]] += 1
    assert judge(spoiled, right, tokens).wrong == 2


def test_the_table_tells_shares_by_kind(codec, library):
    tokens = TokenLibrary(library, encoder(codec))
    asked = [ask(red_apple={}), ask(star={}), ask(unicorn={})]
    right = [answers(prompt, library) for prompt in asked]
    judged = [judge(tokens.tokens(right[0][0]), right[0], tokens), judge(np.zeros(64, int), right[1], tokens), None]
    found = Found(np.arange(3), judged)
    assert worst_first("names", asked, found).tolist() == [1, 0, 2]
    told = table(asked, found)["names"]
    assert told["count"] == 2 and told["without_drawings"] == 1
    assert told["right"]["share"] == 0.5 == told["whole"]["share"] and told["wrong"] > 10
    assert "names" in as_text({"names": told}) and "50%" in as_text({"names": told})
