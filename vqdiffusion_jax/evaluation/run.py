"""One evaluation from beginning to end: samples, likelihood or reconstruction, each a folder of chunks and a table of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..batching import in_batches
from ..config import dtype_of
from ..data.examples import captions_of, label_of, read_record
from ..data.records import Source
from ..errors import EvaluationError
from ..models.vqdiffusion import VQDiffusionModel
from ..models.vqgan import VQGAN
from ..pipeline import VQDiffusionPipeline
from . import likelihood, reconstruction
from .chunks import ChunkStore
from .inception_weights import fingerprint
from .metrics import METRICS, Metric, Reference, Results, measure
from .networks import POOL3, Extractor, InceptionFeatures, fitting
from .protocol import Protocol
from .reference import reference_indices, reference_pictures, scene_of, subjects
from .samples import extract, sample_rows
from .statistics import FeatureStatistics


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What evaluations of one command share.

    out: folder of all that is written; source: the reference split, or None; statistics: given instead of reference pictures;
    extractors: networks that are there; chunk: pictures a file; batch_size: pictures drawn together, None for the pipeline's
    choice; part, parts: which process this is; keep_images: also write the samples.
    """

    out: Path
    protocol: Protocol
    source: Source | None = None
    source_name: str = ""
    statistics: FeatureStatistics | None = None
    extractors: Sequence[Extractor] = ()
    metrics: tuple[Metric, ...] = METRICS
    prompts: Sequence[str] | None = None
    chunk: int = 256
    batch_size: int | None = None
    part: int = 0
    parts: int = 1
    keep_images: bool = False
    progress: Any = field(default=lambda chunks: chunks)

    @property
    def inception(self) -> InceptionFeatures | None:
        return next((one for one in self.extractors if isinstance(one, InceptionFeatures)), None)

    def fill(self, store: ChunkStore, rows) -> None:
        """This process's chunks."""
        store.fill(rows, part=self.part, parts=self.parts, progress=self.progress)


def arithmetic_of(model: VQDiffusionModel | VQGAN) -> dict[str, str]:
    """How a model's or a codec's numbers are made, which its weights do not tell: ``dtype`` and, of a text tower, ``clip_dtype`` as on
    the command line; ``platform``."""
    arithmetic = {}
    if isinstance(model, VQDiffusionModel):
        arithmetic["dtype"] = dtype_of(model.denoiser.compute)
        if model.text_encoder is not None:
            arithmetic["clip_dtype"] = model.text_encoder.compute.dtype
    elif isinstance(model, VQGAN):  # of a codec of one's own nothing is known
        arithmetic["dtype"] = jnp.dtype(model.post_quant_conv.dtype).name
    return arithmetic | on_platform()


def on_platform() -> dict[str, str]:
    """The kind of device: "cpu", "gpu" or "tpu"."""
    return {"platform": jax.default_backend()}


def identity_of(model: VQDiffusionModel | VQGAN, extractors: Sequence[Extractor]) -> dict[str, Any]:
    """What tells a model's arithmetic and weights and the networks from others."""
    return arithmetic_of(model) | {"weights": fingerprint(model), **networks_of(extractors)}


def networks_of(extractors: Sequence[Extractor]) -> dict[str, Any]:
    return {"networks": [extractor.name for extractor in extractors]}


def reference_of(setup: Setup, size: int | None) -> Reference:
    """The reference's rows, computed once a folder, of every extractor that needs no caption; none without such a one.

    size: of the central crops; None leaves pictures as they are.
    """
    protocol, source = setup.protocol, setup.source
    if setup.statistics is not None or source is None:
        return Reference(statistics=setup.statistics)
    extractors = fitting(setup.extractors, scene_of(source, 0))
    if not extractors:
        return Reference()
    indices = reference_indices(source, protocol)
    identity = on_platform() | {
        "data": setup.source_name,
        "size": size,
        **networks_of(extractors),
        **protocol.comparing(),
    }
    store = ChunkStore(setup.out / "reference", len(indices), setup.chunk, identity)
    crop = size if protocol.crop == "centre" else None

    def rows(numbers: range) -> dict[str, np.ndarray]:
        chosen = indices[numbers.start : numbers.stop]
        return extract(
            extractors, reference_pictures(source, chosen, crop), [scene_of(source, int(index)) for index in chosen]
        )

    setup.fill(store, rows)
    return Reference(rows=store)


def reference_statistics(setup: Setup, reference: Reference) -> FeatureStatistics:
    """What FID needs of a reference: as given, or of the rows of its pictures, whose chunks are all there."""
    return reference.statistics or FeatureStatistics.of(reference.rows.stream(POOL3), setup.inception.name)


def evaluate_samples(
    setup: Setup, pipeline: VQDiffusionPipeline, *, name: str = "samples"
) -> tuple[ChunkStore, Reference]:
    """Draw the protocol's samples and extract their rows into ``out/name``; resumes what is there."""
    protocol, config = setup.protocol, pipeline.config
    shown = subjects(protocol, config, setup.source, setup.prompts)
    extractors = fitting(setup.extractors, shown[0])
    identity = identity_of(pipeline.model, extractors) | protocol.drawing()
    identity |= {
        "data": setup.source_name,
        "batch_size": setup.batch_size,
        "prompts": setup.prompts and list(setup.prompts),
    }
    store = ChunkStore(setup.out / name, protocol.num_samples, setup.chunk, identity)
    keep = setup.out / name / "images" if setup.keep_images else None
    rows = sample_rows(pipeline, protocol, shown, extractors, batch_size=setup.batch_size, keep=keep)
    setup.fill(store, rows)
    return store, reference_of(setup, config.codec.image_size)


