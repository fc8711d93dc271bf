"""``--mode=sample``: pictures, a grid of them, and beside each picture what makes it again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ..config import dtype_of
from ..sampling import STRATEGIES
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, open_checkpoint
from .processes import PROCESSES, join_processes
from .replay import record, take_flags_from
from .tools import read_prompts
from .wording import saying_flags

if TYPE_CHECKING:
    from ..arguments import Call
    from ..loading import OpenedModel

SHARED = ("checkpoint", *COMPANIONS, "dtype", *PROCESSES)
_WHAT, _HOW, _WHERE, _OUT = "mode sample: what", "mode sample: strategy", "mode sample: where", "mode sample: output"

flags.DEFINE_multi_string("prompt", None, "Text to draw; repeat the flag for more.", module_name=_WHAT)
flags.DEFINE_string("prompts_file", None, "A text file, one prompt a line.", module_name=_WHAT)
flags.DEFINE_multi_integer("class_label", None, "Class to draw; repeat the flag for more.", module_name=_WHAT)
flags.DEFINE_string("negative_prompt", None, "Text to guide away from.", module_name=_WHAT)
flags.DEFINE_integer("num_images", 1, "Pictures for each prompt or class.", lower_bound=1, module_name=_WHAT)
flags.DEFINE_integer("seed", 0, "Same seed, same pictures.", lower_bound=0, module_name=_WHAT)
flags.DEFINE_integer(
    "first_image", 0, "Number of each prompt's first picture, to go on from before.", lower_bound=0, module_name=_WHAT
)
flags.DEFINE_string(
    "again", None, "The JSON beside a picture: draw it again; other flags override it.", module_name=_WHAT
)
flags.DEFINE_string(
    "image", None, "Picture to start from (with --strength) or to keep parts of (with --mask).", module_name=_WHAT
)
flags.DEFINE_string(
    "mask", None, "White where to paint; everything else of --image comes back exactly.", module_name=_WHAT
)
flags.DEFINE_list(
    "outpaint",
    None,
    "left,top,right,bottom: margins to paint around --image, as fractions of the new picture.",
    module_name=_WHAT,
)
flags.DEFINE_float("strength", None, "How far --image is noised first: above 0, up to 1.", module_name=_WHAT)

flags.DEFINE_enum("strategy", "posterior", list(STRATEGIES), "Step rule; see docs/strategies.md.", module_name=_HOW)
flags.DEFINE_integer(
    "steps",
    None,
    "Steps, a network call each.  posterior, remask: even over the timesteps; default all.  maskgit: default 12.",
    module_name=_HOW,
)
flags.DEFINE_list(
    "timesteps", None, "posterior, remask: the timesteps themselves, from high to low, not --steps.", module_name=_HOW
)
flags.DEFINE_integer(
    "skip_step",
    None,
    "fast: timesteps skipped after each step (the reference's infer_speed minus 1).",
    module_name=_HOW,
)
flags.DEFINE_integer(
    "tokens_per_step",
    None,
    "fewer_tokens, purity: most tokens a step; default the reference's table.",
    module_name=_HOW,
)
flags.DEFINE_float("purity_weight", None, "purity: the r of Algorithm 2; default 1.", module_name=_HOW)
flags.DEFINE_float(
    "temperature", None, "maskgit: noise in the choice of what stays, 0 for none; default 4.5.", module_name=_HOW
)
flags.DEFINE_enum(
    "mask_schedule",
    None,
    ["cosine", "linear"],
    "maskgit: how the masked share falls; default cosine.",
    module_name=_HOW,
)
flags.DEFINE_float(
    "entropy_bound", None, "entropy_bound: nats of entropy a step may reveal together; default 1.", module_name=_HOW
)
flags.DEFINE_float(
    "remask_rate", None, "remask: share of the tokens masked again per step, 0 to 1; default 0.02.", module_name=_HOW
)
flags.DEFINE_enum(
    "remask_schedule",
    None,
    ["cap", "rescale"],
    "remask: --remask_rate as limit or factor; default cap.",
    module_name=_HOW,
)
flags.DEFINE_float("guidance_scale", None, "1 is none; default the checkpoint's.", module_name=_HOW)
flags.DEFINE_list(
    "guidance_interval", None, "low,high: timesteps at which guidance acts; default all.", module_name=_HOW
)
flags.DEFINE_enum("null", "auto", ["auto", "learnable", "text"], "Null condition of guidance.", module_name=_HOW)
flags.DEFINE_float(
    "truncation_rate",
    None,
    "Keep the likeliest codes up to this probability; default the checkpoint's.",
    module_name=_HOW,
)
flags.DEFINE_integer("top_k", None, "Keep so many codes instead.", module_name=_HOW)

flags.DEFINE_integer(
    "batch_size",
    None,
    "Pictures drawn together; default 1 a CPU device, 16 another.",
    lower_bound=1,
    module_name=_WHERE,
)
flags.DEFINE_list(
    "mesh",
    None,
    "data,fsdp,tensor: sizes of the device mesh; -1 takes what is left.  Default one device, or all of several processes.",
    module_name=_WHERE,
)
flags.DEFINE_bool("faithful", False, "Full float32 everywhere, to match the reference's numbers.", module_name=_WHERE)
flags.DEFINE_bool("dry_run", False, "Say shapes, memory and operations, and draw nothing.", module_name=_WHERE)

flags.DEFINE_string(
    "out", "RESULT", "Folder to write to; convert, tokenize and reduce_codebook need it.", module_name=_OUT
)
flags.DEFINE_enum(
    "rounding", "truncate", ["truncate", "round"], "To 8 bits, as the reference or to the nearest.", module_name=_OUT
)
flags.DEFINE_bool("trajectory", False, "Also write a GIF of the denoising.", module_name=_OUT)
flags.DEFINE_bool("progress", True, "Show a progress bar.", module_name=_OUT)

FLAGS = flags.FLAGS


UPDATES = 20  # of the progress bar, at most about so many a picture: each stops the device for a moment


def main() -> None:
    import jax

    from ..generation import calls_a_piece
    from ..pipeline import VQDiffusionPipeline
    from .dry_run import describe
    from .pictures import Writer, first_free

    join_processes()
    if FLAGS.trajectory and jax.process_count() > 1:
        raise ValueError(
            "--trajectory goes with one process; leave it out, or leave out --distributed and --coordinator"
        )
    if FLAGS.again:
        take_flags_from(Path(FLAGS.again))
    # All that can be wrong is found before the weights are read.
    settings, given = call_settings(), open_pictures()
    compute = chosen_compute()
    out = Path(FLAGS.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; name a folder")
    opened = open_checkpoint()
    config = opened.config
    call = settle_call(opened, settings)
    pictures = fit_pictures(given, config.codec.image_size)
    if FLAGS.dry_run:
        print(describe(config, compute, call, batch=FLAGS.batch_size or 1, mesh_sizes=mesh_sizes()))
        return
    mesh = device_mesh()
    model = opened.load(compute=compute, mesh=mesh, clip_dtype=FLAGS.clip_dtype)
    pipeline = VQDiffusionPipeline(model, opened.tokenizer, mesh=mesh)
    del opened  # and with it whatever of the files it holds
    out.mkdir(parents=True, exist_ok=True)
    shown = subjects(settings)
    together = pipeline.pictures_together(len(shown), FLAGS.batch_size)
    sampling = config.sampling
    shared = record(
        checkpoint=checkpoint_or_embedded(),
        seed=FLAGS.seed,
        strategy=FLAGS.strategy,
        dtype=dtype_of(compute),
        batch_size=together,
        mesh=None if FLAGS.mesh is None else [str(size) for size in mesh.shape.values()],
        guidance_scale=sampling.guidance_scale if FLAGS.guidance_scale is None else FLAGS.guidance_scale,
        truncation_rate=sampling.truncation_rate
        if FLAGS.truncation_rate is None and FLAGS.top_k is None
        else FLAGS.truncation_rate,
    )
    writer = Writer(out, first_free(out), shown, shared, FLAGS.first_image)
    precision = jax.default_matmul_precision("highest") if FLAGS.faithful else contextlib.nullcontext()
    calls = len(call.plan)
    with precision, progress_bar(FLAGS.progress, calls, -(-len(shown) // together)) as callback:
        # What is drawn is on disk, whatever happens later.
        for batch in pipeline.draw(
            call,
            **pictures,
            **drawing_settings(),
            output_type="uint8",
            callback=callback,
            callback_steps=calls_a_piece(calls, UPDATES),
        ):
            writer.add(batch, pipeline)
    writer.finish()


def settle_call(opened: OpenedModel, settings: dict) -> Call:
    """The ``Call`` of these settings, without any weights.  Raises ValueError for flags that do not fit the model."""
    from ..arguments import settle
    from ..diffusion.schedule import make_schedule

    with saying_flags():
        return settle(opened.config, make_schedule(opened.config.schedule), opened.tokenizer, **settings)


def call_settings() -> dict:
    """What the flags say of pictures and of how to draw them, as arguments of ``arguments.settle``."""
    prompts = list(FLAGS.prompt or [])
    if FLAGS.prompts_file:
        prompts += read_prompts(FLAGS.prompts_file)
    interval = None
    if FLAGS.guidance_interval is not None:
        interval = _integers("guidance_interval", FLAGS.guidance_interval, 2)
    return {
        "prompt": prompts or None,
        "class_labels": FLAGS.class_label,
        "negative_prompt": FLAGS.negative_prompt,
        "num_images_per_prompt": FLAGS.num_images,
        "strategy": chosen_strategy(),
        "num_inference_steps": FLAGS.steps if FLAGS.strategy == "posterior" else None,
        "guidance_scale": FLAGS.guidance_scale,
        "guidance_interval": interval,
        "null": FLAGS.null,
        "truncation_rate": FLAGS.truncation_rate,
        "top_k": FLAGS.top_k,
        "strength": FLAGS.strength,
    }


def drawing_settings() -> dict:
    """What else they say, as arguments of ``VQDiffusionPipeline.draw``."""
    return {
        "seed": FLAGS.seed,
        "first_image": FLAGS.first_image,
        "batch_size": FLAGS.batch_size,
        "rounding": FLAGS.rounding,
        "return_trajectory": FLAGS.trajectory,
    }


def chosen_strategy():
    """The strategy that the flags name; None for the default.  Raises ValueError for a flag of another strategy."""
    for flag in dict.fromkeys(flag for named in STRATEGIES.values() for flag in named.settings):
        takers = [strategy for strategy, named in STRATEGIES.items() if flag in named.settings]
        if FLAGS[flag].value is not None and FLAGS.strategy not in takers:
            raise ValueError(f"--{flag} goes with --strategy={' or '.join(takers)}, not {FLAGS.strategy}")
    chosen = STRATEGIES[FLAGS.strategy]
    given = {flag: FLAGS[flag].value for flag in chosen.settings}
    if FLAGS.timesteps is not None:
        for flag in ("steps", "strength"):
            if FLAGS[flag].value is not None:
                raise ValueError(f"--timesteps and --{flag} are both given; --timesteps is the whole schedule")
        given["timesteps"] = _integers("timesteps", FLAGS.timesteps)
    elif FLAGS.strategy == "posterior":
        return None  # --steps and --strength are arguments of the call itself
    with saying_flags():
        return chosen.make(**given)


def open_pictures() -> dict:
    """--image and --mask as PIL images.  Raises ValueError for flags about pictures that do not go together."""
    from .pictures import open_picture

    for flag in ("mask", "outpaint", "strength"):
        if FLAGS[flag].value is not None and not FLAGS.image:
            raise ValueError(f"--{flag} is given without --image")
    if FLAGS.mask and FLAGS.outpaint:
        raise ValueError("--mask and --outpaint are both given; --outpaint makes its own mask")
    if FLAGS.image and not FLAGS.mask and not FLAGS.outpaint and FLAGS.strength is None:
        raise ValueError(
            "--image is given without --strength (how far to noise it), --mask (where to paint) or --outpaint"
        )
    margins()
    return {flag: open_picture(Path(FLAGS[flag].value), flag) for flag in ("image", "mask") if FLAGS[flag].value}


def fit_pictures(given: dict, size: int) -> dict:
    """The pictures given, cropped and resized to the codec's size, as arguments of the pipeline's call."""
    from ..sampling import outpaint
    from .pictures import fit_mask, fit_picture

    if not given:
        return {}
    if FLAGS.outpaint is not None:
        left, top, right, bottom = margins()
        with saying_flags():
            image, mask = outpaint(given["image"], size, left=left, top=top, right=right, bottom=bottom)
        return {"image": image, "mask_image": mask}
    fitted = {"image": fit_picture(given["image"], size)}
    return fitted | ({"mask_image": fit_mask(given["mask"], size)} if "mask" in given else {})


def margins() -> tuple[float, ...] | None:
    if FLAGS.outpaint is None:
        return None
    try:
        numbers = tuple(float(value) for value in FLAGS.outpaint)
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise ValueError(
            f"--outpaint is {','.join(FLAGS.outpaint)!r}; it must be left,top,right,bottom, fractions such as 0.25,0,0.25,0"
        )
    return numbers


def mesh_sizes() -> tuple[int, ...] | None:
    """Of the mesh that --mesh names; without it None, or with several processes that of all their devices, which share the pictures."""
    import jax

    if FLAGS.mesh is not None:
        return _integers("mesh", FLAGS.mesh, 3)
    return (-1, 1, 1) if jax.process_count() > 1 else None


def device_mesh():
    from ..sharding import make_mesh

    sizes = mesh_sizes()
    with saying_flags():
        return None if sizes is None else make_mesh(*sizes)


def _integers(name: str, values: list[str], count: int | None = None) -> tuple[int, ...]:
    try:
        numbers = tuple(int(value) for value in values)
    except ValueError:
        numbers = ()
    if not numbers or len(numbers) != (count or len(numbers)):
        raise ValueError(
            f"--{name} is {','.join(values)!r}; it must be {count or 'only'} whole numbers with commas between"
        )
    return numbers


def subjects(settings: dict) -> list[dict]:
    """What each picture shows, in the order they come."""
    name, values = ("prompt", settings["prompt"]) if settings["prompt"] else ("class_label", settings["class_labels"])
    return [
        {name: value} if values else {} for value in values or [None] for _ in range(settings["num_images_per_prompt"])
    ]


@contextlib.contextmanager
def progress_bar(shown: bool, calls: int, batches: int):
    """A bar of the network calls of all batches, each of which makes at most ``calls``; gives the pipeline's callback, or None."""
    if not shown:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=calls * batches, unit="step", desc="denoising", delay=0.2) as bar:
        begun, last = 0, 0

        def callback(done: int, timestep: int, tokens) -> None:
            nonlocal begun, last
            tokens.block_until_ready()
            if done <= last:  # another batch
                begun += calls
            last = done
            bar.set_postfix(timestep=timestep, refresh=False)
            bar.update(begun + done - bar.n)

        yield callback
        bar.update(bar.total - bar.n)  # calls that a strategy did not need
