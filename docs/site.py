"""Build the API reference from the docstrings: ``python -m docs.site --out=site``, from the root of the repository.

Needs ``pip install -e ".[docs]"``.  Ends with status 1 and a line a link if one leads nowhere.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import vqdiffusion_jax

# What the command line and the page are made of is no interface for other programs.
LEFT_OUT = ("vqdiffusion_jax.cli", "vqdiffusion_jax.demo", "vqdiffusion_jax.assets")


def modules() -> list[str]:
    """Return the names of all modules whose names do not begin with an underscore, without ``LEFT_OUT``."""
    found = ["vqdiffusion_jax"]
    for module in pkgutil.walk_packages(vqdiffusion_jax.__path__, "vqdiffusion_jax."):
        hidden = any(part.startswith("_") for part in module.name.split("."))
        if not hidden and not f"{module.name}.".startswith(tuple(f"{name}." for name in LEFT_OUT)):
            found.append(module.name)
    return found


def build(folder: Path, names: list[str]) -> None:
    """Write a page a module to ``folder``."""
    import pdoc
    import pdoc.render

    pdoc.render.configure(docformat="markdown", show_source=False)
    for module in map(importlib.import_module, names):
        for public in getattr(module, "__all__", ()):  # pdoc sees no name that is imported when it is first used
            setattr(module, public, getattr(module, public))
    with warnings.catch_warnings():
        # Named tuples have constructors whose annotations pdoc looks up in the wrong module, fields made by a function
        # have no line of their own, and a package brings modules that ``names`` has too.
        for message in ("Error parsing type annotation", "Cannot determine where", "The module specification"):
            warnings.filterwarnings("ignore", message)
        pdoc.pdoc(*names, output_directory=folder)


class _Page(HTMLParser):
    """The ids of a page, and what its links lead to."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.update(name for name in (given.get("id"), given.get("name")) if name)
        if tag == "a" and (target := given.get("href")):
            self.links.append(target)


def broken_links(folder: Path) -> Iterator[str]:
    """Yield ``page: link`` for every link between pages of ``folder`` that leads to no page or no place on it."""
    pages = {path.resolve(): _Page(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            address, place = urldefrag(link)
            if "://" in address or address.startswith("mailto:"):
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            if target not in pages or (place and unquote(place) not in pages[target].ids):
                yield f"{path.relative_to(folder.resolve())}: {link}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("site"))
    folder = parser.parse_args().out
    names = modules()
    build(folder, names)
    lost = list(broken_links(folder))
    print(*lost, sep="\n", end="\n" * bool(lost), file=sys.stderr)
    print(f"{len(names)} modules in {folder}/index.html, {len(lost)} broken links")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
