"""Every golden test runs once a recorded case of the kinds it names with ``@pytest.mark.cases``."""

import functools

import jax
import pytest

from tests.compiling import as_users_compile
from tests.conftest import missing
from tests.golden.cases import find_cases
from tests.golden.loading import load_case


def pytest_configure(config):
    config.addinivalue_line("markers", "cases(*kinds): run for every golden case of these kinds")


def pytest_generate_tests(metafunc):
    if "case" not in metafunc.fixturenames:
        return
    kinds = metafunc.definition.get_closest_marker("cases").args
    root = metafunc.config.getoption("--golden-root")
    cases = [case for case in find_cases(root) if case.kind in kinds]
    if "run" in metafunc.fixturenames:
        pairs = [(case, run) for case in cases for run in case.run_names]
        metafunc.parametrize(
            ("case", "run"),
            pairs or [(None, None)],
            ids=[f"{c.name}-{r}" for c, r in pairs] or ["none"],
            scope="module",
        )
    else:
        metafunc.parametrize("case", cases or [None], ids=[case.name for case in cases] or ["none"], scope="module")


@pytest.fixture(autouse=True)
def recorded(request):
    """Skip (in CI: fail) where no case of the kind is at hand; run the rest in full float32, compiled as for users."""
    if "case" in request.fixturenames and request.getfixturevalue("case") is None:
        kinds = request.node.get_closest_marker("cases").args
        missing(f"golden case of kind {' or '.join(kinds)}", request.config.getoption("--golden-root"))
    with as_users_compile(), jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """Converts a case's checkpoint on first use."""
    return functools.cache(lambda case: load_case(case, tmp_path_factory.mktemp(case.name) / "model"))


@pytest.fixture
def model(case, converted):
    """The case's checkpoint as our modules, EMA weights."""
    return converted(case)


@pytest.fixture
def forms_of_large_models(monkeypatch):
    """What a CPU does for models of the released sizes, done for small ones; the names of the forms that were run."""
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
