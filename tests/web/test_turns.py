import threading
import time

from vqdiffusion_jax.web.turns import Turns

SECONDS = 10


def test_what_came_first_goes_first_and_alone():
    turns, order, inside, threads = Turns(), [], [], []

    def draw(since):
        with turns.taken(since):
            inside.append(since)
            order.append(since)
            time.sleep(0.005)
            assert inside == [since]
            inside.remove(since)

    with turns.taken(0.0):
        for since in (3.0, 1.0, 2.0, 1.0):
            threads.append(threading.Thread(target=draw, args=(since,)))
            threads[-1].start()
        until = time.monotonic() + SECONDS
        while len(turns._waiting) < len(threads) and time.monotonic() < until:
            time.sleep(0.001)
        assert not order
    for thread in threads:
        thread.join(SECONDS)
    assert order == [1.0, 1.0, 2.0, 3.0]


def test_an_error_gives_the_turn_back():
    turns = Turns()
    for _ in range(2):
        try:
            with turns.taken(0.0):
                raise RuntimeError
        except RuntimeError:
            pass
    with turns.taken(0.0):
        pass
