"""The stages of an evaluation: samples, reference, likelihood and reconstruction, each a folder of chunks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ..batching import in_batches
from ..data.examples import captions_of, label_of, read_record
from ..data.records import Batch, Source
from ..data.transforms import CENTRE_CROP
from ..errors import EvaluationError, EvaluationSettingError, UnusedSettingWarning, tell
from ..models.vqgan import VQGAN
from ..pipeline import VQDiffusionPipeline
from . import likelihood, reconstruction
from .chunks import ChunkStore
from .extractors import POOL3, Extractor, InceptionFeatures, Subject, fitting
from .identity import identity_of, networks_of, platform
from .metrics import METRICS, NEEDS, Metric, ReferenceFeatures, Results, fid, measure
from .protocol import COMPARING, DRAWING, Protocol
from .reference_set import read_pictures, reference_indices
from .samples import call_of, extract, sample_rows
from .statistics import FeatureStatistics
from .subjects import scene_of, subjects


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The settings that all stages of an evaluation share.

    out: folder of all that is written.
    source, source_name: the reference split and how chunks' identity calls it; None without reference pictures.
    statistics: mean and covariance of the reference, given in place of its pictures.
    extractors: the networks that look at pictures.
    prompts: texts to draw in place of the data set's captions.
    chunk: pictures a file of rows.
    batch_size: pictures drawn together; None for the pipeline's choice.
    process_index, process_count: this process computes every ``process_count``-th chunk, from ``process_index`` on.
    keep_images: also write the samples as PNG.
    progress: wraps the iteration over chunk numbers, as tqdm does.
    """

    out: Path
    protocol: Protocol
    source: Source | None = None
    source_name: str = ""
    statistics: FeatureStatistics | None = None
    extractors: Sequence[Extractor] = ()
    metrics: Sequence[Metric] = METRICS
    prompts: Sequence[str] | None = None
    chunk: int = 256
    batch_size: int | None = None
    process_index: int = 0
    process_count: int = 1
    keep_images: bool = False
    progress: Callable[[Iterable[int]], Iterable[int]] = iter
    spell: Callable[[str], str] = str

    @property
    def inception(self) -> InceptionFeatures | None:
        """The extractor of FID's features, if there is one."""
        return next((one for one in self.extractors if isinstance(one, InceptionFeatures)), None)

    @property
    def network(self) -> str:
        """The name of the Inception network, "" without one."""
        return self.inception.name if self.inception else ""

    def needed_source(self) -> Source:
        """Return the reference split.  Raises EvaluationSettingError if there is none."""
        if self.source is None:
            raise EvaluationSettingError(
                "there are no pictures to evaluate on; give {data}, the root of the protocol's data set"
            )
        return self.source

    def fill(self, store: ChunkStore, rows: Callable[[range], dict[str, np.ndarray]]) -> None:
        """Compute this process's chunks of ``store``."""
        store.fill(rows, process_index=self.process_index, process_count=self.process_count, progress=self.progress)

    def comparing(self) -> dict[str, Any]:
        """Return what identifies the reference pictures: data set, the protocol's choice of them, and their crop."""
        return {"data": self.source_name, "centre_crop": CENTRE_CROP, **self.protocol.identity(COMPARING)}


def reference_features(setup: Setup, size: int | None) -> ReferenceFeatures:
    """Return the reference's rows of every extractor that needs no caption, computed once a folder.

    size: of the central crops; None leaves pictures as they are.
    """
    protocol, source = setup.protocol, setup.source
    if setup.statistics is not None or source is None:
        return ReferenceFeatures(statistics=setup.statistics, network=setup.network)
    extractors = fitting(setup.extractors, scene_of(source, 0))
    if not extractors:
        return ReferenceFeatures()
    indices = reference_indices(source, protocol)
    identity = platform() | {"size": size, **networks_of(extractors), **setup.comparing()}
    store = ChunkStore(setup.out / "reference", len(indices), setup.chunk, identity)
    crop = size if protocol.crop == "centre" else None

    def rows(numbers: range) -> dict[str, np.ndarray]:
        chosen = [int(index) for index in indices[numbers.start : numbers.stop]]
        pictures = read_pictures(source, chosen, crop, remedy="set crop to centre")
        return extract(extractors, pictures, [scene_of(source, index) for index in chosen])

    setup.fill(store, rows)
    return ReferenceFeatures(rows=store, network=setup.network)


def evaluate_samples(
    setup: Setup, pipeline: VQDiffusionPipeline, *, name: str = "samples"
) -> tuple[ChunkStore, ReferenceFeatures]:
    """Draw the protocol's samples and extract their rows into ``out/name``; resumes what is there."""
    protocol, config = setup.protocol, pipeline.config
    shown = subjects(protocol, config, setup.source, setup.prompts)
    extractors = fitting(setup.extractors, shown[0])
    identity = identity_of(pipeline.model, extractors) | protocol.identity(DRAWING)
    identity |= {
        "data": setup.source_name,
        "batch_size": setup.batch_size,
        "prompts": setup.prompts and list(setup.prompts),
    }
    store = ChunkStore(setup.out / name, protocol.num_samples, setup.chunk, identity)
    for line in call_of(pipeline, protocol, shown, range(1)).unused():
        warnings.warn(line, UnusedSettingWarning, stacklevel=2)
    keep = setup.out / name / "images" if setup.keep_images else None
    rows = sample_rows(pipeline, protocol, shown, extractors, batch_size=setup.batch_size, keep=keep)
    setup.fill(store, rows)
    return store, reference_features(setup, config.codec.image_size)


