"""``--mode=demo``: a page on this machine to draw pictures, watch them form, compare strategies and paint."""

from __future__ import annotations

from absl import flags

from ..config import dtype_of
from ..errors import UsageError
from . import loras
from .api import API, public_url, service_of
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, companions
from .replay import origin
from .servers import ADDRESS, address, check_free, secret, warn_of_visitors

SHARED = ("checkpoint", *COMPANIONS, "lora", "dtype", *ADDRESS, *API)
PASSWORD = "VQDIFFUSION_PASSWORD"  # the environment variable
_MODE = "mode demo"
_MODULES = ("nicegui", "prometheus_client", "multipart", "python_multipart")

flags.DEFINE_string(
    "password_file",
    None,
    f"File whose first line is the password that visitors type; the environment variable {PASSWORD} holds it too.",
    module_name=_MODE,
)
flags.DEFINE_bool(
    "open_to_all", False, "With a --host that other machines reach: no password; anybody draws.", module_name=_MODE
)

FLAGS = flags.FLAGS


def main() -> None:
    from ..demo.limits import Limits
    from ..pipeline import VQDiffusionPipeline
    from ..web.turns import Turns

    try:
        from ..demo.page import Pages
        from ..demo.server import serve
    except ModuleNotFoundError as error:
        if error.name not in _MODULES:
            raise
        told = f'--mode=demo needs {error.name}; install it with pip install "vqdiffusion-jax[demo]"'
        raise ValueError(told) from error
    access, public = chosen_access(), public_url()
    check_free(FLAGS.host, FLAGS.port)
    compute = chosen_compute()
    path = checkpoint_or_embedded()
    pipeline = VQDiffusionPipeline.from_pretrained(path, compute=compute, **companions())
    loras.use(pipeline, loras.read(pipeline.config))
    limits, turns = Limits(), Turns()
    service = service_of(pipeline, path, compute, turns)
    own = origin(checkpoint=path, dtype=dtype_of(compute))
    pages = Pages(pipeline, limits, own, turns=turns, ahead=service.batches.before)
    print(f"the page is at {address()}, the API at {address()}/v1; Ctrl-C ends both", flush=True)
    serve(pages, service, access, limits, port=FLAGS.port, address=public, debug=FLAGS.debug)


def chosen_access():
    """Return the rules of access that the flags make, and warn if other machines are let in.

    Raises UsageError if other machines are let in without a password, and not openly.
    """
    from ..web.access import LEAST_PASSWORD, Access, is_loopback

    password = secret("password", "password_file", PASSWORD, LEAST_PASSWORD)
    if password is not None and FLAGS.open_to_all:
        raise UsageError("--open_to_all and a password are both given; keep one")
    if not is_loopback(FLAGS.host):
        if password is None and not FLAGS.open_to_all:
            raise UsageError(
                f"--host={FLAGS.host} lets other machines in; give a password by --password_file or the environment "
                f"variable {PASSWORD}, or say --open_to_all"
            )
        warn_of_visitors("with the password" if password is not None else "without a password")
    return Access(FLAGS.host, password)
