"""Calls that are given up, and the threads that they are made in."""

import os
import threading
import time

import pytest

from vqdiffusion_jax.errors import NoAnswer
from vqdiffusion_jax.patience import Progress, within


def made_in():
    return within(threading.get_ident, Progress(60.0))


def test_calls_one_after_another_are_made_in_one_thread():
    assert len({made_in() for _ in range(50)}) == 1


def test_a_thread_that_is_given_up_makes_no_other_call():
    goes_on, held = threading.Event(), []

    def silent():
        held.append(threading.get_ident())
        goes_on.wait(60)

    with pytest.raises(NoAnswer):
        within(silent, Progress(0.1))
    assert made_in() not in held  # it still waits
    goes_on.set()
    deadline = time.monotonic() + 30
    while held[0] in {thread.ident for thread in threading.enumerate()}:
        assert time.monotonic() < deadline, "it does not end when it is answered at last"
        time.sleep(0.01)


def test_what_a_call_raises_is_raised_here_and_its_thread_goes_on():
    first = made_in()
    with pytest.raises(KeyError):
        within(lambda: {}["x"], Progress(60.0))
    assert made_in() == first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_makes_calls_too():
    made_in()  # a thread waits, which the child has not
    child = os.fork()
    if not child:
        status = 1
        try:
            status = within(lambda: 0, Progress(5.0))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
