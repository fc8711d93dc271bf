"""Data sets and token caches in buckets."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from tests.data import layouts
from tests.in_process import left_as_it_was
from tests.networks import random_network
from tests.storage.buckets import names, new_folder, put
from vqdiffusion_jax import preset
from vqdiffusion_jax.cli.addresses import addresses_served
from vqdiffusion_jax.data import DataConfig, make_loader
from vqdiffusion_jax.data.cache_writer import write_cache
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.errors import StorageError, UsageError
from vqdiffusion_jax.models.vqgan import VQGAN
from vqdiffusion_jax.storage.folders import written

TEXT = preset("tiny_text")
COUNT = 8


@pytest.fixture
def pictures(tmp_path):
    """A data set here, and the same in a bucket."""
    local = layouts.folder(tmp_path / "pictures", COUNT)
    address = new_folder("memory")
    for path in sorted(local.rglob("*")):
        if path.is_file():
            put(f"{address}/{path.relative_to(local).as_posix()}", path.read_bytes())
    return local, address


def test_a_data_set_of_a_bucket_is_that_of_a_folder(pictures):
    local, address = (open_source(DataConfig(source="folder", root=str(root)), "train") for root in pictures)
    assert [address[i] for i in range(len(address))] == [local[i] for i in range(len(local))]
    assert len(local) == COUNT


def test_data_of_tfds_and_caches_are_not_written_to_a_bucket(pictures):
    with pytest.raises(
        StorageError, match="^memory://b/data: the folder of a data set of TFDS must be on this machine"
    ):
        open_source(DataConfig(source="tfds", root="memory://b/data"), "train")
    config = DataConfig(source="folder", root=str(pictures[0]))
    with pytest.raises(StorageError, match="^memory://b/cache: a cache that is being written must be on this machine"):
        write_cache(config, TEXT, random_network(VQGAN, TEXT.codec), "memory://b/cache", split="train")


def test_flags_of_an_evaluation_are_copies_while_it_runs(pictures):
    with left_as_it_was():
        flags.FLAGS(["main.py", "--mode=eval", f"--samples={pictures[1]}/", "--out=out"])
        with addresses_served("eval"):
            assert files(flags.FLAGS.samples) == files(pictures[0])
        assert flags.FLAGS.samples == f"{pictures[1]}/"
        flags.FLAGS(["main.py", "--mode=eval", "--distributed", "--out=memory://b/out"])
        with pytest.raises(UsageError, match="--out=memory://b/out: .*one process"), addresses_served("eval"):
            raise AssertionError


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_a_token_cache_is_written_to_a_bucket_in_two_goes_and_read_from_there(pictures, tmp_path):
    codec, address = random_network(VQGAN, TEXT.codec), new_folder("memory")
    config = DataConfig(source="folder", root=pictures[1])
    how = {"split": "train", "batch_size": 4, "shard_size": 3}

    def stopping(items, total):
        yield from itertools.islice(items, 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), written(address) as out:
        write_cache(config, TEXT, codec, out.folder, progress=stopping, **how)
    assert [name for name in names(address) if name.endswith("record")] == ["train/00000-of-00003.array_record"]
    with written(address, wanted=lambda name: not name.endswith("record")) as out:
        assert write_cache(config, TEXT, codec, out.folder, **how)["shards"] == 2
    write_cache(config, TEXT, codec, tmp_path / "cache", **how)
    batches = [
        next(iter(make_loader(DataConfig(cache=str(cache)), TEXT, split="train", batch_size=COUNT, seed=1)))
        for cache in (address, tmp_path / "cache")
    ]
    np.testing.assert_array_equal(batches[0]["tokens"], batches[1]["tokens"])
    np.testing.assert_array_equal(batches[0]["ids"], batches[1]["ids"])
