"""Where nothing is wrong with a data set, its examples are those of the reader before it was told what is wrong.

``recorded/README.md`` says how they were recorded.
"""

import json

import pytest

from tests.data.recording import RECORDED, SOURCES, record


@pytest.mark.parametrize("name", SOURCES)
def test_examples_are_those_that_were_recorded(name, tmp_path):
    recorded = json.loads((RECORDED / "examples.json").read_text())[name]
    found = record(name, tmp_path / "data")
    for split, examples in recorded.items():
        assert found[split] == examples, split
