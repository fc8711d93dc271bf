"""Several processes that work as one: they find each other, and when one fails the others end with it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from absl import flags

_MODE = "several processes"
PROCESSES = ("distributed", "coordinator", "num_processes", "process_id")

flags.DEFINE_bool(
    "distributed",
    False,
    "Several processes, as Slurm, GKE, Open MPI or a TPU pod tell; when sampling, each writes its own pictures.",
    module_name=_MODE,
)
flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, for several processes outside such clusters.", module_name=_MODE
)
flags.DEFINE_integer("num_processes", None, "Number of processes, with --coordinator.", module_name=_MODE)
flags.DEFINE_integer("process_id", None, "Number of this process, from 0, with --coordinator.", module_name=_MODE)

FLAGS = flags.FLAGS

SECONDS_BETWEEN_LOOKS = 2.0
_FAILED = "vqdiffusion_jax/failed"  # a key of JAX's coordination service: the number of the process that failed first


def join_processes() -> None:
    """Join the processes that the flags name, or with --distributed those that a cluster tells JAX of."""
    import jax

    if FLAGS.coordinator:
        if FLAGS.num_processes is None or FLAGS.process_id is None:
            raise ValueError("--coordinator is given without --num_processes or --process_id; give all three")
        if not 0 <= FLAGS.process_id < FLAGS.num_processes:
            raise ValueError(
                f"--process_id={FLAGS.process_id} must lie from 0 to --num_processes - 1 = {FLAGS.num_processes - 1}"
            )
        jax.distributed.initialize(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    elif FLAGS.distributed:
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"--distributed, but JAX finds no cluster: {str(error).splitlines()[0]}; give --coordinator"
            ) from error
    else:
        return
    if _service() is None:
        print(
            f"warning: JAX {jax.__version__} does not show processes which of them has failed; when one fails, "
            "the others wait until JAX misses it (JAX 0.10 and 0.11 do show it)",
            file=sys.stderr,
        )
    threading.Thread(target=_leave_when_another_fails, daemon=True).start()
    from ..multihost import barrier

    # CPUs must connect within seconds of each other; later, when each has read its files, they may be further apart.
    barrier("all are here")


def fail_together(run: Callable[[], int]) -> int:
    """Return ``run()``, an exit status; among several processes a status other than 0, or an exception, ends them all.

    A process that left by itself would keep the others in a collective operation until JAX misses its heartbeats, and
    would wait for them in JAX's own shutdown.
    """
    try:
        status = run()
    except Exception:
        if _service() is None:
            raise
        traceback.print_exc()
        status = 1
    if status and (service := _service()) is not None:
        with contextlib.suppress(Exception):  # where the coordinator is gone, so are the others soon
            client, index = service
            client.key_value_set(_FAILED, str(index), allow_overwrite=False)
        _leave(status)
    return status


def _leave_when_another_fails() -> None:
    while (service := _service()) is not None:
        client, index = service
        time.sleep(SECONDS_BETWEEN_LOOKS)
        try:
            failed = client.key_value_try_get(_FAILED)
        except Exception:  # nobody has failed, or JAX is shutting down
            continue
        if int(failed) != index:
            print(
                f"error: process {failed} of this run failed and says why; process {index} ends with it",
                file=sys.stderr,
            )
            _leave(1)


def _service() -> tuple[Any, int] | None:
    """Return JAX's connection to its coordination service and the number of this process.

    None for a process that is alone, after JAX's shutdown, and for a JAX that keeps them elsewhere.
    """
    if "jax" not in sys.modules:
        return None
    try:
        from jax._src.distributed import global_state  # there is no public way to its keys

        client, index = global_state.client, global_state.process_id
    except (ImportError, AttributeError):
        return None
    return None if client is None else (client, index)


def _leave(status: int) -> None:
    """End at once: JAX's own shutdown would wait for processes that will never come."""
    sys.stdout.flush()
    sys.stderr.flush()
    # The others shall read which one failed before they miss it in a collective operation.
    time.sleep(2 * SECONDS_BETWEEN_LOOKS)
    os._exit(status)
