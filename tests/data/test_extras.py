"""A package that is not installed is named in one line, with what to do."""

import sys

import pytest

from tests.data import layouts
from vqdiffusion_jax import preset
from vqdiffusion_jax.data import extras, make_loader
from vqdiffusion_jax.data.cache_writer import write_records
from vqdiffusion_jax.data.emoji.styles import read_styles
from vqdiffusion_jax.data.read_ahead import read_ahead
from vqdiffusion_jax.data.sources.parquet import Parquet
from vqdiffusion_jax.data.sources.tfds import Tfds
from vqdiffusion_jax.data.token_cache import TokenCache
from vqdiffusion_jax.errors import DataError


def loaded(folder):
    data = {"source": "folder", "root": str(layouts.folder(folder / "pictures", 4))}
    return make_loader(data, preset("tiny_text"), split="train", batch_size=2)


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("grain", loaded),
        ("grain", lambda folder: read_ahead([1], threads=1, ahead=1, workers=0)),
        ("array_record", lambda folder: TokenCache._open(object.__new__(TokenCache), [str(folder / "shard")])),
        ("array_record", lambda folder: write_records(folder / "shard", [b"record"])),
        ("pyarrow", lambda folder: Parquet(folder, "train")),
        ("tensorflow_datasets", lambda folder: Tfds(folder, "train", name="mnist")),
        ("resvg_py", read_styles),
    ],
)
def test_absent_package(package, use, tmp_path, monkeypatch):
    hidden = [name for name in sys.modules if name.partition(".")[0] == package]
    for name in (package, *hidden):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(extras, "_found", set())  # an earlier test may have looked for it
    command = f"pip install {package.replace('_', '-')}"
    with pytest.raises(DataError, match=f" needs {package}; install it with {command}$") as caught:
        use(tmp_path)
    assert "\n" not in str(caught.value)
