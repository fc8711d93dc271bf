"""Compiled programs are bounded in number, and settings of a call are no part of them."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.compiling import listed_compilations
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset, programs
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.programs import PROGRAMS, Programs, bounded_jit, count_maps, padded_length
from vqdiffusion_jax.sampling import STRATEGIES, Ancestral, EntropyBound, MaskGIT, PurityPrior, Remask
from vqdiffusion_jax.sampling.strategy import for_steps

LINUX = sys.platform == "linux"


@pytest.fixture
def kept(monkeypatch):
    """Return an empty collection of at most four programs, in place of the process's own."""
    collection = Programs(most=4)
    monkeypatch.setattr(programs, "PROGRAMS", collection)
    yield collection
    collection.drop(len(collection))


@pytest.fixture
def compiled():
    """Return a list that grows with every program that XLA compiles or reads from disk."""
    with listed_compilations() as seen:
        yield seen


@pytest.fixture(scope="module")
def text():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))


def doubled(x, *, times: int = 1):
    return x * 2 * times


def test_the_programs_used_longest_ago_are_dropped(kept, compiled):
    double = bounded_jit(doubled, static_argnames=("times",))
    x = {size: np.ones(size, np.float32) for size in range(1, 6)}
    for size in (1, 2, 3, 4):
        np.testing.assert_array_equal(double(x[size]), 2.0)
    assert len(kept) == 4
    double(x[1])
    before = len(compiled)
    double(x[5])  # for which 2 and 3 make room: three quarters are kept, with the new one
    assert len(kept) == 3 and len(compiled) == before + 1
    for size in (1, 4, 5):
        double(x[size])
    assert len(compiled) == before + 1
    double(x[2])
    assert len(compiled) == before + 2


def test_static_arguments_types_and_structures_are_told_apart(kept):
    double = bounded_jit(doubled, static_argnames=("times",))
    assert double(jnp.float32(1.5), times=3) == 9.0 and double(jnp.float32(1.5), times=4) == 12.0
    assert double(jnp.int32(2)).dtype == jnp.int32
    assert len(kept) == 3 and double.__name__ == "doubled"
    assert "stablehlo" in double.lower(np.ones(3, np.float32)).as_text()


@pytest.mark.skipif(not LINUX, reason="the system does not tell memory maps")
def test_dropped_programs_give_their_memory_maps_back(kept):
    def busy(x):
        for turn in range(20):
            x = jnp.sin(x @ x.T + turn) @ jnp.sort(x)
        return x

    function = bounded_jit(busy)
    function(np.ones((2, 2), np.float32))
    kept.drop(1)
    before = count_maps()
    function(np.ones((3, 3), np.float32))
    grown = count_maps()
    kept.drop(1)
    assert grown > before + 10 and count_maps() < before + (grown - before) / 2


def test_programs_are_dropped_where_maps_run_short(kept, monkeypatch):
    double, cleared = bounded_jit(doubled), []
    for size in (1, 2, 3):
        double(np.ones(size, np.float32))
    monkeypatch.setattr(programs, "max_maps", lambda: 1000)
    monkeypatch.setattr(programs, "count_maps", lambda: 400 + 50 * len(kept))  # 500 are allowed
    monkeypatch.setattr(programs.jax, "clear_caches", lambda: cleared.append(True))
    double(np.ones(4, np.float32))
    assert len(kept) == 2 and not cleared
    monkeypatch.setattr(programs, "count_maps", lambda: 700)
    double(np.ones(5, np.float32))
    assert len(kept) == 1 and cleared == [True]
    double(np.ones(6, np.float32))  # the maps that are left are not ours, so nothing is gained by dropping
    assert len(kept) == 2 and cleared == [True]


@pytest.mark.parametrize(("count", "least", "padded"), [(0, 1, 1), (1, 1, 1), (3, 1, 4), (64, 1, 64), (5, 128, 128)])
def test_lengths_are_few(count, least, padded):
    assert padded_length(count, least) == padded


