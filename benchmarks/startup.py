"""Start-up: import, load a native folder, first step from a cold and from a warm compilation cache.

    python -m benchmarks.startup [--model emoji]

Each measurement is a process of its own.  The limit for the embedded model is 6 seconds, warm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._measure import RESULTS, arguments, finish

REPO = Path(__file__).resolve().parents[1]
CHILD = """
import json, sys, time
started = time.perf_counter()
import vqdiffusion_jax
imported = time.perf_counter()
pipeline = vqdiffusion_jax.VQDiffusionPipeline.from_pretrained(sys.argv[1])
loaded = time.perf_counter()
pipeline("a red apple", 1, output_type="np")
print(json.dumps({"import": imported - started, "load": loaded - imported, "first step": time.perf_counter() - loaded}))
"""


def main() -> None:
    parser = arguments(__doc__, "startup")
    parser.add_argument("--model", default="emoji")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder, cache = Path(work) / "model", Path(work) / "cache"
        make = f"from benchmarks.startup import save; save({options.model!r}, {str(folder)!r})"
        subprocess.run([sys.executable, "-c", make], check=True, cwd=REPO)
        runs = {
            "cold": [_run(folder, cache)],
            "warm": [_run(folder, cache) for _ in range(max(options.repeats // 2, 1))],
        }
    rows = []
    for state, measured in runs.items():
        middle = sorted(measured, key=lambda run: sum(run.values()))[len(measured) // 2]
        rows += [
            {"name": options.model, "contestant": f"{state}: {part}", "median_ms": seconds * 1e3}
            for part, seconds in middle.items()
        ]
        rows.append({"name": options.model, "contestant": f"{state}: all", "median_ms": sum(middle.values()) * 1e3})
    finish("startup", rows, options.out or RESULTS / f"startup-{options.model}.json")


def save(name: str, folder: str) -> None:
    """A random model as a native folder."""
    from benchmarks._models import config_of, random_model
    from vqdiffusion_jax import VQDiffusionPipeline

    VQDiffusionPipeline(random_model(config_of(name))).save_pretrained(folder)


def _run(folder: Path, cache: Path) -> dict[str, float]:
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        check=True,
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
