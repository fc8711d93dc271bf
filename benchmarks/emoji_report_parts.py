"""The parts of ``emoji_report``: each is a function from a Study to a table of plain JSON types."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.scenes.render import render
from vqdiffusion_jax.data.scenes.scene import Placed, Scene
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.data.sources.scene_questions import SceneQuestions
from vqdiffusion_jax.evaluation.diversity import mean_pairwise_distance
from vqdiffusion_jax.evaluation.identity import fingerprint
from vqdiffusion_jax.evaluation.judge import Judge, judge_features, judge_pictures, load_judge
from vqdiffusion_jax.evaluation.judge.extractors import JudgeAnswers, JudgeFeatures
from vqdiffusion_jax.evaluation.judge.model import BACKGROUNDS
from vqdiffusion_jax.evaluation.likelihood import NATS, summarise
from vqdiffusion_jax.evaluation.metrics import choose
from vqdiffusion_jax.evaluation.protocol import Protocol
from vqdiffusion_jax.evaluation.protocols import find_protocol
from vqdiffusion_jax.evaluation.report import to_plain
from vqdiffusion_jax.evaluation.stages import (
    Setup,
    evaluate_likelihood,
    evaluate_reconstruction,
    evaluate_samples,
    score_reconstruction,
    score_samples,
)

from .emoji_report_exact import names

CHUNK = 50
_PRINTED = {"num_inference_steps": "steps"}  # names in the JSON of the results
# Name: the fields of the protocol that it changes, on the sheet of strategies.
STRATEGIES: dict[str, dict[str, Any]] = {
    "posterior, 100 steps": {"num_inference_steps": 100},
    "posterior, 50 steps": {"num_inference_steps": 50},
    "posterior, 25 steps": {"num_inference_steps": 25},
    "posterior, 10 steps": {"num_inference_steps": 10},
    "25 steps, guided from timestep 20 up": {"num_inference_steps": 25, "guidance_interval": (20, 99)},
    "reference's fast, skipping 3": {"strategy": "fast", "skip_step": 3},
    "fewer tokens": {"strategy": "fewer_tokens"},
    "purity prior": {"strategy": "purity", "purity_weight": 1.0},
    "MaskGIT, 12 steps": {"strategy": "maskgit", "num_inference_steps": 12},
    "entropy bound, 1 nat": {"strategy": "entropy_bound", "entropy_bound": 1.0},
    "remasking, 25 steps": {"strategy": "remask", "num_inference_steps": 25},
}
UNKNOWN_WORDS = (
    "a zorbl on a blue background",
    "qwxyz vrrpt",
    "a glimmerfitz to the left of a red apple on a yellow background",
    "the 1997 treaty of obfuscation",
    "ein roter apfel auf blauem grund",
    "赤いりんご 🍎",
    "!!! ??? ...",
    "very " * 200 + "red apple",
)
JUDGED = ("about", "codec", "following", "variety")  # parts that ask the judge, or say what it knows
OPEN_PROMPTS = 16  # names alone, which leave the style open
PICTURES_A_PROMPT = 8
UNCONDITIONAL = 96


@dataclass(frozen=True, kw_only=True)
class Study:
    """The models, data and judge that all parts share; ``open`` makes one from paths."""

    pipeline: VQDiffusionPipeline
    judge: Judge | None
    source: SceneQuestions
    data: Path
    work: Path
    samples: int
    steps: int
    batch_size: int
    concepts: int
    photographs: Path | None = None

    @classmethod
    def open(
        cls,
        checkpoint: str,
        judge: Path | None,
        data: Path,
        work: Path,
        *,
        samples: int,
        concepts: int,
        **options,
    ) -> Study:
        """Open models, data and judge; raises what these raise, before anything is measured."""
        return cls(
            pipeline=VQDiffusionPipeline.from_pretrained(checkpoint),
            judge=load_judge(judge) if judge else None,
            data=data,
            work=work,
            samples=samples,
            concepts=concepts,
            source=SceneQuestions(data, "validation", concepts=concepts, length=samples),
            **options,
        )

    def identity(self, part: str) -> dict[str, Any]:
        """Return all that a part's figures depend on besides the code."""
        table = {"model": fingerprint(self.pipeline.model), "concepts": self.concepts}
        if part in JUDGED:
            table |= {"judge": fingerprint(self.judge) if self.judge else None, "steps": self.steps}
        if part in ("following", "codec", "names"):
            table["samples"] = self.samples
        if part == "codec":
            table["photographs"] = self.photographs is not None
        return table

    @property
    def protocol(self) -> Protocol:
        options = {"concepts": self.concepts, "length": self.samples}
        return find_protocol("emoji").changed(source_options=options, num_inference_steps=self.steps)

    @functools.cached_property
    def model_name(self) -> str:
        """Folder of the model's pictures: hashing weights takes a moment."""
        return fingerprint(self.pipeline.model)

    @property
    def known_judge(self) -> Judge:
        """The judge.  Raises ValueError, one line, if there is none."""
        if self.judge is None:
            raise ValueError("this part asks the judge; give --judge")
        return self.judge

    def setup(self, **changes: Any) -> Setup:
        protocol = self.protocol.changed(**changes)
        return Setup(
            out=self.work / f"{fingerprint(self.known_judge)},{self.concepts},{self.samples}",
            protocol=protocol,
            source=self.source,
            source_name=f"scene_questions at {self.data}",
            extractors=[JudgeFeatures(self.known_judge), JudgeAnswers(self.known_judge)],
            metrics=choose(list(protocol.metrics)),
            chunk=CHUNK,
            batch_size=self.batch_size,
        )

    def measure(self, *, count: int, **changes: Any) -> dict[str, Any]:
        """Return scores, shares and speed of ``count`` pictures by the protocol with some fields changed."""
        pipeline = self.pipeline
        setup = self.setup(num_samples=count, **changes)
        settings = {"num_inference_steps": self.steps} | changes
        name = (
            ",".join(f"{field}={value}" for field, value in sorted(settings.items())).replace("/", "").replace(" ", "")
        )
        store, reference = evaluate_samples(setup, pipeline, name=f"{self.model_name}/{count},{name}")
        return {
            "settings": {_PRINTED.get(field, field): setup.protocol.value(field) for field in settings},
            "pictures": count,
            "seconds_a_picture": 1.0 / store.pictures_per_second(),
            "most_network_calls": pipeline.num_calls(strategy=setup.protocol.sampling.strategy),
            **to_plain(score_samples(setup, store, reference)),
        }

    def draw(self, prompts: Sequence[str], count: int = 1, *, seed: int | list[int] = 0, **changes: Any) -> np.ndarray:
        """``count`` pictures of each prompt by the protocol with fields changed, (prompts, count, 64, 64, 3) uint8.

        seed: one a picture, or one for all: picture i of every prompt then has the same noise.
        """
        settings = replace(
            self.protocol.changed(**changes).sampling,
            prompt=list(prompts),
            num_images_per_prompt=count,
            seed=seed,
            batch_size=self.batch_size,
            output_type="uint8",
        )
        pictures = np.concatenate([batch.images for batch in self.pipeline.stream(settings)])
        return pictures.reshape(len(prompts), count, *pictures.shape[1:])

    def distance_within(self, pictures: list[np.ndarray] | np.ndarray) -> float:
        """Mean over texts of the mean distance, in the judge's features, of two pictures of one text."""
        return float(np.mean([mean_pairwise_distance(judge_features(self.known_judge, of_one)) for of_one in pictures]))

    @property
    def names(self) -> list[str]:
        return list(self.source.drawings.concepts[:OPEN_PROMPTS])


