"""The time of a denoising step outside the network: guidance, truncation, posterior, noise and draw.

    python -m benchmarks.sampler_tail [--models emoji,imagenet_cf,coco_cf,ithq] [--steps 4]

The tail runs in the sampler's own loop on random logits in place of the network's; "ours" is the whole step.  The row
"sorted" has the truncation that sorts, which is what this project did before; "all kept" has a truncation rate of 1,
the default of models with a learned null condition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from benchmarks._measure import alternate, arguments, finish, rows_of
from benchmarks._models import config_of, random_model
from benchmarks._step import RATE, compiled_steps, compiled_tail, request_of
from vqdiffusion_jax.diffusion.transitions import LOG_FLOOR
from vqdiffusion_jax.sampling import TopR

TARGETS = {"emoji": 8.0}  # percent of a step; 3 for the released sizes


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sorted:
    """TopR's definition, by sorting."""

    rate: float

    def __call__(self, log_x0):
        order = jnp.argsort(log_x0, axis=-1, descending=True)
        total = jnp.cumsum(jnp.exp(jnp.take_along_axis(log_x0, order, -1)), -1)
        kept = jnp.concatenate([jnp.ones_like(total[..., :1], bool), total[..., :-1] < self.rate], -1)
        return jnp.where(jnp.take_along_axis(kept, jnp.argsort(order, -1), -1), log_x0, LOG_FLOOR)


def main() -> None:
    parser = arguments(__doc__, "sampler_tail")
    parser.add_argument("--models", default="emoji,imagenet_cf,coco_cf,ithq")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    rows = []
    for name in options.models.split(","):
        config = config_of(name, options.layers)
        model = random_model(config, options.dtype)
        request = request_of(model, options.batch, options.steps)
        all_kept = replace(request, truncation=TopR(1.0))
        timings = alternate(
            {
                "ours": compiled_steps(model, request),
                "tail": compiled_tail(model, request),
                "tail, sorted": compiled_tail(model, replace(request, truncation=Sorted(RATE))),
                "ours, all kept": compiled_steps(model, all_kept),
                "tail, all kept": compiled_tail(model, all_kept),
            },
            options.repeats,
        )
        facts = {"batch": options.batch, "steps": options.steps, "layers": config.denoiser.num_layers}
        whole = {name: timings["ours, all kept" if name.endswith("all kept") else "ours"] for name in timings}
        shares = [
            {"percent_of_step": timing["median"] / whole[name]["median"] * 100} for name, timing in timings.items()
        ]
        facts |= {"target_percent": TARGETS.get(name, 3.0)}
        no_peer = {"ratio_to_peer": None, "cpu_ratio_to_peer": None}
        rows += [row | no_peer | share for row, share in zip(rows_of(name, timings, **facts), shares)]
        for kind in ("median", "cpu"):
            shares = [
                f"{tail} {timings[tail][kind] / whole[tail][kind]:.1%}" for tail in timings if tail.startswith("tail")
            ]
            print(f"{name}, share of a step by {kind} time: {', '.join(shares)}", flush=True)
    finish("sampler_tail", rows, options.out)


if __name__ == "__main__":
    main()
