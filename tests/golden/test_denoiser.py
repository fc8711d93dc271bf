import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case, classes_last
from tests.golden.loading import recorded_condition
from vqdiffusion_jax.diffusion import transitions
from vqdiffusion_jax.models.layers import lookup
from vqdiffusion_jax.sampling.guidance import combine
from vqdiffusion_jax.sampling.truncation import TopR

TOLERANCE = 1e-4
logits_of = jax.jit(lambda denoiser, *inputs: denoiser(*inputs))
predict = jax.jit(lambda denoiser, *inputs: transitions.predict_start(denoiser(*inputs)))
NULL_LABEL = 1000  # the reference's guidance runs a class model with this label, whatever the number of its classes


def close(ours, theirs, tolerance=TOLERANCE):
    np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


@pytest.mark.cases("text", "class", "none")
def test_network(case: Case, model):
    tokens, t = jnp.asarray(case["net/x_t"]), jnp.asarray(case["net/t"])
    condition = recorded_condition(case, len(tokens))

    @jax.jit
    def embed(denoiser):
        return lookup(denoiser.token_embedding, tokens) + denoiser.positions()

    @jax.jit
    def run_block(blocks, layer, x):
        block = jax.tree.map(lambda leaf: leaf[layer], blocks)
        return block(x, block.modulation(t), block.condition(condition))

    @jax.jit
    def run(denoiser):
        prepared = {"conditioning": denoiser.precompute(condition), "modulation": denoiser.modulation_table()}
        return denoiser(tokens, t, condition), denoiser(tokens, t, **prepared)

    x = embed(model.denoiser)
    close(x, case["net/content_emb"], 1e-5)
    for layer in range(model.config.denoiser.num_layers):
        x = run_block(model.denoiser.blocks, layer, x)
        close(x, case[f"net/block{layer}_out"])

    for logits in run(model.denoiser):
        close(logits, classes_last(case["net/logits"]))
    recorded = classes_last(case["net/predict_start"])
    close(transitions.predict_start(logits), recorded[..., :-1])
    assert np.all(recorded[..., -1] == transitions.LOG_FLOOR)


@pytest.mark.cases("text", "class", "none")
def test_network_in_the_forms_of_large_models(case: Case, model, forms_of_large_models):
    test_network(case, model)
    config = model.config.denoiser
    # Only a convolution whose result has even sides has a cheaper form.
    even = config.mlp == "conv" and not any(side % 2 for side in config.grid)
    assert forms_of_large_models == {"_blocked"} | ({"winograd"} if even else set())


@pytest.mark.cases("class", needs=("net/logits_label_",))
def test_null_labels(case: Case, model):
    tokens, t = jnp.asarray(case["net/x_t"]), jnp.asarray(case["net/t"])
    # The reference decides on the first label alone that the whole batch takes the mean row.
    labels = {"mean": model.config.denoiser.num_classes}
    for name, recorded in case.group("net/logits_label_").items():
        label = labels[name] if name in labels else int(name)
        close(logits_of(model.denoiser, tokens, t, jnp.full(len(tokens), label)), classes_last(recorded))


@pytest.mark.cases("text", "class", needs=("cfg/", "trunc/"))
def test_guidance_and_truncation(case: Case, model):
    tokens, t = jnp.asarray(case["net/x_t"]), jnp.asarray(case["net/t"])
    conditional = predict(model.denoiser, tokens, t, recorded_condition(case, len(tokens)))
    if case.kind == "text":
        null = predict(model.denoiser, tokens, t, model.denoiser.null(len(tokens)))
        close(null, classes_last(case["cfg/log_x0_uncond"]))
    else:
        null = predict(model.denoiser, tokens, t, jnp.full(len(tokens), NULL_LABEL))
    guided = {"plain": conditional}
    for name, recorded in case.group("cfg/guided_").items():
        guided[f"guided_{name}"] = combine(conditional, null, float(name))
        close(guided[f"guided_{name}"], classes_last(recorded)[..., :-1])
    assert_truncations(case, guided)


@pytest.mark.cases("none", needs=("trunc/",))
def test_truncation(case: Case, model):
    tokens, t = jnp.asarray(case["net/x_t"]), jnp.asarray(case["net/t"])
    assert_truncations(case, {"": predict(model.denoiser, tokens, t)})


def assert_truncations(case: Case, predictions):
    recordings = case.group("trunc/")
    assert recordings
    for name, recorded in recordings.items():
        source, _, rate = name.rpartition("r")
        log_x0 = predictions[source.rstrip("_")]
        ours, theirs = np.asarray(TopR(float(rate))(log_x0)), classes_last(recorded)[..., :-1]
        differ = (ours == transitions.LOG_FLOOR) != (theirs == transitions.LOG_FLOOR)
        # At r = 1 what follows the point where the running float32 sum reaches 1 is kept or dropped by summation order.
        negligible = np.where(differ, np.exp(np.asarray(log_x0)), 0.0).sum(-1)
        assert negligible.max() < (1e-6 if float(rate) == 1.0 else 1e-30), name
        close(ours[~differ], theirs[~differ])
