"""Draw by thousands of different settings in one process, and show that programs, memory maps and memory stay flat.

    python -m benchmarks.many_settings [--against=CHECKOUT] [--out=docs/results/many_settings.md]

The settings are drawn from a seed, in twelve kinds: network calls, timesteps, guidance and its interval, truncation,
top-k, strengths, numbers of strategies, pieces between callbacks, numbers of pictures.  Every 49th is drawn again at
the end by programs compiled anew and, with --against, by another checkout in a process of its own; the exit status is 1
if a token or a pixel differs.  The model is a tiny one of random weights with 100 timesteps, or the embedded "emoji".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]
TIMESTEPS = 100
# Strategy, start or schedule, guidance, truncation, and who watches: what programs depend on.
KINDS = (
    ("posterior", "", "all", "rate", ""),
    ("posterior", "", "", "top_k", "callback"),
    ("posterior", "strength", "all", "rate", ""),
    ("posterior", "mask", "", "rate", "callback"),
    ("posterior", "timesteps", "interval", "rate", "trajectory"),
    ("fast", "", "", "", ""),
    ("fewer_tokens", "", "all", "rate", "callback"),
    ("purity", "", "interval", "top_k", ""),
    ("maskgit", "", "all", "rate", "callback"),
    ("remask", "", "", "rate", ""),
    ("entropy_bound", "", "all", "rate", "callback"),
    ("entropy_bound", "", "", "", "trajectory"),
)
SAMPLED = 49  # not a multiple of the kinds' number; every so many settings are drawn again
HEAD = """# Many settings in one process

Made by `{command}`.

{settings:,} different settings, {pictures:,} pictures, {calls:,} network calls of the model `{model}` in
{seconds:,.0f} s, on {cores} cores. "Compiled" counts what XLA compiled, of any size; "programs" those kept. Linux
allows a process {most:,} memory maps.

| settings drawn | compiled | programs kept | memory maps | resident memory, MiB |
|---:|---:|---:|---:|---:|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", choices=("tiny", "emoji"), default="tiny")
    parser.add_argument("--most", type=int, help="programs to keep, in place of the package's own number")
    parser.add_argument("--against", type=Path, help="folder of another checkout, which draws the same pictures")
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--numbers", help=argparse.SUPPRESS)  # draw these settings alone, and print their hashes
    options = parser.parse_args()
    if options.numbers:
        numbers = [int(number) for number in options.numbers.split(",")]
        print(json.dumps({str(number): digest for number, digest in hashes(options, numbers).items()}))
        return 0
    return measure(options)


def measure(options: argparse.Namespace) -> int:
    """Draw all settings and print or write the page; return 1, the exit status, if a picture differs, else 0."""
    import jax

    from vqdiffusion_jax.programs import PROGRAMS, count_maps, max_maps

    PROGRAMS.most = options.most or PROGRAMS.most
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    pipeline, begun = pipeline_of(options.model), time.monotonic()
    rows, first, pictures, calls = [], {}, 0, 0
    shown = {0, *np.unique(np.geomspace(10, options.settings, 12).round().astype(int)).tolist()}

    def row(drawn: int) -> None:
        rows.append((drawn, len(compiled), len(PROGRAMS), count_maps(), resident()))
        print(*rows[-1], f"{time.monotonic() - begun:.0f} s", flush=True)

    row(0)
    for number in range(options.settings):
        settings = settings_of(options.seed, number)
        result = drawn(pipeline, settings)
        pictures, calls = pictures + len(result.tokens), calls + calls_of(pipeline, settings) * len(result.tokens)
        if number % SAMPLED == 0:
            first[number] = digest(result)
        if number + 1 in shown:
            row(number + 1)
    seconds = time.monotonic() - begun
    PROGRAMS.drop(len(PROGRAMS))
    again = {number: digest(drawn(pipeline, settings_of(options.seed, number))) for number in first}
    said = [_agreement("by programs compiled anew", first, again)]
    print(said[0][0], flush=True)
    if options.against:
        theirs = _drawn_by(options, list(first))
        said.append(_agreement(f"by the checkout `{options.against.name}`", first, theirs))
    told = HEAD.format(
        command=" ".join(["python -m benchmarks.many_settings", *sys.argv[1:]]),
        settings=options.settings,
        pictures=pictures,
        calls=calls,
        model=options.model,
        seconds=seconds,
        cores=os.cpu_count(),
        most=max_maps(),
    )
    page = told + "".join(f"| {' | '.join(f'{value:,}' for value in row)} |\n" for row in rows)
    page += "\n" + "\n".join(line for line, _ in said) + "\n"
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    return int(not all(same for _, same in said))


