"""Flags and the run itself, shared by the training modes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from absl import flags
from ml_collections import config_flags

from ..storage.addresses import address_of
from ..storage.transfer import Objects
from .configuration_file import ConfigurationFile
from .data_account import tell
from .profile import profiler

_MODE = "mode train"

config_flags.DEFINE_config_file(
    "config",
    None,
    "A configuration file, or the name of one that comes along (emoji_tiny, coco); change a field with --config.a.b=c.",
)
flags.FLAGS.register_flag_by_module(_MODE, flags.FLAGS["config"])  # ml_collections takes no group
flags.FLAGS["config"].parser = ConfigurationFile()  # whose errors are one line
flags.DEFINE_string(
    "workdir",
    None,
    "train, train_vqgan: folder, also of a bucket, for checkpoints, metrics and pictures; a run there is continued.",
    module_name=_MODE,
)

FLAGS = flags.FLAGS


def check_flags(example: str) -> None:
    """Raise ValueError unless --config and --workdir are given; ``example`` is a config file of this mode.

    Raises StorageError, before data and weights are opened, for a --workdir in a bucket that takes nothing.
    """
    if FLAGS.config is None:
        raise ValueError(f"--config is needed, e.g. --config={example}")
    if not FLAGS.workdir:
        raise ValueError("--workdir is needed: a folder for checkpoints, metrics and pictures")
    if (address := address_of(FLAGS.workdir)) is not None:
        Objects(address, writing=True).check_writable()


def mesh_of(config: Any) -> Any:
    """Return the mesh of a RunConfig, over the devices of all processes.

    Raises ConfigError if the batch does not divide.
    """
    import jax

    from ..sharding import make_mesh

    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    config.check_mesh(mesh)
    if config.batch_size % jax.process_count():
        raise ValueError(f"batch_size {config.batch_size} is not divisible by the {jax.process_count()} processes")
    for devices in mesh.devices.reshape(-1, mesh.shape["tensor"]):
        # Such processes would have to read the same samples, but each reads its own.
        if len({device.process_index for device in devices}) > 1:
            raise ValueError(
                f"mesh.tensor={config.mesh.tensor} spans several processes; make it no more than a process's devices, "
                "and mesh.fsdp larger"
            )
    return mesh


def run(task: Any, loader_of: Callable[[str], Any], *, shown: int | None = None) -> None:
    """Train ``task`` in --workdir; ``loader_of`` gives the loader of a split.

    shown: the number of pictures of the data set in the task's sample pictures, if they are of the data set.
    """
    import jax

    from ..training.few_pictures import few_pictures
    from ..training.loop import train

    profile = profiler(task.config.steps, "steps")
    validation = loader_of("validation") if task.config.watch.eval_every else None
    training = loader_of("train")
    data = task.config.data
    for loader in (training, validation):
        if loader is not None and not data.get("cache"):  # of what became tokens, --mode=tokenize gave an account
            tell(loader.source, f"{data['source']} at {data['root']}", loader.split)
    held_out = None if validation is None else validation.num_examples
    if jax.process_index() == 0:
        for line in few_pictures(task.config, training.num_examples, held_out, shown):
            print(line, file=sys.stderr, flush=True)
    outcome = train(task, FLAGS.workdir, training, validation=validation, profile=profile)
    if jax.process_index() == 0:
        print(json.dumps({"step": outcome.step, "stopped": outcome.stopped}))
