"""Options and fixtures shared by all tests."""

import gc
import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
RECORDED = REPO / "tests" / "golden" / "recorded"  # the few cases that every clone has

# Most of a run is compilation, much of it the same in several processes; they share what one has compiled.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPO / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Nor is it worth while to optimise what runs once on tiny shapes.  What is compared with recordings is compiled as users compile it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault(
    "JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS", "false"
)  # a tenth of what tracing takes, and nobody reads them here
gc.set_threshold(
    50_000, 20, 50
)  # traces are many objects that live long: by default they are looked through again and again

pytest_plugins = ["tests.costs"]
MANY_MAPS = 16_000  # of the 65,530 memory maps that Linux allows a process


@pytest.fixture(scope="module", autouse=True)
def forgets_compiled_programs():
    """Every compiled program keeps several memory maps, and XLA aborts when there are no more; what is needed again is on disk."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MANY_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()


def default_golden_root() -> Path:
    """GOLDEN_ROOT; or a whole folder beside the repository, where there is one; or the cases that are part of it."""
    if given := os.environ.get("GOLDEN_ROOT"):
        return Path(given)
    beside = REPO.parent / "shared" / "golden"
    return beside if beside.is_dir() else RECORDED


def pytest_addoption(parser):
    parser.addoption(
        "--golden-root",
        type=Path,
        default=default_golden_root(),
        help="recorded inputs and outputs of the reference, one case a folder; by default GOLDEN_ROOT, else a whole folder beside the "
        "repository, else tests/golden/recorded",
    )


def missing(what: str, root: Path):
    """Skip on a user's machine; fail in CI, unless all it has is the few cases of every clone."""
    message = f"no {what} at {root}; give --golden-root=DIR, or GOLDEN_ROOT"
    if os.environ.get("CI") == "true" and root.resolve() != RECORDED:
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def golden_root(pytestconfig) -> Path:
    root = pytestconfig.getoption("--golden-root")
    if not root.is_dir():
        missing("golden folder", root)
    return root


@pytest.fixture(scope="session")
def reference_root(pytestconfig) -> Path:
    """Folder with ``tables/`` (checkpoint keys and schedules) and ``codebooks/``."""
    golden = pytestconfig.getoption("--golden-root")
    root = golden.parent / "reference"
    if not root.is_dir():
        missing("folder reference beside the recorded cases", golden)
    return root
