import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.training.config import OptimizerConfig
from vqdiffusion_jax.training.optimizer import make_optimizer


@pytest.mark.parametrize("decayed", ["all", "matrices"])
def test_is_adamw_after_clipping(decayed):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    start = {"kernel": random.normal(size=(4, 3)).astype(np.float32), "bias": random.normal(size=3).astype(np.float32)}
    config = OptimizerConfig(decayed=decayed, weight_decay=0.3)
    rates = [0.1, 0.02, 0.05, 0.05]

    theirs = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    groups = [
        {"params": [theirs["kernel"]], "weight_decay": 0.3},
        {"params": [theirs["bias"]], "weight_decay": 0.3 if decayed == "all" else 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.96), eps=1e-8)
    optimizer = make_optimizer(config)
    ours = jax.tree.map(jnp.asarray, start)
    state = optimizer.init(ours)
    for number, rate in enumerate(rates):
        # The second gradient is small enough not to be clipped.
        scale = 0.01 if number == 1 else 1.0
        gradients = {name: (random.normal(size=value.shape) * scale).astype(np.float32) for name, value in start.items()}
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(gradients[name])
        torch.nn.utils.clip_grad_norm_(theirs.values(), 0.5)
        for group in adamw.param_groups:
            group["lr"] = rate
        adamw.step()
        directions, state = optimizer.update(gradients, state, ours)
        ours = jax.tree.map(lambda value, direction: value - rate * direction, ours, directions)  # noqa: B023
        for name, parameter in theirs.items():
            np.testing.assert_allclose(ours[name], parameter.detach().numpy(), rtol=2e-5, atol=2e-6)


def test_muon_makes_directions_of_stacked_matrices_orthogonal_and_leaves_the_rest_to_adamw():
    random = np.random.default_rng(0)

    def values(scale=1.0):
        shapes = {
            "blocks.mlp": {"kernel": (2, 6, 24), "bias": (2, 24)},
            "blocks.cross_norm": {"kernel": (2, 6, 12)},
            "logits": {"kernel": (6, 9)},
        }
        return jax.tree.map(
            lambda shape: jnp.asarray(random.normal(size=shape) * scale, jnp.float32), shapes, is_leaf=lambda x: isinstance(x, tuple)
        )

    parameters, gradients = values(), values()
    found = {}
    for name in ("adamw", "muon"):
        optimizer = make_optimizer(OptimizerConfig(name=name, weight_decay=0.0))
        found[name], _ = optimizer.update(gradients, optimizer.init(parameters), parameters)
    for layer in np.asarray(found["muon"]["blocks.mlp"]["kernel"]):
        spread = np.linalg.svd(layer, compute_uv=False) / (0.2 * np.sqrt(24))
        assert 0.6 < spread.min() <= spread.max() < 1.25  # five Newton-Schulz steps come so near to 1
    for part, name in (("blocks.mlp", "bias"), ("blocks.cross_norm", "kernel"), ("logits", "kernel")):
        np.testing.assert_array_equal(found["muon"][part][name], found["adamw"][part][name])
    assert np.abs(found["muon"]["blocks.mlp"]["kernel"] - found["adamw"]["blocks.mlp"]["kernel"]).max() > 0.1
