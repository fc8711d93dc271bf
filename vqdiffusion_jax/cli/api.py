"""The service of the API, as the flags of ``--mode=serve`` make it; the page's server has one too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from absl import flags

from ..config import dtype_of
from ..errors import UsageError
from . import loras

if TYPE_CHECKING:
    from ..config import ComputeConfig
    from ..pipeline import VQDiffusionPipeline
    from ..serving.service import Service
    from ..web.turns import Turns

GROUP = "API"
API = ("max_batch", "max_wait_ms", "max_waiting", "public_url", "model_name")

flags.DEFINE_integer(
    "max_batch",
    None,
    "Pictures drawn together; a batch of fewer is filled up, so that the same request gives the same picture. "
    "[that of --compiled, else 1 on a CPU, 8 elsewhere]",
    lower_bound=1,
    upper_bound=1024,
    module_name=GROUP,
)
flags.DEFINE_integer(
    "max_wait_ms", 20, "Milliseconds that a picture waits for others.", lower_bound=0, upper_bound=60_000,
    module_name=GROUP,
)  # fmt: skip
flags.DEFINE_integer(
    "max_waiting", 64, "Pictures that may wait; further requests are told when to come again.", lower_bound=1,
    upper_bound=100_000, module_name=GROUP,
)  # fmt: skip
flags.DEFINE_string(
    "public_url", None, "Address of the server as clients see it, for URLs of pictures. [as requests say]",
    module_name=GROUP,
)  # fmt: skip
flags.DEFINE_string("model_name", None, "Name of the model for clients. [from --checkpoint]", module_name=GROUP)

FLAGS = flags.FLAGS


def service_of(
    pipeline: VQDiffusionPipeline, checkpoint: str, compute: ComputeConfig, turns: Turns | None = None
) -> Service:
    """Return the service of a pipeline, which was read from ``checkpoint`` to compute so.

    turns: shared with others that draw with the pipeline.
    """
    import jax

    from ..serving.limits import Limits
    from ..serving.service import Service

    usual = 1 if jax.default_backend() == "cpu" else 8
    together = FLAGS.max_batch or (usual if pipeline.compiled is None else pipeline.compiled.batch_size)
    limits = Limits(max_batch=together, max_wait=FLAGS.max_wait_ms / 1000, waiting=FLAGS.max_waiting)
    name = FLAGS.model_name or name_of(checkpoint)
    origin: dict[str, Any] = {"checkpoint": name, "dtype": dtype_of(compute)}  # clients are told no paths
    if FLAGS.lora:
        origin["lora"] = [loras.named(text) for text in FLAGS.lora]
    return Service(pipeline, limits, name=name, origin=origin, turns=turns)


def public_url() -> str | None:
    """Return --public_url.  Raises UsageError for what is no address of a server."""
    url = FLAGS.public_url
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"--public_url={url} is no address; give one such as https://pictures.example.org")
    return url


def name_of(checkpoint: str) -> str:
    """Return the name of a model for clients: that of the hub, or the file's or folder's own."""
    from ..hub import is_name

    place = Path(checkpoint).absolute()
    return checkpoint if is_name(checkpoint) else place.name if place.is_dir() else place.stem
