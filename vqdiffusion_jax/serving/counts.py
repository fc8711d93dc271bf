"""The counts of a server, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .batches import Batch

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_SIZES = (1, 2, 4, 8, 16, 32)


class ServerCounts:
    """The counts of one server.  waiting: returns the number of pictures that wait."""

    def __init__(self, waiting: Callable[[], float]):
        self._registry = CollectorRegistry()
        name, registry = "vqdiffusion_", self._registry
        self._requests = Counter(f"{name}requests", "Requests answered.", ["path", "status"], registry=registry)
        self._left = Counter(f"{name}clients_left", "Requests whose client left before.", registry=registry)
        self._pictures = Counter(f"{name}pictures", "Pictures drawn.", registry=registry)
        self._sizes = Histogram(f"{name}batch_pictures", "Pictures of a batch.", buckets=_SIZES, registry=registry)
        self._drawing = Histogram(
            f"{name}batch_seconds", "Seconds of drawing a batch.", buckets=_SECONDS, registry=registry
        )
        self._waited = Histogram(
            f"{name}wait_seconds", "Seconds that a batch's oldest picture waited.", buckets=_SECONDS, registry=registry
        )
        Gauge(f"{name}waiting_pictures", "Pictures that wait.", registry=registry).set_function(waiting)

    def answered(self, path: str, status: int) -> None:
        """Count an answer.  path: one of the API's own, so that their number is bounded."""
        self._requests.labels(path, str(status)).inc()

    def left(self) -> None:
        """Count a client that left before its answer."""
        self._left.inc()

    def drawn(self, batch: Batch) -> None:
        """Count a batch."""
        self._pictures.inc(batch.pictures)
        self._sizes.observe(batch.pictures)
        self._drawing.observe(batch.seconds)
        self._waited.observe(batch.waited)

    def text(self) -> bytes:
        """Return all counts."""
        return generate_latest(self._registry)
