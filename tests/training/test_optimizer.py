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
        gradients = {
            name: (random.normal(size=value.shape) * scale).astype(np.float32) for name, value in start.items()
        }
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


def test_muon_makes_directions_inside_blocks_orthogonal_and_leaves_the_rest_to_adamw():
    random = np.random.default_rng(0)
    shapes = {
        "blocks.mlp.kernel": (2, 6, 24),
        "blocks.mlp.bias": (2, 24),
        "blocks.cross_norm.kernel": (2, 6, 12),
        "logits.kernel": (6, 9),
        "up.0.blocks.1.conv1.kernel": (3, 3, 4, 8),
        "middle.attention.query.kernel": (8, 8),
        "conv_out.kernel": (3, 3, 4, 3),
    }

    def values():
        return {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in shapes.items()}

    parameters, gradients = values(), values()
    found = {}
    for name in ("adamw", "muon"):
        optimizer = make_optimizer(OptimizerConfig(name=name, weight_decay=0.0))
        found[name], _ = optimizer.update(gradients, optimizer.init(parameters), parameters)
    muon, adamw = found["muon"], found["adamw"]
    for matrix in (
        *muon["blocks.mlp.kernel"],
        muon["up.0.blocks.1.conv1.kernel"].reshape(36, 8),
        muon["middle.attention.query.kernel"],
    ):
        spread = np.linalg.svd(matrix, compute_uv=False) / (0.2 * np.sqrt(max(matrix.shape)))
        assert 0.5 < spread.min() <= spread.max() < 1.25  # five Newton-Schulz steps come so near to 1
    for name in ("blocks.mlp.bias", "blocks.cross_norm.kernel", "logits.kernel", "conv_out.kernel"):
        np.testing.assert_array_equal(muon[name], adamw[name])
