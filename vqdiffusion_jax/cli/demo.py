"""``--mode=demo``: a page on this machine to draw pictures, watch them form, compare strategies and paint."""

from __future__ import annotations

import os
import socket
import sys

from absl import flags

from ..config import dtype_of
from ..errors import UsageError
from ..user_files import read_text
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, companions
from .replay import origin

SHARED = ("checkpoint", *COMPANIONS, "dtype")
LOOPBACK = "127.0.0.1"
PASSWORD = "VQDIFFUSION_PASSWORD"  # the environment variable
_MODE = "mode demo"
_MOST_PASSWORD = 4096  # bytes of its file

flags.DEFINE_string(
    "host",
    LOOPBACK,
    "Address to listen on.  Any but the loopback lets other machines in; it takes --password_file or --open_to_all.",
    module_name=_MODE,
)
flags.DEFINE_integer("port", 8080, "Port to listen on.", lower_bound=1, upper_bound=65535, module_name=_MODE)
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
    host = f"[{FLAGS.host}]" if ":" in FLAGS.host else FLAGS.host
    print(f"the page is at http://{host}:{FLAGS.port}; Ctrl-C ends it", flush=True)
    limits = Limits()
    pages = Pages(pipeline, limits, origin(checkpoint=path, dtype=dtype_of(compute)))
    serve(pages.visit, access, limits, port=FLAGS.port, tell=pages.tell, debug=FLAGS.debug)


def chosen_access():
    """Return the rules of access that the flags make, and warn if other machines are let in.

    Raises UsageError if other machines are let in without a password, and not openly.
    """
    from ..web.access import LEAST_PASSWORD, Access, is_loopback

    password = os.environ.get(PASSWORD) or None
    if FLAGS.password_file is not None:
        password = read_text(FLAGS.password_file, most=_MOST_PASSWORD).partition("\n")[0].strip()
    if password is not None and len(password) < LEAST_PASSWORD:
        source = PASSWORD if FLAGS.password_file is None else f"--password_file={FLAGS.password_file}"
        raise UsageError(f"the password of {source} has {len(password)} characters; give at least {LEAST_PASSWORD}")
    if password is not None and FLAGS.open_to_all:
        raise UsageError("--open_to_all and a password are both given; keep one")
    if not is_loopback(FLAGS.host):
        if password is None and not FLAGS.open_to_all:
            raise UsageError(
                f"--host={FLAGS.host} lets other machines in; give a password by --password_file or the environment "
                f"variable {PASSWORD}, or say --open_to_all"
            )
        who = "with the password" if password is not None else "without a password"
        print(
            f"warning: --host={FLAGS.host} lets other machines draw {who}, and nothing sent is encrypted",
            file=sys.stderr,
            flush=True,
        )
    return Access(FLAGS.host, password)


def check_free(host: str, port: int) -> None:
    """Raise ValueError that names the flags if the address cannot be listened on."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"--host={host} --port={port} cannot be listened on: {reason}; name another port or address"
        ) from error
