"""Flags and checks of the modes that listen: where, and who may come in."""

from __future__ import annotations

import os
import socket
import sys

from absl import flags

from ..errors import UsageError
from ..user_files import read_text

GROUP = "servers"
LOOPBACK = "127.0.0.1"
ADDRESS = ("host", "port")
_MOST_SECRET = 4096  # bytes of its file

flags.DEFINE_string(
    "host",
    LOOPBACK,
    "Address to listen on.  Any but the loopback lets other machines in; demo: it takes --password_file or "
    "--open_to_all; serve: --api_key_file.",
    module_name=GROUP,
)
flags.DEFINE_integer("port", 8080, "Port to listen on.", lower_bound=1, upper_bound=65535, module_name=GROUP)

FLAGS = flags.FLAGS


def secret(what: str, flag: str, variable: str, least: int) -> str | None:
    """Return the first line of the file that ``flag`` names, or else the environment variable, or None.

    Raises UsageError for one of fewer than ``least`` characters.
    """
    found, file = os.environ.get(variable) or None, FLAGS[flag].value
    if file is not None:
        found = read_text(file, most=_MOST_SECRET).partition("\n")[0].strip()
    if found is not None and len(found) < least:
        source = variable if file is None else f"--{flag}={file}"
        raise UsageError(f"the {what} of {source} has {len(found)} characters; give at least {least}")
    return found


def warn_of_visitors(who: str) -> None:
    """Say on stderr that other machines are let in."""
    told = f"warning: --host={FLAGS.host} lets other machines draw {who}, and nothing sent is encrypted"
    print(told, file=sys.stderr, flush=True)


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


def address() -> str:
    """Return the address of the server, as one types it."""
    host = f"[{FLAGS.host}]" if ":" in FLAGS.host else FLAGS.host
    return f"http://{host}:{FLAGS.port}"