def about(study: Study) -> dict[str, Any]:
    """Return the model's facts."""
    config, model = study.pipeline.config, study.pipeline.model
    parts = {"codec": model.codec, "denoiser": model.denoiser, "text_encoder": model.text_encoder}
    return {
        "parameters": {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in parts.items()},
        "num_timesteps": config.denoiser.num_timesteps,
        "guidance_scale": study.protocol.sampling.guidance_scale,
        "truncation_rate": study.protocol.sampling.truncation_rate,
        "num_codes": config.denoiser.num_codes,
        "grid": list(config.denoiser.grid),
        "concepts": len(study.source.drawings.concepts),
        "judge_concepts": len(study.known_judge.config.concepts),
        "inference_steps": study.steps,
    }


def codec(study: Study) -> dict[str, Any]:
    """Reconstructions of scenes that were not trained on, and of photographs."""
    setups = {"scenes": study.setup()}
    if study.photographs:
        source = open_source(DataConfig(source="npz", root=str(study.photographs), options={"captions": ""}), "train")
        photographs = replace(
            setups["scenes"].protocol, source="npz", source_options={}, num_reference=min(study.samples, len(source))
        )
        setups["photographs"] = replace(
            setups["scenes"], protocol=photographs, source=source, source_name=str(study.photographs)
        )
    model, found = study.pipeline.model.codec, {}
    for name, setup in setups.items():
        setup = replace(setup, out=setup.out / f"codec {fingerprint(model)}" / name, extractors=())
        store, reference = evaluate_reconstruction(setup, model)
        found[name] = {"pictures": store.count, **score_reconstruction(store, reference, model).scores}
    return found


