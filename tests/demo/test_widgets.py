"""Handlers of the page."""

import asyncio
import gc
import weakref

import pytest

from vqdiffusion_jax.demo.widgets import number_of, weakly


class Page:
    def __init__(self):
        self.events = []

    def take(self, event):
        self.events.append(event)

    async def later(self, event):
        self.events.append(event)


def test_a_weak_handler_calls_its_method_and_does_not_keep_the_page():
    page = Page()
    take, later = weakly(page.take), weakly(page.later)
    take(1)
    asyncio.run(later(2))
    assert page.events == [1, 2]
    gone = weakref.ref(page)
    del page
    gc.collect()
    assert gone() is None
    assert take(3) is None and later(4) is None


@pytest.mark.parametrize("value", [None, "3", [], [1], {}, float("nan"), float("inf"), -float("inf"), 10**400])
def test_what_a_browser_sends_for_a_number_is_one(value):
    with pytest.raises(ValueError, match="the slider takes numbers alone"):
        number_of("the slider", value)
    assert number_of("the slider", 2) == 2 and number_of("the slider", 0.5) == 0.5
