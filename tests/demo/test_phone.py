"""The page on a telephone, 390 pixels wide and touched, and what a tab finds again when it comes back."""

import time
from io import BytesIO

import pytest
from PIL import Image

from tests.demo.browser import choose, draw, fill, press, source, wait_for_another
from tests.demo.conftest import PHONE, slow
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


@pytest.fixture(scope="module")
def pipeline():
    """A model whose runs can go on for longer than that of a closed page does."""
    return VQDiffusionPipeline(random_network(VQDiffusionModel, slow(preset("tiny_text"), 1_000)))


def photo(width, height):
    """Return a JPEG file of a photograph's size."""
    file = BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, format="JPEG")
    return {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}


def width_of_all(page):
    """Return the width of all that the page shows, in pixels."""
    return page.evaluate("Math.max(...[...document.querySelectorAll('body *')].map(e => e.scrollWidth), 0)")


def in_sight(page, which):
    box = page.locator(which).first.bounding_box()
    return box["y"] >= 0 and box["y"] + box["height"] <= page.viewport_size["height"] and box["width"] > 100


def test_columns_stack_and_the_pictures_are_in_sight(visit):
    page = visit(PHONE)
    assert width_of_all(page) <= 390
    draw(page, Steps=4)
    assert in_sight(page, ".picture") and in_sight(page, ".tokens")
    page.get_by_text("Start from a picture").click()
    page.get_by_text("Settings of the strategy").click()
    choose(page, "Compare with", "maskgit")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    fill(page, Images=3)
    page.get_by_label("Images", exact=True).press("Tab")
    press(page, "Draw")
    page.locator(".kept").nth(6).wait_for()
    assert width_of_all(page) <= 390 and page.evaluate("innerWidth") == 390
    order = [page.locator(f".{part}").bounding_box()["y"] for part in ("asking", "seen", "settings", "starts", "drawn")]
    assert order == sorted(order)


def test_a_finger_paints_on_a_photograph(visit):
    page = visit(PHONE)
    page.get_by_text("Start from a picture").click()
    uploader, before = page.locator("input[type=file]"), source(page, ".mask-editor")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    uploader.set_input_files({"name": "photo.heic", "mimeType": "image/heic", "buffer": heic})
    page.locator(".start-mistake", has_text="it is HEIC, which is not read; save it as PNG or JPEG").wait_for()
    for size in ((5712, 4284), (8064, 6048)):  # 24 and 48 megapixels
        uploader.set_input_files(photo(*size))
        wait_for_another(page, ".mask-editor", before)
        assert page.locator(".start-mistake").inner_text() == ""
        press(page, "Clear")
    page.get_by_text("The picture is noised").wait_for()

    editor = page.locator(".mask-editor img")
    editor.scroll_into_view_if_needed()
    before, box, scrolled = source(page, ".mask-editor"), editor.bounding_box(), page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    for kind, share in (("touchStart", 0.2), *(("touchMove", k / 10) for k in range(3, 9))):
        point = {"x": box["x"] + box["width"] * 0.5, "y": box["y"] + box["height"] * share}
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        page.wait_for_timeout(20)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_for_another(page, ".mask-editor", before)
    page.get_by_text("Red is drawn anew; all else comes back exactly.").wait_for()
    assert page.evaluate("scrollY") == scrolled  # the finger painted and did not scroll
    draw(page, Steps=4)


def test_reload_and_back_find_what_was_there(visit):
    page = visit(PHONE)
    choose(page, "Strategy", "maskgit")
    page.get_by_text("Settings of the strategy").click()
    fill(page, Temperature=2)
    first = draw(page, Seed=7, Steps=6)
    before = source(page, ".mask-editor")
    press(page, "edit")
    wait_for_another(page, ".mask-editor", before)
    editor = source(page, ".mask-editor")
    fill(page, Prompt="a green pear")
    for come_back in (page.reload, lambda: (page.goto("about:blank"), page.go_back())):
        come_back()
        page.locator(".kept", has_text="a red apple, seed 7").wait_for()
        page.locator(".caption", has_text="call 6 of 6").wait_for()
        assert source(page) == first and source(page, ".mask-editor") == editor
        for label, value in (("Prompt", "a green pear"), ("Seed", "7"), ("Steps", "6"), ("Temperature", "2")):
            assert page.get_by_label(label, exact=True).input_value() == value
    choose(page, "Strategy", "posterior")  # which can start from the picture
    draw(page)
    assert page.locator(".kept").count() == 2


def test_a_reload_in_the_middle_of_a_run_goes_on_with_it(visit):
    page = visit()
    fill(page, Seed=3, Steps=500, Images=8)
    choose(page, "Compare with", "maskgit")
    press(page, "Draw")
    page.locator(".caption", has_text="No picture yet.").first.wait_for()  # grey, until there is something to see
    assert source(page) == source(page, ".tokens") != ""
    page.locator(".status", has_text="drawing").wait_for()
    page.reload()
    page.locator(".status", has_text="drawing").wait_for()  # the same run, and no other: Draw cannot be pressed
    assert page.get_by_role("button", name="Draw", exact=True).is_disabled()
    for label, value in (("Prompt", "a red apple"), ("Seed", "3"), ("Steps", "500"), ("Images", "8")):
        assert page.get_by_label(label, exact=True).input_value() == value
    reloaded = time.monotonic()
    page.locator(".status", has_text="done").wait_for()
    assert time.monotonic() - reloaded > 3  # longer than the run of a closed page goes on
    assert page.locator(".kept").count() == 16 and page.locator(".job:visible").count() == 2
    page.reload()
    page.locator(".kept").nth(15).wait_for()
    assert page.locator(".kept").count() == 16 and page.locator(".mistake").inner_text() == ""
