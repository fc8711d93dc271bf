"""The reference's inference class, for scripts written against it.

    from vqdiffusion_jax.compat import VQ_Diffusion
    model = VQ_Diffusion(config="configs/ithq.yaml", path="ithq_learnable.pth")
    model.inference_generate_sample_with_condition("teddy bear", truncation_rate=1.0, save_root="RESULT", batch_size=4, guidance_scale=5.0)

Same arguments, same files.  Unlike the reference, every call keeps to its own
settings: there, the first call's truncation and guidance stayed for good.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import jax

from .interop.reference.checkpoint import training_state
from .interop.reference.yaml_file import codec_files
from .pipeline import VQDiffusionPipeline
from .sampling import strategy_from_infer_speed

JPEG_QUALITY = 75  # Pillow's default, which the reference uses for class-conditional pictures


class VQ_Diffusion:  # noqa: N801 (the reference's name)
    """A released checkpoint and its yaml file, ready to sample with averaged weights, or with the raw ones if the file has no others.

    config: the model's yaml; path: the .pth file; imagenet_cf: the class model
    with a null class (recognised from the weights; accepted for old scripts).
    mapping, codec_config: companion files; by default what the yaml names,
    looked for as written, beside the yaml and beside the checkpoint.

    Attributes as in the reference: model, epoch, model_name and info, which is
    what ``get_model`` returned.  model is a VQDiffusionModel; pipeline runs it.
    """

    def __init__(
        self,
        config: str,
        path: str,
        imagenet_cf: bool = False,
        *,
        mapping: str | None = None,
        codec_config: str | None = None,
    ):
        self.info = self.get_model(True, path, config, imagenet_cf, mapping=mapping, codec_config=codec_config)
        self.pipeline = VQDiffusionPipeline(self.info["model"])
        self.model, self.epoch, self.model_name = (self.info[name] for name in ("model", "epoch", "model_name"))

    def get_model(
        self,
        ema: bool,
        model_path: str,
        config_path: str,
        imagenet_cf: bool,
        *,
        mapping: str | None = None,
        codec_config: str | None = None,
    ) -> dict[str, Any]:
        """{"model", "epoch" (0 if the file does not say), "model_name", "parameter" (how many numbers the model has)}.

        ema: take averaged weights where the file has them.  The rest: see the class.
        """
        config, path = Path(config_path), Path(model_path)
        epoch, averaged = training_state(path)
        companions = {role: _find(name, config, path) for role, name in codec_files(config).items()}
        companions |= {"config": config, "mapping": mapping or companions.get("mapping")}
        companions["codec_config"] = codec_config or companions.get("codec_config")
        given = {role: file for role, file in companions.items() if file is not None}
        model = VQDiffusionPipeline.from_pretrained(path, weights="ema" if ema and averaged else "model", **given).model
        denoiser = model.config.denoiser
        if imagenet_cf and not (denoiser.condition == "class" and denoiser.learnable_null):
            raise ValueError(
                f"imagenet_cf=True, but {path} has {denoiser.num_classes} class rows and so no trained null class; leave it False"
            )
        return {
            "model": model,
            "epoch": epoch,
            # A run of the reference's own training is OUTPUT/{name}/checkpoint/{file}.
            "model_name": path.parts[-3] if "OUTPUT" in path.parts[:-2] else config.name.removesuffix(".yaml"),
            "parameter": sum(leaf.size for leaf in jax.tree.leaves(model)),
        }

    def inference_generate_sample_with_condition(
        self,
        text: str,
        truncation_rate: float,
        save_root: str,
        batch_size: int,
        infer_speed: float | bool = False,
        guidance_scale: float = 1.0,
        prior_rule: int = 0,
        prior_weight: float = 0,
        learnable_cf: bool = True,
        *,
        seed: int | None = None,
    ) -> None:
        """Draw ``batch_size`` pictures of a prompt to ``save_root/{text}/{i:06d}.png``; unseeded unless seed is given.

        infer_speed, prior_rule, prior_weight: see ``sampling.strategy_from_infer_speed``.
        learnable_cf: guide by the learned null condition, else by the empty prompt.
        """
        images = self._draw(
            batch_size,
            truncation_rate,
            guidance_scale,
            seed,
            prompt=text,
            null="learnable" if learnable_cf and abs(guidance_scale - 1) >= 1e-3 else "text",
            strategy=strategy_from_infer_speed(
                infer_speed,
                prior_rule,
                prior_weight,
                num_timesteps=self.pipeline.schedule.num_timesteps,
                num_tokens=self.pipeline.config.denoiser.num_tokens,
            ),
        )
        _save(images, Path(save_root) / _folder_name(text), "png")

    def inference_generate_sample_with_class(
        self,
        text: int,
        truncation_rate: float,
        save_root: str,
        batch_size: int,
        infer_speed: float | bool = False,
        guidance_scale: float = 1.0,
        *,
        seed: int | None = None,
    ) -> None:
        """Draw ``batch_size`` pictures of class ``text`` to ``save_root/{text}/{i:06d}.jpg``; infer_speed is ignored, as it was."""
        images = self._draw(batch_size, truncation_rate, guidance_scale, seed, class_labels=int(text))
        _save(images, Path(save_root) / str(text), "jpg")

    def _draw(self, batch_size, truncation_rate, guidance_scale, seed, **arguments) -> list:
        return self.pipeline(
            num_images_per_prompt=batch_size,
            truncation_rate=truncation_rate,
            guidance_scale=guidance_scale,
            seed=secrets.randbits(62) if seed is None else seed,
            **arguments,
        ).images


def _find(name: str, config: Path, path: Path) -> Path | None:
    """A file that the yaml names, as written, beside the yaml or beside the checkpoint; None if it is nowhere."""
    places = (Path(name), config.parent / name, config.parent / Path(name).name, path.parent / Path(name).name)
    return next((place for place in places if place.is_file()), None)


def _folder_name(text: str) -> str:
    """The prompt as one folder's name: no separators, at most 255 bytes."""
    name = text.replace("/", "_").replace("\\", "_").replace("\0", "") or "_"
    name = name.encode("utf-8")[:255].decode("utf-8", "ignore")
    return "_" if set(name) == {"."} else name


def _save(images: list, folder: Path, ending: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        image.save(folder / f"{i:06d}.{ending}", **({"quality": JPEG_QUALITY} if ending == "jpg" else {}))
