"""Compare the pictures of this checkout with those of another one, from the same command lines.

    python -m benchmarks.picture_hashes --against=HEAD~1

Forty command lines go through every strategy, guidance, truncation, top-k, image to image, inpainting, outpainting,
and models of text, classes and nothing: tiny ones with random weights, and the embedded one.  Each checkout draws them
in one process.  The table shows a hash of the tokens and of the pixels; the exit status is 1 if any of them differ.
Both sides are drawn on the same machine and nothing is kept, because bits may depend on the kind of CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
# Models that are read from here may bring other defaults than at an older commit, so that every setting is given.
EMOJI, TEXT, CLASS, NOTHING = (
    ("--prompt=something green and red", "--seed=3", "--guidance_scale=1.5"),
    ("--checkpoint=tiny_text", "--prompt=a red apple"),
    ("--checkpoint=tiny_class", "--class_label=2"),
    ("--checkpoint=tiny_unconditional",),
)
# Relative paths lie in the folder that ``make_inputs`` fills.
COMMAND_LINES: tuple[tuple[str, ...], ...] = (
    (*EMOJI, "--strategy=posterior", "--truncation_rate=1"),
    (*EMOJI, "--strategy=posterior", "--steps=10", "--noprogress", "--truncation_rate=1"),
    (*EMOJI, "--strategy=posterior", "--timesteps=99,60,20,0", "--truncation_rate=1"),
    (*EMOJI, "--strategy=posterior", "--steps=10", "--guidance_scale=1", "--truncation_rate=1"),
    (
        *EMOJI,
        "--strategy=posterior",
        "--steps=10",
        "--guidance_scale=3",
        "--guidance_interval=20,80",
        "--truncation_rate=1",
    ),
    (*EMOJI, "--strategy=posterior", "--steps=10", "--guidance_scale=2", "--null=text", "--truncation_rate=1"),
    (*EMOJI, "--strategy=posterior", "--steps=10", "--null=learnable", "--truncation_rate=0.86"),
    (
        *EMOJI,
        "--strategy=posterior",
        "--steps=10",
        "--negative_prompt=green",
        "--guidance_scale=2",
        "--truncation_rate=1",
    ),
    (*EMOJI, "--strategy=posterior", "--steps=10", "--top_k=20"),
    (*EMOJI, "--strategy=posterior", "--steps=10", "--dtype=bfloat16", "--truncation_rate=1"),
    (*EMOJI, "--strategy=posterior", "--steps=10", "--faithful", "--rounding=round", "--truncation_rate=1"),
    (
        *EMOJI,
        "--strategy=posterior",
        "--steps=10",
        "--num_images=2",
        "--batch_size=2",
        "--first_image=3",
        "--truncation_rate=1",
    ),
    (
        "--prompts_file=prompts.txt",
        "--strategy=posterior",
        "--guidance_scale=1.5",
        "--steps=10",
        "--seed=5",
        "--batch_size=3",
        "--truncation_rate=1",
    ),
    (*EMOJI, "--strategy=fast", "--skip_step=9", "--truncation_rate=1"),
    (*EMOJI, "--strategy=fewer_tokens", "--tokens_per_step=8", "--truncation_rate=1"),
    (
        *EMOJI,
        "--strategy=purity",
        "--tokens_per_step=8",
        "--purity_weight=0.5",
        "--guidance_scale=2",
        "--truncation_rate=1",
    ),
    (*EMOJI, "--strategy=maskgit", "--steps=6", "--temperature=0", "--mask_schedule=linear", "--truncation_rate=1"),
    (*EMOJI, "--strategy=maskgit", "--steps=12", "--trajectory", "--truncation_rate=1"),
    (*EMOJI, "--strategy=entropy_bound", "--entropy_bound=4", "--truncation_rate=1"),
    (
        *EMOJI,
        "--strategy=remask",
        "--steps=10",
        "--remask_rate=0.1",
        "--remask_schedule=rescale",
        "--truncation_rate=1",
    ),
    (*EMOJI, "--strategy=posterior", "--image=picture.png", "--strength=0.5", "--truncation_rate=1"),
    (*EMOJI, "--strategy=posterior", "--image=picture.png", "--mask=mask.png", "--steps=10", "--truncation_rate=1"),
    (*EMOJI, "--strategy=posterior", "--image=picture.png", "--mask=mask.png", "--strength=0.6", "--truncation_rate=1"),
    (
        *EMOJI,
        "--image=picture.png",
        "--outpaint=0.25,0,0.25,0",
        "--strategy=maskgit",
        "--steps=12",
        "--truncation_rate=1",
    ),
    ("--again=again.json",),
    ("--again=again.json", "--seed=8", "--nofaithful"),
    (*TEXT, "--num_images=3"),
    (*TEXT, "--guidance_scale=3", "--truncation_rate=0.8", "--steps=4"),
    (*TEXT, "--strategy=fast"),
    (*TEXT, "--strategy=fewer_tokens"),
    (*TEXT, "--strategy=purity", "--guidance_scale=2"),
    (*TEXT, "--strategy=entropy_bound", "--top_k=6"),
    (*TEXT, "--strategy=remask", "--timesteps=9,6,3,0", "--remask_rate=0.5"),
    (*TEXT, "--image=picture.png", "--strength=0.7", "--strategy=posterior"),
    (*CLASS, "--num_images=2"),
    (*CLASS, "--class_label=4", "--truncation_rate=0.9", "--strategy=purity"),
    (*CLASS, "--strategy=maskgit", "--steps=3", "--temperature=2"),
    (*NOTHING, "--num_images=2", "--seed=11"),
    (*NOTHING, "--strategy=remask"),
    (*NOTHING, "--image=picture.png", "--mask=mask.png", "--strategy=entropy_bound"),
)
AGAIN = {  # as a picture's JSON has it since the first version
    "mode": "sample",
    "checkpoint": "emoji",
    "seed": 7,
    "strategy": "purity",
    "tokens_per_step": 16,
    "purity_weight": 0.8,
    "guidance_scale": 2.0,
    "truncation_rate": 0.9,
    "dtype": "float32",
    "batch_size": 1,
    "prompt": "a blue car",
    "num_images": 1,
    "first_image": 2,
    "version": "0.1.0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="a folder with another checkout, or a commit of this one")
    parser.add_argument(
        "--draw", type=Path, help=argparse.SUPPRESS
    )  # in a process of its own: the folder of the inputs
    parser.add_argument("--only", default="", help="only the command lines that contain this")
    options = parser.parse_args()
    if options.draw:
        draw(options.draw, options.only)
        return
    if not options.against:
        parser.error("--against is needed: a folder with another checkout, or a commit of this one")
    with tempfile.TemporaryDirectory() as work:
        other = checkout(options.against, Path(work) / "checkout")
        # The older side writes the models, so that what it has saved is read by this one.
        theirs, ours = (drawn_by(tree, Path(work) / "inputs", options.only) for tree in (other, HERE))
    raise SystemExit(compare(theirs, ours, options.against))


def checkout(name: str, place: Path) -> Path:
    """Return the folder ``name``, or unpack the commit of that name into ``place`` and return that."""
    if Path(name).is_dir():
        return Path(name).resolve()
    place.mkdir()
    archive = subprocess.run(["git", "-C", str(HERE), "archive", name], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
    return place


def drawn_by(tree: Path, inputs: Path, only: str) -> dict[str, dict[str, Any]]:
    """Return the results of the command lines by the package in ``tree``, which runs in a process of its own."""
    begun = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu"}
    # -P: the folder of this file, whose names are common ones, is not searched for modules.
    command = [sys.executable, "-P", str(Path(__file__).resolve()), f"--draw={inputs}", f"--only={only}"]
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    drawn = json.loads(done.stdout.splitlines()[-1])
    if Path(drawn.pop("package")) != tree / "vqdiffusion_jax":
        raise SystemExit(f"{tree} holds no package vqdiffusion_jax")
    print(f"{len(drawn)} command lines drawn by {tree} in {time.monotonic() - begun:.0f} s", flush=True)
    return drawn


def draw(inputs: Path, only: str) -> None:
    """Draw the command lines that contain ``only`` and print the results as one line of JSON."""
    import vqdiffusion_jax

    if not inputs.exists():
        make_inputs(inputs)
    os.chdir(inputs)
    results: dict[str, Any] = {"package": str(Path(vqdiffusion_jax.__file__).resolve().parent)}
    with tempfile.TemporaryDirectory() as out:
        for number, line in enumerate(line for line in COMMAND_LINES if only in " ".join(line)):
            results[" ".join(line)] = drawn(line, Path(out) / str(number))
    print(json.dumps(results))


def drawn(line: tuple[str, ...], out: Path) -> dict[str, Any]:
    """Run one command line; return hashes of its tokens and pixels, or its status and last words if it failed."""
    import numpy as np
    from absl import flags
    from PIL import Image

    from vqdiffusion_jax.cli import run

    said = io.StringIO()
    with recorded_tokens() as tokens, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = run(["main.py", *line, f"--out={out}"])
        except Exception as error:
            status = repr(error)
    flags.FLAGS.unparse_flags()
    for flag in flags.FLAGS._flags().values():
        flag.unparse()
    pictures = sorted(out.glob("[0-9]*.png"))
    if status != 0 or not pictures or not tokens:
        return {"failed": f"{status}: {' '.join(said.getvalue().split())[-200:]}"}
    pixels = [np.asarray(Image.open(picture)) for picture in pictures]
    return {"pictures": len(pictures), "tokens": digest(tokens), "pixels": digest(pixels)}


@contextlib.contextmanager
def recorded_tokens():
    """Give a list that collects the tokens of every ``VQDiffusionOutput`` made meanwhile."""
    from vqdiffusion_jax import VQDiffusionOutput

    made, original = [], VQDiffusionOutput.__init__

    def record(self, *arguments, **fields):
        original(self, *arguments, **fields)
        made.append(self.tokens)

    VQDiffusionOutput.__init__ = record
    try:
        yield made
    finally:
        VQDiffusionOutput.__init__ = original


def digest(arrays: list) -> str:
    """Return twelve hexadecimal digits that stand for values, types and shapes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:12]


