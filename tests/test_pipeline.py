"""The pipeline: pictures from settings, alone and in batches, and mistakes told before anything is computed."""

import dataclasses
import inspect

import jax
import numpy as np
import pytest

from tests.compiling import listed_compilations
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, codec_programs, preset
from vqdiffusion_jax import pipeline as pipeline_module
from vqdiffusion_jax.generation import generate
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.pipeline import Watching
from vqdiffusion_jax.sampling import (
    Ancestral,
    EntropyBound,
    FewerTokens,
    KeyNoise,
    MaskGIT,
    PurityPrior,
    RecordedNoise,
    ReferenceFast,
    Remask,
    SamplingSettings,
    first_timestep_of,
    image_keys,
    inpainting_start,
    noised_start,
    token_mask,
)
from vqdiffusion_jax.sampling.settings import SamplingFields, StrategyFields
from vqdiffusion_jax.sharding import make_mesh


def make(name: str) -> VQDiffusionPipeline:
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset(name)))


@pytest.fixture(scope="module")
def text():
    return make("tiny_text")


@pytest.fixture(scope="module")
def classes():
    return make("tiny_class")


@pytest.fixture(scope="module")
def unconditional():
    return make("tiny_unconditional")


def pictures(pipeline, *args, **kwargs):
    return pipeline(*args, output_type="uint8", **kwargs).images


def test_output_types(text):
    out = text(["a red apple", "a dog"], num_inference_steps=3)
    assert [image.size for image in out.images] == [(16, 16)] * 2
    assert out.tokens.shape == (2, 16) and out.tokens.dtype == np.int32
    floats = text("a dog", num_inference_steps=3, output_type="np").images
    assert floats.dtype == np.float32 and 0.0 <= floats.min() <= floats.max() <= 1.0
    np.testing.assert_array_equal(
        np.floor(floats * 255 + 1e-4).astype(np.uint8), pictures(text, "a dog", num_inference_steps=3)
    )
    (images,) = text("a dog", num_inference_steps=3, return_dict=False)
    assert len(images) == 1
    assert text("a dog", num_inference_steps=3, output_type="tokens").images is None


def test_a_picture_depends_on_seed_and_prompt_alone(text):
    alone = pictures(text, "a dog", seed=3)
    neighbours = pictures(text, ["a cat", "a dog", "a dog", "a house"], seed=3)
    np.testing.assert_array_equal(neighbours[1], alone[0])
    np.testing.assert_array_equal(pictures(text, ["a dog", "a cat"], seed=3)[0], alone[0])
    several = pictures(text, "a dog", seed=3, num_images_per_prompt=3)
    np.testing.assert_array_equal(several[:2], neighbours[1:3])
    np.testing.assert_array_equal(pictures(text, "a dog", seed=3, first_image=1), several[1:2])
    np.testing.assert_array_equal(pictures(text, ["a dog", "a dog"], seed=[3, 3]), np.stack([alone[0]] * 2))
    np.testing.assert_array_equal(pictures(text, "a dog", generator=jax.random.key(3)), alone)
    assert np.any(several[0] != several[1])
    assert np.any(pictures(text, "a dog", seed=4) != alone)


def test_a_stream_gives_each_batch_when_it_is_drawn_and_a_call_joins_them(text):
    seen = []
    fields = {
        "num_images_per_prompt": 3,
        "num_inference_steps": 4,
        "batch_size": 2,
        "output_type": "uint8",
        "return_trajectory": True,
    }
    watching = {"callback": lambda done, *_: seen.append(done) or len(seen) == 3, "callback_steps": 2}
    stream = text.stream(SamplingSettings.of(prompt="a dog", **fields), **watching)
    assert seen == []
    first = next(stream)
    assert seen == [2, 4] and first.images.shape == (2, 16, 16, 3) and first.trajectory.shape == (2, 4, 16)
    (second,) = stream
    assert seen == [2, 4, 2] and second.indices.tolist() == [2] and second.trajectory.shape == (1, 2, 16)
    seen.clear()
    called = text("a dog", **fields, **watching)
    np.testing.assert_array_equal(called.images, np.concatenate([first.images, second.images]))
    np.testing.assert_array_equal(called.trajectory[:2], first.trajectory)
    np.testing.assert_array_equal(called.trajectory[2], second.trajectory[0, [0, 1, 1, 1]])
    assert called.indices.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="output_type is 'jpg'"):
        text.stream(SamplingSettings.of(prompt="a dog", output_type="jpg"))
    with pytest.raises(ValueError, match="class_labels is given"):  # before the first batch is asked for
        text.stream(SamplingSettings(class_labels=1))