@pytest.mark.parametrize("strategy", [Ancestral(1), PurityPrior(tokens_per_call=1), EntropyBound()])
def test_a_padded_plan_repeats_its_last_row(text, strategy):
    plan = strategy.plan(text.schedule, 150)
    calls, padded = len(plan), plan.padded()
    assert len(padded) == (256 if calls > 128 else 128) and (calls > 128) == (strategy != Ancestral(1))
    for whole, part in zip(jax.tree.leaves(padded), jax.tree.leaves(plan)):
        assert whole.dtype == part.dtype
        np.testing.assert_array_equal(whole[:calls], part)
        np.testing.assert_array_equal(whole[calls:], np.broadcast_to(part[-1], whole[calls:].shape))


def test_steps_do_not_see_what_only_plans_read():
    assert for_steps(Ancestral(num_inference_steps=5, first_timestep=7)) == Ancestral()
    assert for_steps(PurityPrior(0.5, tokens_per_call=3)) == PurityPrior(0.5)
    assert for_steps(MaskGIT(3, temperature=2.0, mask_schedule="linear")) == MaskGIT(temperature=2.0)
    assert for_steps(Remask(0.3, "rescale", timesteps=(3, 0))) == Remask()
    for cls in STRATEGIES.values():
        changed = [value for value in jax.tree.leaves(for_steps(cls()))]
        assert changed == jax.tree.leaves(cls()) and for_steps(cls()) == cls()


KINDS = {  # settings that share their programs, by number
    "posterior": lambda n: {"num_inference_steps": 1 + n % 10, "truncation_rate": 0.3 + n / 100, "seed": n},
    "start": lambda n: {"image": np.full((16, 16, 3), n, np.uint8), "strength": (n % 10 + 1) / 10, "top_k": 1 + n % 7},
    "purity": lambda n: {"strategy": "purity", "tokens_per_call": 1 + n % 16, "purity_weight": n / 10},
    "maskgit": lambda n: {
        "strategy": "maskgit",
        "num_inference_steps": 1 + n % 16,
        "temperature": n / 10,
        "mask_schedule": ("cosine", "linear")[n % 2],
        "guidance_scale": 2 + n / 10,
        "guidance_interval": (n % 5, 5 + n % 5),
        "guidance_plausibility": 1 / (1 + n),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_sixty_settings_share_their_programs(text, kind, compiled):
    """Fifteen calls of each kind: numbers of calls, pictures and callbacks compile nothing after the first ones."""

    def draw(number):
        watched = {"callback": lambda *_: None, "callback_steps": 1 + number % 4} if number % 2 else {}
        count = (1, 2, 4)[number % 3]
        return text("a cat", output_type="uint8", num_images_per_prompt=count, **KINDS[kind](number), **watched)

    for number in range(6):
        draw(number)
    before, kept, maps = len(compiled), len(PROGRAMS), count_maps()
    for number in range(6, 21):
        draw(number)
    assert len(compiled) == before and len(PROGRAMS) == kept and count_maps() < maps + 50


def test_numbers_of_pictures_compile_little(text, compiled):
    """On the host: which pictures, their keys and their conditions; keys are made for a power of two."""
    for count in (1, 8, 16):
        text("a cat", num_inference_steps=1, num_images_per_prompt=count, output_type="tokens")
    before = len(compiled)
    for count in (5, 6, 7, 9, 10, 13):
        text(["a cat", "a dog"][: 1 + count % 2], num_inference_steps=1, num_images_per_prompt=count, seed=count)
    assert len(compiled) <= before + 1, "the decoder, and nothing for each number of pictures"


def test_recorded_noise_of_other_lengths_shares_a_program(text, compiled):
    from vqdiffusion_jax.sampling import RecordedNoise

    uniforms = np.random.default_rng(0).random((7, 1, 16, text.config.denoiser.num_codes + 1), np.float32)
    noise = {draws: RecordedNoise(uniforms[:draws]) for draws in (5, 6, 7)}
    text("a cat", num_inference_steps=5, noise=noise[5])
    before = len(compiled)
    drawn = [text("a cat", num_inference_steps=5, noise=noise[draws], output_type="tokens") for draws in (6, 7)]
    text("a cat", num_inference_steps=7, noise=noise[7])
    np.testing.assert_array_equal(drawn[0].tokens, drawn[1].tokens)
    assert len(compiled) <= before + 1, "that without pixels"
