"""The embedded model fine-tuned on other pictures, whole and by a LoRA: loss, memory, and processor time a step.

    python -m benchmarks.lora_curve --root=data/clothing64 --out=docs/results/lora

``--root`` is a data set of the source ``--source``, npz by default.  Each run is a process of its own: its memory is
the largest that the system saw, its checkpoint the newest on disk.  The text tower is frozen in both.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from vqdiffusion_jax.config_files import config_of
from vqdiffusion_jax.evaluation.svg import line_plot

_BITS = "bits per token of held-out pictures"
REPO = Path(__file__).resolve().parents[1]
RUNS = {"whole denoiser": (0, 3e-4), "LoRA of rank 8": (8, 3e-3), "LoRA of rank 32": (32, 3e-3)}


def get_config():
    """The configuration of both, for --config of the command line; its fields are changed there."""
    config = config_of("emoji")
    config.train_text_encoder = False
    config.data.options = dict(caption_template="{caption}")
    config.data.source, config.data.validation_fraction = "npz", 0.05
    config.optimizer.name, config.accumulation = "adamw", 1
    config.checkpoint.keep_last = 1
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", required=True)
    parser.add_argument("--source", default="npz")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path, required=True, help="writes OUT.md, OUT.svg and OUT.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {name: _trained(given, Path(folder) / str(rank), rank, peak) for name, (rank, peak) in RUNS.items()}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    steps = [step for step, _ in next(iter(found.values()))["validation"]]
    lines = {name: [value for _, value in run["validation"]] for name, run in found.items()}
    given.out.with_suffix(".svg").write_text(line_plot(_BITS, "step", _BITS, steps, lines), encoding="utf-8")
    page = "\n".join(_page(given, found, steps, lines)) + "\n"
    given.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def _page(given: argparse.Namespace, found: dict[str, dict], steps: list[int], lines: dict[str, list[float]]):
    """Yield the lines of the page: the command, the curve, both tables."""
    name = given.out.name
    yield from ("# LoRA beside fine-tuning of the whole denoiser", "")
    yield f"The embedded model on other pictures, {given.steps} steps of {given.batch}, its text tower frozen, one"
    yield f"seed, and one learning rate each that was not tuned; {platform.machine()}:"
    command = f"python -m benchmarks.lora_curve --root=data/{Path(given.root).name}"
    yield from ("", f"    {command} --steps={given.steps} --batch={given.batch} --out=docs/results/{name}", "")
    yield from (f"![{_BITS[0].upper()}{_BITS[1:]}]({name}.svg)", "")
    yield f"| {_BITS} at step | " + " | ".join(map(str, steps)) + " |"
    yield "|---|" + "---:|" * len(steps)
    for run, values in lines.items():
        yield f"| {run} | " + " | ".join(f"{value:.2f}" for value in values) + " |"
    yield from ("", "| | learning rate | largest memory of the process | checkpoint | processor seconds a step |")
    yield "|---|---:|---:|---:|---:|"
    for run, of in found.items():
        yield (
            f"| {run} | {of['peak']:g} | {of['memory_mib']:,.0f} MiB | {of['checkpoint_mib']:,.1f} MiB"
            f" | {of['seconds_a_step']:.2f} |"
        )
    yield ""
    yield "Memory and processor seconds are of the whole process: start, compiling and validation count. Other work on"
    yield f"the machine makes the seconds more. [All numbers]({name}.json), those of training's own steps among them."
    yield "[How to train a LoRA](../training.md#lora)."


def _trained(given: argparse.Namespace, folder: Path, rank: int, peak: float) -> dict:
    settings = {
        "steps": given.steps,
        "learning_rate.total_steps": given.steps,
        "learning_rate.warmup_steps": min(20, given.steps // 2),
        "learning_rate.peak": peak,
        "batch_size": given.batch,
        "lora.rank": rank,
        "data.source": given.source,
        "data.root": given.root,
        "watch.log_every": 10,
        "watch.eval_every": max(given.steps // 4, 1),
        "watch.eval_batches": 1,  # of which each takes a network call a timestep
        "watch.sample_every": given.steps,
        "checkpoint.every": given.steps,
    }
    command = [sys.executable, str(REPO / "main.py"), "--mode=train", f"--config={__file__}", "--init_from=emoji"]
    command += [f"--workdir={folder}", *(f"--config.{name}={value}" for name, value in settings.items())]
    # A process of its own measures its child alone: the maximum over children would hide a smaller one.
    done = subprocess.run([sys.executable, "-c", _MEASURE, *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    usage = json.loads(done.stdout.splitlines()[-1])
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name) if path.name.isdecimal() else -1)
    return {
        "peak": peak,
        "training": [(r["step"], r["bits_per_token"]) for r in records if "bits_per_token" in r],
        "validation": _once([(r["step"], r["validation_bits_per_token"]) for r in records if _validated(r)]),
        "memory_mib": usage["kib"] / 1024,
        "seconds_a_step": usage["seconds"] / given.steps,
        "checkpoint_mib": sum(file.stat().st_size for file in newest.rglob("*") if file.is_file()) / 2**20,
    }


def _validated(record: dict) -> bool:
    return "validation_bits_per_token" in record


def _once(pairs: list[tuple[int, float]]) -> list[tuple[int, float]]:
    return sorted(dict(pairs).items())


_MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=sys.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"kib": used.ru_maxrss, "seconds": used.ru_utime + used.ru_stime}))
sys.exit(done.returncode)
"""

if __name__ == "__main__":
    main()