def settings_of(seed: int, number: int) -> dict[str, Any]:
    """Return the arguments of call ``number``: one of ``KINDS``, with numbers that no other call has."""
    draw = np.random.default_rng((seed, number))
    strategy, start, guided, truncation, watched = KINDS[number % len(KINDS)]
    chosen: dict[str, Any] = {"prompt": f"picture {number}", "seed": int(draw.integers(2**40)), "strategy": strategy}
    few = int(100 * draw.random() ** 2) + 1  # network calls, more often few
    if start == "strength":
        chosen |= {"image": picture(number), "strength": round(float(draw.uniform(0.01, 1.0)), 3)}
    elif start == "timesteps":
        chosen["timesteps"] = sorted(draw.choice(TIMESTEPS, few, replace=False).tolist(), reverse=True)
    elif strategy in ("posterior", "remask"):
        chosen["num_inference_steps"] = few
    if start == "mask":
        chosen |= {"image": picture(number), "mask_image": picture(number)[..., 0] > 100}
    if strategy == "fast":
        chosen["skip_step"] = int(draw.integers(1, 100))
    elif strategy in ("fewer_tokens", "purity"):
        chosen["tokens_per_call"] = int(draw.integers(1, 17))
    elif strategy == "maskgit":
        chosen |= {"num_inference_steps": 1 + few % 16, "mask_schedule": str(draw.choice(["cosine", "linear"]))}
        chosen["temperature"] = float(draw.uniform(0, 6))
    elif strategy == "remask":
        chosen |= {"remask_rate": float(draw.uniform(0, 1)), "remask_schedule": str(draw.choice(["cap", "rescale"]))}
    elif strategy == "entropy_bound":
        chosen["entropy_bound"] = float(draw.uniform(0, 8))
    if strategy == "purity":
        chosen["purity_weight"] = float(draw.uniform(0, 2))
    chosen["guidance_scale"] = float(draw.uniform(1.1, 6.0)) if guided else 1.0
    if guided == "interval":
        chosen["guidance_interval"] = sorted(draw.integers(0, TIMESTEPS, 2).tolist())
    if truncation == "top_k":
        chosen["top_k"] = int(draw.integers(1, 16))
    else:
        chosen["truncation_rate"] = float(draw.uniform(0.3, 0.99)) if truncation else 1.0
    chosen["num_images_per_prompt"] = int(draw.choice([1, 1, 1, draw.integers(2, 6)]))
    chosen["return_trajectory"] = watched == "trajectory"
    if watched == "callback":
        chosen["callback_steps"] = int(draw.integers(1, 30))
    return chosen


def picture(number: int) -> np.ndarray:
    """Return a picture of random squares, (64, 64, 3) uint8, the same for each number."""
    return np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)


def pipeline_of(model: str) -> Any:
    """Return the pipeline of "emoji", or of a tiny text model of random weights."""
    from benchmarks._models import random_model
    from vqdiffusion_jax import VQDiffusionPipeline, preset

    if model == "emoji":
        return VQDiffusionPipeline.from_pretrained("emoji")
    config = preset("tiny_text")
    schedule, denoiser = (replace(part, num_timesteps=TIMESTEPS) for part in (config.schedule, config.denoiser))
    return VQDiffusionPipeline(random_model(replace(config, schedule=schedule, denoiser=denoiser)))


def drawn(pipeline: Any, settings: dict[str, Any]) -> Any:
    """Return the output of a call; with ``callback_steps`` it is watched, and drawn in pieces."""
    settings = dict(settings, output_type="uint8")
    size = pipeline.config.codec.image_size
    for name in ("image", "mask_image"):
        if name in settings:
            settings[name] = settings[name][:size, :size]
    watched = {"callback": lambda *_: None} if "callback_steps" in settings else {}
    return pipeline(**settings, **watched)


def calls_of(pipeline: Any, settings: dict[str, Any]) -> int:
    """Return the network calls of a picture, at most."""
    from vqdiffusion_jax.sampling import STRATEGIES
    from vqdiffusion_jax.sampling.fields import settings_of as fields_of

    names = {"strategy", "strength", *fields_of(STRATEGIES[settings["strategy"]])}
    return pipeline.num_calls(**{name: value for name, value in settings.items() if name in names})


def digest(result: Any) -> str:
    """Return twelve hexadecimal digits that stand for tokens, pixels and trajectory."""
    arrays = (result.tokens, result.images, result.trajectory)
    found = hashlib.sha256()
    for array in arrays:
        found.update(b"none" if array is None else f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:12]


def hashes(options: argparse.Namespace, numbers: list[int]) -> dict[int, str]:
    """Return the digests of the settings of these numbers."""
    pipeline = pipeline_of(options.model)
    return {number: digest(drawn(pipeline, settings_of(options.seed, number))) for number in numbers}


def resident() -> int:
    """Return the resident memory of this process in MiB, 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def _agreement(how: str, first: dict[int, str], again: dict[int, str]) -> tuple[str, bool]:
    different = [number for number in first if again[number] != first[number]]
    told = f" (other: settings {', '.join(map(str, different))})" if different else ""
    return f"{len(first) - len(different)} of {len(first)} drawn again {how} are the same to the bit{told}.", (
        not different
    )


def _drawn_by(options: argparse.Namespace, numbers: list[int]) -> dict[int, str]:
    """Return the digests of these settings by the package in ``options.against``, in a process of its own."""
    tree = options.against.resolve()
    # -P: the folder of this file, whose names are common ones, is not searched for modules.
    command = [sys.executable, "-P", str(Path(__file__).resolve()), f"--model={options.model}"]
    command += [f"--seed={options.seed}", f"--numbers={','.join(map(str, numbers))}"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return {int(number): found for number, found in json.loads(done.stdout.splitlines()[-1]).items()}


if __name__ == "__main__":
    raise SystemExit(main())
