import json
import re

import numpy as np
import pytest

from tests.golden.cases import Case
from vqdiffusion_jax.config import TokenizerConfig
from vqdiffusion_jax.text.tokenizer import Tokenizer


@pytest.fixture
def prompts(case: Case):
    return json.loads((case.path / "prompts.json").read_text())


@pytest.mark.cases("tokenizer")
def test_ids_and_masks(case: Case, prompts):
    texts = prompts["prompts"]
    replayed = set()
    for name, recorded in case.arrays.items():
        if match := re.fullmatch(r"ids_(\d+)", name):
            ids, mask = Tokenizer(TokenizerConfig(end_index=int(match[1])))(texts)
            np.testing.assert_array_equal(ids, recorded)
            np.testing.assert_array_equal(mask, case[f"mask_{match[1]}"])
            replayed |= {name, f"mask_{match[1]}"}
        elif match := re.fullmatch(r"ids_dalle_(\d+)_ctx(\d+)_pad(-?\d+)", name):
            end_index, length, pad = map(int, match.groups())
            config = TokenizerConfig(end_index=end_index, context_length=length, pad_token=pad, add_start_and_end=False)
            np.testing.assert_array_equal(Tokenizer(config)(texts)[0], recorded)
            replayed.add(name)
    assert replayed == set(case.arrays)


@pytest.mark.cases("tokenizer")
def test_untruncated_ids(case: Case, prompts):
    assert prompts["untruncated_ids"]
    for end_index, recorded in prompts["untruncated_ids"].items():
        tokenizer = Tokenizer(TokenizerConfig(end_index=int(end_index)))
        assert [tokenizer.encode(text) for text in prompts["prompts"]] == recorded
