"""``--mode=fetch``: a released file, downloaded in its parts, joined, checked and converted."""

from __future__ import annotations

from pathlib import Path

from absl import flags

SHARED = ("out", "mapping", "progress", "quiet")
_MODE = "mode fetch"

flags.DEFINE_string(
    "released",
    None,
    "fetch: the file, for instance coco_learnable.pth; docs/checkpoints.md lists all.",
    module_name=_MODE,
)
flags.DEFINE_string(
    "base", None, "fetch: the http(s) address below which its parts lie; by default the authors'.", module_name=_MODE
)
flags.DEFINE_bool("convert", True, "fetch: also write the model folder OUT/NAME of the file.", module_name=_MODE)

FLAGS = flags.FLAGS


def main() -> None:
    from ..errors import did_you_mean
    from ..loading import convert
    from ..released import RELEASED

    name = FLAGS.released
    if name not in RELEASED:
        hint = did_you_mean(name or "", RELEASED)
        raise ValueError(f"--released={name or ''}: no such file; released are {', '.join(RELEASED)}{hint}")
    if not FLAGS["out"].present:  # its default is where pictures go
        raise ValueError("--out is needed: the folder for the file and the converted model")
    file, folder = RELEASED[name], Path(FLAGS.out)
    path = _fetched(name, folder)
    if not (FLAGS.convert and file.converts):
        return
    mapping = FLAGS.mapping or (_fetched(file.companion, folder) if file.companion else None)
    place = folder / path.stem
    report = convert(path, place, mapping=mapping)
    if not FLAGS.quiet:
        print(report.table())
    print(f"written: {place}")


def _fetched(name: str, folder: Path) -> Path:
    """Fetch a released file into the folder, with a bar where somebody watches, and return its path."""
    from ..progress import watched
    from ..released import RELEASED, fetch

    with watched(wanted=FLAGS.progress, desc=name, unit="B", unit_scale=True) as bar:

        def watch(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        path = fetch(RELEASED[name], folder, base=FLAGS.base, watch=watch)
    print(f"fetched: {path}")
    return path
