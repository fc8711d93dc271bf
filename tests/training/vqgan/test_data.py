"""Pictures alone, for a codec."""

import json

import numpy as np
import pytest

from vqdiffusion_jax.data.loader import make_loader
from vqdiffusion_jax.errors import ConfigError

from .toy import CODEC


def test_pictures_without_captions(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "pictures.npz", images=images)
    (tmp_path / "captions.jsonl").write_text(
        "".join(json.dumps({"caption": "", "codepoint": str(i)}) + "\n" for i in range(8))
    )
    loader = make_loader({"source": "npz", "root": str(tmp_path)}, CODEC, split="train", batch_size=4)
    batches = iter(loader)
    batch = next(batches)
    batches.close()
    assert set(batch) == {"images", "ids"} and batch["images"].shape == (4, 16, 16, 3)


def test_a_cache_of_tokens_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a codec is trained on pictures"):
        make_loader({"cache": str(tmp_path)}, CODEC, split="train", batch_size=4)
