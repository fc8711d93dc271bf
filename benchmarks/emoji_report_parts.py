"""The parts of ``emoji_report``: each is a function from a Study to a table of plain JSON types."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from vqdiffusion_jax.sampling import FewerTokens

CHUNK = 50
_PRINTED = {"num_inference_steps": "steps"}  # names in the JSON of the results
GUIDANCE_SCALES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
INFERENCE_STEPS = (10, 25, 50, 100)
PURITY_WEIGHTS = (0.0, 0.5, 1.0, 2.0)
# Name: the fields of the protocol that it changes; what another table measures too is written alike, and drawn once.
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
OPEN_PROMPTS = 16  # names alone, which leave the style open
PICTURES_A_PROMPT = 8
UNCONDITIONAL = 96


@dataclass(frozen=True, kw_only=True)
class Study:
    """The models, data and judge that all parts share; ``open`` makes one from paths."""

    pipeline: VQDiffusionPipeline
    judge: Judge
    source: SceneQuestions
    data: Path
    work: Path
    samples: int
    pictures: int
    steps: int
    batch_size: int
    concepts: int
    photographs: Path | None = None
    null_text: VQDiffusionPipeline | None = None
    training: Mapping[str, VQDiffusionPipeline] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        checkpoint: str,
        judge: Path,
        data: Path,
        work: Path,
        *,
        samples: int,
        concepts: int,
        null_text_checkpoint: str | None = None,
        training_checkpoints: Mapping[str, str] | None = None,
        **options,
    ) -> Study:
        """Open models, data and judge; raises what these raise, before anything is measured."""
        load, loaded = VQDiffusionPipeline.from_pretrained, load_judge(judge)
        return cls(
            pipeline=load(checkpoint),
            judge=loaded,
            data=data,
            work=work,
            samples=samples,
            concepts=concepts,
            source=SceneQuestions(data, "validation", concepts=concepts, length=samples),
            null_text=load(null_text_checkpoint) if null_text_checkpoint else None,
            training={name: load(folder) for name, folder in (training_checkpoints or {}).items()},
            **options,
        )

    def identity(self, part: str) -> dict[str, Any]:
        """Return all that a part's figures depend on besides the code."""
        table = {"model": fingerprint(self.pipeline.model), "judge": fingerprint(self.judge)}
        table |= {"steps": self.steps, "concepts": self.concepts}
        table |= {"samples": self.samples} if part in ("following", "codec") else {"pictures": self.pictures}
        if part == "codec":
            table["photographs"] = self.photographs is not None
        if part == "null_conditions":
            table["null_text_model"] = fingerprint(self.null_text.model) if self.null_text else None
        if part == "inference_steps":
            table["training"] = {name: fingerprint(pipeline.model) for name, pipeline in self.training.items()}
        return table

    @property
    def protocol(self) -> Protocol:
        options = {"concepts": self.concepts, "length": self.samples}
        return find_protocol("emoji").changed(source_options=options, num_inference_steps=self.steps)

    @functools.cached_property
    def model_names(self) -> dict[int, str]:
        """Folder of each model's pictures, by its identity in this process: hashing weights takes a moment."""
        models = [self.pipeline, self.null_text, *self.training.values()]
        return {id(one): fingerprint(one.model) for one in models if one is not None}

    def setup(self, **changes: Any) -> Setup:
        protocol = self.protocol.changed(**changes)
        return Setup(
            out=self.work / f"{fingerprint(self.judge)},{self.concepts},{self.samples}",
            protocol=protocol,
            source=self.source,
            source_name=f"scene_questions at {self.data}",
            extractors=[JudgeFeatures(self.judge), JudgeAnswers(self.judge)],
            metrics=choose(list(protocol.metrics)),
            chunk=CHUNK,
            batch_size=self.batch_size,
        )

    def measure(
        self, pipeline: VQDiffusionPipeline | None = None, *, count: int | None = None, **changes: Any
    ) -> dict[str, Any]:
        """Return scores, shares and speed of ``count`` pictures by the protocol with some fields changed.

        Equal settings are drawn once.
        """
        pipeline, count = pipeline or self.pipeline, count or self.pictures
        setup = self.setup(num_samples=count, **changes)
        settings = {"num_inference_steps": self.steps} | changes
        name = (
            ",".join(f"{field}={value}" for field, value in sorted(settings.items())).replace("/", "").replace(" ", "")
        )
        store, reference = evaluate_samples(setup, pipeline, name=f"{self.model_names[id(pipeline)]}/{count},{name}")
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
        return float(np.mean([mean_pairwise_distance(judge_features(self.judge, of_one)) for of_one in pictures]))

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
        "judge_concepts": len(study.judge.config.concepts),
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
    setup = replace(setup, out=setup.out / study.model_names[id(study.pipeline)])
    store = evaluate_likelihood(setup, study.pipeline)
    bound = summarise(store.all(NATS), study.pipeline.model)
    bits = {"pictures": store.count, "bits_per_token": bound.bits_per_token, "standard_error": bound.standard_error}
    return study.measure(count=study.samples) | {"likelihood": bits}


