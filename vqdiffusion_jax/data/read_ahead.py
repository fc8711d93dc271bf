"""Elements of a random-access sequence in order, prepared ahead of time by grain's threads and worker processes."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import pickle
import re
import signal
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import spawn
from multiprocessing.util import Finalize
from typing import Any, Protocol, TypeVar

from ..errors import DataError
from .extras import needed

_Result = TypeVar("_Result")

# Signals to a whole process group: of Ctrl-C, and of ``timeout``, Slurm and systemd.
_TO_THE_GROUP = ("SIGINT", "SIGTERM")
_EXIT_CODE = re.compile(r"Worker process was terminated unexpectedly with exit code (-?\d+)")
# The pipe ends shortly before the parent does.
_SILENT = (
    "import os, sys, time; sys.excepthook = lambda *error: "
    "time.sleep(0.5) or os.getppid() != {parent} or sys.__excepthook__(*error); "
)
_NO_WARNING = "ignore:resource_tracker:UserWarning"
_LESS_MEMORY = "with fewer workers (--config.workers) or a smaller data.prefetch_batches they need less memory"


class RandomAccess(Protocol):
    """Elements by number, from 0."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def read_ahead(elements: RandomAccess, *, start: int = 0, threads: int, ahead: int, workers: int) -> ReadAhead:
    """Return an iterator over ``elements`` from ``start`` on; its ``close()`` ends threads and processes.

    Args:
      threads, ahead: threads, and elements prepared in advance, in each process.
      workers: worker processes; 0: this process alone.
    """
    from absl import flags

    grain = needed("grain", "reading a data set")
    if workers and not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain reads a flag of its own; without a command line its default holds
    shared = _Shared(elements) if workers else None
    dataset = grain.MapDataset.source(elements if shared is None else shared)[start:]
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(ahead, threads)))
    if not workers:
        return ReadAhead(iter(dataset), 0)
    dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=_belong_to_parent)
    _start_resource_tracker()
    _kill_workers_at_the_end()
    return ReadAhead(iter(dataset), workers, shared)


