"""``--mode=serve``: an HTTP API in OpenAI's shape, which draws the pictures of many clients together."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from absl import flags

from ..config import dtype_of
from ..errors import UsageError
from . import loras
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, companions
from .servers import ADDRESS, address, check_free, secret, warn_of_visitors

SHARED = ("checkpoint", *COMPANIONS, "lora", "dtype", *ADDRESS)
KEY = "VQDIFFUSION_API_KEY"  # the environment variable
LEAST_KEY = 16  # characters: nobody is locked out for guessing
_MODE = "mode serve"
_MODULES = ("fastapi", "uvicorn", "prometheus_client", "multipart", "python_multipart")

flags.DEFINE_string(
    "api_key_file",
    None,
    f"File whose first line is the key that clients send; the environment variable {KEY} holds it too.",
    module_name=_MODE,
)
flags.DEFINE_integer(
    "max_batch",
    None,
    "Pictures drawn together; a batch of fewer is filled up, so that the same request gives the same picture. "
    "[1 on a CPU, 8 elsewhere]",
    lower_bound=1,
    upper_bound=1024,
    module_name=_MODE,
)
flags.DEFINE_integer(
    "max_wait_ms", 20, "Milliseconds that a picture waits for others.", lower_bound=0, upper_bound=60_000,
    module_name=_MODE,
)  # fmt: skip
flags.DEFINE_integer(
    "max_waiting", 64, "Pictures that may wait; further requests are told when to come again.", lower_bound=1,
    upper_bound=100_000, module_name=_MODE,
)  # fmt: skip
flags.DEFINE_string(
    "public_url", None, "Address of the server as clients see it, for URLs of pictures. [as requests say]",
    module_name=_MODE,
)  # fmt: skip
flags.DEFINE_string("model_name", None, "Name of the model for clients. [from --checkpoint]", module_name=_MODE)

FLAGS = flags.FLAGS


def main() -> None:
    import jax

    try:
        from ..serving.limits import Limits
        from ..serving.server import serve
        from ..serving.service import Service
    except ModuleNotFoundError as error:
        if error.name not in _MODULES:
            raise
        raise ValueError('--mode=serve needs FastAPI; install it with pip install "vqdiffusion-jax[serve]"') from error
    from ..pipeline import VQDiffusionPipeline

    access, public = chosen_access(), public_url()
    check_free(FLAGS.host, FLAGS.port)
    compute = chosen_compute()
    path = checkpoint_or_embedded()
    together = FLAGS.max_batch or (1 if jax.default_backend() == "cpu" else 8)
    limits = Limits(max_batch=together, max_wait=FLAGS.max_wait_ms / 1000, waiting=FLAGS.max_waiting)
    pipeline = VQDiffusionPipeline.from_pretrained(path, compute=compute, **companions())
    loras.use(pipeline, loras.read(pipeline.config))
    name = FLAGS.model_name or name_of(path)
    origin = {"checkpoint": name, "dtype": dtype_of(compute)}
    if FLAGS.lora:
        origin["lora"] = [loras.named(text) for text in FLAGS.lora]
    service = Service(pipeline, limits, name=name, origin=origin)
    service.studio.warm_up()
    print(f"the API is at {address()}/v1, and its description at {address()}/docs; Ctrl-C ends it", flush=True)
    serve(service, access, port=FLAGS.port, address=public, debug=FLAGS.debug)


def chosen_access() -> Any:
    """Return the rules of access that the flags make, and warn if other machines are let in.

    Raises UsageError if other machines are let in without a key.
    """
    from ..web.access import Access, is_loopback

    key = secret("key", "api_key_file", KEY, LEAST_KEY)
    if not is_loopback(FLAGS.host):
        if key is None:
            raise UsageError(
                f"--host={FLAGS.host} lets other machines in; give a key by --api_key_file or the environment "
                f"variable {KEY}"
            )
        warn_of_visitors("with the key")
    return Access(FLAGS.host, key)


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
