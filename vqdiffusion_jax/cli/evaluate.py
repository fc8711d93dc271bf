"""``--mode=eval``: every metric of both papers by a written protocol, into report.json, report.md and plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, companions
from .data_account import tell
from .processes import PROCESSES
from .setting_flags import spell

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from ..evaluation.evaluate import Settings
    from ..models.vqgan import VQGAN
    from ..pipeline import VQDiffusionPipeline

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
    from ..evaluation.evaluate import own_name, run, run_pictures, run_sweep
    from ..evaluation.protocol import with_settings
    from ..evaluation.protocols import find_protocol
    from .processes import join_processes

    join_processes()
    protocol = with_settings(find_protocol(FLAGS.protocol), _settings(FLAGS.set))
    what, settings = _what(), _shared_settings()
    if FLAGS.samples:
        done = run_pictures(protocol, FLAGS.samples, **settings)
    elif FLAGS.sweep:
        name = own_name(checkpoint_or_embedded())
        done = run_sweep(protocol, _pipeline(protocol.weights), FLAGS.sweep, model_name=name, **settings)
    else:
        alone = FLAGS.codec and not FLAGS.checkpoint and (what or protocol.what) == ("reconstruction",)
        done = run(
            protocol,
            _codec if alone else _pipeline(protocol.weights),
            what=what,
            likelihood_draws=FLAGS.likelihood_draws,
            model_name=own_name(FLAGS.codec if alone else checkpoint_or_embedded()),
            **settings,
        )
    for line in done.left_out:
        print(line)
    if done.missing:
        print(f"{done.missing} chunks belong to other parts (--part); the part that ends last reports")
    if done.reference is not None:
        print(f"written: statistics of {done.reference.count} pictures, {FLAGS.write_reference}")
    if done.page:
        print(done.page)
    for stage, rate in done.speed.items():
        print(f"{stage}: {rate:.3g} pictures a second")


def _settings(given: Sequence[str]) -> dict[str, str]:
    """Return --set's field=value by field.  Raises ValueError for a text without an equals sign."""
    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set={text} must be field=value, for instance --set=num_samples=1000")
        settings[name] = value
    return settings


def _what() -> tuple[str, ...] | None:
    """Return --what, None where the protocol decides.  Raises ValueError where it goes with no other flag."""
    what = tuple(dict.fromkeys(FLAGS.what)) if FLAGS.what else None
    if FLAGS.sweep and (FLAGS.samples or what not in (None, ("samples",))):
        raise ValueError(
            "--sweep draws samples with settings changed; it goes neither with --samples nor with another --what"
        )
    if FLAGS.samples and what not in (None, ("samples",)):
        raise ValueError("--samples is a folder of pictures; --what=likelihood and reconstruction need --checkpoint")
    return what


def _shared_settings() -> Settings:
    from ..evaluation.networks import Networks
    from ..progress import watched
    from .tools import part_of, read_prompts

    settings: Settings = {
        "out": FLAGS.out,
        "data": FLAGS.data_root,
        "reference": FLAGS.reference,
        "networks": Networks(inception=FLAGS.inception, clip=FLAGS.score_clip, judge=FLAGS.judge),
        "metrics": FLAGS.metrics,
        "prompts": read_prompts(FLAGS.prompts_file) if FLAGS.prompts_file else None,
        "write_reference": FLAGS.write_reference,
        "chunk": FLAGS.chunk,
        "batch_size": FLAGS.batch_size,
        "keep_images": FLAGS.keep_images,
        "opened": tell,
        "progress": lambda chunks: watched(chunks, wanted=FLAGS.progress, unit="chunk"),
        "spell": spell,
    }
    if FLAGS.part is not None:
        settings["process_index"], settings["process_count"] = part_of(FLAGS.part)
    return settings


def _pipeline(weights: str):
    """Return a function that opens --checkpoint with its companions.

    weights: the weights to read of a .pth file unless --weights is given.
    """

    def opened(mesh: Mesh | None) -> VQDiffusionPipeline:
        from ..pipeline import VQDiffusionPipeline

        path, files = checkpoint_or_embedded(), companions()
        if path.endswith(".pth"):
            files = {"weights": weights} | files
        return VQDiffusionPipeline.from_pretrained(path, compute=chosen_compute(), mesh=mesh, **files)

    return opened


def _codec(mesh: Mesh | None) -> VQGAN:
    from ..config import ComputeConfig
    from ..loading import load_codec

    return load_codec(FLAGS.codec, config=FLAGS.codec_config, mapping=FLAGS.mapping, compute=ComputeConfig())
