"""The weight file that is read of a folder, and the writing of weights."""

import json

import ml_dtypes
import numpy as np
import pytest

from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.interop.files.safetensors import open_safetensors, open_weights, write_safetensors


@pytest.mark.parametrize("variant, dtype", [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_half_precision_variant_is_the_last_resort(tmp_path, variant, dtype):
    write_safetensors(tmp_path / f"model.{variant}.safetensors", {"a": np.ones(2, dtype)})
    assert open_weights(tmp_path, "model")["a"].dtype == dtype
    write_safetensors(tmp_path / "model.safetensors", {"a": np.ones(2, np.float32)})
    assert open_weights(tmp_path, "model")["a"].dtype == np.float32


@pytest.mark.parametrize(
    "places, message",
    [
        ({"a": "1.safetensors", "b": "gone.safetensors"}, "gone.safetensors does not exist"),
        ({"a": "1.safetensors", "b": "1.safetensors"}, "names 1 tensors that its shards lack, first b"),
        ({"a": "1.safetensors", "b": "../2.safetensors"}, "no weight_map from tensors to files beside it"),
    ],
    ids=["a shard is gone", "another shard", "outside"],
)
def test_an_index_of_shards_that_does_not_hold(tmp_path, places, message):
    (tmp_path / "part").mkdir()
    write_safetensors(tmp_path / "part" / "1.safetensors", {"a": np.ones(2, np.float32)})
    write_safetensors(tmp_path / "2.safetensors", {"b": np.ones(2, np.float32)})
    (tmp_path / "part" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CheckpointError, match=message) as caught:
        open_weights(tmp_path / "part", "model")
    assert "\n" not in str(caught.value)


def test_mixed_precision_is_widened_on_writing(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", {"a": np.ones(2, np.float16), "b": np.ones(2, np.float32)})
    assert {tensor.dtype for tensor in open_safetensors(tmp_path / "model.safetensors").values()} == {
        np.dtype(np.float32)
    }


def test_parts_are_read_as_the_whole(tmp_path):
    array = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
    write_safetensors(tmp_path / "model.safetensors", {"a": array, "b": array[:1]})
    tensor = open_safetensors(tmp_path / "model.safetensors")["a"]
    for index in ((slice(1, 3), slice(None), slice(2, None)), (slice(None), slice(0, 2), slice(None)), (slice(4, 9),)):
        np.testing.assert_array_equal(tensor[index], array[index])


@pytest.mark.parametrize("kept", [0, 7, 9, 60, -1])
def test_a_file_that_becomes_shorter_is_one_line(tmp_path, kept):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": np.ones((50, 40), np.float32)})
    tensor, data = open_safetensors(path)["a"], path.read_bytes()
    path.write_bytes(data[:kept])
    with pytest.raises(CheckpointError, match="became shorter"):
        np.asarray(tensor)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        open_safetensors(path)


def _header(**entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 12),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, 12),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, 8),
        ({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, 8),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, 4),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}}, 0),
        ({"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, 8),
        ({"a": [], "__metadata__": {}}, 0),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"format": 1}}, 4),
        ({f"{n}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in range(2)}, 4),
    ],
)
def test_headers_that_do_not_fit_are_one_line(tmp_path, entries, size):
    path = tmp_path / "model.safetensors"
    path.write_bytes(_header(**entries) + bytes(size))
    with pytest.raises(CheckpointError, match="model.safetensors") as caught:
        open_safetensors(path)
    assert "\n" not in str(caught.value)
