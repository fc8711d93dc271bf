"""``--mode=sample``: pictures, a grid of them, and beside each picture what makes it again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from absl import flags

from .checkpoints import checkpoint, companions

STRATEGIES = ("posterior", "fast", "fewer_tokens", "purity")

_WHAT, _HOW, _WHERE, _OUT = "mode sample: what", "mode sample: strategy", "mode sample: where", "mode sample: output"

flags.DEFINE_multi_string("prompt", None, "Text to draw; repeat the flag for more.", module_name=_WHAT)
flags.DEFINE_string("prompts_file", None, "A text file, one prompt a line.", module_name=_WHAT)
flags.DEFINE_multi_integer("class_label", None, "Class to draw; repeat the flag for more.", module_name=_WHAT)
flags.DEFINE_string("negative_prompt", None, "Text to guide away from.", module_name=_WHAT)
flags.DEFINE_integer("num_images", 1, "Pictures for each prompt or class.", lower_bound=1, module_name=_WHAT)
flags.DEFINE_integer("seed", 0, "Same seed, same pictures.", lower_bound=0, module_name=_WHAT)
flags.DEFINE_integer("first_image", 0, "Number of each prompt's first picture, to go on from before.", lower_bound=0, module_name=_WHAT)
flags.DEFINE_string("again", None, "The JSON beside a picture: draw it again; other flags override it.", module_name=_WHAT)
flags.DEFINE_string("image", None, "Picture to start from (with --strength) or to keep parts of (with --mask).", module_name=_WHAT)
flags.DEFINE_string("mask", None, "White where to paint; everything else of --image comes back exactly.", module_name=_WHAT)
flags.DEFINE_float("strength", None, "How far --image is noised first: above 0, up to 1.", module_name=_WHAT)

flags.DEFINE_enum("strategy", "posterior", STRATEGIES, "Step rule; see docs/strategies.md.", module_name=_HOW)
flags.DEFINE_integer("steps", None, "posterior: network calls, evenly spaced over the timesteps; default all.", module_name=_HOW)
flags.DEFINE_integer("skip_step", None, "fast: timesteps skipped after each call (the reference's infer_speed minus 1).", module_name=_HOW)
flags.DEFINE_integer("tokens_per_step", None, "fewer_tokens, purity: most tokens a call; default the reference's table.", module_name=_HOW)
flags.DEFINE_float("purity_weight", None, "purity: the r of Algorithm 2; default 1.", module_name=_HOW)
flags.DEFINE_float("guidance_scale", None, "1 is none; default the checkpoint's.", module_name=_HOW)
flags.DEFINE_list("guidance_interval", None, "low,high: timesteps at which guidance acts; default all.", module_name=_HOW)
flags.DEFINE_enum("null", "auto", ["auto", "learnable", "text"], "Null condition of guidance.", module_name=_HOW)
flags.DEFINE_float("truncation_rate", None, "Keep the likeliest codes up to this probability; default the checkpoint's.", module_name=_HOW)
flags.DEFINE_integer("top_k", None, "Keep so many codes instead.", module_name=_HOW)

flags.DEFINE_integer("batch_size", None, "Pictures drawn together; default 1 on the CPU, all elsewhere.", lower_bound=1, module_name=_WHERE)
flags.DEFINE_list("mesh", None, "data,fsdp,tensor: sizes of the device mesh; -1 takes what is left.", module_name=_WHERE)
flags.DEFINE_bool("distributed", False, "Several processes (Slurm, GKE, TPU pods); each writes its own pictures.", module_name=_WHERE)
flags.DEFINE_bool("faithful", False, "Full float32 everywhere, to match the reference's numbers.", module_name=_WHERE)
flags.DEFINE_bool("dry_run", False, "Say shapes, memory and operations, and draw nothing.", module_name=_WHERE)

flags.DEFINE_string("out", "RESULT", "Folder to write to.", module_name=_OUT)
flags.DEFINE_enum("rounding", "truncate", ["truncate", "round"], "To 8 bits, as the reference or to the nearest.", module_name=_OUT)
flags.DEFINE_bool("trajectory", False, "Also write a GIF of the denoising.", module_name=_OUT)
flags.DEFINE_bool("progress", True, "Show a progress bar.", module_name=_OUT)

FLAGS = flags.FLAGS


def main() -> None:
    import jax

    from ..config import ComputeConfig
    from ..loading import default_compute, load
    from .dry_run import describe
    from .pictures import first_free, write

    if FLAGS.distributed:
        jax.distributed.initialize()
    if FLAGS.again:
        take_flags_from(Path(FLAGS.again))
    settings = call_settings()
    compute = ComputeConfig(dtype=FLAGS.dtype, param_dtype=FLAGS.dtype) if FLAGS.dtype else default_compute()
    if FLAGS.faithful:
        if FLAGS.dtype not in (None, "float32"):
            raise ValueError(f"--faithful and --dtype={FLAGS.dtype} are both given; faithful runs are float32")
        compute = ComputeConfig()
    path = checkpoint()
    if FLAGS.dry_run:
        print(describe(path, companions(), compute, batch=FLAGS.batch_size or 1))
        return
    pipeline = load(path, compute=compute, mesh=device_mesh(), **companions())
    out = Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    start = first_free(out)
    settings |= pictures_given(pipeline) | {"output_type": "uint8", "return_trajectory": FLAGS.trajectory}
    shown = subjects(settings)
    calls = pipeline.num_calls(**{name: settings[name] for name in ("strategy", "num_inference_steps", "strength")})
    precision = jax.default_matmul_precision("highest") if FLAGS.faithful else contextlib.nullcontext()
    with precision, progress_bar(FLAGS.progress, calls * len(shown)) as watch:
        result = pipeline(**settings, callback=watch)
    write(out, start, result, pipeline, shown, record(path, pipeline, compute.dtype), FLAGS.first_image)


def take_flags_from(file: Path) -> None:
    """Set every flag that a picture's JSON names and the command line does not."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        names = [name for name in values if name in FLAGS and name != "mode" and not FLAGS[name].present]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"--again={file} cannot be read: {error}; give the JSON beside a picture") from error
    for name in names:
        value = values[name]
        multiple = isinstance(FLAGS[name], flags.MultiFlag)
        setattr(FLAGS, name, value if isinstance(value, list) or not multiple else [value])