def null_conditions(study: Study) -> list[dict[str, Any]]:
    """Table 1 of the improved paper."""
    scale = study.protocol.sampling.guidance_scale
    rows = [
        {"name": "no guidance"} | study.measure(guidance_scale=1.0),
        {"name": "zero-shot: the empty prompt, never trained as one"}
        | study.measure(guidance_scale=scale, null="text"),
        {"name": "learnable null embedding"} | study.measure(guidance_scale=scale, null="learnable"),
    ]
    trained = study.measure(study.null_text, guidance_scale=scale, null="text") if study.null_text else {}
    return [*rows[:2], {"name": "null text, trained: a model of its own"} | trained, rows[2]]


def guidance_scales(study: Study) -> list[dict[str, Any]]:
    """Figure 2 of the improved paper."""
    rows = []
    for scale in GUIDANCE_SCALES:
        drawn = study.draw(study.names, PICTURES_A_PROMPT // 2, guidance_scale=scale)
        rows.append({"scale": scale, "distance": study.distance_within(drawn)} | study.measure(guidance_scale=scale))
    return rows


def inference_steps(study: Study) -> list[dict[str, Any]]:
    """Table 2 of the improved paper: each model with as many steps as it has timesteps at most."""
    rows = []
    for name, pipeline in (study.training or {"the checkpoint": study.pipeline}).items():
        timesteps = pipeline.config.denoiser.num_timesteps
        found = [study.measure(pipeline, num_inference_steps=steps) for steps in INFERENCE_STEPS if steps <= timesteps]
        rows.append({"name": name, "num_timesteps": timesteps, "by_steps": found})
    return rows


def purity_prior(study: Study) -> list[dict[str, Any]]:
    """Table 3 of the improved paper: as many network calls each."""
    calls = study.pipeline.num_calls(strategy=FewerTokens())
    rows = [
        {"name": f"none: the posterior in {calls} steps"} | study.measure(num_inference_steps=calls),
        {"name": "none: tokens at random places"} | study.measure(strategy="fewer_tokens"),
    ]
    purity = {f"purity, weight {weight:g}": weight for weight in PURITY_WEIGHTS}
    return rows + [{"name": name} | study.measure(strategy="purity", purity_weight=w) for name, w in purity.items()]


def strategies(study: Study) -> list[dict[str, Any]]:
    """Accuracy against time."""
    return [{"name": name} | study.measure(**changes) for name, changes in STRATEGIES.items()]


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
            "distance": mean_pairwise_distance(judge_features(study.judge, of_one_seed)),
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
    seen = judge_pictures(study.judge, drawn)
    concepts, backgrounds = Counter(seen.concept[:, 0].tolist()), Counter(seen.background.tolist())
    (commonest, count), *_ = concepts.most_common(1)
    return {
        "pictures": len(drawn),
        "different_pictures": len(_different(drawn)),
        "concepts": len(concepts),
        "commonest_concept": study.judge.config.concepts[commonest],
        "commonest_concept_pictures": count,
        "backgrounds": {BACKGROUNDS[number]: count for number, count in backgrounds.most_common()},
        "distance": mean_pairwise_distance(judge_features(study.judge, drawn)),
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
    "null_conditions": null_conditions,
    "guidance_scales": guidance_scales,
    "inference_steps": inference_steps,
    "purity_prior": purity_prior,
    "strategies": strategies,
    "variety": variety,
}
