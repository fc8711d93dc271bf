"""Take the screenshots in docs/images: ``python -m docs.screenshots --checkpoint=MODEL``, from the repository's root.

The tests of the page need the same: NiceGUI, Playwright and Chromium (``make test`` installs them).
"""

import argparse
from pathlib import Path

from tests.demo.browser import choose, draw, launched, open_page, paint, press, served

DESK = {"viewport": {"width": 1360, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", default="emoji")
    parser.add_argument("--prompt", default="a red apple to the left of a dog")
    parser.add_argument(
        "--other",
        default="a red apple to the left of a star",
        help="for the right side of the first picture, painted over",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with served(f"--checkpoint={given.checkpoint}") as address, launched() as browser:
        for picture, device in ((drawing, DESK), (inpainting, DESK), (comparison, DESK), (phone, PHONE)):
            page = open_page(browser.new_context(**device), address)
            picture(page, given)
            file = given.out / f"demo_{picture.__name__}.png"
            page.screenshot(path=file, full_page=device is DESK, animations="disabled")
            print(file)


def drawing(page, given) -> None:
    """A picture half way."""
    draw(page, Prompt=given.prompt, Seed=1)
    slider = page.locator(".slider")
    slider.click(position={"x": slider.bounding_box()["width"] * 0.5, "y": 5})
    page.locator(".caption", has_text="call 1").wait_for()


def inpainting(page, given) -> None:
    """A picture whose right side becomes something else."""
    draw(page, Prompt=given.prompt, Seed=1)
    press(page, "edit")
    paint(page, *((x, y) for y in (0.25, 0.4, 0.55, 0.7) for x in (0.58, 0.92)))
    draw(page, Prompt=given.other)


def comparison(page, given) -> None:
    """Two strategies in few steps from the same seed."""
    choose(page, "Compare with", "maskgit")
    draw(page, Prompt=given.prompt, Seed=1, Images=2, Steps=8)


def phone(page, given) -> None:
    """A picture on a telephone, whose prompt has a word that the model was not taught."""
    draw(page, Prompt=f"{given.prompt} with a xylophone", Seed=1)


if __name__ == "__main__":
    main()