def test_stream_and_call_take_the_same():
    call, draw = (
        inspect.signature(method).parameters for method in (VQDiffusionPipeline.__call__, VQDiffusionPipeline.draw)
    )
    assert set(Watching.__annotations__) == set(draw) - {"self", "call"}
    for name in Watching.__annotations__:
        assert call[name].default == draw[name].default, name
    settings = set(call) - set(Watching.__annotations__) - {"self", "generator", "return_dict", "fields"}
    settings -= {"callback_on_step_end", "callback_on_step_end_tensor_inputs", "progress"}  # of the call alone
    ours = {field.name for field in dataclasses.fields(SamplingSettings)} | {"num_inference_steps"}
    assert settings | set(SamplingFields.__annotations__) == ours | set(StrategyFields.__annotations__)
    assert all(call[name].default is None for name in settings)


@pytest.mark.parametrize("batch_size", [2, 3])
def test_batches_are_filled_up(text, batch_size):
    whole = text(["a", "b", "c"], num_inference_steps=4, batch_size=batch_size, output_type="tokens").tokens
    np.testing.assert_array_equal(whole, text(["a", "b", "c"], num_inference_steps=4, output_type="tokens").tokens)


def test_a_second_call_compiles_nothing(text):
    text("a dog", guidance_scale=3.0, truncation_rate=0.9, num_inference_steps=5)
    with listed_compilations() as compiled:
        text("a blue bicycle", guidance_scale=4.5, truncation_rate=0.8, num_inference_steps=5, seed=9)
    assert compiled == []


def test_settings_do_not_stay(text):
    before = pictures(text, "a dog")
    pictures(
        text, "a dog", guidance_scale=1.0, truncation_rate=0.3, strategy=PurityPrior(tokens_per_call=2), null="text"
    )
    np.testing.assert_array_equal(pictures(text, "a dog"), before)


@pytest.mark.parametrize(
    "strategy", [Ancestral(num_inference_steps=4), ReferenceFast(2), FewerTokens(tokens_per_call=3), PurityPrior(0.5)]
)
def test_strategies_end_without_masks(text, classes, unconditional, strategy):
    for pipeline, subject in ((text, {"prompt": "a dog"}), (classes, {"class_labels": 1}), (unconditional, {})):
        tokens = pipeline(**subject, strategy=strategy, output_type="tokens").tokens
        assert tokens.max() < pipeline.config.denoiser.num_codes


@pytest.mark.parametrize("strategy", [MaskGIT(5), Remask(0.1, num_inference_steps=5)])
def test_strategies_that_are_faster_than_exact_end_without_masks(text, strategy):
    out = text("a dog", strategy=strategy, output_type="tokens", return_trajectory=True)
    assert out.tokens.max() < text.config.denoiser.num_codes and out.trajectory.shape == (1, 5, 16)


