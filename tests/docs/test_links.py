"""Links of the documents lead somewhere; the network is never asked."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.blocks import anchors, cells, documents, links
from tests.docs.commands import REPO

DOCUMENTS = documents(REPO)
NOTEBOOK = Path("docs/tour.ipynb")


def dead(document, text: str) -> list[str]:
    """Return a line for every dead link of ``text``, the content of ``document`` (relative to the repository)."""
    found = []
    for line, target in links(text):
        parts = urlsplit(target)
        if parts.scheme:
            good = parts.scheme in ("http", "https") and "." in parts.netloc
        else:
            path = (REPO / document).parent / parts.path if parts.path else REPO / document
            good = path.exists() and path.resolve().is_relative_to(REPO)
            if good and parts.fragment:
                content = text if not parts.path else path.read_text(encoding="utf-8")
                good = path.suffix == ".md" and parts.fragment in anchors(content)
        if not good:
            found.append(f"{document}:{line}: {target}")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document):
    assert not dead(document, (REPO / document).read_text(encoding="utf-8"))


def test_links_of_the_notebook_lead_somewhere():
    text = "\n\n".join(cells(REPO / NOTEBOOK, "markdown"))
    assert links(text) and not dead(NOTEBOOK, text)


def test_every_document_can_be_found_from_the_readme():
    reached, waiting = set(), [DOCUMENTS[0]]
    while waiting:
        document = waiting.pop()
        if document not in reached:
            reached.add(document)
            targets = [urlsplit(target) for _, target in links((REPO / document).read_text(encoding="utf-8"))]
            there = [
                (REPO / document).parent / target.path
                for target in targets
                if not target.scheme and target.path.endswith(".md")
            ]
            waiting += [path.resolve().relative_to(REPO) for path in there]
    assert not set(DOCUMENTS) - reached


DEAD = ("nowhere.md", "docs/evaluation.md#no-such-heading", "#nothing", "../outside.md", "http:/half", "Makefile#x")


@pytest.mark.parametrize("target", DEAD)
def test_a_dead_link_is_found(target):
    assert dead(DOCUMENTS[0], f"# Head\n\nSee [this]({target}).\n") == [f"README.md:3: {target}"]


def test_a_good_link_is_not():
    text = (
        "# A `head` & more\n\n"
        "[a](#a-head--more) [b](docs/evaluation.md#metrics) [c](https://example.org/x) `[d](nowhere)`\n"
    )
    assert not dead(DOCUMENTS[0], text)
