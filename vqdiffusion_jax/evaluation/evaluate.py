"""Whole evaluations by a protocol: of a model, of pictures drawn already, and of a model with settings changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack

import jax
from jax.sharding import Mesh

from ..batching import local_mesh, replicate
from ..data.config import DataConfig
from ..data.records import Source
from ..data.sources import open_source
from ..data.splits import KEPT_WHOLE
from ..errors import EvaluationError, EvaluationSettingError
from ..files import write_whole
from ..models.vqgan import VQGAN
from ..multihost import barrier
from ..pipeline import VQDiffusionPipeline
from ..storage.addresses import last_name, on_this_machine
from . import likelihood
from .chunks import ChunkStore
from .identity import arithmetic_of, platform
from .metrics import Metric, ReferenceFeatures, Results, choose
from .networks import Networks
from .protocol import Protocol, with_settings
from .protocols import find_protocol
from .reference_set import open_reference
from .report import write_report, write_sweep
from .stages import (
    Setup,
    evaluate_likelihood,
    evaluate_pictures,
    evaluate_reconstruction,
    evaluate_samples,
    reference_features,
    score_reconstruction,
    score_samples,
    stores_of,
)
from .statistics import FeatureStatistics, read_statistics, write_statistics
from .sweep import Sweep, folder_name, parse_sweep, what_lacks

Model = VQDiffusionPipeline | VQGAN | str | Path | Callable[[Mesh | None], VQDiffusionPipeline | VQGAN]


class Settings(TypedDict, total=False):
    """The keyword arguments that ``run``, ``run_pictures`` and ``run_sweep`` share; only ``out`` is needed.

    out: folder to write to.  An interrupted evaluation goes on there.
    data: root of the protocol's data set, whose pictures are the reference and whose captions are drawn.
    reference: mean and covariance of the reference, or an .npz of them, in place of its pictures; enough for FID.
    networks: what looks at pictures; scores of a network that is not given are left out.
    metrics: names of metrics, or metrics of one's own, in place of the protocol's.
    prompts: texts to draw in place of the data set's captions.
    write_reference: an .npz to write the statistics of the reference pictures to.
    chunk: pictures a file of rows (256); an interrupted run repeats at most one such file.
    batch_size: pictures drawn together; the pipeline's choice by default.
    keep_images: also write the samples as PNG.
    process_index, process_count: this process's share of the chunks, where several run on one folder; by default as JAX
      counts its processes.
    progress: wraps the iteration over chunk numbers, as tqdm does.
    spell: the spelling of a setting's name in warnings; by default its name here.
    opened: takes each data set that is opened, its place in words, and the split.
    """

    out: Required[str | Path]
    data: str | Path | None
    reference: FeatureStatistics | str | Path | None
    networks: Networks
    metrics: Iterable[str | Metric] | None
    prompts: Sequence[str] | None
    write_reference: str | Path | None
    chunk: int
    batch_size: int | None
    keep_images: bool
    process_index: int
    process_count: int
    progress: Callable[[Iterable[int]], Iterable[int]]
    spell: Callable[[str], str]
    opened: Callable[[Source, str, str], None]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The outcome of an evaluation.

    results: its scores.
    likelihood: the variational bound, if it was asked for.
    speed: pictures a second of each stage, without the first chunk, which compiles.
    points: of a sweep, the settings and scores of each run.
    left_out: of a sweep, one line for each run that the model cannot draw.
    reference: the statistics that were written to ``write_reference``.
    page: the report as Markdown, "" where this process does not report.
    missing: chunks that other processes have still to compute; there is no result until there is none.
    """

    results: Results = field(default_factory=Results)
    likelihood: likelihood.Likelihood | None = None
    speed: Mapping[str, float] = field(default_factory=dict)
    points: Sequence[tuple[Mapping[str, Any], Mapping[str, float]]] = ()
    left_out: Sequence[str] = ()
    reference: FeatureStatistics | None = None
    page: str = ""
    missing: int = 0


