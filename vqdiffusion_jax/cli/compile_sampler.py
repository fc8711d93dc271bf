"""``--mode=compile``: compile a model's sampler ahead of time, also for a TPU or GPU that is not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ..errors import UsageError
from ..files import check_replaceable
from ..sampling.settings import START, WHAT, all_settings
from . import setting_flags
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, open_checkpoint

if TYPE_CHECKING:
    from ..compiled import ProgramCost

_MODE = "mode compile"
_OF_ONE_RUN = [name for name, about in all_settings().items() if about.group in (WHAT, START)]
SHARED = (
    "checkpoint",
    *COMPANIONS,
    "dtype",
    "faithful",
    "mesh",
    "out",
    *(name for name in setting_flags.typed() if name not in _OF_ONE_RUN),
)

flags.DEFINE_string(
    "target",
    "cpu",
    "What to compile for: cpu (this machine), h100, or a TPU's generation and shape, such as v5e:2x2, v5p:2x2x1, "
    "v6e:2x2.",
    module_name=_MODE,
)

FLAGS = flags.FLAGS
_TITLES = (
    "program",
    "compiled in, s",
    "arguments, MiB",
    "results, MiB",
    "temporaries, MiB",
    "code, MiB",
    "serialised, MiB",
)
_MIB = 2**20


def main() -> None:
    """Compile the sampler that the flags name, tell what its compiler says of each program, and write the file."""
    import jax

    from ..targets import GIB, target_of

    # What runs here while a program is traced is small, and needs no accelerator.
    jax.config.update("jax_platforms", "cpu")
    out = Path(FLAGS.out)
    if not FLAGS["out"].present or out.is_dir():
        raise UsageError("--out is needed: the file to write, for example --out=sampler.compiled")
    target = target_of(FLAGS.target)
    check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)  # before minutes of work

    from ..call import settle
    from ..compiled import compile_sampler
    from ..pipeline import PICTURES_A_DEVICE, VQDiffusionPipeline, program_options
    from ..sampling.settings import SamplingSettings, any_subject
    from ..sharding import make_mesh
    from .sample import mesh_sizes, precision_given

    sizes = mesh_sizes()
    if sizes is not None and target.platform == "cpu":
        # What XLA writes of a program for several CPU devices it does not read back whole (jaxlib 0.10.2).
        raise UsageError("--mesh goes with a target of several chips, such as v5e:2x2; for cpu leave it out")
    mesh = None if sizes is None else make_mesh(*sizes, devices=target.devices)
    compute = chosen_compute(target.platform)
    opened = open_checkpoint()
    model = opened.shapes(compute, clip_dtype=FLAGS.clip_dtype)
    pipeline = VQDiffusionPipeline(model, opened.tokenizer)
    devices = 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]
    subject = any_subject(opened.config.denoiser.condition)
    fields = {"batch_size": devices * (1 if target.platform == "cpu" else PICTURES_A_DEVICE)} | setting_flags.given()
    if fields["batch_size"] % devices:
        raise UsageError(f"--batch_size={fields['batch_size']} must be a multiple of {devices}, data x fsdp of --mesh")
    settings = SamplingSettings.of(**subject, **fields, output_type="uint8")
    call = settle(opened.config, pipeline.schedule, opened.tokenizer, settings)
    request, options = pipeline.first_request(call), program_options(call)
    pictures = f"{settings.batch_size} picture{'' if settings.batch_size == 1 else 's'} at a time"
    print(f"{checkpoint_or_embedded()} for {target.name}, {pictures}, {compute.dtype}")
    print(_line(_TITLES), flush=True)
    with precision_given():
        needed = compile_sampler(out, model, compute, request, call, options, target, mesh, told=_tell)
    of = "" if target.memory is None else f" of {target.memory / GIB:.0f}"
    print(f"a device needs at most {needed / GIB:.2f}{of} GiB")
    print(f"written: {out} ({out.stat().st_size / _MIB:.1f} MiB)")


def _tell(cost: ProgramCost) -> None:
    sizes = (cost.arguments, cost.results, cost.temporaries, cost.code, cost.serialised)
    print(_line((cost.name, f"{cost.seconds:.1f}", *(f"{size / _MIB:.1f}" for size in sizes))), flush=True)


def _line(cells: Any) -> str:
    first, *rest = cells
    return first.ljust(9) + "".join(cell.rjust(18) for cell in rest)
