import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case
from tests.golden.loading import clip_in, text_tower
from vqdiffusion_jax.config import TextEmbeddingConfig, TokenizerConfig
from vqdiffusion_jax.models.clip import text_embedding
from vqdiffusion_jax.text.tokenizer import Tokenizer

OPTIONS = {
    "configs": TextEmbeddingConfig(),
    "pick_last": TextEmbeddingConfig(pick_last=True),
    "pick_last_keep": TextEmbeddingConfig(pick_last=True, keep_length_axis=True),
    "doubled_1024": TextEmbeddingConfig(pick_last=True, keep_length_axis=True, double=True),
    "additional_last": TextEmbeddingConfig(normalize=False, additional_last=True, keep_length_axis=True),
}
# float16 arithmetic rounds at every step; these are unit vectors except the un-normalised ones
TOLERANCES = {"float32": 1e-5, "float16": 4e-3}


@pytest.mark.cases("clip")
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("source", ["state", "archive"])
def test_text_embedding(case: Case, source, option, dtype):
    encoder = clip_in(text_tower(case, source), dtype)
    outputs = text_embedding(encoder, jnp.asarray(case["tokens"]), OPTIONS[option])
    name = f"{option}_fp{dtype.removeprefix('float')}"
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    recorded = [case[part] for part in (name, f"{name}_last") if part in case]
    assert len(outputs) == len(recorded)
    for ours, theirs in zip(outputs, recorded, strict=True):
        theirs = theirs.astype(np.float32)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(
            ours.astype(jnp.float32), theirs, atol=TOLERANCES[dtype] * max(1.0, np.abs(theirs).max())
        )


@pytest.mark.cases("clip")
def test_every_option_is_replayed(case: Case):
    recorded = {name.rsplit("_fp", 1)[0] for name in case.arrays if "_fp" in name}
    assert recorded == set(OPTIONS)


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
