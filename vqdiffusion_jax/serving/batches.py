"""The queue of pictures: those of equal settings are drawn together, by one thread, the oldest first."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ..errors import BatchStopped, QueueClosed, QueueFull
from ..web.turns import Turns

_LONGEST_RETRY = 60  # seconds
_RECENT = 0.2  # weight of a batch in the mean of their seconds


@dataclass(frozen=True)
class Picture:
    """One picture to draw.  shared: equal for those that can be drawn together; together: the size of their batch."""

    settings: Any
    shared: str
    together: int


@dataclass(eq=False)
class Ticket:
    """The pictures of one request, in order; ``future`` becomes the list of what was drawn, or an exception."""

    pictures: Sequence[Picture]
    future: Future = field(default_factory=Future)
    drawn: dict[int, Any] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> bool:
        return self.future.done()


@dataclass(frozen=True)
class Batch:
    """A batch that was drawn: its number of pictures, seconds, and the seconds that its oldest had waited."""

    pictures: int
    seconds: float
    waited: float


_Place = tuple[Ticket, int]  # a picture that waits: its request, and its number there


class Batches:
    """Pictures that wait for the one thread that draws.

    draw: from settings of pictures that can be drawn together, and a function that tells whether to stop, to what was
    drawn of each; it raises BatchStopped if it stopped.
    most: pictures that may wait.  wait: seconds that a picture waits for others of its batch.
    told: takes every batch that was drawn.
    turns: shared with other queues that draw with the same model.
    """

    def __init__(
        self,
        draw: Callable[[list[Any], Callable[[], bool]], Sequence[Any]],
        *,
        most: int,
        wait: float,
        told: Callable[[Batch], None] = lambda batch: None,
        turns: Turns | None = None,
    ):
        self._draw, self._most, self._wait, self._told = draw, most, wait, told
        self._turns = turns or Turns()
        self._places: list[_Place] = []
        self._under_way: list[_Place] = []  # those of the batch that is being drawn
        self._changed = threading.Condition()
        self._closed = False
        self._mean = 1.0  # seconds of a batch
        threading.Thread(target=self._serve, name="batches", daemon=True).start()

    @property
    def waiting(self) -> int:
        """The number of pictures that wait."""
        with self._changed:
            return len(self._places)

    @property
    def closed(self) -> bool:
        return self._closed

    def before(self, since: float) -> int:
        """Return the number of requests that came before a time, by time.monotonic(), and have not ended."""
        with self._changed:
            tickets = {id(ticket): ticket for ticket, _ in self._places + self._under_way}
        return sum(ticket.since < since and not ticket.ended for ticket in tickets.values())

    def join(self, pictures: Sequence[Picture]) -> Ticket:
        """Put the pictures of a request at the end.  Raises QueueFull, or QueueClosed after ``close``."""
        ticket = Ticket(pictures)
        with self._changed:
            if self._closed:
                raise QueueClosed
            if len(self._places) + len(pictures) > self._most:
                raise QueueFull(self._retry_after())
            self._places += [(ticket, number) for number in range(len(pictures))]
            self._changed.notify()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Take a request out of the queue; a batch under way that no other waits for stops."""
        ticket.future.cancel()
        with self._changed:
            self._places = [place for place in self._places if place[0] is not ticket]
            self._changed.notify()

    def close(self) -> None:
        """Refuse requests from now on and those that wait; a batch under way is drawn to its end."""
        with self._changed:
            self._closed = True
            places, self._places = self._places, []
            self._changed.notify()
        for ticket in {id(ticket): ticket for ticket, _ in places}.values():
            _fail(ticket, QueueClosed())

    def _retry_after(self) -> int:
        """Return the seconds in which about half of what waits will have been drawn."""
        together = self._places[0][0].pictures[0].together if self._places else 1
        seconds = self._mean * len(self._places) / together / 2
        return max(1, min(_LONGEST_RETRY, round(seconds)))

    def _serve(self) -> None:
        while True:
            since = self._ready()
            with self._turns.taken(since):
                places = self._take()
                begun = time.monotonic()
                try:
                    drawn = self._draw_all(places)
                except Exception:  # the thread has to live
                    logging.exception("a batch failed")
                    continue
            if not drawn:  # nobody waited for them any more, or none could be drawn
                continue
            ended = time.monotonic()
            self._mean += _RECENT * (ended - begun - self._mean)
            self._told(Batch(drawn, ended - begun, begun - min(ticket.since for ticket, _ in places)))

    def _ready(self) -> float:
        """Wait for pictures, and for others of their kind until a batch is full or the oldest has waited enough.

        Returns when the oldest came.
        """
        with self._changed:
            self._under_way = []
            while True:
                self._changed.wait_for(lambda: self._places)
                oldest, alike = self._places[0][0], self._alike()
                left = oldest.since + self._wait - time.monotonic()
                if len(alike) < self._together() and left > 0:
                    self._changed.wait(left)
                    continue
                return oldest.since

    def _take(self) -> list[_Place]:
        """Take the oldest picture and those of its kind, a batch at most, out of the queue; none if all have left."""
        with self._changed:
            taken = self._alike()[: self._together()] if self._places else []
            chosen = {(id(ticket), index) for ticket, index in taken}
            self._places = [place for place in self._places if (id(place[0]), place[1]) not in chosen]
            self._under_way = taken
            return taken

    def _alike(self) -> list[_Place]:
        """Return the pictures that can be drawn with the oldest, itself included."""
        oldest, number = self._places[0]
        shared = oldest.pictures[number].shared
        return [place for place in self._places if place[0].pictures[place[1]].shared == shared]

    def _together(self) -> int:
        """Return the size of the oldest picture's batch."""
        oldest, number = self._places[0]
        return oldest.pictures[number].together

    def _draw_all(self, places: list[_Place]) -> int:
        """Draw a batch and return how many pictures were drawn.

        If that fails, the pictures of each request are drawn alone, since one may have broken the others.
        """
        places = [place for place in places if not place[0].ended]
        tickets = list({id(ticket): ticket for ticket, _ in places}.values())
        if not places:
            return 0
        settings = [ticket.pictures[number].settings for ticket, number in places]
        try:
            drawn = self._draw(settings, lambda: all(ticket.ended for ticket in tickets))
        except BatchStopped:
            return 0
        except Exception as error:
            if len(tickets) == 1:
                _fail(tickets[0], error)
                self.leave(tickets[0])
                return 0
            return sum(self._draw_all([place for place in places if place[0] is ticket]) for ticket in tickets)
        for (ticket, number), picture in zip(places, drawn, strict=True):
            ticket.drawn[number] = picture
            if len(ticket.drawn) == len(ticket.pictures) and ticket.future.set_running_or_notify_cancel():
                ticket.future.set_result([ticket.drawn[k] for k in range(len(ticket.pictures))])
        return len(places)


def _fail(ticket: Ticket, error: Exception) -> None:
    if not ticket.ended and ticket.future.set_running_or_notify_cancel():
        ticket.future.set_exception(error)
