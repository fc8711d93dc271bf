"""Random models of a few thousand numbers under the names of the files that the documents speak of.

The released files have the layout of the reference's own, so that they are recognised and converted like these.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from tests.data import layouts
from tests.interop.files import codec_config, model_config, save, tensors_of
from vqdiffusion_jax.config import ModelConfig, VQGANConfig
from vqdiffusion_jax.data.scenes.concepts import all_concepts
from vqdiffusion_jax.data.scenes.words import STYLES
from vqdiffusion_jax.interop.codecs.rules import codec_rules
from vqdiffusion_jax.interop.diffusers import write_diffusers
from vqdiffusion_jax.interop.engine import unapply
from vqdiffusion_jax.loading import write_folder
from vqdiffusion_jax.models.codebook_reduction import first_codes_kept
from vqdiffusion_jax.models.components import CodecComponent
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

# Timesteps as in the released models, as settings in the documents depend on them; a ratio that diffusers can hold.
SIZES = {"num_timesteps": 100, "num_layers": 1, "mlp_ratio": 4}
# What the class of scripts written against the reference cannot do without.
YAML = """\
model:
  params:
    diffusion_config:
      params:
        transformer_config:
          target: image_synthesis.modeling.transformers.transformer_utils.Text2ImageTransformer
          params: {}
"""


def small_presets() -> dict[str, ModelConfig]:
    """Models of these sizes under the names of the presets that the documents' configurations are made of."""
    of_text = model_config("text", **SIZES)
    of_text = replace(of_text, text_encoder=replace(of_text.text_encoder, num_layers=1))
    without_null = replace(of_text, denoiser=replace(of_text.denoiser, learnable_null=False))
    larger = codec_config("ema", image_size=16, channel_multipliers=(1, 1, 2))  # SSIM's window needs 11 pixels
    return {
        "coco": without_null,
        "coco_cf": of_text,
        "ithq": _of_all_codes(of_text, codec_config("ema")),
        "emoji": _of_all_codes(of_text, larger),
    }


EMBEDDED = "embedded_model"  # the folder of the embedded model's stand-in


def small_codecs() -> dict[str, VQGANConfig]:
    """The same of codecs."""
    return {"emoji_f8_1024": small_presets()["emoji"].codec}


def make(folder: Path) -> None:
    """Write all of them to ``folder``."""
    of_text = small_presets()["coco_cf"]
    ithq, emoji, coco = (random_model(small_presets()[name]) for name in ("ithq", "emoji", "coco_cf"))
    imagenet, ffhq = random_model(model_config("class", **SIZES)), model_config("none", **SIZES)
    checkpoints = {
        "ithq_learnable.pth": tensors_of(ithq),
        "coco_learnable.pth": (tensors := tensors_of(coco)),
        "coco_pretrained.pth": {
            name: value for name, value in tensors.items() if name != "transformer.empty_text_embed"
        },
        "imagenet_learnable.pth": (tensors := tensors_of(imagenet)),
        "imagenet_pretrained.pth": {
            name: value[:1000] if name.endswith("ln2.emb.weight") else value for name, value in tensors.items()
        },
        "ffhq_pretrained.pth": tensors_of(random_model(replace(ffhq, codec=codec_config("vq")))),
    }
    for name, tensors in checkpoints.items():
        averaged = {
            key.removeprefix("transformer."): value for key, value in tensors.items() if key.startswith("transformer.")
        }
        save(folder / name, {"last_epoch": 1, "model": tensors, "ema": averaged})
    for name in ("CC_pretrained.pth", "cub_pretrained.pth", "human_pretrained.pth"):
        (folder / name).symlink_to("coco_pretrained.pth")
    (folder / "cc_learnable.pth").symlink_to("coco_learnable.pth")
    table = np.asarray(first_codes_kept(of_text.codec.codebook_size, of_text.codec.num_codes)[0]).astype(np.int64)
    for name in ("taming_vqvae_2887.pt", "taming_vqvae_974.pt"):
        save(folder / name, table)
    gumbel = codec_rules("", "", quantizer="gumbel")
    codec = unapply(gumbel, coco.codec, skip=["full_to_reduced", "reduced_to_full"])
    save(folder / "taming_f8_8192_openimages_last.pth", {"state_dict": codec})
    (folder / "ithq.yaml").write_text(YAML)
    write_diffusers(ithq, folder / "vq-diffusion-ithq")
    (folder / "microsoft").mkdir()
    (folder / "microsoft" / "vq-diffusion-ithq").symlink_to(folder / "vq-diffusion-ithq")
    write_folder(folder / EMBEDDED, emoji, None)
    (folder / "DIR").symlink_to(EMBEDDED)
    write_folder(folder / "codec", _codec_of(emoji), None)
    for run, model in (("emoji", EMBEDDED), ("vqgan_emoji", "codec")):
        (folder / "runs" / run).mkdir(parents=True)
        (folder / "runs" / run / "model").symlink_to(folder / model)
    _data(folder)
    size = ithq.config.codec.image_size
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(
        folder / "picture.png"
    )
    Image.fromarray(np.eye(size, dtype=np.uint8) * 255).save(folder / "mask.png")
    (folder / "prompts.txt").write_text("a red apple\na sunflower\n")
    (folder / "list.csv").write_text("prompt,seed,strategy,file_name\na red apple,1,,apple.png\na star,2,purity,\n")


def _data(folder: Path) -> None:
    """Data sets: of the emoji every concept that the documents ask for, of the others a few pictures."""
    layouts.drawings(folder / "data" / "emoji", all_concepts()[:64], STYLES)
    layouts.coco(folder / "dataset" / "COCO")
    pictures = layouts.folder(folder / "my_pictures", 60)  # a twentieth of them, by their hashes, are two
    rows = [{"image": f"{number:03d}.png", "caption": f"picture {number}"} for number in range(60)]
    (pictures / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "DATA").symlink_to("my_pictures")


def _of_all_codes(config: ModelConfig, codec: VQGANConfig) -> ModelConfig:
    """The same with a codec none of whose codes is left out."""
    codes = {"num_codes": codec.num_codes}
    return replace(
        config, codec=codec, denoiser=replace(config.denoiser, **codes), schedule=replace(config.schedule, **codes)
    )


def random_model(config: ModelConfig) -> VQDiffusionModel:
    """Small random numbers without compiling the model's own initialisation; whole numbers are 0."""
    draw = np.random.default_rng(0)

    def fill(leaf):
        floating = np.issubdtype(leaf.dtype, np.floating)
        return (
            (0.1 * draw.standard_normal(leaf.shape)).astype(leaf.dtype)
            if floating
            else np.zeros(leaf.shape, leaf.dtype)
        )

    return jax.tree.map(fill, shapes_of(VQDiffusionModel, config))


def _codec_of(model: VQDiffusionModel) -> CodecComponent:
    part = shapes_of(CodecComponent, model.config.codec)
    part.codec = model.codec
    return part
