"""Whole, small files and folders of every kind that the package reads, for ``benchmarks.hostile`` to damage."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vqdiffusion_jax.checkpoint import TrainingCheckpoints
from vqdiffusion_jax.config import (
    CLIPTextConfig,
    DenoiserConfig,
    ModelConfig,
    ObjectiveConfig,
    ScheduleConfig,
    TextEmbeddingConfig,
    TokenizerConfig,
    VQGANConfig,
)
from vqdiffusion_jax.data.cache_writer import write_records
from vqdiffusion_jax.data.token_cache import MANIFEST, codec_fingerprint, make_manifest, pack, record_dtypes
from vqdiffusion_jax.evaluation.chunks import ChunkStore
from vqdiffusion_jax.evaluation.judge.files import save_judge
from vqdiffusion_jax.evaluation.judge.model import Judge, JudgeConfig
from vqdiffusion_jax.interop.clip.huggingface import write_clip_text
from vqdiffusion_jax.interop.clip.openai_rules import text_rules
from vqdiffusion_jax.interop.codecs.rules import codec_rules
from vqdiffusion_jax.interop.diffusers import write_diffusers
from vqdiffusion_jax.interop.engine import unapply
from vqdiffusion_jax.interop.reference.denoiser import denoiser_rules
from vqdiffusion_jax.model_folder import write_folder
from vqdiffusion_jax.models.shapes import make_rngs
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.text.tokenizer import Tokenizer

PICTURES = 6
STATE = {"a": jax.ShapeDtypeStruct((40, 3), np.float32), "n": jax.ShapeDtypeStruct((), np.int32)}
TABLES = ("full_to_reduced", "reduced_to_full")


def make(folder: Path) -> None:
    """Write every specimen below ``folder``."""
    folder.mkdir(parents=True)
    model = _model()
    tensors = _tensors(model)
    (folder / "checkpoint.pth").write_bytes(torch_file({"model": tensors}))
    np.savez(folder / "tensors.npz", **tensors)  # to be forged as trees
    codec = unapply(codec_rules(quantizer=model.config.codec.quantizer), model.codec, skip=list(TABLES))
    (folder / "codec.pth").write_bytes(torch_file({"state_dict": codec}))
    (folder / "clip.pt").write_bytes(torch_file(unapply(text_rules(""), model.text_encoder)))
    table = np.zeros(model.config.codec.codebook_size, np.int64)
    table[: model.config.codec.num_codes] = np.arange(model.config.codec.num_codes)
    np.save(folder / "mapping.npy", table)
    (folder / "mapping.pt").write_bytes(torch_file(table))
    tokenizer = Tokenizer(model.config.tokenizer)
    write_folder(folder / "model", model, tokenizer)
    write_diffusers(_model("vq"), folder / "diffusers", tokenizer)
    (folder / "clip").mkdir()
    write_clip_text(model.text_encoder, folder / "clip", start=598, end=599, pad=0)
    (folder / "config.yaml").write_text(_YAML)
    np.savez(folder / "statistics.npz", mu=np.zeros(4), sigma=np.eye(4))
    (folder / "protocol.json").write_text(json.dumps({"name": "p", "num_samples": 4, "guidance_scale": 2.0}))
    bound = {"prior": 0.1, "by_timestep": [0.5] * 12}
    (folder / "report.json").write_text(json.dumps({"likelihood": bound}))
    (folder / "picture.json").write_text(json.dumps({"mode": "sample", "prompt": "a cat", "seed": 3}))
    _pictures(folder / "pictures")
    _captions(folder / "captioned")
    _evaluation(folder)
    _checkpoints(folder / "checkpoints")
    _tar(folder / "tar" / "00000.tar")
    _cache(folder / "cache", model)
    from benchmarks._hostile_behind_flags import make_files  # which import this module
    from benchmarks._hostile_sources import make_sources
    from benchmarks._hostile_strangers import make_strangers

    make_files(folder / "files")
    make_strangers(folder / "strangers", model)
    make_sources(folder / "sources")


def _model(quantizer: str = "gumbel") -> VQDiffusionModel:
    """A text model of the reference's layout, which a checkpoint tells without a yaml file."""
    codec = VQGANConfig(
        quantizer=quantizer,
        codebook_size=24,
        embed_dim=6,
        image_size=8,
        channels=32,
        channel_multipliers=(1, 2),
        num_res_blocks=1,
        attention_levels=(1,),
        z_channels=10,
    )
    denoiser = DenoiserConfig(
        condition="text",
        num_codes=codec.num_codes,
        grid=(4, 4),
        width=32,
        num_layers=2,
        num_heads=16,
        num_timesteps=12,
        position_grid=(4, 4),
        mlp="dense",
        mlp_ratio=4,
        condition_width=64,
        condition_length=9,
        learnable_null=True,
    )
    config = ModelConfig(
        denoiser=denoiser,
        codec=codec,
        schedule=ScheduleConfig(num_codes=codec.num_codes, num_timesteps=denoiser.num_timesteps),
        objective=ObjectiveConfig(auxiliary_weight=5.0e-4),
        text_encoder=CLIPTextConfig(
            vocab_size=600, context_length=9, width=64, num_layers=1, num_heads=1, mlp_ratio=2, projection_width=5
        ),
        text_embedding=TextEmbeddingConfig(),
        tokenizer=TokenizerConfig(context_length=9, end_index=600 - 256),
    )
    abstract = jax.eval_shape(lambda: VQDiffusionModel(config, rngs=make_rngs(0)))
    draw = np.random.default_rng(0)

    def fill(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        return jnp.asarray(draw.standard_normal(leaf.shape) * 0.02, leaf.dtype)

    return jax.tree.map(fill, abstract)


def _tensors(model: VQDiffusionModel) -> dict[str, np.ndarray]:
    codec, denoiser = model.config.codec, model.config.denoiser
    tensors = unapply(
        codec_rules("content_codec.enc.", "content_codec.dec.", quantizer=codec.quantizer),
        model.codec,
        skip=list(TABLES),
    )
    tensors |= unapply(denoiser_rules(condition="text", mlp=denoiser.mlp), model.denoiser)
    tensors |= unapply(text_rules("transformer.condition_emb."), model.text_encoder)
    steps = np.full(denoiser.num_timesteps, -1.0, np.float32)
    return tensors | {"transformer.log_at": steps, "transformer.log_cumprod_at": np.append(steps, 0).astype(np.float32)}


def torch_file(tree: Any) -> bytes:
    """Return the archive that ``torch.save`` writes of nested tables of arrays."""
    storages: list[np.ndarray] = []

    def text(value: str) -> bytes:
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data

    def numbers(values: Any) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    def value_of(node: Any) -> bytes:
        if isinstance(node, dict):
            return b"}(" + b"".join(text(name) + value_of(child) for name, child in node.items()) + b"u"
        array = np.ascontiguousarray(node)
        storages.append(array)
        kind = "LongStorage" if array.dtype == np.int64 else "FloatStorage"
        persistent = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(str(len(storages) - 1)) + text("cpu")
        persistent += b"J" + struct.pack("<i", array.size) + b"tQ"
        strides = [stride // array.itemsize for stride in array.strides]
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + b"K\x00" + numbers(array.shape) + numbers(strides)
            + b"\x89ccollections\nOrderedDict\n)RtR"
        )  # fmt: skip

    pickled = b"\x80\x02" + value_of(tree) + b"."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for number, array in enumerate(storages):
            data = array.astype(np.float32) if array.dtype != np.int64 else array
            archive.writestr(f"archive/data/{number}", data.tobytes())
    return out.getvalue()


def picture_bytes(number: int, kind: str = "PNG") -> bytes:
    """Return a small picture of noise as a file of a kind."""
    out = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def _pictures(folder: Path) -> None:
    folder.mkdir()
    for number in range(PICTURES):
        kind = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")[number]
        (folder / f"{number}.{kind.lower()}").write_bytes(picture_bytes(number, kind))
    for path in list(folder.iterdir()):
        path.with_suffix(".txt").write_text(f"a picture {path.stem}\nthe same again\n")


def _captions(folder: Path) -> None:
    folder.mkdir()
    rows = [{"image": f"{number}.png", "caption": f"a picture, number {number}"} for number in range(PICTURES)]
    for number in range(PICTURES):
        (folder / f"{number}.png").write_bytes(picture_bytes(number))
    (folder / "captions.json").write_text(json.dumps(rows))
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for ending, between in (("csv", ","), ("tsv", "\t")):
        lines = [["image", "caption"], *([row["image"], f'"{row["caption"]}"'] for row in rows)]
        (folder / f"captions.{ending}").write_text("".join(between.join(line) + "\n" for line in lines))


def _evaluation(folder: Path) -> None:
    save_judge(
        Judge(JudgeConfig(concepts=("a", "b"), channels=(8, 8, 8, 8), groups=2), rngs=make_rngs(0)),
        folder / "judge.npz",
    )
    store = ChunkStore(folder / "chunks", 6, 4, {"model": "m"})
    store.fill(lambda pictures: {"features": np.ones((len(pictures), 3), np.float32)})


def _checkpoints(folder: Path) -> None:
    kept = TrainingCheckpoints(folder)
    for step in (1, 2):
        kept.save(step, {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in STATE.items()}, {"seen": step})
        kept.wait()
    kept.close()


def _tar(path: Path) -> None:
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        for number in range(PICTURES):
            for name, data in ((f"{number}.png", picture_bytes(number)), (f"{number}.txt", b"a picture")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _cache(folder: Path, model: VQDiffusionModel) -> None:
    tokenizer = Tokenizer(model.config.tokenizer)
    fingerprint = codec_fingerprint(model.codec)
    manifest = make_manifest(
        model.config, fingerprint, tokenizer, num_examples=PICTURES, shard_size=PICTURES, split="train"
    )
    (folder / "train").mkdir(parents=True)
    (folder / "train" / MANIFEST).write_text(json.dumps(manifest))
    tokens = np.zeros((1, model.config.denoiser.num_tokens), int)
    caption = [tokenizer.encode("a picture")]
    records = (pack(f"{number}.png", tokens, caption, None, record_dtypes(manifest)) for number in range(PICTURES))
    write_records(folder / "train" / "00000-of-00001.array_record", records)


_YAML = """
model:
  target: image_synthesis.modeling.models.dalle.DALLE
  params:
    content_info: {key: image}
    condition_info: {key: text}
    content_codec_config:
      target: image_synthesis.modeling.codecs.image_codec.taming_gumbel_vqvae.TamingGumbelVQVAE
      params: {quantize_number: 2887}
    condition_codec_config:
      target: image_synthesis.modeling.codecs.text_codec.tokenize.Tokenize
      params: {context_length: 77, add_start_and_end: true}
    diffusion_config:
      target: image_synthesis.modeling.transformers.diffusion_transformer.DiffusionTransformer
      params:
        diffusion_step: 100
        content_emb_config:
          target: image_synthesis.modeling.embeddings.dalle_mask_image_embedding.DalleMaskImageEmbedding
          params: {num_embed: 2887, spatial_size: [32, 32], embed_dim: 1024}
        transformer_config:
          target: image_synthesis.modeling.transformers.transformer_utils.Text2ImageTransformer
          params: {n_layer: 19, n_embd: 1024, n_head: 16, attn_pdrop: 0.0, block_activate: GELU2}
        condition_emb_config:
          target: image_synthesis.modeling.embeddings.clip_text_embedding.CLIPTextEmbedding
          params: {clip_name: ViT-B/32, num_embed: 49408, normalize: true, pick_last_embedding: false,
            keep_seq_len_dim: true}
"""
