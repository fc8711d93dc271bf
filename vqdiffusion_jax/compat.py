"""The reference's inference class, for scripts written against it.

    from vqdiffusion_jax.compat import VQ_Diffusion
    model = VQ_Diffusion(config="configs/ithq.yaml", path="ithq_learnable.pth")
    model.inference_generate_sample_with_condition(
        "teddy bear", truncation_rate=1.0, save_root="RESULT", batch_size=4, guidance_scale=5.0
    )

Arguments and files are the same.  Unlike in the reference, where the truncation and guidance of the first call stay for
good, settings hold for their call alone.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import jax
from PIL import Image

from .hub import locate
from .interop.reference.checkpoint import training_state
from .interop.reference.yaml_file import codec_files
from .pipeline import VQDiffusionPipeline
from .sampling import SamplingSettings, strategy_from_infer_speed

JPEG_QUALITY = 75  # Pillow's default, which the reference uses for class-conditional pictures


class VQ_Diffusion:  # noqa: N801 (the reference's name)
    """A released checkpoint and its yaml file, ready to sample with averaged weights, or raw ones if it has no others.

    config: the model's yaml file.  path: the .pth file; either may be hf://owner/name/FILE on the Hugging Face hub.
    imagenet_cf: the class model with a null class; recognised from the weights, and accepted for old scripts.
    mapping, codec_config: companion files; by default those that the yaml file names, searched for as written, beside
    the yaml file and beside the checkpoint.

    The attributes model, epoch, model_name and info are the reference's; info is the return value of ``get_model``.
    model is a VQDiffusionModel; pipeline runs it.
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
        """Return {"model", "epoch" (0 if unknown), "model_name", "parameter" (the number of the model's parameters)}.

        ema: take averaged weights if the file has them.  The other arguments are those of the class.
        """
        config, path = locate(config_path, "file").path, locate(model_path).path
        epoch, averaged = training_state(path)
        companions = {role: _find(name, config, path) for role, name in codec_files(config).items()}
        companions |= {"config": config, "mapping": mapping or companions.get("mapping")}
        companions["codec_config"] = codec_config or companions.get("codec_config")
        options: dict[str, Any] = {role: file for role, file in companions.items() if file is not None}
        options["weights"] = "ema" if ema and averaged else "model"
        model = VQDiffusionPipeline.from_pretrained(path, **options).model
        denoiser = model.config.denoiser
        if imagenet_cf and not (denoiser.condition == "class" and denoiser.learnable_null):
            found = f"{path} has {denoiser.num_classes} class rows and so no trained null class"
            raise ValueError(f"imagenet_cf is True, but {found}; leave it False")
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
        """Draw ``batch_size`` pictures of a prompt to ``save_root/{text}/{i:06d}.png``.

        infer_speed, prior_rule, prior_weight: see ``sampling.strategy_from_infer_speed``.
        learnable_cf: guide by the learned null condition, else by the empty prompt.
        seed: None for a random one.
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
        """Draw ``batch_size`` pictures of class ``text`` to ``save_root/{text}/{i:06d}.jpg``.

        infer_speed: ignored, as in the reference.  seed: None for a random one.
        """
        images = self._draw(batch_size, truncation_rate, guidance_scale, seed, class_labels=int(text))
        _save(images, Path(save_root) / str(text), "jpg")

    def _draw(
        self, batch_size: int, truncation_rate: float, guidance_scale: float, seed: int | None, **fields: Any
    ) -> list[Image.Image]:
        settings = SamplingSettings(
            num_images_per_prompt=batch_size,
            truncation_rate=truncation_rate,
            guidance_scale=guidance_scale,
            seed=secrets.randbits(62) if seed is None else seed,
            **fields,
        )
        return [image for batch in self.pipeline.stream(settings) for image in batch.images]


def _find(name: str, config: Path, path: Path) -> Path | None:
    """Return a file that the yaml file names, found as written, beside the yaml file or the checkpoint, or None."""
    places = (Path(name), config.parent / name, config.parent / Path(name).name, path.parent / Path(name).name)
    return next((place for place in places if place.is_file()), None)


def _folder_name(text: str) -> str:
    """Return the prompt as the name of one folder: without separators, at most 255 bytes."""
    name = text.replace("/", "_").replace("\\", "_").replace("\0", "") or "_"
    name = name.encode("utf-8")[:255].decode("utf-8", "ignore")
    return "_" if set(name) == {"."} else name


def _save(images: list[Image.Image], folder: Path, ending: str) -> None:
    """Write the pictures as 000000.{ending} and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        if ending == "jpg":
            image.save(folder / f"{i:06d}.jpg", quality=JPEG_QUALITY)
        else:
            image.save(folder / f"{i:06d}.{ending}")
