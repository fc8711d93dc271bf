import threading

import pytest

from vqdiffusion_jax.demo.queue import DONE, DRAWING, FAILED, STOPPED, WAITING, Queue, Run

SECONDS = 10  # more than any of this takes


class Held:
    """A run that goes on until it is let go or told to stop."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()
        self.run = Run(1, self.work)

    def work(self, run) -> bool:
        self.begun.set()
        while not self.go.wait(0.01):
            if run.show(0, None):
                return False
        return True


def ended(run) -> str:
    wait = threading.Event()
    for _ in range(SECONDS * 100):
        if run.ended:
            return run.state
        wait.wait(0.01)
    raise TimeoutError(run.state)


def test_runs_go_one_at_a_time_in_the_order_they_came():
    queue, (first, second, third) = Queue(5), (Held() for _ in range(3))
    for held in (first, second, third):
        queue.join(held.run)
    assert first.begun.wait(SECONDS)
    assert [queue.before(held.run) for held in (first, second, third)] == [0, 1, 2]
    assert (first.run.state, second.run.state) == (DRAWING, WAITING)
    first.go.set()
    assert second.begun.wait(SECONDS) and first.run.state == DONE and not third.begun.is_set()
    second.run.stop()
    assert ended(second.run) == STOPPED and third.begun.wait(SECONDS)
    third.go.set()
    assert ended(third.run) == DONE


def test_a_waiting_run_stops_at_once_and_never_begins():
    queue, (first, second) = Queue(5), (Held() for _ in range(2))
    queue.join(first.run)
    queue.join(second.run)
    second.run.stop()
    assert second.run.state == STOPPED
    first.go.set()
    last = Held()
    queue.join(last.run)
    assert last.begun.wait(SECONDS) and not second.begun.is_set()
    last.go.set()


def test_a_queue_that_is_full_says_so():
    queue, (first, second, third) = Queue(1), (Held() for _ in range(3))
    queue.join(first.run)
    queue.join(second.run)
    with pytest.raises(ValueError, match="the queue is full, with 1 waiting"):
        queue.join(third.run)
    first.go.set(), second.go.set()


def test_a_run_that_was_stopped_while_it_waited_takes_no_place():
    queue, first = Queue(1), Held()
    queue.join(first.run)
    for _ in range(3):
        waiting = Held()
        queue.join(waiting.run)
        waiting.run.stop()
    last = Held()
    queue.join(last.run)
    assert queue.before(last.run) == 1
    first.go.set(), last.go.set()
    assert ended(last.run) == DONE


def test_a_run_that_is_stopped_is_before_nobody():
    queue, (first, second, third) = Queue(5), (Held() for _ in range(3))
    for held in (first, second, third):
        queue.join(held.run)
    second.run.stop()
    assert queue.before(third.run) == 1
    first.go.set(), third.go.set()
    assert ended(third.run) == DONE


@pytest.mark.parametrize(
    "error, logged", [(ValueError("no such prompt\nat all"), False), (RuntimeError("broken"), True)]
)
def test_a_run_that_fails_says_why_and_the_next_one_is_drawn(error, logged, caplog):
    def fail(run):
        raise error

    queue, failing, after = Queue(5), Run(1, fail), Run(1, lambda run: True)
    queue.join(failing)
    queue.join(after)
    assert ended(failing) == FAILED and failing.message == " ".join(str(error).split())
    assert ended(after) == DONE and bool(caplog.records) == logged


def test_a_visitor_has_a_few_runs_at_a_time():
    queue, (first, second, third, other) = Queue(8, each=2), (Held() for _ in range(4))
    for held in (first, second, third):
        held.run.visitor = "one"
    queue.join(first.run)
    queue.join(second.run)
    with pytest.raises(ValueError, match="2 of your runs are not done; try again when one has been drawn"):
        queue.join(third.run)
    queue.join(other.run)
    second.run.stop()
    queue.join(third.run)
    for held in (first, third, other):
        held.go.set()
    assert ended(other.run) == ended(third.run) == DONE


def test_a_run_knows_that_it_is_stopped():
    run = Run(1, lambda run: True)
    assert not run.stopping
    run.stop()
    assert run.stopping and run.state == STOPPED
