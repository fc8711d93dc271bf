"""Options and fixtures shared by all tests."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.compiling import QUICK_TO_COMPILE, shared_contexts

REPO = Path(__file__).resolve().parents[1]
RECORDED = REPO / "tests" / "golden" / "recorded"  # the few cases that every clone has
BESIDE = REPO.parent / "shared" / "golden"  # the whole recordings, where they are at hand

# Most of a run is compilation, much of it the same in several processes; they share what one has compiled.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPO / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Optimising costs more than it gains where a program runs once on tiny shapes.  Golden tests compile as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["XLA_FLAGS"] = f"{QUICK_TO_COMPILE} {os.environ.get('XLA_FLAGS', '')}".strip()
# Source locations are a tenth of the time that tracing takes, and nobody reads them here.
os.environ.setdefault("JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS", "false")
# Traces are many objects that live long; the default thresholds look through them again and again.
gc.set_threshold(50_000, 20, 50)
# Processes begin by the hundred in a run; where the shell keeps bytecode from being written, each compiles the package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A job in the background starts with SIGINT ignored, and its children do; tests of Ctrl-C need Python's own handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.costs"]


def pytest_collection_finish():
    """Take what the imports have made out of the collector's sight: it stays, and is most of what there is."""
    gc.collect()
    gc.freeze()


MANY_MAPS = 16_000  # of the 65,530 memory maps that Linux allows a process


@pytest.fixture(scope="module", autouse=True)
def lowers_in_one_context():
    """Share an MLIR context among the tests of a module; constants stay in it, hence no longer."""
    with shared_contexts():
        yield


@pytest.fixture(scope="module", autouse=True)
def forgets_compiled_programs():
    """Forget compiled programs when there are many: each keeps several memory maps, and XLA aborts without any left.

    The programs that are needed again are on disk.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MANY_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()


def default_golden_root() -> Path:
    """Return GOLDEN_ROOT, else the folder beside the repository if it is there, else the cases in the repository."""
    if given := os.environ.get("GOLDEN_ROOT"):
        return Path(given)
    return BESIDE if BESIDE.is_dir() else RECORDED


def pytest_addoption(parser):
    parser.addoption(
        "--golden-root",
        type=Path,
        default=default_golden_root(),
        help="recorded inputs and outputs of the reference, one case a folder; by default GOLDEN_ROOT, else a folder "
        "shared/golden beside the repository, else tests/golden/recorded",
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
    """The folder with ``tables/`` (checkpoint keys and schedules) and ``codebooks/``."""
    golden = pytestconfig.getoption("--golden-root")
    root = golden.parent / "reference"
    if not root.is_dir():
        missing("folder reference beside the recorded cases", golden)
    return root
