"""Every golden test runs once a recorded case of the kinds it names with ``@pytest.mark.cases``.

``needs`` of the marker names beginnings of array names; a case that records none of one of them is skipped.
"""

import functools

import jax
import pytest

from tests.compiling import as_users_compile
from tests.conftest import missing
from tests.golden.cases import find_cases
from tests.golden.loading import load_case

# Fixtures that stand for each part of a case in turn.
PARTS = {"run": lambda case: case.run_names, "embedding": lambda case: case.text_embeddings}


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "cases(*kinds, needs=()): run for every golden case of these kinds that records what it needs"
    )


def pytest_generate_tests(metafunc):
    if "case" not in metafunc.fixturenames:
        return
    kinds = metafunc.definition.get_closest_marker("cases").args
    root = metafunc.config.getoption("--golden-root")
    cases = [case for case in find_cases(root) if case.kind in kinds]
    for fixture, parts_of in PARTS.items():
        if fixture in metafunc.fixturenames:
            pairs = [(case, part) for case in cases for part in parts_of(case)]
            metafunc.parametrize(
                ("case", fixture),
                pairs or [(None, None)],
                ids=[f"{case.name}-{part}" for case, part in pairs] or ["none"],
                scope="module",
            )
            return
    metafunc.parametrize("case", cases or [None], ids=[case.name for case in cases] or ["none"], scope="module")


@pytest.fixture(autouse=True)
def recorded(request):
    """Skip (in CI: fail) if there is no case of the kind; run the rest in full float32, compiled as for users."""
    if "case" in request.fixturenames:
        case, marker = request.getfixturevalue("case"), request.node.get_closest_marker("cases")
        if case is None:
            missing(f"golden case of kind {' or '.join(marker.args)}", request.config.getoption("--golden-root"))
        for beginning in marker.kwargs.get("needs", ()):
            if not case.group(beginning):
                pytest.skip(f"{case.name} records no {beginning}*")
    with as_users_compile(), jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """A function that converts a case's checkpoint on first use."""
    return functools.cache(lambda case: load_case(case, tmp_path_factory.mktemp(case.name) / "model"))


@pytest.fixture
def model(case, converted):
    """The case's checkpoint as our modules, EMA weights."""
    return converted(case)


@pytest.fixture
def forms_of_large_models(monkeypatch):
    """Run on small models what a CPU runs on models of the released sizes; yield the names of the forms that ran."""
    from vqdiffusion_jax.models import attention, convolution

    run = set()
    for module, name in ((attention, "_blocked"), (convolution, "winograd")):

        def noted(*args, _form=getattr(module, name), _name=name, **kwargs):
            run.add(_name)
            return _form(*args, **kwargs)

        monkeypatch.setattr(module, name, noted)
    monkeypatch.setattr("vqdiffusion_jax.models.attention.SCORES_AT_ONCE", 0)
    monkeypatch.setattr("vqdiffusion_jax.models.convolution.WINOGRAD_CHANNELS", 1)
    monkeypatch.setattr("vqdiffusion_jax.models.layers.NUMBERS_IN_CACHE", 0)
    yield run
