"""The queue, with a drawer that does what the test says."""

import threading
import time

import pytest

from vqdiffusion_jax.errors import BatchStopped, QueueClosed, QueueFull
from vqdiffusion_jax.serving.batches import Batches, Picture

SECONDS = 60


class Drawer:
    """Draws the names of pictures once it is let; records its batches."""

    def __init__(self):
        self.batches, self.may, self.begun = [], threading.Event(), threading.Event()

    def __call__(self, names, stopped):
        self.batches.append(names)
        self.begun.set()
        while not self.may.wait(0.01):
            if stopped():
                raise BatchStopped
        if any(name.startswith("bad") for name in names):
            raise ValueError(f"{names} cannot be drawn")
        return [name.upper() for name in names]


def pictures(*names, shared="same", together=4):
    return [Picture(name, shared, together) for name in names]


def queue(drawer, most=100, wait=0.0, **options):
    return Batches(drawer, most=most, wait=wait, **options)


def ended(ticket):
    return ticket.future.result(SECONDS)


def held(drawer, batches):
    """Let a picture of another kind be under way, so that others wait behind it."""
    ticket = batches.join(pictures("first", shared="other"))
    assert drawer.begun.wait(SECONDS)
    return ticket


def test_alike_pictures_are_drawn_together_and_each_goes_to_its_request():
    drawer = Drawer()
    batches = queue(drawer)
    held(drawer, batches)
    tickets = [
        batches.join(pictures("a", "b")),
        batches.join(pictures("x", shared="else")),
        batches.join(pictures("c")),
    ]
    drawer.may.set()
    assert [ended(ticket) for ticket in tickets] == [["A", "B"], ["X"], ["C"]]
    assert drawer.batches == [["first"], ["a", "b", "c"], ["x"]]


def test_a_request_larger_than_a_batch_is_drawn_in_several():
    drawer, seen = Drawer(), []
    drawer.may.set()
    batches = queue(drawer, told=seen.append)
    assert ended(batches.join(pictures(*"abcde", together=2))) == list("ABCDE")
    assert [len(batch) for batch in drawer.batches] == [2, 2, 1]
    assert [batch.pictures for batch in seen[:2]] == [2, 2]


def test_a_picture_waits_for_others_but_not_once_the_batch_is_full():
    drawer = Drawer()
    drawer.may.set()
    batches = queue(drawer, wait=SECONDS)
    first = batches.join(pictures("a", together=2))
    assert not drawer.begun.wait(0.3)
    second = batches.join(pictures("b", together=2))
    assert ended(first) == ["A"] and ended(second) == ["B"] and drawer.batches == [["a", "b"]]


def test_a_full_queue_says_when_to_come_again():
    drawer = Drawer()
    batches = queue(drawer, most=3)
    held(drawer, batches)
    batches.join(pictures(*"abc"))
    with pytest.raises(QueueFull) as full:
        batches.join(pictures("d"))
    assert 1 <= full.value.retry_after <= 60 and batches.waiting == 3
    drawer.may.set()


def test_a_client_that_leaves_gives_up_its_place_and_stops_its_batch():
    drawer = Drawer()
    batches = queue(drawer)
    first = held(drawer, batches)
    waits, stays = batches.join(pictures("a")), batches.join(pictures("b"))
    batches.leave(waits)
    assert batches.waiting == 1
    batches.leave(first)  # under way, and nobody else waits for it
    drawer.may.set()
    assert ended(stays) == ["B"] and drawer.batches == [["first"], ["b"]] and first.future.cancelled()


def test_a_batch_goes_on_while_anybody_waits_for_it():
    drawer = Drawer()
    batches = queue(drawer)
    first = held(drawer, batches)
    leaves, stays = batches.join(pictures("a")), batches.join(pictures("b"))
    drawer.begun.clear()
    batches.leave(first)
    assert drawer.begun.wait(SECONDS)  # both are under way
    batches.leave(leaves)
    time.sleep(0.1)  # in which the drawer asks whether to stop
    drawer.may.set()
    assert ended(stays) == ["B"] and drawer.batches[-1] == ["a", "b"]


def test_a_picture_that_cannot_be_drawn_fails_alone():
    drawer = Drawer()
    batches = queue(drawer)
    held(drawer, batches)
    good, bad, other = (batches.join(pictures(*names)) for names in (["a"], ["bad", "c"], ["d"]))
    drawer.may.set()
    assert ended(good) == ["A"] and ended(other) == ["D"]
    with pytest.raises(ValueError, match="cannot be drawn"):
        ended(bad)
    assert ended(batches.join(pictures("e"))) == ["E"]  # the thread lives


def test_an_ending_queue_refuses_what_waits_and_draws_what_is_under_way():
    drawer = Drawer()
    batches = queue(drawer)
    first = held(drawer, batches)
    waits = batches.join(pictures("a"))
    batches.close()
    with pytest.raises(QueueClosed):
        batches.join(pictures("b"))
    with pytest.raises(QueueClosed):
        ended(waits)
    drawer.may.set()
    assert ended(first) == ["FIRST"]
