"""``--mode=convert``: a foreign checkpoint to a model folder, with a table of every key."""

from __future__ import annotations

from absl import flags

from .checkpoints import COMPANIONS, checkpoint, companions

SHARED = ("checkpoint", *COMPANIONS, "out")

flags.DEFINE_bool("quiet", False, "convert: print no table of keys.", module_name="mode convert")
flags.DEFINE_bool(
    "safetensors",
    False,
    "convert: write the weights as weights.safetensors, which other programs read too, in place of orbax's folder.",
    module_name="mode convert",
)

FLAGS = flags.FLAGS


def main() -> None:
    from ..loading import convert

    if not FLAGS["out"].present:  # its default is where pictures go
        raise ValueError("--out is needed: the folder to write, absent or empty")
    report = convert(checkpoint(), FLAGS.out, safetensors=FLAGS.safetensors, **companions())
    if not FLAGS.quiet:
        print(report.table())
    print(f"written: {FLAGS.out}")