def run(
    protocol: Protocol | str,
    model: Model,
    *,
    what: Sequence[str] | None = None,
    likelihood_draws: int = 1,
    model_name: str | None = None,
    **settings: Unpack[Settings],
) -> Evaluation:
    """Evaluate ``model`` by ``protocol`` and write report.json, report.md, plots and speed.json into ``out``.

    Args:
      protocol: a Protocol, or what ``find_protocol`` finds by name.
      model: a pipeline, or a codec alone for ``what=["reconstruction"]``; a path for
        ``VQDiffusionPipeline.from_pretrained``; or a function from this process's mesh (None on one device) to a
        pipeline or a codec.  Functions are called and paths opened after all other arguments are checked.
      what: any of "samples", "likelihood" and "reconstruction", in place of the protocol's.
      likelihood_draws: draws of x_t a timestep.
      model_name: what the report calls the model; by default the last part of a path.
      settings: see ``Settings``.

    Raises:
      EvaluationError, ConfigError, DataError, CheckpointError, FileNotFoundError: one line.
    """
    protocol = _protocol(protocol, what)
    if model_name is None and isinstance(model, str | Path):
        model_name = own_name(model)
    with jax.default_matmul_precision("highest"):
        mesh = local_mesh()
        setup = _setup(protocol, mesh, settings)
        model, mesh = _opened(model, protocol, mesh)
        stores: dict[str, tuple[ChunkStore, ReferenceFeatures]] = {}
        for stage in protocol.what:
            if stage == "reconstruction":
                stores[stage] = evaluate_reconstruction(setup, _codec_of(model), mesh=mesh)
            elif not isinstance(model, VQDiffusionPipeline):
                raise EvaluationSettingError(
                    "a codec draws nothing; {stage} needs a whole model: set {what} to reconstruction", stage=stage
                )
            elif stage == "samples":
                stores[stage] = evaluate_samples(setup, model)
            else:
                stores[stage] = evaluate_likelihood(setup, model, draws=likelihood_draws), ReferenceFeatures()
        of_all = ReferenceFeatures()
        if settings.get("write_reference"):
            of_all = reference_features(setup, _codec_of(model).config.image_size)
        if (unfinished := _unfinished(*stores.values(), (None, of_all))) is not None:
            return unfinished
        statistics = _write_reference(of_all, settings)
        about: dict[str, Any] = {"checkpoint": model_name} if model_name else {}
        about |= {"data": _data_name(setup, settings)}
        about |= arithmetic_of(model.model if isinstance(model, VQDiffusionPipeline) else model)
        results, bound, speed = Results(), None, {}
        for stage, (store, reference) in stores.items():
            about[stage], speed[stage] = store.count, store.pictures_per_second()
            if stage == "samples":
                results = results.merge(score_samples(setup, store, reference))
            elif stage == "reconstruction":
                results = results.merge(score_reconstruction(store, reference, _codec_of(model), spell=setup.spell))
            elif isinstance(model, VQDiffusionPipeline):
                bound = likelihood.summarise(store.all(likelihood.NATS), model.model)
    page = _report(setup, about, results, bound, speed)
    return Evaluation(results=results, likelihood=bound, speed=speed, reference=statistics, page=page)


def run_pictures(protocol: Protocol | str, pictures: str | Path, **settings: Unpack[Settings]) -> Evaluation:
    """Evaluate a folder of ``pictures`` that are drawn already; otherwise as ``run``."""
    protocol = _protocol(protocol, ("samples",))
    with jax.default_matmul_precision("highest"):
        setup = _setup(protocol, local_mesh(), settings)
        # Every picture there is a sample, whatever its folder is called, and links may lead anywhere.
        as_samples = {"splits": KEPT_WHOLE, "links_out": True}
        drawn = open_source(DataConfig(source="folder", root=str(pictures), options=as_samples), "train")
        if (opened := settings.get("opened")) is not None:
            opened(drawn, f"samples at {pictures}", "all")
        store, reference = evaluate_pictures(setup, drawn, str(pictures))
        if (unfinished := _unfinished((store, reference))) is not None:
            return unfinished
        statistics = _write_reference(reference, settings)
        results = score_samples(setup, store, reference)
    about = {"samples": own_name(pictures), "data": _data_name(setup, settings), **platform(), "pictures": store.count}
    speed = {"samples": store.pictures_per_second()}
    page = _report(setup, about, results, None, speed)
    return Evaluation(results=results, speed=speed, reference=statistics, page=page)


