"""``--mode=serve``: an HTTP API in OpenAI's shape, which draws the pictures of many clients together."""

from __future__ import annotations

from typing import Any

from absl import flags

from ..errors import UsageError
from . import loras
from .api import API, public_url, service_of
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, companions
from .servers import ADDRESS, address, check_free, secret, warn_of_visitors

SHARED = ("checkpoint", *COMPANIONS, "lora", "dtype", "compiled", *ADDRESS, *API)
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

FLAGS = flags.FLAGS


def main() -> None:
    try:
        from ..serving.server import serve
    except ModuleNotFoundError as error:
        if error.name not in _MODULES:
            raise
        raise ValueError('--mode=serve needs FastAPI; install it with pip install "vqdiffusion-jax[serve]"') from error
    from ..pipeline import VQDiffusionPipeline

    access, public = chosen_access(), public_url()
    check_free(FLAGS.host, FLAGS.port)
    compute = chosen_compute()
    path = checkpoint_or_embedded()
    pipeline = VQDiffusionPipeline.from_pretrained(path, compute=compute, compiled=FLAGS.compiled, **companions())
    loras.use(pipeline, loras.read(pipeline.config))
    service = service_of(pipeline, path, compute)
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