def test_a_run_of_as_many_calls_as_the_pictures_need(text):
    """A run may end before its plan, in pieces as in one; a callback sees each piece and may stop it."""
    arguments = {
        "prompt": ["a dog", "a cat"],
        "strategy": EntropyBound(6.0),
        "guidance_scale": 3.0,
        "guidance_interval": (0, 6),
    }
    arguments |= {"return_trajectory": True, "batch_size": 2}
    whole = text(**arguments, output_type="tokens")
    masked = (whole.trajectory == text.config.denoiser.mask_token).any(-1)
    calls = masked.sum(1).max() + 1
    assert whole.trajectory.shape == (2, 16, 16) and 1 < calls < 12 and not masked[:, -1].any()

    seen = []
    watch = {"callback": lambda *call: seen.append(call[:2]), "callback_steps": 2}
    np.testing.assert_array_equal(text(**arguments, **watch, output_type="tokens").trajectory, whole.trajectory)
    assert len(seen) == -(-calls // 2) and seen[-1][1] == 0

    stopped = text(**arguments, callback=lambda *_: True, callback_steps=2, output_type="uint8")
    assert stopped.trajectory.shape == (2, 2, 16) and (stopped.tokens == text.config.denoiser.mask_token).any()
    np.testing.assert_array_equal(stopped.trajectory, whole.trajectory[:, :2])
    assert stopped.images.std() > 0


def test_conditions_and_null_conditions_matter(text, classes):
    def tokens(pipeline, *args, **kwargs):
        return pipeline(*args, output_type="tokens", **kwargs).tokens

    guided = tokens(text, "a dog", guidance_scale=8.0)
    assert np.any(guided != tokens(text, "a dog", guidance_scale=1.0))
    assert np.any(guided != tokens(text, "a dog", guidance_scale=8.0, null="text"))
    assert np.any(guided != tokens(text, "a dog", guidance_scale=8.0, negative_prompt="a cat"))
    np.testing.assert_array_equal(
        tokens(text, "a dog", guidance_scale=8.0, null="text"),
        tokens(text, "a dog", guidance_scale=8.0, negative_prompt=""),
    )
    np.testing.assert_array_equal(guided, tokens(text, "a dog", guidance_scale=8.0, guidance_interval=(0, 9)))
    assert np.any(guided != tokens(text, "a dog", guidance_scale=8.0, guidance_interval=(6, 9)))
    assert np.any(guided != tokens(text, "a dog", guidance_scale=8.0, guidance_plausibility=0.9))
    assert np.any(tokens(classes, class_labels=1, guidance_scale=500.0) != tokens(classes, class_labels=1))


def test_callback_may_be_told_what_the_network_expects(text):
    seen = []
    text(
        "a dog",
        output_type="tokens",
        callback=lambda *now: seen.append(now[2:]),
        callback_steps=5,
        callback_prediction=True,
    )
    for tokens, codes, probability in seen:
        assert codes.shape == probability.shape == tokens.shape == (1, 16)
        assert np.all(codes < text.config.denoiser.num_codes) and np.all((probability > 0) & (probability <= 1))


def test_callback_sees_every_step_and_may_stop(text):
    seen = []
    watched = text(
        "a dog", output_type="tokens", callback=lambda calls, t, tokens: seen.append((calls, t)), callback_steps=3
    )
    assert seen == [(3, 7), (6, 4), (9, 1), (10, 0)]
    np.testing.assert_array_equal(watched.tokens, text("a dog", output_type="tokens").tokens)
    stopped = text("a dog", output_type="tokens", callback=lambda calls, t, tokens: calls >= 2, return_trajectory=True)
    assert stopped.trajectory.shape == (1, 2, 16)
    np.testing.assert_array_equal(stopped.trajectory[:, -1], stopped.tokens)


def test_a_stopped_picture_can_be_rendered(text):
    stopped = text("a dog", callback=lambda *_: True, output_type="np")
    assert (stopped.tokens == text.config.denoiser.mask_token).any()
    assert np.isfinite(stopped.images).all() and stopped.images.std() > 0


def test_completing_changes_masks_alone(text, monkeypatch):
    import vqdiffusion_jax.generation as module

    seen = []
    monkeypatch.setattr(
        module, "_complete", lambda *args: seen.append((args[3], args[4], module.complete(*args))) or seen[0][2]
    )
    stopped = text("a dog", callback=lambda calls, *_: calls == 6, output_type="uint8")
    ((before, timestep, after),) = seen
    masked = np.asarray(before) == text.config.denoiser.mask_token
    assert int(timestep) == 3 and masked.any() and not masked.all()  # calls were made at 9 to 4
    np.testing.assert_array_equal(np.asarray(after)[~masked], np.asarray(before)[~masked])
    np.testing.assert_array_equal(stopped.images, text.decode(after))


def test_batches_that_stop_apart_have_one_trajectory(text):
    calls = iter(range(100))
    stopped = text(
        ["a", "b", "c"],
        batch_size=1,
        output_type="tokens",
        return_trajectory=True,
        callback=lambda *_: next(calls) in (1, 4),
    )
    assert stopped.trajectory.shape == (3, 10, 16)
    np.testing.assert_array_equal(stopped.trajectory[:, -1], stopped.tokens)
    np.testing.assert_array_equal(stopped.trajectory[0, 1:], np.broadcast_to(stopped.tokens[0], (9, 16)))


def test_the_second_argument_is_the_number_of_steps(text):
    np.testing.assert_array_equal(
        text("a dog", 3, output_type="tokens").tokens, text("a dog", num_inference_steps=3, output_type="tokens").tokens
    )


def test_numbers_may_be_of_numpy_or_jax(text):
    plain = text(
        "a dog",
        3,
        seed=[5, 6],
        num_images_per_prompt=2,
        top_k=4,
        guidance_scale=2.0,
        output_type="tokens",
        batch_size=2,
    ).tokens
    for seed in (
        np.array([5, 6]),
        jax.numpy.array([5, 6]),
        [np.int64(5), jax.random.key(6)],
        jax.random.split(jax.random.key(0)),
    ):
        made = text(
            "a dog",
            np.int64(3),
            seed=seed,
            num_images_per_prompt=np.int32(2),
            top_k=np.int64(4),
            guidance_scale=np.float32(2),
            output_type="tokens",
            batch_size=np.int64(2),
        )
        same = not (isinstance(seed, jax.Array) and seed.dtype == jax.random.key(0).dtype)
        assert np.array_equal(made.tokens, plain) == same


def test_every_bit_of_a_seed_counts(text):
    def tokens(seed):
        return text("a dog", 3, seed=seed, output_type="tokens").tokens

    assert np.any(tokens(5) != tokens(2**32 + 5))
    assert np.any(tokens(2**32 + 5) != tokens(2**33 + 5))
    assert image_keys(5, 0, 1)[0] == jax.random.fold_in(
        jax.random.key(5), 0
    )  # as without the second word, which seeds below 2**32 do not have


def test_recorded_noise_must_be_all_there(text):
    codes = text.config.denoiser.num_codes
    uniforms = np.random.default_rng(0).random((10, 2, 16, codes + 1), np.float32)
    noise = RecordedNoise(uniforms[:3], np.ones((3, 2, 16), np.float32))
    assert text(["a", "b"], 3, noise=noise, output_type="tokens").tokens.shape == (2, 16)
    image = np.zeros((16, 16, 3), np.uint8)
    no_places = RecordedNoise(uniforms[:, :1])
    keys = KeyNoise(image_keys(0, 0, 1))
    for arguments, message in (
        ({"prompt": ["a", "b"], "num_inference_steps": 4, "noise": noise}, "this call needs"),
        ({"prompt": "a", "num_inference_steps": 3, "noise": noise}, "this call needs"),
        ({"prompt": ["a", "b", "c"], "num_inference_steps": 3, "noise": noise}, "this call needs"),
        ({"prompt": ["a", "b"], "image": image, "strength": 0.3, "noise": noise}, "this call needs"),
        ({"prompt": "a", "strategy": PurityPrior(), "noise": no_places}, "no exponentials"),
        ({"prompt": ["a", "b"], "noise": keys}, "for 2 pictures"),
        ({"prompt": "a", "noise": keys, "seed": 3}, "noise and seed are both given"),
        ({"prompt": "a", "noise": 3}, "noise is a int"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            text(**arguments)
        assert "\n" not in str(caught.value)


def test_one_mask_serves_all_pictures(text):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    masks = np.zeros((2, 16, 16), bool)
    masks[0, :8] = masks[1, 8:] = True
    one = text(["a", "b"], 3, image=image, mask_image=masks[:1], output_type="uint8").images
    np.testing.assert_array_equal(
        one, text(["a", "b"], 3, image=image, mask_image=masks[0], output_type="uint8").images
    )
    each = text(["a", "b"], 3, image=image, mask_image=masks, output_type="uint8").images
    np.testing.assert_array_equal(each[1][:8], image[:8])
    np.testing.assert_array_equal(each[0], one[0])


def test_inpainting_keeps_the_outside(text):
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mask = np.zeros((16, 16), bool)
    mask[2:7, 3:10] = True
    for strength in (None, 0.6):
        out = text(
            "a dog", image=original, mask_image=mask, strength=strength, output_type="uint8", return_trajectory=True
        )
        np.testing.assert_array_equal(out.images[0][~mask], original[~mask])
        assert np.any(out.images[0][mask] != original[mask])
        kept = text.encode(original)[0] == out.trajectory[0]
        outside = ~np.any(mask.reshape(4, 4, 4, 4), axis=(1, 3)).reshape(-1)
        assert kept[:, outside].all()


@pytest.fixture
def requests(monkeypatch):
    """Return a list of the requests that calls make, one a batch."""
    seen = []
    monkeypatch.setattr(
        pipeline_module,
        "generate",
        lambda model, request, **options: seen.append(request) or generate(model, request, **options),
    )
    return seen


def started(requests: list, count: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Return the start of ``count`` pictures and the tokens known of it, and empty ``requests``."""
    start = np.concatenate([one.start for one in requests])[:count]
    known = (
        None
        if requests[0].known is None
        else tuple(np.concatenate(part)[:count] for part in zip(*(one.known for one in requests)))
    )
    requests.clear()
    return start, known


def test_image_to_image_starts_from_the_image(text, requests):
    dark, bright = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8) // 4
    originals = np.stack([dark, 255 - bright])
    encoded, mask_token = text.encode(originals), text.config.denoiser.mask_token
    assert np.mean(encoded[0] != encoded[1]) > 0.5

    def draw(strength, **arguments):
        images = {"image": list(originals), "strength": strength, "num_images_per_prompt": 2, "return_trajectory": True}
        return text("a dog", **images, output_type="tokens", **arguments).trajectory

    assert draw(0.1).shape[1] == 1
    assert np.all(np.mean(started(requests, 2)[0] == encoded, axis=1) > 0.9)
    assert draw(1.0).shape[1] == 10
    assert np.mean(started(requests, 2)[0] == mask_token) > 0.9
    # The first calls leave most of a little noised picture as it is.
    path = draw(0.3)
    assert np.mean(path[:, 0] == encoded) > np.mean(path[:, 0] == encoded[::-1]) + 0.2


@pytest.mark.parametrize("name", ["text", "classes", "unconditional"])
def test_a_start_in_batches_is_that_of_all_at_once(request, requests, monkeypatch, name):
    """Given pictures are noised together, with each quantizer; a common one is encoded once, unless codes are drawn."""
    pipeline = request.getfixturevalue(name)
    codec, codes, draws = (
        pipeline.config.codec,
        pipeline.config.denoiser.num_codes,
        pipeline.config.codec.quantizer == "gumbel",
    )
    subject = {"text": {"prompt": "a dog"}, "classes": {"class_labels": 1}, "unconditional": {}}[name]
    originals = np.random.default_rng(2).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    masks = np.zeros((3, 16, 16), bool)
    masks[0, :5], masks[1, 5:], masks[2, :, :3] = True, True, True
    keys = image_keys(4, 0, 3)
    encoder_keys = jax.vmap(lambda key: jax.random.fold_in(key, 2**30))(keys)
    encode, encoded = codec_programs.encode, []
    monkeypatch.setattr(
        codec_programs,
        "encode",
        lambda model, images, keys: encoded.append(len(images)) or encode(model, images, keys),
    )
    for images, mask, strength, batch_size in (
        (originals[:1], None, 0.6, 1),
        (originals, None, 0.6, 2),
        (originals[:1], masks[0], None, 2),
        (originals, masks, 0.6, 2),
    ):
        pipeline(
            **subject,
            num_images_per_prompt=3,
            seed=4,
            image=list(images),
            mask_image=mask,
            strength=strength,
            batch_size=batch_size,
            output_type="tokens",
        )
        found, found_known = started(requests, 3)
        assert encoded == ([1] if len(images) == 1 and not draws else [batch_size] * -(-3 // batch_size))
        encoded.clear()
        start = tokens = encode(pipeline.model, np.broadcast_to(images, originals.shape), encoder_keys)
        if mask is not None:
            start, known = inpainting_start(tokens, token_mask(mask, codec.grid), codes)
            np.testing.assert_array_equal(found_known[0], known[0])
            np.testing.assert_array_equal(found_known[1], known[1])
        if strength is not None:
            start = noised_start(tokens, first_timestep_of(strength, 10), pipeline.schedule, KeyNoise(keys))
        np.testing.assert_array_equal(found, start)
        assert (mask is None) == (found_known is None)


def test_keys_of_another_generator_stay_what_they_are(unconditional):
    original = np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    on_mesh = VQDiffusionPipeline(unconditional.model, mesh=make_mesh(devices=jax.devices()[:1]))
    key = jax.random.key(5, impl="rbg")
    arguments = {"image": original, "strength": 0.5, "output_type": "tokens"}
    tokens = unconditional(seed=key, **arguments).tokens
    np.testing.assert_array_equal(on_mesh(seed=key, **arguments).tokens, tokens)
    assert np.any(unconditional(seed=5, **arguments).tokens != tokens)
    np.testing.assert_array_equal(on_mesh.encode(original, seed=key), unconditional.encode(original, seed=key))


def test_latents(text):
    start = np.full((1, 16), text.config.denoiser.mask_token)
    np.testing.assert_array_equal(
        text("a dog", latents=start, output_type="tokens").tokens, text("a dog", output_type="tokens").tokens
    )


MISTAKES = [
    ("text", {}, "give prompt or prompt_embeds"),
    ("text", {"prompt": []}, "one or more values"),
    ("text", {"prompt": "a", "class_labels": 1}, "class_labels is given, but this model is conditioned on text"),
    ("classes", {"prompt": "a"}, "prompt is given"),
    ("classes", {"class_labels": 5}, "from 0 to 4"),
    ("classes", {"class_labels": 1, "negative_prompt": "a"}, "only text models"),
    ("unconditional", {"guidance_scale": 2.0}, "nothing to guide by"),
    ("unconditional", {"null": "learnable"}, "no learnable null"),
    ("text", {"prompt": "a", "truncation_rate": 1.5}, "above 0, up to 1"),
    ("text", {"prompt": "a", "truncation_rate": 0.5, "top_k": 3}, "give one"),
    ("text", {"prompt": "a", "num_inference_steps": 11}, "1 to 10"),
    ("text", {"prompt": "a", "num_inference_steps": 3, "strategy": Ancestral()}, "holds its own settings"),
    ("text", {"prompt": "a", "num_images_per_prompt": 0}, "a whole number from 1 to"),
    ("text", {"prompt": "a", "seed": -1}, "seed is -1"),
    ("text", {"prompt": "a", "seed": [1, 2]}, "2 seeds for 1"),
    ("text", {"prompt": "a", "output_type": "jpg"}, "one of pil, np, uint8, tokens"),
    ("text", {"prompt": "a", "strength": 0.5}, "without image"),
    ("text", {"prompt": "a", "image": np.zeros((16, 16, 3), np.uint8)}, "without strength"),
    ("text", {"prompt": "a", "image": np.zeros((8, 8, 3), np.uint8), "strength": 0.5}, "resize"),
    ("text", {"prompt": "a", "image": np.zeros((16, 16, 3), np.uint8), "strength": 0.01}, "leaves no step"),
    (
        "text",
        {"prompt": "a", "image": np.zeros((16, 16, 3), np.uint8), "mask_image": np.zeros((8, 8))},
        "mask_image has shape",
    ),
    ("text", {"prompt": "a", "latents": np.full((1, 16), 99)}, r"99 at \(0, 0\) is out of range"),
    ("text", {"prompt": "a", "latents": np.zeros((1, 9), int)}, "latents has shape"),
    ("text", {"prompt_embeds": np.zeros((1, 8, 7))}, "prompt_embeds has shape"),
    ("text", {"prompt": "a", "num_inference_steps": 2.5}, "num_inference_steps is 2.5"),
    ("text", {"prompt": "a", "num_inference_steps": "3"}, "num_inference_steps is '3'"),
    ("text", {"prompt": "a", "strategy": "puritas"}, "strategy is 'puritas'.*did you mean purity"),
    ("text", {"prompt": "a", "strategy": PurityPrior}, "must be an instance"),
    ("text", {"prompt": "a", "image": np.zeros((16, 16, 3), np.uint8), "strength": "x"}, "strength is 'x'"),
    ("text", {"prompt": "a", "guidance_scale": "x"}, "guidance_scale is 'x'"),
    ("text", {"prompt": "a", "guidance_scale": 2, "guidance_interval": (0, 10)}, "highest <= 9"),
    ("text", {"prompt": "a", "guidance_scale": 2, "guidance_interval": 3}, "2 values, each a whole number"),
    ("text", {"prompt": "a", "guidance_plausibility": 0}, "above 0, up to 1"),
    ("text", {"prompt": 5}, "prompt is 5"),
    ("text", {"prompt": ["a", None]}, r"prompt is \[\'a\', None\]"),
    ("text", {"prompt": "a", "seed": jax.random.PRNGKey(0)}, "PRNGKey"),
    ("text", {"prompt": "a", "seed": 1, "generator": 2}, "seed and generator are both given"),
    (
        "text",
        {"prompt": "a", "negative_prompt": "b", "negative_prompt_embeds": np.zeros((1, 8, 8))},
        "negative_prompt_embeds are both",
    ),
    (
        "text",
        {"prompt": ["a", "b"], "image": np.zeros((16, 16, 3), np.uint8), "mask_image": np.ones((3, 16, 16))},
        "3 masks for 2",
    ),
    ("text", {"prompt": ["a", "b", "c"], "negative_prompt": ["x", "y"]}, "2 entries for 3 prompts"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), MISTAKES, ids=[message for *_, message in MISTAKES])
def test_mistakes_are_one_line(request, name, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        request.getfixturevalue(name)(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_sampler_lowers_for_other_platforms(text, platform):
    requests = []

    def stop(calls, timestep, tokens):
        return True

    def record(model, request, *args, **options):
        requests.append(request)
        raise KeyboardInterrupt

    original, pipeline_module.generate_in_pieces = pipeline_module.generate_in_pieces, record
    try:
        with pytest.raises(KeyboardInterrupt):
            text("a dog", guidance_scale=3.0, callback=stop)
    finally:
        pipeline_module.generate_in_pieces = original
    lowered = generate.trace(text.model, requests[0]).lower(lowering_platforms=(platform,))
    assert "while" in lowered.as_text()


def test_native_folder_round_trip(text, tmp_path):
    text.save_pretrained(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "README.md",
        "config.json",
        "tokenizer",
        "weights",
    }
    again = type("Mine", (VQDiffusionPipeline,), {}).from_pretrained(tmp_path / "model")
    assert again.config == text.config and type(again).__name__ == "Mine"
    np.testing.assert_array_equal(
        again("a dog", output_type="tokens").tokens, text("a dog", output_type="tokens").tokens
    )
    with pytest.raises(FileExistsError, match="not an empty folder"):
        text.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.glob(".model*"))