def run_sweep(
    protocol: Protocol | str,
    model: Model,
    sweep: Sweep | str,
    *,
    model_name: str | None = None,
    **settings: Unpack[Settings],
) -> Evaluation:
    """Draw and score samples once for each point of ``sweep``, a folder each, and write sweep.md, sweep.json and plots.

    sweep: a Sweep, or what ``parse_sweep`` makes of a text.  A point whose null condition the model lacks is left out.
    Otherwise as ``run``; raises EvaluationError if the model can draw no point.
    """
    protocol, sweep = _protocol(protocol, ("samples",)), parse_sweep(sweep) if isinstance(sweep, str) else sweep
    protocols = [with_settings(protocol, point) for point in sweep.points]
    if model_name is None and isinstance(model, str | Path):
        model_name = own_name(model)
    with jax.default_matmul_precision("highest"):
        mesh = local_mesh()
        setup = _setup(protocol, mesh, settings)
        pipeline, _ = _opened(model, protocol, mesh)
        if not isinstance(pipeline, VQDiffusionPipeline):
            raise EvaluationError("a codec draws nothing; a sweep needs a whole model")
        runs, left_out = [], []
        for point, changed in zip(sweep.points, protocols, strict=True):
            name = folder_name(point)
            if lacking := what_lacks(changed, pipeline.config):
                left_out.append(f"{name} is left out: this model {lacking}")
                continue
            one = replace(setup, protocol=changed)
            runs.append((one, name, *evaluate_samples(one, pipeline, name=f"{name}/samples")))
        if not runs:
            raise EvaluationError(f"no point of the sweep can be drawn ({'; '.join(left_out)}); name other values")
        if (unfinished := _unfinished(*((store, reference) for _, _, store, reference in runs))) is not None:
            return replace(unfinished, left_out=left_out)
        statistics = _write_reference(runs[0][-1], settings)
        points = []
        for one, name, store, reference in runs:
            results = score_samples(one, store, reference)
            about: dict[str, Any] = {"checkpoint": model_name} if model_name else {}
            about |= {"data": _data_name(setup, settings), **arithmetic_of(pipeline.model), "samples": store.count}
            write_report(setup.out / name, one.protocol, about, results)
            points.append(({field: one.protocol.value(field) for field in sweep.names}, results.scores))
    write_sweep(setup.out, sweep.title, sweep.names, points)
    page = (setup.out / "sweep.md").read_text(encoding="utf-8")
    return Evaluation(points=points, left_out=left_out, reference=statistics, page=page)


def own_name(path: str | Path) -> str:
    """Return the last part of a path; a report does not tell where on a machine a file lay."""
    return last_name(path)


def _protocol(protocol: Protocol | str, what: Sequence[str] | None) -> Protocol:
    protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
    return protocol if what is None else replace(protocol, what=tuple(dict.fromkeys(what)))


