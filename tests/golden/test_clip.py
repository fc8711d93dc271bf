"""CLIP's text tower and the text conditions made of it."""

import ast
import re

import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case
from tests.golden.loading import clip_in, text_tower
from vqdiffusion_jax.config import TextEmbeddingConfig, TokenizerConfig
from vqdiffusion_jax.models.clip import text_embedding
from vqdiffusion_jax.text.tokenizer import Tokenizer

# float16 arithmetic rounds at every step; these are unit vectors except the un-normalised ones
TOLERANCES = {"float32": 1e-5, "float16": 4e-3}


def recorded_options(case: Case, name: str) -> TextEmbeddingConfig:
    """Return the options of the recorded array ``name``: the reference's, in its README's row, as our config."""
    options = ast.literal_eval(re.search(r"\{.*\}", case.meanings[name]).group())
    return TextEmbeddingConfig(
        normalize=options.get("normalize", True),
        pick_last=options.get("pick_last_embedding", True),
        keep_length_axis=options.get("keep_seq_len_dim", False),
        double=options.get("embed_dim", 1024) == 1024,
        additional_last=options.get("additional_last_embedding", False),
    )


@pytest.mark.cases("clip")
@pytest.mark.parametrize("source", ["state", "archive"])
def test_text_embedding(case: Case, source, embedding: str):
    dtype = f"float{embedding.rsplit('_fp', 1)[1]}"
    encoder = clip_in(text_tower(case, source), dtype)
    outputs = text_embedding(encoder, jnp.asarray(case["tokens"]), recorded_options(case, embedding))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    recorded = [case[part] for part in (embedding, f"{embedding}_last") if part in case]
    assert len(outputs) == len(recorded)
    for ours, theirs in zip(outputs, recorded, strict=True):
        theirs = theirs.astype(np.float32)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(
            ours.astype(jnp.float32), theirs, atol=TOLERANCES[dtype] * max(1.0, np.abs(theirs).max())
        )


@pytest.mark.cases("text")
def test_condition(case: Case, model):
    config = model.config.tokenizer
    ids, mask = Tokenizer(config)([str(prompt) for prompt in case["text/prompts"]])
    np.testing.assert_array_equal(ids, case["text/tokens"])
    np.testing.assert_array_equal(mask, case["text/mask"])
    for dtype, recorded in (("float32", case["text/emb_fp32"]), ("float16", case["text/emb_fp16"].astype(np.float32))):
        ours = text_embedding(
            clip_in(model.text_encoder, dtype), jnp.asarray(ids[: len(recorded)]), model.config.text_embedding
        )
        np.testing.assert_allclose(ours.astype(jnp.float32), recorded, atol=TOLERANCES[dtype])


@pytest.mark.cases("clip")
def test_tokens(case: Case):
    end_index = int(case["tokens"].max()) - 255  # the end-of-text id is the last of end_index + 256
    ids, _ = Tokenizer(TokenizerConfig(end_index=end_index))([str(prompt) for prompt in case["prompts"]])
    np.testing.assert_array_equal(ids, case["tokens"])
