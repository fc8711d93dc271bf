"""Draw the documents' pictures by the embedded model: ``python -m docs.pictures``, from the root of the repository.

docs/images/emoji.png, a sheet of the prompts below; docs/images/strategy_*.png, how each strategy fills the same
picture from the same seed: eight moments from the first network call to the last, grey where it is [MASK].
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.cli.pictures import frames, grid
from vqdiffusion_jax.sampling import STRATEGIES

PROMPTS = (
    "a red apple",
    "three cats on a blue background",
    "a rocket to the left of a star on a black background",
    "a penguin",
    "a blue car",
    "five hearts",
    "a castle on a pink background",
    "a cup of coffee and a croissant",
    "a green t-shirt",
    "an owl above a pine tree",
    "two sailboats",
    "a guitar on yellow",
)
COLUMNS = 6
MOMENTS = 8
SCALE = 1.5  # of guidance, in every strategy's strip
SETTINGS = {
    "posterior": {"num_inference_steps": 100},
    "fast": {"skip_step": 3},
    "fewer_tokens": {},
    "purity": {"purity_weight": 1.0},
    "maskgit": {"num_inference_steps": 12},
    "entropy_bound": {"entropy_bound": 0.3},
    "remask": {"num_inference_steps": 50},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="emoji")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    pipeline = VQDiffusionPipeline.from_pretrained(given.checkpoint)
    drawn = pipeline(list(PROMPTS), seed=given.seed, output_type="uint8").images
    save(given.out / "emoji.png", drawn, COLUMNS)
    for name, settings in SETTINGS.items():
        strategy = STRATEGIES[name](**settings)
        trajectory = np.asarray(
            pipeline(
                PROMPTS[2],
                strategy=strategy,
                seed=given.seed,
                return_trajectory=True,
                guidance_scale=SCALE,
                truncation_rate=1.0,
            ).trajectory[0]
        )
        moving = trajectory[
            : np.flatnonzero((trajectory != trajectory[-1]).any(axis=1)).max() + 2
        ]  # a short run repeats its end
        save(given.out / f"strategy_{name}.png", frames(moving, pipeline, MOMENTS), MOMENTS)


def save(path: Path, pictures: np.ndarray, columns: int) -> None:
    """Twice as large as they are."""
    sheet = grid(pictures, columns)
    sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
