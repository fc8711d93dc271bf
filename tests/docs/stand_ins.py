"""Random models of a few thousand numbers under the names of the files that the documents speak of.

The released files have the layout of the reference's own, so that they are told apart and converted as the real ones are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from PIL import Image

from tests.interop.files import codec_config, model_config, save, tensors_of
from vqdiffusion_jax.config import ModelConfig
from vqdiffusion_jax.interop.codec_rules import codec_rules
from vqdiffusion_jax.interop.diffusers_folder import write_diffusers
from vqdiffusion_jax.interop.table import unapply
from vqdiffusion_jax.loading import write_folder
from vqdiffusion_jax.models.codebook_reduction import first_codes_kept
from vqdiffusion_jax.models.parts import CodecPart
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


def make(folder: Path) -> None:
    """Write all of them to ``folder``."""
    of_text = model_config("text", **SIZES)
    of_text = replace(of_text, text_encoder=replace(of_text.text_encoder, num_layers=1))
    ithq, coco = random_model(_of_all_codes(of_text)), random_model(of_text)
    imagenet, ffhq = random_model(model_config("class", **SIZES)), model_config("none", **SIZES)
    checkpoints = {
        "ithq_learnable.pth": tensors_of(ithq),
        "coco_learnable.pth": (tensors := tensors_of(coco)),
        "coco_pretrained.pth": {name: value for name, value in tensors.items() if name != "transformer.empty_text_embed"},
        "imagenet_learnable.pth": (tensors := tensors_of(imagenet)),
        "imagenet_pretrained.pth": {name: value[:1000] if name.endswith("ln2.emb.weight") else value for name, value in tensors.items()},
        "ffhq_pretrained.pth": tensors_of(random_model(replace(ffhq, codec=codec_config("vq")))),
    }
    for name, tensors in checkpoints.items():
        averaged = {key.removeprefix("transformer."): value for key, value in tensors.items() if key.startswith("transformer.")}
        save(folder / name, {"last_epoch": 1, "model": tensors, "ema": averaged})
    for name in ("CC_pretrained.pth", "cub_pretrained.pth", "human_pretrained.pth"):
        (folder / name).symlink_to("coco_pretrained.pth")
    table = np.asarray(first_codes_kept(of_text.codec.codebook_size, of_text.codec.num_codes)[0]).astype(np.int64)
    for name in ("taming_vqvae_2887.pt", "taming_vqvae_974.pt"):
        save(folder / name, table)
    gumbel = codec_rules("", "", quantizer="gumbel")
    codec = unapply(gumbel, coco.codec, skip=["full_to_reduced", "reduced_to_full"])
    save(folder / "taming_f8_8192_openimages_last.pth", {"state_dict": codec})
    (folder / "ithq.yaml").write_text(YAML)
    write_diffusers(ithq, folder / "vq-diffusion-ithq")
    write_folder(folder / "emoji", ithq, None)
    for name in ("emoji", "my_pictures"):
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "model").symlink_to(folder / "emoji")
    write_folder(folder / "runs" / "codec" / "model", _codec_of(ithq), None)
    for name in ("vqgan_emoji", "my_codec"):
        (folder / "runs" / name).symlink_to("codec")
    size = ithq.config.codec.image_size
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / "picture.png")
    Image.fromarray(np.eye(size, dtype=np.uint8) * 255).save(folder / "mask.png")
    (folder / "prompts.txt").write_text("a red apple\na blue whale\n")


def _of_all_codes(config: ModelConfig) -> ModelConfig:
    """The same with ITHQ's kind of codec, none of whose codes is left out."""
    codec = codec_config("ema")
    codes = {"num_codes": codec.num_codes}
    return replace(config, codec=codec, denoiser=replace(config.denoiser, **codes), schedule=replace(config.schedule, **codes))


def random_model(config: ModelConfig) -> VQDiffusionModel:
    """Small random numbers without compiling the model's own initialisation; whole numbers are 0."""
    draw = np.random.default_rng(0)

    def fill(leaf):
        floating = np.issubdtype(leaf.dtype, np.floating)
        return (0.1 * draw.standard_normal(leaf.shape)).astype(leaf.dtype) if floating else np.zeros(leaf.shape, leaf.dtype)

    return jax.tree.map(fill, jax.eval_shape(lambda: VQDiffusionModel(config, rngs=nnx.Rngs(0))))


def _codec_of(model: VQDiffusionModel) -> CodecPart:
    part = jax.eval_shape(lambda: CodecPart(model.config.codec, rngs=nnx.Rngs(0)))
    part.codec = model.codec
    return part
