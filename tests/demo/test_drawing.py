from dataclasses import replace

import jax
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.demo.drawing import draw
from vqdiffusion_jax.demo.job import job_of
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.models.clip import text_embedding
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


@pytest.fixture(scope="module")
def text():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))


def job(pipeline, **form):
    return job_of(form, pipeline, Limits(), {})


def test_frames_lead_to_the_pictures_of_the_pipeline(text):
    frames = []
    assert draw(text, job(text, prompt="a dog", num_images_per_prompt=2, seed=3), frames.append)
    assert [frame.calls for frame in frames] == list(range(1, 21)) and {frame.of for frame in frames} == {20}
    drawn = text.decode(
        text("a dog", num_images_per_prompt=2, seed=3, output_type="tokens", callback=lambda *_: None).tokens
    )
    first, second = frames[-1].snapshots
    np.testing.assert_array_equal([first.picture, second.picture], drawn)
    assert not first.masked.any() and not second.masked.any() and frames[0].snapshots[0].masked.any()
    # The second picture is begun when the first is done, which is not touched any more.
    first, second = frames[9].snapshots
    assert first is frames[-1].snapshots[0]
    assert (second.picture == 128).all() and second.masked.all() and not second.confidence.any()
    assert frames[-1].caption.startswith("call 20 of 20, timestep 0: 0 of 32 tokens masked, confidence 0.")


def test_confidence_is_the_largest_probability_that_the_next_call_sees(text):
    frames, tokens = [], []
    draw(text, job(text, prompt="a dog", truncation_rate=1.0), frames.append)
    text("a dog", truncation_rate=1.0, output_type="tokens", callback=lambda *now: tokens.append(now[2]))

    @jax.jit
    def logits_of(model, ids, tokens):
        return model.denoiser(tokens, 5, text_embedding(model.text_encoder, ids, model.config.text_embedding))

    logits = logits_of(text.model, text.tokenizer(["a dog"])[0], tokens[3])  # the fifth of ten calls is at timestep 5
    np.testing.assert_allclose(
        frames[3].snapshots[0].confidence.reshape(1, -1), jax.nn.softmax(logits).max(-1), rtol=1e-4
    )


def test_a_run_stops_when_it_is_told_to(text):
    frames = []
    two = job(text, prompt="a dog", num_images_per_prompt=2)
    assert not draw(text, two, lambda frame: frames.append(frame) or frame.calls == 4)
    assert len(frames) == 4


def test_only_what_is_painted_changes_also_where_a_picture_ends_early(text):
    size = text.config.codec.image_size
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    mask = np.zeros((size, size), bool)
    mask[:5, :5] = True
    frames = []
    assert draw(
        text,
        job(text, prompt="a", image=picture, mask_image=mask, strategy="entropy_bound"),
        frames.append,
    )
    assert frames[-1].calls < frames[-1].of
    for frame in frames:
        np.testing.assert_array_equal(frame.snapshots[0].picture[~mask], picture[~mask])
    assert (frames[-1].snapshots[0].picture[mask] != picture[mask]).any()


def test_a_cancelled_run_ends_between_two_frames(text):
    frames, asked = [], []
    one = replace(job(text, prompt="a dog"), every=5)
    assert not draw(text, one, frames.append, lambda: asked.append(True) or len(asked) == 7)
    assert [frame.calls for frame in frames] == [5] and len(asked) == 7
    assert not draw(text, job(text, prompt="a dog", num_images_per_prompt=2), frames.append, lambda: True)
    assert len(frames) == 1


def test_frames_far_apart_show_what_frames_after_every_call_do(text):
    often, seldom = [], []
    one = job(text, prompt="a dog", num_images_per_prompt=2, seed=3)
    assert one.every == 1 and draw(text, one, often.append)
    assert draw(text, replace(one, every=4), seldom.append)
    assert [frame.calls for frame in seldom] == [4, 8, 10, 14, 18, 20]
    for frame in seldom:
        same = often[frame.calls - 1]
        for snapshot, known in zip(frame.snapshots, same.snapshots):
            np.testing.assert_array_equal(snapshot.picture, known.picture)
            np.testing.assert_array_equal(snapshot.confidence, known.confidence)
