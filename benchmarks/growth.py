"""Growth of the cost of sampling with pictures, network calls, tokens and codes: fitted exponents and plots.

    python -m benchmarks.growth

One of the four varies, the others stay at the embedded model's shape; a run is guided and truncated, whatever is
prepared once a picture left out.  The exponent p of time = c size^p is fitted to all sizes, and to the two largest
alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks._measure import alternate, arguments, finish, growth_plot
from benchmarks._models import config_of, random_model
from benchmarks._step import compiled_steps, request_of
from vqdiffusion_jax.evaluation.svg import line_plot
from vqdiffusion_jax.files import write_whole

SIDES = (8, 12, 16, 24, 32)  # of the token grid
SIZES = {
    "pictures": (1, 2, 4, 8, 16),
    "network calls": (4, 8, 16, 32, 64),
    "tokens": tuple(side**2 for side in SIDES),
    "codes": (1024, 2048, 4096, 8192, 16384),
}
CALLS = 4  # where they do not vary


def main() -> None:
    parser = arguments(__doc__, "growth")
    options = parser.parse_args()
    rows, fits, plots = [], {}, {}
    for what, sizes in SIZES.items():
        runs = {str(size): run(what, size, options.layers, options.dtype) for size in sizes}
        seconds = [timing["median"] for timing in alternate(runs, options.repeats).values()]
        fits[what] = {
            "exponent": exponent(sizes, seconds),
            "exponent_of_the_largest": exponent(sizes[-2:], seconds[-2:]),
        }
        rows += [
            {"name": what, "size": size, "contestant": f"{size}", "median_ms": s * 1e3}
            for size, s in zip(sizes, seconds)
        ]
        plots[what] = plot(what, sizes, seconds, fits[what]["exponent"])
        print(f"{what}: time grows as size^{fits[what]['exponent']:.2f}", flush=True)
    out = finish("growth", rows, options.out, calls=CALLS, fits=fits)
    for what, picture in plots.items():
        with write_whole(out.with_name(growth_plot(out.stem, what))) as place:
            place.write_text(picture, encoding="utf-8")


def run(what: str, size: int, layers: int | None, dtype: str):
    """Return a compiled run of the embedded model's shape in which ``what`` is ``size``."""
    config = config_of("emoji", layers)
    denoiser, codec, schedule = config.denoiser, config.codec, config.schedule
    if what == "tokens":
        side = int(size**0.5)
        codec = replace(codec, image_size=side * codec.downsampling)
        denoiser = replace(denoiser, grid=codec.grid, position_grid=codec.grid)
    if what == "codes":
        codec, denoiser, schedule = (
            replace(codec, codebook_size=size),
            replace(denoiser, num_codes=size),
            replace(schedule, num_codes=size),
        )
    model = random_model(replace(config, denoiser=denoiser, codec=codec, schedule=schedule), dtype)
    request = request_of(model, size if what == "pictures" else 1, size if what == "network calls" else CALLS)
    return compiled_steps(model, request)


def exponent(sizes, seconds) -> float:
    """Return the slope of the straight line through the logarithms, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def plot(what: str, sizes, seconds, power: float) -> str:
    milliseconds = np.asarray(seconds) * 1e3
    scale = np.exp(np.mean(np.log(milliseconds) - power * np.log(sizes)))
    lines = {
        "measured": milliseconds.tolist(),
        f"{scale:.3g} x^{power:.2f}": (scale * np.asarray(sizes, float) ** power).tolist(),
    }
    return line_plot(f"Time against {what}", what, "milliseconds a run", sizes, lines)


if __name__ == "__main__":
    main()
