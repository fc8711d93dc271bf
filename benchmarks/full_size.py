"""Convert, open and sample random checkpoints of the released sizes: seconds and peak memory.

    python -m benchmarks.full_size [--models coco,ithq] [--steps 2] [--out docs/results/full_size.json]

The checkpoint has every tensor of a released .pth (model, EMA, codec, CLIP)
with random numbers; averaged and raw weights share their bytes in the file.
Making the file needs torch; what is measured does not.  Each step runs in a
process of its own, whose peak resident memory is what the kernel reports.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vqdiffusion_jax.models.shapes import shapes_of

REPO = Path(__file__).resolve().parents[1]


def make_checkpoint(name: str, folder: Path) -> None:
    """Write ``folder/checkpoint.pth`` and, for a reduced codebook, ``folder/mapping.pt``."""
    import jax
    import numpy as np
    import torch

    from vqdiffusion_jax import preset
    from vqdiffusion_jax.interop.clip.openai_rules import text_rules
    from vqdiffusion_jax.interop.codecs.rules import codec_rules
    from vqdiffusion_jax.interop.engine import unapply
    from vqdiffusion_jax.interop.reference.denoiser import PREFIX, TEXT_PREFIX, denoiser_rules
    from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

    config = preset(name)
    draw = np.random.default_rng(0)

    def random(leaf):
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        array = draw.standard_normal(leaf.shape, np.float32)
        array *= 0.02
        return array

    model = jax.tree.map(random, shapes_of(VQDiffusionModel, config))
    rules = denoiser_rules("denoiser.", condition=config.denoiser.condition, mlp=config.denoiser.mlp)
    codec = ("content_codec.enc.", "content_codec.dec.")
    rules += codec_rules(*codec, "codec.", quantizer=config.codec.quantizer) + text_rules(TEXT_PREFIX, "text_encoder.")
    tensors = unapply(rules, model, skip=(r"codec\.(full_to_reduced|reduced_to_full)",))
    tensors = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in tensors.items()}
    averaged = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items() if key.startswith(PREFIX)}
    torch.save({"last_epoch": 0, "last_iter": 0, "model": tensors, "ema": averaged}, folder / "checkpoint.pth")
    if config.codec.reduced_codebook_size:
        table = np.where(
            np.arange(config.codec.codebook_size) < config.codec.num_codes, np.arange(config.codec.codebook_size), 0
        )
        torch.save(torch.from_numpy(table), folder / "mapping.pt")


def measured(*command: str) -> dict:
    """Run a command in a process of its own; return its seconds and its peak memory in GiB."""
    script = (
        "import json, resource, subprocess, sys, time\n"
        "start = time.time()\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "facts = {'code': done.returncode, 'seconds': time.time() - start, 'peak': peak}\n"
        "print(json.dumps(facts | {'stderr': done.stderr[-2000:]}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, cwd=REPO)
    result = json.loads(done.stdout.splitlines()[-1])
    if result["code"]:
        raise SystemExit(f"{' '.join(command)} failed:\n{result['stderr']}")
    return {"seconds": round(result["seconds"], 1), "peak_gib": round(result["peak"] * 1024 / 2**30, 2)}


def benchmark(name: str, steps: int, work: Path) -> dict:
    folder = work / name
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.full_size", "--make", name, "--work", str(folder)], check=True, cwd=REPO
    )
    mapping = [f"--mapping={folder / 'mapping.pt'}"] if (folder / "mapping.pt").exists() else []
    native = folder / "native"
    source = f"--checkpoint={folder / 'checkpoint.pth'}"
    convert = measured(sys.executable, "convert/torch_to_flax.py", source, f"--out={native}", "--quiet", *mapping)
    files = {"mapping": str(folder / "mapping.pt")} if mapping else {}
    opening = f"from vqdiffusion_jax import loading; loading.load_model({str(folder / 'checkpoint.pth')!r}, **{files})"
    opened = measured(sys.executable, "-c", opening)
    size = sum(path.stat().st_size for path in native.rglob("*") if path.is_file()) / 2**30
    flags = [
        "main.py",
        "--mode=sample",
        f"--checkpoint={native}",
        "--prompt=teddy bear playing in the pool",
        f"--out={folder / 'out'}",
    ]
    one, more = (
        measured(sys.executable, *flags, f"--steps={count}", "--guidance_scale=3", "--noprogress")
        for count in (1, 1 + steps)
    )
    return {
        "model": name,
        "checkpoint_gib": round((folder / "checkpoint.pth").stat().st_size / 2**30, 2),
        "native_gib": round(size, 2),
        "convert": convert,
        "open": opened,
        "convert_limit_gib": round(1.5 * size + 1, 2),
        "sample_1_step": one,
        f"sample_{1 + steps}_steps": more,
        "seconds_per_guided_step": round((more["seconds"] - one["seconds"]) / steps, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="coco,ithq")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, help="folder for the checkpoints; default a temporary one")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_checkpoint(options.make, options.work)
        return
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "runs": [],
    }
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for name in options.models.split(","):
            results["runs"].append(benchmark(name, options.steps, Path(work)))
            print(json.dumps(results["runs"][-1], indent=2), flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
