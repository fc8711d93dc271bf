"""``--mode=sample``: pictures, a grid of them, and beside each picture the JSON that makes it again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ..config import dtype_of
from ..errors import UsageError
from ..recipe import recipe, with_absolute_paths
from ..sampling.settings import SamplingSettings
from . import loras, setting_flags
from .animation import FORMATS, check_format
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, open_checkpoint
from .processes import PROCESSES, join_processes
from .profile import PROFILE, profiler
from .prompt_table import is_table, read_table
from .replay import origin, take_again
from .tools import read_prompts

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from ..compiled import CompiledSampler
    from ..pipeline import VQDiffusionOutput
    from ..text.known_words import KnownWords
    from .picture_list import Listed

SHARED = ("checkpoint", *COMPANIONS, "lora", "dtype", *PROCESSES, *PROFILE)
_WHAT, _WHERE, _OUT = "mode sample: what", "mode sample: where", "mode sample: output"

setting_flags.define()
flags.DEFINE_string(
    "prompts_file",
    None,
    "A text file, one prompt a line; or a .csv, .tsv or .jsonl table, a picture a row, whose columns are settings and "
    "file_name.  Pictures that --out holds already are left out.",
    module_name=_WHAT,
)
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
flags.DEFINE_string(
    "compiled",
    None,
    "A file of --mode=compile: its programs are run, and nothing is compiled.  It is machine code: take it from nobody "
    "whose programs you would not run.",
    module_name=_WHERE,
)
flags.DEFINE_bool("faithful", False, "Full float32 everywhere, to match the reference's numbers.", module_name=_WHERE)
flags.DEFINE_bool("dry_run", False, "Say shapes, memory and operations, and draw nothing.", module_name=_WHERE)

flags.DEFINE_string(
    "out",
    "RESULT",
    "Folder to write to, here or in a bucket; convert, tokenize and reduce_codebook need it.",
    module_name=_OUT,
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


def main() -> None:
    """Draw the pictures that the flags ask for."""
    from ..call import Call, settle
    from ..diffusion.schedule import make_schedule
    from ..generation import calls_a_piece
    from ..pipeline import VQDiffusionPipeline, pictures_together, program_options
    from ..progress import UPDATES
    from . import picture_list
    from .dry_run import describe
    from .pictures import Writer, first_free

    join_processes()
    ready = compiled_given()
    # Every mistake in the flags is found before the weights are read.
    file = FLAGS.prompts_file
    listed = table_given(file) if file and is_table(file) else None
    settings = settings_given() if listed is None else listed[0].settings
    check_animation(any(one.return_trajectory for one in [settings, *(one.settings for one in listed or ())]))
    compute = chosen_compute()
    out = Path(FLAGS.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out={out} is a file; name a folder")
    opened = open_checkpoint()
    config, tokenizer = opened.config, opened.tokenizer

    unused: dict[str, None] = {}  # lines, each once

    def settled(settings: SamplingSettings) -> Call:
        call = settle(config, make_schedule(config.schedule), tokenizer, settings)
        unused.update(dict.fromkeys(call.unused(setting_flags.spell)))
        return call

    adapters = loras.read(config)
    if listed is not None:
        listed = picture_list.settled(file, listed, config, settled)
    call = settled(settings)
    tell_words(opened.known_words, [one.settings for one in listed] if listed else [call.settings])
    for line in unused:
        print(f"warning: {line}", file=sys.stderr, flush=True)
    if FLAGS.dry_run:
        model = opened.shapes(compute, clip_dtype=FLAGS.clip_dtype)
        print(describe(model, compute, call, batch=settings.batch_size or 1, mesh_sizes=mesh_sizes()))
        return
    mesh = device_mesh()
    if ready is not None:
        ready.check(config, compute, mesh)
        with precision_given():
            together = pictures_together(mesh, len(call.subjects), settings.batch_size)
            if found := ready.difference(call, together, program_options(call)):
                raise UsageError(f"--compiled={FLAGS.compiled} was compiled for other settings: {found}")
    sizes = None if mesh is None or FLAGS.mesh is None else [str(size) for size in mesh.shape.values()]
    came_from = origin(checkpoint=checkpoint_or_embedded(), dtype=dtype_of(compute), mesh=sizes)
    work = None
    if file:
        listed = listed or picture_list.listed_of_subjects(call.settings, subjects(call.settings))
        work = picture_list.Work(file, listed, out, came_from, mesh)
        if work.skipped:
            print(f"skipped: {work.skipped} of {len(listed)} pictures, which are in {out} already")
        if not work.chunks:
            return
    model = opened.load(compute=compute, mesh=mesh, clip_dtype=FLAGS.clip_dtype)
    pipeline = VQDiffusionPipeline(model, tokenizer, mesh=mesh, known_words=opened.known_words)
    pipeline.compiled = ready
    loras.use(pipeline, adapters)
    del opened  # with the parts of files that it holds
    out.mkdir(parents=True, exist_ok=True)
    if work is None:
        together = pictures_together(mesh, len(call.subjects), settings.batch_size)
        shared = with_absolute_paths(recipe(came_from, call.settings.changed(batch_size=together)))
        number, form = first_free(out), FLAGS.trajectory_format
        writer = Writer(out, number, subjects(call.settings), shared, settings.first_image, form)
        calls = [len(call.plan)] * -(-len(call.subjects) // together)
    else:
        writer = work.writer(first_free(out), FLAGS.trajectory_format)
        calls = work.calls(pipeline)
    profile = profiler(len(calls), "batches")
    with precision_given(), bar(calls) as callback:

        def drawn(call: Call) -> Iterator[VQDiffusionOutput]:
            every = calls_a_piece(len(call.plan), UPDATES)
            return pipeline.draw(call, callback=callback, callback_steps=every)

        batches = work.drawn(settled, drawn) if work else ((one, calls[0]) for one in drawn(call))
        # Each batch is written before the next is drawn, so that it stays if the run fails later.
        for batch, steps in batches if profile is None else profile.steps(batches):
            writer.add(batch, pipeline, steps)
    writer.finish()


def compiled_given() -> CompiledSampler | None:
    """Return the programs of --compiled, if it is given.

    Their batch is that of this run, unless --batch_size or a recipe in --again tells another.
    """
    if not FLAGS.compiled:
        return None
    from ..compiled import CompiledSampler

    ready = CompiledSampler(FLAGS.compiled)
    if not FLAGS["batch_size"].present and not FLAGS.again:
        FLAGS["batch_size"].parse(str(ready.batch_size))
    return ready


def tell_words(known: KnownWords | None, drawn: Sequence[SamplingSettings]) -> None:
    """Say on stderr which words of the prompts the model was not taught, where it knows its words."""
    for line in known.told_of_all(prompt for one in drawn for prompt in one.prompt or ()) if known else ():
        print(f"warning: {line}", file=sys.stderr, flush=True)


def settings_given() -> SamplingSettings:
    """Return the settings of --again, if it is given, changed by those of the other flags."""
    fields = setting_flags.given()
    if FLAGS.prompts_file:
        fields["prompt"] = [*fields.get("prompt", []), *read_prompts(FLAGS.prompts_file)]
    return settings_before().changed(**fields, output_type="uint8")


def settings_before() -> SamplingSettings:
    """Return the settings that flags change: those of --again, or the defaults."""
    return take_again(FLAGS.again) if FLAGS.again else SamplingSettings()


def table_given(file: str) -> list[Listed]:
    """Return the pictures of the table in --prompts_file, with the flags' settings where a row has none."""
    from .picture_list import listed_of_rows

    return listed_of_rows(file, read_table(file), settings_before(), setting_flags.given())


def bar(calls: Sequence[int]) -> AbstractContextManager[Callable[..., None] | None]:
    """Return a context with the callback of a bar of network calls, or with None if nobody sees one."""
    from ..progress import is_watched, progress_bar

    return progress_bar(calls) if FLAGS.progress and is_watched() else contextlib.nullcontext()


def precision_given() -> AbstractContextManager:
    """Return a context in which products are as precise as --faithful asks for."""
    import jax

    return jax.default_matmul_precision("highest") if FLAGS.faithful else contextlib.nullcontext()


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
