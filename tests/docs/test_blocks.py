"""Every command and every piece of Python in the documents works; ``commands`` says which are only parsed, and why."""

import pytest

from tests.docs.blocks import documents
from tests.docs.commands import REPO
from tests.docs.running import run_document


@pytest.mark.parametrize("document", documents(REPO), ids=str)
def test_every_block_works(document, place):
    run_document(str(document), (REPO / document).read_text(encoding="utf-8"))