def call_settings() -> dict:
    """The flags as arguments of the pipeline's call."""
    prompts = list(FLAGS.prompt or [])
    if FLAGS.prompts_file:
        prompts += [line for line in Path(FLAGS.prompts_file).read_text(encoding="utf-8").splitlines() if line.strip()]
        if not prompts:
            raise ValueError(f"--prompts_file={FLAGS.prompts_file} holds no prompt; write one a line")
    interval = None
    if FLAGS.guidance_interval is not None:
        interval = _integers("guidance_interval", FLAGS.guidance_interval, 2)
    return {
        "prompt": prompts or None,
        "class_labels": FLAGS.class_label,
        "negative_prompt": FLAGS.negative_prompt,
        "num_images_per_prompt": FLAGS.num_images,
        "first_image": FLAGS.first_image,
        "seed": FLAGS.seed,
        "strategy": chosen_strategy(),
        "num_inference_steps": FLAGS.steps,
        "guidance_scale": FLAGS.guidance_scale,
        "guidance_interval": interval,
        "null": FLAGS.null,
        "truncation_rate": FLAGS.truncation_rate,
        "top_k": FLAGS.top_k,
        "strength": FLAGS.strength,
        "batch_size": FLAGS.batch_size,
        "rounding": FLAGS.rounding,
    }


def chosen_strategy():
    """The strategy that the flags name; None for the default.  Raises ValueError for a flag of another strategy."""
    from ..sampling import FewerTokens, PurityPrior, ReferenceFast

    belongs = {
        "steps": ("posterior",),
        "skip_step": ("fast",),
        "tokens_per_step": ("fewer_tokens", "purity"),
        "purity_weight": ("purity",),
    }
    for flag, strategies in belongs.items():
        if FLAGS[flag].value is not None and FLAGS.strategy not in strategies:
            raise ValueError(f"--{flag} goes with --strategy={' or '.join(strategies)}, not {FLAGS.strategy}")
    if FLAGS.strategy == "fast":
        return ReferenceFast(1 if FLAGS.skip_step is None else FLAGS.skip_step)
    if FLAGS.strategy == "fewer_tokens":
        return FewerTokens(tokens_per_call=FLAGS.tokens_per_step)
    if FLAGS.strategy == "purity":
        return PurityPrior(1.0 if FLAGS.purity_weight is None else FLAGS.purity_weight, tokens_per_call=FLAGS.tokens_per_step)
    return None


def pictures_given(pipeline) -> dict:
    """--image and --mask, cropped and resized to the codec's size."""
    from .pictures import read_mask, read_picture

    if FLAGS.mask and not FLAGS.image:
        raise ValueError("--mask is given without --image")
    size = pipeline.config.codec.image_size
    given = {}
    if FLAGS.image:
        given["image"] = read_picture(Path(FLAGS.image), size)
    if FLAGS.mask:
        given["mask_image"] = read_mask(Path(FLAGS.mask), size)
    return given


def device_mesh():
    if FLAGS.mesh is None:
        return None
    from ..sharding import make_mesh

    return make_mesh(*_integers("mesh", FLAGS.mesh, 3))


def _integers(name: str, values: list[str], count: int) -> tuple[int, ...]:
    try:
        numbers = tuple(int(value) for value in values)
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise ValueError(f"--{name} is {','.join(values)!r}; it must be {count} whole numbers with commas between")
    return numbers


def subjects(settings: dict) -> list[dict]:
    """What each picture shows, in the order they come."""
    name, values = ("prompt", settings["prompt"]) if settings["prompt"] else ("class_label", settings["class_labels"])
    return [{name: value} if values else {} for value in values or [None] for _ in range(settings["num_images_per_prompt"])]


def record(path: Path, pipeline, dtype: str) -> dict:
    """Every setting that a picture depends on, under the names of the flags."""
    own = ("prompt", "prompts_file", "class_label", "num_images", "first_image", "again")
    names = [flag.name for module in (_WHAT, _HOW) for flag in FLAGS.flags_by_module_dict()[module] if flag.name not in own]
    names += ["faithful", "rounding", "batch_size", "reference_config", "codec_config", "mapping", "codec", "clip", "weights"]
    values = {name: FLAGS[name].value for name in names if FLAGS[name].value != FLAGS[name].default}
    defaults = pipeline.config.sampling
    values.setdefault("guidance_scale", defaults.guidance_scale)
    if "top_k" not in values:
        values.setdefault("truncation_rate", defaults.truncation_rate)
    return {"mode": "sample", "checkpoint": str(path), "seed": FLAGS.seed, "strategy": FLAGS.strategy, "dtype": dtype} | values


@contextlib.contextmanager
def progress_bar(shown: bool, total: int):
    """A callback for the pipeline that moves a bar of ``total`` network calls by one; None if not shown."""
    if not shown:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="step", desc="denoising", delay=0.2) as bar:

        def callback(calls: int, timestep: int, tokens) -> None:
            tokens.block_until_ready()
            bar.set_postfix(timestep=timestep, refresh=False)
            bar.update(len(tokens))

        yield callback
