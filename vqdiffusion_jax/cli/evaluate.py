"""``--mode=eval``: every metric of both papers by a written protocol, into report.json, report.md and plots."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from absl import flags

from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, companions
from .processes import PROCESSES

SHARED = (
    "checkpoint",
    *COMPANIONS,
    "dtype",
    "faithful",
    "prompts_file",
    "batch_size",
    "part",
    "out",
    "progress",
    *PROCESSES,
)
_WHAT, _NETWORKS, _HOW = "mode eval: what", "mode eval: networks", "mode eval: how"

flags.DEFINE_string(
    "protocol", "own", "eval: a protocol of docs/evaluation.md, or a .json file of its fields.", module_name=_WHAT
)
flags.DEFINE_multi_string("set", [], "eval: field=value of the protocol, changed; may be repeated.", module_name=_WHAT)
flags.DEFINE_multi_enum(
    "what",
    None,
    ["samples", "likelihood", "reconstruction"],
    "eval: what to measure, in place of what the protocol says; may be repeated.",
    module_name=_WHAT,
)
flags.DEFINE_list("metrics", None, "eval: the samples' metrics, in place of the protocol's.", module_name=_WHAT)
flags.DEFINE_string(
    "sweep", None, "eval: field:value,value,... or table1, table2, table3, table4, figure2.", module_name=_WHAT
)
flags.DEFINE_string(
    "data_root", None, "eval: the protocol's data set: reference pictures and captions.", module_name=_WHAT
)
flags.DEFINE_string(
    "reference", None, "eval: an .npz of pytorch-fid or ADM in place of reference pictures.", module_name=_WHAT
)
flags.DEFINE_string(
    "write_reference",
    None,
    "eval: an .npz to write the statistics of the reference pictures to, as --reference and pytorch-fid read them.",
    module_name=_WHAT,
)
flags.DEFINE_string(
    "samples", None, "eval: a folder of pictures that are drawn already; no checkpoint is needed.", module_name=_WHAT
)

flags.DEFINE_string(
    "inception",
    None,
    "eval: pt_inception-2015-12-05-6726825d.pth, for all that FID's network is needed for.",
    module_name=_NETWORKS,
)
flags.DEFINE_string(
    "score_clip", None, "eval: ViT-B-32.pt or a folder of CLIP, for the CLIP score.", module_name=_NETWORKS
)
flags.DEFINE_string(
    "judge",
    None,
    "eval: file that python -m vqdiffusion_jax.evaluation.judge wrote, for composed scenes.",
    module_name=_NETWORKS,
)

flags.DEFINE_integer(
    "chunk", 256, "eval: pictures a file of rows; a stopped run repeats at most one.", lower_bound=1, module_name=_HOW
)
flags.DEFINE_integer("likelihood_draws", 1, "eval: draws of x_t a timestep.", lower_bound=1, module_name=_HOW)
flags.DEFINE_bool("keep_images", False, "eval: also write the samples as PNG.", module_name=_HOW)

FLAGS = flags.FLAGS


def main() -> None:
    import jax

    from ..batching import local_mesh
    from ..evaluation.protocol import with_settings
    from ..evaluation.protocols import find_protocol
    from ..evaluation.sweep import parse_sweep
    from .processes import join_processes

    join_processes()
    # All that can be wrong is found before the weights are read.
    protocol = with_settings(find_protocol(FLAGS.protocol), _settings(FLAGS.set))
    if FLAGS.what:
        protocol = replace(protocol, what=tuple(dict.fromkeys(FLAGS.what)))
    elif FLAGS.sweep or FLAGS.samples:
        protocol = replace(protocol, what=("samples",))
    sweep = parse_sweep(FLAGS.sweep) if FLAGS.sweep else None
    if sweep is not None and (FLAGS.samples or protocol.what != ("samples",)):
        raise ValueError(
            "--sweep draws samples with settings changed; it goes neither with --samples nor with another --what"
        )
    for point in sweep.points if sweep else ():
        with_settings(protocol, point).sampling()
    protocol.sampling()
    _check_write_reference()
    with jax.default_matmul_precision("highest"):
        mesh = local_mesh()
        setup = _setup(protocol, mesh)
        if FLAGS.samples:
            _samples_of_a_folder(setup)
        elif sweep is not None:
            _sweep(setup, sweep, mesh)
        else:
            _model(setup, mesh)


def _settings(given: list[str]) -> dict[str, str]:
    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set={text} must be field=value, for instance --set=num_samples=1000")
        settings[name] = value
    return settings


def _check_write_reference() -> None:
    """Raise ValueError, one line, for a --write_reference that could not be written in the end."""
    if FLAGS.write_reference is None:
        return
    if FLAGS.data_root is None or FLAGS.inception is None or FLAGS.reference:
        raise ValueError(
            "--write_reference writes what the Inception network makes of reference pictures; give --data_root and --inception, "
            "and not --reference"
        )
    file = Path(FLAGS.write_reference)
    if file.suffix != ".npz" or not file.parent.is_dir():
        raise ValueError(f"--write_reference={file} must be an .npz file in a folder that is there")


def _setup(protocol, mesh):
    import jax
    from tqdm import tqdm

    from ..evaluation.metrics import choose
    from ..evaluation.reference import open_reference
    from ..evaluation.run import Setup
    from ..evaluation.statistics import read_statistics
    from .tools import part_of, read_prompts

    if FLAGS.reference and FLAGS.data_root is None and "likelihood" in protocol.what:
        raise ValueError("the likelihood needs pictures; give --data_root, not only --reference")
    metrics = choose(protocol.metrics if FLAGS.metrics is None else FLAGS.metrics)
    part, parts = part_of(FLAGS.part) if FLAGS.part is not None else (jax.process_index(), jax.process_count())
    prompts = read_prompts(FLAGS.prompts_file) if FLAGS.prompts_file else None
    source = open_reference(protocol, FLAGS.data_root) if FLAGS.data_root else None
    statistics = read_statistics(FLAGS.reference) if FLAGS.reference else None
    return Setup(
        out=Path(FLAGS.out),
        protocol=protocol,
        source=source,
        source_name=f"{protocol.source} at {FLAGS.data_root}" if source else "",
        statistics=statistics,
        extractors=_extractors(protocol, mesh),
        metrics=metrics,
        prompts=prompts,
        chunk=FLAGS.chunk,
        batch_size=FLAGS.batch_size,
        part=part,
        parts=parts,
        keep_images=FLAGS.keep_images,
        progress=lambda chunks: tqdm(chunks, unit="chunk", disable=not FLAGS.progress),
    )


def _extractors(protocol, mesh) -> list:
    from ..evaluation.clip_score import CaptionScorer, load_towers
    from ..evaluation.inception_weights import load_inception
    from ..evaluation.judge import load_judge
    from ..evaluation.judge.extractors import JudgeAnswers, JudgeFeatures
    from ..evaluation.networks import ClipCosines, InceptionFeatures

    found = []
    if FLAGS.inception:
        found.append(InceptionFeatures(load_inception(FLAGS.inception), resize=protocol.resize, mesh=mesh))
    if FLAGS.judge:
        judge = load_judge(FLAGS.judge)
        found += [JudgeFeatures(judge, mesh=mesh), JudgeAnswers(judge, mesh=mesh)]
    if FLAGS.score_clip:
        found.append(ClipCosines(CaptionScorer(*load_towers(FLAGS.score_clip), mesh=mesh)))
    return found


def _pipeline(protocol, mesh):
    from ..pipeline import VQDiffusionPipeline

    path, files = checkpoint_or_embedded(), companions()
    if path.suffix == ".pth" and "weights" not in files:
        files["weights"] = protocol.weights
    return VQDiffusionPipeline.from_pretrained(path, compute=chosen_compute(), mesh=mesh, **files)


def _model(setup, mesh) -> None:
    """Whatever --what asks for, of one checkpoint or codec."""
    from ..evaluation import likelihood
    from ..evaluation.metrics import Reference, Results
    from ..evaluation.run import (
        arithmetic_of,
        evaluate_likelihood,
        evaluate_reconstruction,
        evaluate_samples,
        reference_of,
        score_reconstruction,
        score_samples,
    )

    codec_alone = FLAGS.codec and not FLAGS.checkpoint and setup.protocol.what == ("reconstruction",)
    pipeline = None if codec_alone else _pipeline(setup.protocol, mesh)
    codec = _codec(mesh) if codec_alone else pipeline.model.codec
    about = {
        "checkpoint": _own_name(FLAGS.codec if codec_alone else checkpoint_or_embedded()),
        "data": _data_name(setup),
    }
    about |= arithmetic_of(codec if codec_alone else pipeline.model)
    stores = {}
    for what in setup.protocol.what:
        if what == "samples":
            stores[what] = evaluate_samples(setup, pipeline)
        elif what == "likelihood":
            stores[what] = evaluate_likelihood(setup, pipeline, draws=FLAGS.likelihood_draws), Reference()
        else:
            stores[what] = evaluate_reconstruction(setup, codec, mesh=mesh)
    real = reference_of(setup, codec.config.image_size) if FLAGS.write_reference else Reference()
    if not _complete(*stores.values(), (None, real)):
        return
    _write_reference(setup, real)
    results, bound, speed = Results(), None, {}
    for what, (store, reference) in stores.items():
        about[what], speed[what] = store.count, store.pictures_per_second()
        if what == "likelihood":
            bound = likelihood.summarise(store.all(likelihood.NATS), pipeline.model)
            continue
        found = (
            score_samples(setup, store, reference)
            if what == "samples"
            else score_reconstruction(setup, store, reference, codec)
        )
        results = results.merge(found)
    _report(setup.out, setup.protocol, about, results, bound, speed)


def _codec(mesh):
    from ..batching import replicate
    from ..config import ComputeConfig
    from ..loading import load_codec

    return replicate(
        load_codec(FLAGS.codec, config=FLAGS.codec_config, mapping=FLAGS.mapping, compute=ComputeConfig()), mesh
    )


def _samples_of_a_folder(setup) -> None:
    from ..data.config import DataConfig
    from ..data.sources import open_source
    from ..evaluation.run import evaluate_pictures, on_platform, score_samples

    if setup.protocol.what != ("samples",):
        raise ValueError("--samples is a folder of pictures; --what=likelihood and reconstruction need --checkpoint")
    drawn = open_source(DataConfig(source="folder", root=FLAGS.samples), "train")
    store, reference = evaluate_pictures(setup, drawn, FLAGS.samples)
    if _complete((store, reference)):
        _write_reference(setup, reference)
        results = score_samples(setup, store, reference)
        about = {
            "samples": _own_name(FLAGS.samples),
            "data": _data_name(setup),
            **on_platform(),
            "pictures": store.count,
        }
        _report(setup.out, setup.protocol, about, results, None, {"samples": store.pictures_per_second()})


def _sweep(setup, sweep, mesh) -> None:
    from ..evaluation.protocol import to_table, with_settings
    from ..evaluation.report import write_report, write_sweep
    from ..evaluation.run import arithmetic_of, evaluate_samples, score_samples
    from ..evaluation.sweep import folder_name, what_lacks

    pipeline, runs = _pipeline(setup.protocol, mesh), []
    for point in sweep.points:
        changed = replace(setup, protocol=with_settings(setup.protocol, point))
        if lacking := what_lacks(changed.protocol, pipeline.config):
            print(f"{folder_name(point)} is left out: this model {lacking}")
            continue
        runs.append(
            (changed, folder_name(point), *evaluate_samples(changed, pipeline, name=f"{folder_name(point)}/samples"))
        )
    if not runs:
        raise ValueError("this model can draw no row of --sweep; name other values")
    if not _complete(*(found for _, _, *found in runs)):
        return
    _write_reference(setup, runs[0][-1])
    points = []
    for changed, name, store, reference in runs:
        results = score_samples(changed, store, reference)
        about = {
            "checkpoint": _own_name(checkpoint_or_embedded()),
            "data": _data_name(setup),
            **arithmetic_of(pipeline.model),
        }
        about["samples"] = store.count
        write_report(setup.out / name, changed.protocol, about, results)
        fields = to_table(changed.protocol)
        points.append(({field: fields[field] for field in sweep.names}, results.scores))
    write_sweep(setup.out, sweep.title, sweep.names, points)
    print((setup.out / "sweep.md").read_text(encoding="utf-8"))


def _write_reference(setup, reference) -> None:
    """The statistics that --write_reference asks for, of a reference whose chunks are all there."""
    from ..evaluation.run import reference_statistics
    from ..evaluation.statistics import write_statistics

    if FLAGS.write_reference:
        statistics = reference_statistics(setup, reference)
        write_statistics(FLAGS.write_reference, statistics)
        print(f"written: statistics of {statistics.count} pictures, {FLAGS.write_reference}")


def _data_name(setup) -> str | None:
    """What a report calls the reference."""
    if setup.source is not None:
        return f"{setup.protocol.source} at {_own_name(FLAGS.data_root)}"
    return _own_name(FLAGS.reference) if FLAGS.reference else None


def _own_name(path: str | Path) -> str:
    """The last part of a path: where on a machine a file lay is nothing that a report should tell."""
    return Path(path).absolute().name


def _complete(*found) -> bool:
    """Whether every chunk of these (store, reference) is there and this process is the one to report."""
    import jax

    from ..multihost import barrier

    barrier("chunks are written")
    if jax.process_index():
        return False
    stores = {one.folder: one for store, reference in found for one in (store, reference.rows) if one is not None}
    absent = sum(len(store.missing()) for store in stores.values())
    if absent:
        print(f"{absent} chunks belong to other parts (--part); the part that ends last reports")
    return not absent


def _report(out: Path, protocol, about, results, bound, speed) -> None:
    from ..evaluation.report import write_report

    write_report(out, protocol, about, results, bound)
    (out / "speed.json").write_text(json.dumps({"pictures_per_second": speed}, indent=2) + "\n", encoding="utf-8")
    print((out / "report.md").read_text(encoding="utf-8"))
    for what, rate in speed.items():
        print(f"{what}: {rate:.3g} pictures a second")
