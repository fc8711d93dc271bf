"""Which weight file of a folder is read, and how weights are written."""

import numpy as np

from vqdiffusion_jax.interop.files.safetensors import open_safetensors, open_weights, write_safetensors


def test_half_precision_variant_is_the_last_resort(tmp_path):
    write_safetensors(tmp_path / "model.fp16.safetensors", {"a": np.ones(2, np.float16)})
    assert open_weights(tmp_path, "model")["a"].dtype == np.float16
    write_safetensors(tmp_path / "model.safetensors", {"a": np.ones(2, np.float32)})
    assert open_weights(tmp_path, "model")["a"].dtype == np.float32


def test_mixed_precision_is_widened_on_writing(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", {"a": np.ones(2, np.float16), "b": np.ones(2, np.float32)})
    assert {tensor.dtype for tensor in open_safetensors(tmp_path / "model.safetensors").values()} == {
        np.dtype(np.float32)
    }
