"""``--mode=demo``: a page on this machine to draw pictures, watch them form, compare strategies and paint."""

from __future__ import annotations

from absl import flags

from ..config import dtype_of
from ..errors import UsageError
from . import loras
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, companions
from .replay import origin
from .servers import ADDRESS, address, check_free, secret, warn_of_visitors

SHARED = ("checkpoint", *COMPANIONS, "lora", "dtype", *ADDRESS)
PASSWORD = "VQDIFFUSION_PASSWORD"  # the environment variable
_MODE = "mode demo"

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

    try:
        from ..demo.page import Pages
        from ..demo.server import serve
    except ModuleNotFoundError as error:
        if error.name != "nicegui":
            raise
        raise ValueError('--mode=demo needs NiceGUI; install it with pip install "nicegui>=3.18"') from error
    access = chosen_access()
    check_free(FLAGS.host, FLAGS.port)
    compute = chosen_compute()
    path = checkpoint_or_embedded()
    pipeline = VQDiffusionPipeline.from_pretrained(path, compute=compute, **companions())
    loras.use(pipeline, loras.read(pipeline.config))
    print(f"the page is at {address()}; Ctrl-C ends it", flush=True)
    limits = Limits()
    pages = Pages(pipeline, limits, origin(checkpoint=path, dtype=dtype_of(compute)))
    serve(pages.visit, access, limits, port=FLAGS.port, tell=pages.tell, debug=FLAGS.debug)


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
