"""docs/architecture.md is true: imports go down its layers, and in no circle."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGE = "vqdiffusion_jax"


def layers_of(document: str) -> list[set[str]]:
    """Return the parts named in each line of the first block below "## Layers", from the top."""
    block = document.partition("## Layers")[2].split("```")[1]
    return [set(line.replace(",", " ").split()) for line in block.splitlines()[1:] if line.strip()]


def sources(root: Path) -> dict[str, tuple[str, bool]]:
    """Return the text of every module by its dotted name below the package, and whether it is a package itself."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        is_package = path.name == "__init__.py"
        found[name.removesuffix("__init__").rstrip(".") if is_package else name] = path.read_text(), is_package
    return found


def imports(modules: Mapping[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """Return the modules that each one imports, in functions and for type checkers too."""
    return {name: {target for target in _imported(name, *modules[name], modules) if target != name} for name in modules}


def _imported(name: str, text: str, is_package: bool, known: Mapping[str, object]) -> Iterator[str]:
    package = name.split(".") if is_package else name.split(".")[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = [PACKAGE, *package][: len(package) + 2 - node.level] if node.level else []
            start = up + (node.module.split(".") if node.module else [])
            targets = [[*start, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == PACKAGE:
                whole, stem = ".".join(target[1:]), ".".join(target[1:-1])
                yield whole if whole in known else stem


def part_of(module: str) -> str:
    return module.split(".")[0] or "__init__"


def arrows_up(graph: Mapping[str, set[str]], layers: list[set[str]]) -> list[str]:
    """Return a line for every import from another part that does not lie in a lower layer."""
    height = {part: -number for number, layer in enumerate(layers) for part in layer}
    return [
        f"{module} imports {target}"
        for module, targets in sorted(graph.items())
        for target in sorted(targets)
        if part_of(module) != part_of(target) and height[part_of(target)] >= height[part_of(module)]
    ]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return imports(sources(REPO / PACKAGE))


@pytest.fixture(scope="module")
def layers() -> list[set[str]]:
    return layers_of((REPO / "docs" / "architecture.md").read_text(encoding="utf-8"))


def test_the_document_places_every_part_once(graph, layers):
    placed = [part for layer in layers for part in layer]
    assert sorted(placed) == sorted({part_of(module) for module in graph})


def test_imports_go_down(graph, layers):
    assert not arrows_up(graph, layers)


def test_no_modules_import_each_other_in_a_circle(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def exceptions(text: str, known: set[str]) -> list[str]:
    """Return the public exception classes that a module defines; ``known`` are exceptions by name."""
    return [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and any(ast.unparse(base).rpartition(".")[2] in known for base in node.bases)
    ]


def test_exceptions_stand_in_one_module():
    texts = {name: text for name, (text, _) in sources(REPO / PACKAGE).items()}
    known = {name for name, found in vars(builtins).items() if isinstance(found, type) and issubclass(found, Exception)}
    known |= set(exceptions(texts["errors"], known | {"OneLineError", "SettingError", "EvaluationError"}))
    assert {"ConfigError", "SettingError", "ApiError", "NoAnswer"} <= known
    assert exceptions("class Odd(errors.ConfigError): ...\nclass _Own(OSError): ...\nclass A: ...", known) == ["Odd"]
    assert {name: found for name, text in texts.items() if (found := exceptions(text, known))}.keys() == {"errors"}


def test_imports_of_every_form_are_found():
    modules = {
        "": ("from .high import a", True),
        "low": ("", False),
        "high": ("from vqdiffusion_jax import low", True),
        "high.a": ("def f():\n    from ..low import x\n    from . import b", False),
        "high.b": ("import vqdiffusion_jax.low\nimport os", False),
        "high.c.d": ("from ...low import y\nfrom ..b import z", False),
    }
    assert imports(modules) == {
        "": {"high.a"},
        "low": set(),
        "high": {"low"},
        "high.a": {"low", "high.b"},
        "high.b": {"low"},
        "high.c.d": {"low", "high.b"},
    }


def test_an_arrow_up_or_sideways_is_found():
    graph = {"low.x": {"high", "low.y"}, "beside": {"low"}, "high": {"low", "beside"}}
    layers = layers_of("## Layers\n\n```text\nhigh\nlow, beside\n```\n")
    assert layers == [{"high"}, {"low", "beside"}]
    assert arrows_up(graph, layers) == ["beside imports low", "low.x imports high"]