def following(study: Study) -> dict[str, Any]:
    """The emoji protocol whole, and bits a token of some of its real pictures."""
    setup = study.setup()
    setup = replace(setup, out=setup.out / study.model_name)
    store = evaluate_likelihood(setup, study.pipeline)
    bound = summarise(store.all(NATS), study.pipeline.model)
    bits = {"pictures": store.count, "bits_per_token": bound.bits_per_token, "standard_error": bound.standard_error}
    return study.measure(count=study.samples) | {"likelihood": bits}


def variety(study: Study) -> dict[str, Any]:
    """Return how far seeds and prompts change pictures, and what the empty prompt and unknown words give."""
    drawn = study.draw(study.names, PICTURES_A_PROMPT)
    of_one_seed = drawn[:, 0]
    unknown = study.draw(UNKNOWN_WORDS)[:, 0]
    reals = [_real_pictures(study, name) for name in study.names]
    return {
        "seeds": {
            "prompts": len(study.names),
            "pictures_a_prompt": PICTURES_A_PROMPT,
            "distance": study.distance_within(drawn),
            "distance_of_real": study.distance_within([real for real in reals if len(real) > 1]),
            "different_pictures": len(_different(drawn)),
            "pictures": drawn.shape[0] * drawn.shape[1],
        },
        "prompts": {
            "distance": mean_pairwise_distance(judge_features(study.known_judge, of_one_seed)),
            "different_pictures": len(_different(of_one_seed)),
            "pictures": len(of_one_seed),
        },
        "unconditional": _untold(study, guidance_scale=0.0),
        "empty_prompt": _untold(study, guidance_scale=1.0),
        "unknown_words": {
            "prompts": list(UNKNOWN_WORDS),
            "different_pictures": len(_different(unknown)),
            "pictures": len(unknown),
        },
    }


def _untold(study: Study, guidance_scale: float) -> dict[str, Any]:
    """Return the pictures of the empty prompt; at scale 0 these show the null condition alone."""
    drawn = study.draw([""], UNCONDITIONAL, guidance_scale=guidance_scale)[0]
    seen = judge_pictures(study.known_judge, drawn)
    concepts, backgrounds = Counter(seen.concept[:, 0].tolist()), Counter(seen.background.tolist())
    (commonest, count), *_ = concepts.most_common(1)
    return {
        "pictures": len(drawn),
        "different_pictures": len(_different(drawn)),
        "concepts": len(concepts),
        "commonest_concept": study.known_judge.config.concepts[commonest],
        "commonest_concept_pictures": count,
        "backgrounds": {BACKGROUNDS[number]: count for number, count in backgrounds.most_common()},
        "distance": mean_pairwise_distance(judge_features(study.known_judge, drawn)),
    }


def _real_pictures(study: Study, concept: str) -> np.ndarray:
    """The concept alone, large on white, as training shows it under its name, in every style that there is."""
    drawings = study.source.drawings
    placed = [
        Placed(drawing=row, concept=concept, style=style, size="large", position="centre")
        for style, row in drawings.styles_of(concept).items()
    ]
    return np.stack([render(Scene(objects=(one,), background="white"), drawings) for one in placed])


def _different(pictures: np.ndarray) -> set[bytes]:
    return {picture.tobytes() for picture in pictures.reshape(-1, *pictures.shape[-3:])}


PARTS: dict[str, Callable[[Study], Any]] = {
    "about": about,
    "codec": codec,
    "following": following,
    "names": lambda study: names(study.pipeline, study.source.drawings, study.work, study.samples),
    "variety": variety,
}
