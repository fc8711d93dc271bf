"""Connections of a server: one that sends its request slowly is closed and holds no other."""

from __future__ import annotations

import asyncio
from collections import Counter

from uvicorn.protocols.http.h11_impl import H11Protocol

from .access import is_local
from .limits import Bounds


def bounded_connections(limits: Bounds) -> type[H11Protocol]:
    """Return the class of a connection whose request heads have to come within a time, a few from each address."""
    open_now: Counter[str] = Counter()

    class BoundedConnection(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _address = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] as in uvicorn
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            open_now[self._address] += 1
            if open_now[self._address] > limits.connections_each and not is_local(self._address):
                transport.close()
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            self._wait_for_head()
            super().data_received(data)
            upgraded = self.transport.get_protocol() is not self
            if upgraded or self.transport.is_closing() or (self.cycle is not before or not self._idle()):
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            open_now[self._address] -= 1
            open_now.pop(self._address, None) if not open_now[self._address] else None
            super().connection_lost(exc)

        def _idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _wait_for_head(self) -> None:
            if self._deadline is None and self._idle():
                self._deadline = self.loop.call_later(limits.header_seconds, self._close)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _close(self) -> None:
            self._deadline = None
            if self._idle() and not self.transport.is_closing():
                self.transport.close()

    return BoundedConnection