def evaluate_pictures(setup: Setup, drawn: Source, drawn_name: str) -> tuple[ChunkStore, ReferenceFeatures]:
    """Extract the rows of pictures that are drawn already, as they are; the reference is cropped to their size."""
    extractors = fitting(setup.extractors, {})
    first = read_pictures(drawn, [0], None)[0]
    identity = platform() | {"data": drawn_name, **networks_of(extractors)}
    store = ChunkStore(setup.out / "samples", len(drawn), setup.chunk, identity)

    def rows(numbers: range) -> dict[str, np.ndarray]:
        pictures = read_pictures(drawn, [0, *numbers], None)[1:]  # with the first, so that all are of one size
        return extract(extractors, pictures, [Subject() for _ in pictures])

    setup.fill(store, rows)
    if setup.protocol.crop == "centre" and first.shape[0] != first.shape[1] and setup.source is not None:
        raise EvaluationError(
            f"samples are {first.shape[1]} x {first.shape[0]}; central crops are squares: set crop to none"
        )
    return store, reference_features(setup, first.shape[0])


def score_samples(setup: Setup, store: ChunkStore, reference: ReferenceFeatures) -> Results:
    """Return the scores of samples whose chunks are all there."""
    return measure(store, reference, metrics=setup.metrics, spell=setup.spell)


def evaluate_likelihood(
    setup: Setup, pipeline: VQDiffusionPipeline, *, draws: int = 1, batch_size: int = 8
) -> ChunkStore:
    """Compute the bound's terms of the reference pictures (central crops, first captions) into ``out/likelihood``.

    Resumes what is there.  draws: of x_t at each timestep.  batch_size: pictures together, on each device of the
    pipeline's mesh.
    """
    source, protocol = setup.needed_source(), setup.protocol
    indices = reference_indices(source, protocol)[: protocol.num_likelihood]
    identity = identity_of(pipeline.model, ()) | {"draws": draws, **setup.comparing()}
    store = ChunkStore(setup.out / "likelihood", len(indices), setup.chunk, identity)
    terms = likelihood.make_terms(pipeline.model, seed=protocol.seed, draws=draws)

    def rows(numbers: range) -> dict[str, np.ndarray]:
        nats = in_batches(
            lambda batch: terms(*batch),
            np.asarray(numbers),
            batch_size,
            mesh=pipeline.mesh,
            prepare=lambda numbers: (_examples(pipeline, source, indices[numbers]), numbers),
        )
        return {likelihood.NATS: nats}

    setup.fill(store, rows)
    return store


def evaluate_reconstruction(
    setup: Setup, codec: VQGAN, *, mesh: Mesh | None = None
) -> tuple[ChunkStore, ReferenceFeatures]:
    """Encode and decode the reference pictures by ``codec``, which lies on ``mesh``, into ``out/reconstruction``.

    Resumes what is there.
    """
    source, size = setup.needed_source(), codec.config.image_size
    indices = reference_indices(source, setup.protocol)
    extractors = [setup.inception] if setup.inception else []
    store = ChunkStore(
        setup.out / "reconstruction", len(indices), setup.chunk, identity_of(codec, extractors) | setup.comparing()
    )
    rows = reconstruction.reconstruction_rows(
        codec,
        lambda numbers: read_pictures(source, indices[numbers.start : numbers.stop], size),
        extractors,
        mesh=mesh,
    )
    setup.fill(store, rows)
    return store, reference_features(setup, size)


def score_reconstruction(
    store: ChunkStore, reference: ReferenceFeatures, codec: VQGAN, *, spell: Callable[[str], str] = str
) -> Results:
    """Return the scores of complete reconstructions, with ``rfid`` if there are Inception features.

    spell: the spelling of a setting's name in warnings.
    """
    columns = (store.all(name) for name in (reconstruction.PSNR, reconstruction.SSIM, reconstruction.TOKENS))
    results = Results(reconstruction.summarise(*columns, num_codes=codec.config.num_codes))
    if POOL3 not in store.names():
        results.warnings.append(tell(f"rfid is left out: it needs {NEEDS[POOL3]}", spell))
        return results
    of_pictures = fid(store, reference)
    return results.merge(Results({"rfid": of_pictures.scores["fid"]}, warnings=of_pictures.warnings))


def stores_of(found: Iterable[tuple[ChunkStore | None, ReferenceFeatures]]) -> Iterator[ChunkStore]:
    """Yield every store of these samples and references once."""
    stores = {store.folder: store for samples, real in found for store in (samples, real.rows) if store is not None}
    yield from stores.values()


def _examples(pipeline: VQDiffusionPipeline, source: Source, indices: np.ndarray) -> Batch:
    """Return pictures of the records, and first captions or labels, as the model was trained on them."""
    config = pipeline.config
    batch = Batch(images=read_pictures(source, indices, config.codec.image_size))
    if config.denoiser.condition == "text" and pipeline.tokenizer is not None:
        batch["text_ids"], _ = pipeline.tokenizer([captions_of(read_record(source, int(i)))[0] for i in indices])
    elif config.denoiser.condition == "class":
        batch["labels"] = np.stack([label_of(read_record(source, int(i)), config, 0.0, None) for i in indices])
    return batch