def evaluate_pictures(setup: Setup, drawn: Source, drawn_name: str) -> tuple[ChunkStore, Reference]:
    """Rows of pictures that are drawn already, as they are; the reference is cropped to their size."""
    extractors = fitting(setup.extractors, {})
    first = reference_pictures(drawn, [0], None)[0]
    identity = on_platform() | {"data": drawn_name, **networks_of(extractors)}
    store = ChunkStore(setup.out / "samples", len(drawn), setup.chunk, identity)

    def rows(numbers: range) -> dict[str, np.ndarray]:
        pictures = reference_pictures(drawn, [0, *numbers], None)[1:]  # with the first, so that all are of one size
        return extract(extractors, pictures, [{}] * len(pictures))

    setup.fill(store, rows)
    if setup.protocol.crop == "centre" and first.shape[0] != first.shape[1] and setup.source is not None:
        raise EvaluationError(
            f"samples are {first.shape[1]} x {first.shape[0]}; central crops are squares: set crop to none"
        )
    return store, reference_of(setup, first.shape[0])


def score_samples(setup: Setup, store: ChunkStore, reference: Reference) -> Results:
    """The numbers of samples whose chunks are all there."""
    return measure(store, reference, setup.inception.name if setup.inception else "", metrics=setup.metrics)


def evaluate_likelihood(setup: Setup, pipeline: VQDiffusionPipeline, *, draws: int = 1, batch: int = 8) -> ChunkStore:
    """The bound's terms of the reference pictures (central crops, first captions) into ``out/likelihood``; resumes what is there.

    batch: pictures together, on each device of the pipeline's mesh.
    """
    source, protocol = _needed(setup), setup.protocol
    indices = reference_indices(source, protocol)[: protocol.num_likelihood]
    identity = identity_of(pipeline.model, ()) | {"data": setup.source_name, "draws": draws, **protocol.comparing()}
    store = ChunkStore(setup.out / "likelihood", len(indices), setup.chunk, identity)
    terms = likelihood.make_terms(pipeline.model, seed=protocol.seed, draws=draws)

    def rows(numbers: range) -> dict[str, np.ndarray]:
        found = in_batches(
            lambda part: terms(*part),
            np.asarray(numbers),
            batch,
            mesh=pipeline.mesh,
            prepare=lambda part: (_examples(pipeline, source, indices[part]), part),
        )
        return {likelihood.NATS: found}

    setup.fill(store, rows)
    return store


def evaluate_reconstruction(setup: Setup, codec: VQGAN, *, mesh: Mesh | None = None) -> tuple[ChunkStore, Reference]:
    """What the codec, on ``mesh``, makes of the reference pictures, into ``out/reconstruction``; resumes what is there."""
    source, size = _needed(setup), codec.config.image_size
    indices = reference_indices(source, setup.protocol)
    extractors = [setup.inception] if setup.inception else []
    identity = identity_of(codec, extractors) | {"data": setup.source_name, **setup.protocol.comparing()}
    store = ChunkStore(setup.out / "reconstruction", len(indices), setup.chunk, identity)
    rows = reconstruction.reconstruction_rows(
        codec,
        lambda numbers: reference_pictures(source, indices[numbers.start : numbers.stop], size),
        extractors,
        mesh=mesh,
    )
    setup.fill(store, rows)
    return store, reference_of(setup, size)


def score_reconstruction(setup: Setup, store: ChunkStore, reference: Reference, codec: VQGAN) -> Results:
    """The numbers of reconstructions whose chunks are all there; ``rfid`` where the Inception network is."""
    results = Results()
    columns = (store.all(name) for name in (reconstruction.PSNR, reconstruction.SSIM, reconstruction.TOKENS))
    results.scores |= reconstruction.summarise(*columns, codec.config.num_codes)
    if POOL3 in store.names():
        fid = next(metric for metric in METRICS if metric.name == "fid")
        results.scores["rfid"] = fid.compute(store, reference, setup.inception.name, results)["fid"]
    else:
        results.warnings.append(
            "rfid is left out: it needs the FID Inception network (--inception=pt_inception-2015-12-05-6726825d.pth)"
        )
    return results


def _needed(setup: Setup) -> Source:
    if setup.source is None:
        raise EvaluationError("no pictures to evaluate on; give --data_root, the data set of the protocol")
    return setup.source


def _examples(pipeline: VQDiffusionPipeline, source: Source, indices: np.ndarray) -> Mapping[str, np.ndarray]:
    """Pictures of the records, and their first captions or their labels, as the model was trained on them."""
    config = pipeline.config
    batch = {"images": reference_pictures(source, indices, config.codec.image_size)}
    if config.denoiser.condition == "text":
        batch["text_ids"], _ = pipeline.tokenizer([captions_of(read_record(source, int(i)))[0] for i in indices])
    elif config.denoiser.condition == "class":
        batch["labels"] = np.stack([label_of(read_record(source, int(i)), config, 0.0, None) for i in indices])
    return batch