def make_inputs(folder: Path) -> None:
    """Write three tiny models of random weights, a picture, a mask, prompts and a record."""
    import numpy as np
    from PIL import Image

    from vqdiffusion_jax import VQDiffusionPipeline

    folder.mkdir(parents=True)
    for name in ("tiny_text", "tiny_class", "tiny_unconditional"):
        VQDiffusionPipeline(random_model(name)).save_pretrained(folder / name)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (80, 96, 3), np.uint8)).save(folder / "picture.png")
    mask = np.zeros((80, 96), np.uint8)
    mask[20:60, 30:70] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "prompts.txt").write_text("a cat\na blue car\na cat\n")
    (folder / "again.json").write_text(json.dumps(AGAIN))


def random_model(name: str):
    """Return the model of a preset with uniform random weights from a fixed seed."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx

    from vqdiffusion_jax import preset
    from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

    random = np.random.default_rng(0)

    def fill(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.asarray(random.uniform(-0.3, 0.3, leaf.shape), leaf.dtype)

    return jax.tree.map(fill, VQDiffusionModel(preset(name), rngs=nnx.Rngs(0)))


def compare(theirs: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]], name: str) -> int:
    """Print the table; return 1, the exit status, if anything differs or could not be drawn, else 0."""
    different = 0
    print(f"{'':9}  {'tokens':12}  {'pixels':12}  command line")
    for line, then in theirs.items():
        now = ours[line]
        same = now == then and "failed" not in now
        different += not same
        for who, result in (("", now),) if same else (("was", then), ("is", now)):
            hashes = f"{result['tokens']}  {result['pixels']}" if "tokens" in result else result["failed"]
            print(f"{'same' if same else f'OTHER {who}':9}  {hashes}  {line}")
    pictures = sum(result.get("pictures", 0) for result in ours.values())
    print(f"{len(theirs) - different} of {len(theirs)} command lines ({pictures} pictures) are those of {name}")
    return int(different > 0)


if __name__ == "__main__":
    main()
