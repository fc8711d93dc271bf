"""``--mode=sample``: pictures, a grid of them, and beside each picture the JSON that makes it again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ..config import dtype_of
from ..errors import UsageError
from ..recipe import recipe, with_absolute_paths
from ..sampling.settings import SamplingSettings
from . import setting_flags
from .animation import FORMATS, check_format
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, open_checkpoint
from .processes import PROCESSES, join_processes
from .profile import PROFILE, profiler
from .replay import origin, take_again
from .tools import read_prompts

if TYPE_CHECKING:
    import jax
    from jax.sharding import Mesh

SHARED = ("checkpoint", *COMPANIONS, "dtype", *PROCESSES, *PROFILE)
_WHAT, _WHERE, _OUT = "mode sample: what", "mode sample: where", "mode sample: output"

setting_flags.define()
flags.DEFINE_string("prompts_file", None, "A text file, one prompt a line.", module_name=_WHAT)
flags.DEFINE_string(
    "again",
    None,
    "A picture's PNG, or the JSON beside it: draw the picture again; other flags override its settings.",
    module_name=_WHAT,
)

flags.DEFINE_list(
    "mesh",
    None,
    "data,fsdp,tensor: sizes of the device mesh; -1 takes the rest. [one device, or all of several processes]",
    module_name=_WHERE,
)
flags.DEFINE_bool("faithful", False, "Full float32 everywhere, to match the reference's numbers.", module_name=_WHERE)
flags.DEFINE_bool("dry_run", False, "Say shapes, memory and operations, and draw nothing.", module_name=_WHERE)

flags.DEFINE_string(
    "out", "RESULT", "Folder to write to; convert, tokenize and reduce_codebook need it.", module_name=_OUT
)
flags.DEFINE_enum(
    "trajectory_format",
    "gif",
    list(FORMATS),
    "Form of the animation that --return_trajectory adds; mp4 needs the package av.",
    module_name=_OUT,
)
flags.DEFINE_bool("progress", True, "Show a progress bar, on a terminal.", module_name=_OUT)

FLAGS = flags.FLAGS
UPDATES = 20  # of the progress bar a picture, at most about; each stops the device for a moment


def main() -> None:
    """Draw the pictures that the flags ask for."""
    import jax

    from ..call import settle
    from ..diffusion.schedule import make_schedule
    from ..generation import calls_a_piece
    from ..pipeline import VQDiffusionPipeline
    from .dry_run import describe
    from .pictures import Writer, first_free

    join_processes()
    # Every mistake in the flags is found before the weights are read.
    settings = settings_given()
    check_animation(settings.return_trajectory)
    compute = chosen_compute()
    out = Path(FLAGS.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out={out} is a file; name a folder")
    opened = open_checkpoint()
    config = opened.config
    call = settle(config, make_schedule(config.schedule), opened.tokenizer, settings)
    if FLAGS.dry_run:
        print(describe(config, compute, call, batch=settings.batch_size or 1, mesh_sizes=mesh_sizes()))
        return
    mesh = device_mesh()
    model = opened.load(compute=compute, mesh=mesh, clip_dtype=FLAGS.clip_dtype)
    pipeline = VQDiffusionPipeline(model, opened.tokenizer, mesh=mesh)
    del opened  # with the parts of files that it holds
    out.mkdir(parents=True, exist_ok=True)
    together = pipeline.pictures_together(len(call.subjects), settings.batch_size)
    sizes = None if mesh is None or FLAGS.mesh is None else [str(size) for size in mesh.shape.values()]
    came_from = origin(checkpoint=checkpoint_or_embedded(), dtype=dtype_of(compute), mesh=sizes)
    shared = with_absolute_paths(recipe(came_from, call.settings.changed(batch_size=together)))
    writer = Writer(
        out, first_free(out), subjects(call.settings), shared, settings.first_image, FLAGS.trajectory_format
    )
    precision = jax.default_matmul_precision("highest") if FLAGS.faithful else contextlib.nullcontext()
    calls, batches = len(call.plan), -(-len(call.subjects) // together)
    profile = profiler(batches, "batches")
    with precision, progress_bar(FLAGS.progress, calls, batches) as callback:
        drawn = pipeline.draw(call, callback=callback, callback_steps=calls_a_piece(calls, UPDATES))
        # Each batch is written before the next is drawn, so that it stays if the run fails later.
        for batch in drawn if profile is None else profile.steps(drawn):
            writer.add(batch, pipeline, calls)
    writer.finish()


def settings_given() -> SamplingSettings:
    """Return the settings of --again, if it is given, changed by those of the other flags."""
    fields = setting_flags.given()
    if FLAGS.prompts_file:
        fields["prompt"] = [*fields.get("prompt", []), *read_prompts(FLAGS.prompts_file)]
    settings = take_again(Path(FLAGS.again)) if FLAGS.again else SamplingSettings()
    return settings.changed(**fields, output_type="uint8")


def check_animation(wanted: bool) -> None:
    """Raise UsageError for an animation that several processes would share, and for a format that is of no use."""
    import jax

    if wanted and jax.process_count() > 1:
        told = "leave it out, or leave out --distributed and --coordinator"
        raise UsageError(f"--return_trajectory goes with one process; {told}")
    if wanted:
        check_format(FLAGS.trajectory_format)
    elif FLAGS["trajectory_format"].present:
        raise UsageError(f"--trajectory_format={FLAGS.trajectory_format} goes with --return_trajectory; give both")


def subjects(settings: SamplingSettings) -> list[dict[str, Any]]:
    """Return each picture's own prompt or label, and its own negative prompt if there are several, in order."""
    name = "prompt" if settings.prompt is not None else "class_labels"
    shown = [{name: value} for value in getattr(settings, name) or ()] or [{}]
    negative = settings.negative_prompt or ()
    if len(negative) > 1:
        shown = [one | {"negative_prompt": text} for one, text in zip(shown, negative)]
    return [one for one in shown for _ in range(settings.num_images_per_prompt)]


def mesh_sizes() -> tuple[int, ...] | None:
    """Return the sizes of the mesh that --mesh names; without it None, or, of several processes, all devices."""
    import jax

    if FLAGS.mesh is None:
        return (-1, 1, 1) if jax.process_count() > 1 else None
    try:
        sizes = tuple(int(value) for value in FLAGS.mesh)
    except ValueError:
        sizes = ()
    if len(sizes) != 3:
        raise UsageError(f"--mesh is {','.join(FLAGS.mesh)!r}; it must be 3 whole numbers with commas between")
    return sizes


def device_mesh() -> Mesh | None:
    """Return the mesh of ``mesh_sizes``, or None for one device.  Raises SettingError if the devices do not fill it."""
    from ..sharding import make_mesh

    sizes = mesh_sizes()
    return None if sizes is None else make_mesh(*sizes)


@contextlib.contextmanager
def progress_bar(shown: bool, calls: int, batches: int) -> Iterator[Any]:
    """Show a bar of the network calls of all batches, at most ``calls`` each, and yield its callback, or None."""
    if not shown:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=calls * batches, unit="step", desc="denoising", delay=0.2) as bar:
        begun, last = 0, 0

        def callback(done: int, timestep: int, tokens: jax.Array) -> None:
            nonlocal begun, last
            tokens.block_until_ready()
            if done <= last:  # a new batch
                begun += calls
            last = done
            bar.set_postfix(timestep=timestep, refresh=False)
            bar.update(begun + done - bar.n)

        yield callback
        bar.update(bar.total - bar.n)  # calls that an adaptive strategy did not need