def _setup(protocol: Protocol, mesh: Mesh | None, settings: Settings) -> Setup:
    """Return the stages' settings; networks are read, the model is not."""
    data, reference, networks = settings.get("data"), settings.get("reference"), settings.get("networks", Networks())
    _check_write_reference(settings)
    if reference is not None and data is None and "likelihood" in protocol.what:
        raise EvaluationSettingError("the likelihood needs pictures; give {data}, not only {reference}")
    metrics = choose(protocol.metrics if (chosen := settings.get("metrics")) is None else chosen)
    source = None if data is None else open_reference(protocol, data)
    if source is not None and (opened := settings.get("opened")) is not None:
        opened(source, f"{protocol.source} at {data}", protocol.reference_split)
    return Setup(
        out=on_this_machine(settings["out"], "the folder of an evaluation"),
        protocol=protocol,
        source=source,
        source_name="" if data is None else f"{protocol.source} at {data}",
        statistics=read_statistics(reference) if isinstance(reference, str | Path) else reference,
        extractors=networks.extractors(resize=protocol.resize, mesh=mesh),
        metrics=metrics,
        prompts=settings.get("prompts"),
        chunk=settings.get("chunk", 256),
        batch_size=settings.get("batch_size"),
        process_index=settings.get("process_index", jax.process_index()),
        process_count=settings.get("process_count", jax.process_count()),
        keep_images=settings.get("keep_images", False),
        progress=settings.get("progress", iter),
        spell=settings.get("spell", str),
    )


def _check_write_reference(settings: Settings) -> None:
    """Raise EvaluationSettingError, before anything is computed, for a ``write_reference`` that cannot be written."""
    if (file := settings.get("write_reference")) is None:
        return
    networks = settings.get("networks", Networks())
    if settings.get("data") is None or networks.inception is None or settings.get("reference") is not None:
        raise EvaluationSettingError(
            "{write_reference} writes what the Inception network makes of reference pictures; give {data} and "
            "{inception}, and not {reference}"
        )
    if Path(file).suffix != ".npz" or not Path(file).parent.is_dir():
        raise EvaluationSettingError(
            "{write_reference}={value} must be an .npz file in a folder that exists", value=file
        )


def _opened(model: Model, protocol: Protocol, mesh: Mesh | None) -> tuple[VQDiffusionPipeline | VQGAN, Mesh | None]:
    """Return the model and the mesh it lies on."""
    if isinstance(model, str | Path):
        weights = {"weights": protocol.weights} if Path(model).suffix == ".pth" else {}
        model = VQDiffusionPipeline.from_pretrained(model, mesh=mesh, **weights)
    elif not isinstance(model, VQDiffusionPipeline | VQGAN):
        model = model(mesh)
    if isinstance(model, VQDiffusionPipeline):
        return model, model.mesh
    return replicate(model, mesh), mesh


def _codec_of(model: VQDiffusionPipeline | VQGAN) -> VQGAN:
    return model.model.codec if isinstance(model, VQDiffusionPipeline) else model


def _unfinished(*found: tuple[ChunkStore | None, ReferenceFeatures]) -> Evaluation | None:
    """Return None if every chunk is there and this process is the one to report, else an Evaluation without results."""
    barrier("chunks are written")
    if jax.process_index():
        return Evaluation()
    absent = sum(len(store.missing()) for store in stores_of(found))
    return Evaluation(missing=absent) if absent else None


def _write_reference(reference: ReferenceFeatures, settings: Settings) -> FeatureStatistics | None:
    if (file := settings.get("write_reference")) is None:
        return None
    statistics = reference.pool3_statistics()
    write_statistics(file, statistics)
    return statistics


def _data_name(setup: Setup, settings: Settings) -> str | None:
    """Return what a report calls the reference."""
    data, reference = settings.get("data"), settings.get("reference")
    if data is not None:
        return f"{setup.protocol.source} at {own_name(data)}"
    return own_name(reference) if isinstance(reference, str | Path) else None


def _report(
    setup: Setup,
    about: Mapping[str, Any],
    results: Results,
    bound: likelihood.Likelihood | None,
    speed: Mapping[str, float],
) -> str:
    """Write the report and the speed, and return the report's page."""
    write_report(setup.out, setup.protocol, about, results, bound)
    with write_whole(setup.out / "speed.json") as place:
        place.write_text(json.dumps({"pictures_per_second": dict(speed)}, indent=2) + "\n", encoding="utf-8")
    return (setup.out / "report.md").read_text(encoding="utf-8")
