"""``--mode=demo``: a page on this machine to draw pictures, watch them form, compare strategies and paint."""

from __future__ import annotations

import socket

from absl import flags

from ..config import dtype_of
from .checkpoints import COMPANIONS, checkpoint_or_embedded, chosen_compute, companions
from .replay import origin

SHARED = ("checkpoint", *COMPANIONS, "dtype")
LOOPBACK = "127.0.0.1"
_MODE = "mode demo"

flags.DEFINE_string("host", LOOPBACK, "Address to listen on; 0.0.0.0 lets other machines in.", module_name=_MODE)
flags.DEFINE_integer("port", 8080, "Port to listen on.", lower_bound=1, upper_bound=65535, module_name=_MODE)

FLAGS = flags.FLAGS


def main() -> None:
    from ..demo.limits import Limits
    from ..pipeline import VQDiffusionPipeline

    try:
        from ..demo.page import serve
    except ModuleNotFoundError as error:
        if error.name != "nicegui":
            raise
        raise ValueError('--mode=demo needs NiceGUI; install it with pip install -e ".[demo]"') from error
    check_free(FLAGS.host, FLAGS.port)
    compute = chosen_compute()
    path = checkpoint_or_embedded()
    pipeline = VQDiffusionPipeline.from_pretrained(path, compute=compute, **companions())
    print(f"the page is at http://{FLAGS.host}:{FLAGS.port}; Ctrl-C ends it", flush=True)
    serve(pipeline, Limits(), origin(checkpoint=path, dtype=dtype_of(compute)), host=FLAGS.host, port=FLAGS.port)


def check_free(host: str, port: int) -> None:
    """Raise ValueError that names the flags if the address cannot be listened on."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(
            f"--host={host} --port={port} cannot be listened on: {reason}; name another port or address"
        ) from error