class _Shared:
    """Elements that worker processes take from a file, until ``remove()``; in this process they are as they were.

    A process that starts is told by a pipe what it is to do.  If it is killed before it has read all that, and the pipe
    cannot hold the rest, Python waits for ever to write it.  The name of a file always fits.
    """

    def __init__(self, elements: RandomAccess):
        import cloudpickle  # grain brings it

        self._elements = elements
        with tempfile.NamedTemporaryFile(prefix="vqdiffusion_jax-workers-", delete=False) as file:
            self.remove: Callable[[], object] = weakref.finalize(self, _remove, file.name)
            self._file = file.name
            try:
                cloudpickle.dump(elements, file)
            except BaseException:
                self.remove()
                raise

    def __len__(self) -> int:
        return len(self._elements)

    def __getitem__(self, index: int, /) -> Any:
        return self._elements[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return _elements_of, (self._file,)


def _elements_of(file: str) -> RandomAccess:
    with open(file, "rb") as stored:
        return pickle.load(stored)


def _remove(file: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(file)


class ReadAhead:
    """Grain's iterator, which tells of a dead worker in one line, and is closed when nobody holds it any more.

    Raises DataError if a worker has ended before its element was read.
    """

    def __init__(self, inner: Any, workers: int, shared: _Shared | None = None):
        self._inner, self._workers, self._taken = [inner], workers, 0
        self._shared = shared
        self.close: Callable[[], object] = weakref.finalize(self, _close, self._inner)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._inner:
            raise StopIteration  # closed
        inner = self._inner[0]
        try:
            starting = self._workers and self._taken == 0
            element = _without_signals(lambda: next(inner)) if starting else next(inner)
        except RuntimeError as error:
            if self._workers and (code := _EXIT_CODE.search(str(error))):
                # Grain takes elements from its workers in turn.
                raise DataError(_death(self._taken % self._workers, self._workers, int(code[1]))) from error
            raise
        self._taken += 1
        if self._shared is not None and self._taken == self._workers:  # every worker has given one
            self._shared.remove()
        return element


def _close(inner: list[Any]) -> None:
    """Close grain's iterator and let go of it: grain complains about one that is left to the end of Python."""
    while inner:
        inner.pop().close()


def _death(worker: int, workers: int, code: int) -> str:
    """Return one line about worker number ``worker`` of ``workers``, which ended with the exit status ``code``."""
    which = f"worker {worker} of the {workers} that prepare data" if workers > 1 else "the worker that prepares data"
    if code >= 0:
        return f"{which} ended with exit status {code}; start again, with workers=0 (--config.workers) to see why"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return f"{which} was killed ({name}), as the system does when memory is short; start again: {_LESS_MEMORY}"
    return (
        f"{which} crashed ({name}), as a library does on a damaged file or for lack of memory; start again: "
        f"{_LESS_MEMORY}, and with workers=0 the crash is in the command itself"
    )


def _belong_to_parent(worker: int, workers: int) -> None:
    """Make a worker leave signals to its parent, and end when the parent has ended in whatever way.

    Training needs batches until its step is finished, and ends its workers itself.
    """
    for name in _TO_THE_GROUP:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _mask(signal.SIG_UNBLOCK)
    threading.Thread(target=_end_after_parent, name="end-after-parent", daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _without_signals(make: Callable[[], _Result]) -> _Result:
    """Return ``make()``, called in a thread whose threads and processes block the signals to a process group.

    A worker that is still importing its modules would die of them.  This thread goes on hearing them.
    """
    done: Future[_Result] = Future()

    def call() -> None:
        try:
            _mask(signal.SIG_BLOCK)
            with _silent_orphans():
                result = make()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=call, name="start-workers", daemon=True).start()
    return done.result()


@contextlib.contextmanager
def _silent_orphans() -> Iterator[None]:
    """Make processes that start meanwhile end without a traceback if this one ends before it has told them all.

    What they are told, by a pipe, then breaks off.  Python offers no place for code before that but the command.
    """
    command_of = spawn.get_command_line

    def get_command_line(**named: Any) -> list[str]:
        command = command_of(**named)
        if "-c" in command:  # not so in a frozen program
            at = command.index("-c") + 1
            command[at] = _SILENT.format(parent=os.getpid()) + command[at]
        return command

    spawn.get_command_line = get_command_line
    try:
        yield
    finally:
        spawn.get_command_line = command_of


def _mask(how: int) -> None:
    """Block or unblock the signals to a process group, in this thread and those that it starts."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(how, {getattr(signal, name) for name in _TO_THE_GROUP})


@functools.cache
def _kill_workers_at_the_end() -> None:
    """Make Python kill workers at its end that nobody has closed: they ignore its SIGTERM, and it waits for them."""
    Finalize(None, _kill_workers, exitpriority=0)  # after grain's own, of priority 1


def _kill_workers() -> None:
    for process in multiprocessing.active_children():
        if process.name.startswith("grain-process-prefetch"):
            process.kill()


def _start_resource_tracker() -> None:
    """Start the process in which Python frees shared memory that killed workers left, and keep it from warning of it.

    Python starts it with the first shared memory otherwise, and then unblocks signals in the thread that does.
    """
    try:
        from multiprocessing import resource_tracker
    except ImportError:  # there is none on Windows
        return
    # It, and the workers, which start it again when it is killed, read the filter from the environment.
    filters = [text for text in os.environ.get("PYTHONWARNINGS", "").split(",") if text]
    if _NO_WARNING not in filters:
        os.environ["PYTHONWARNINGS"] = ",".join([*filters, _NO_WARNING])
        warnings.filterwarnings("ignore", message="resource_tracker: process died")
    with contextlib.suppress(OSError):
        resource_tracker.ensure_running()
