"""Take the screenshots in docs/images: ``python -m docs.screenshots --checkpoint=MODEL``, from the repository's root.

The tests of the page need the same: NiceGUI, Playwright and Chromium (``make test`` installs them).
"""

import argparse
from pathlib import Path

from tests.demo.browser import choose, draw, launched, open_page, paint, press, served

VIEW = {"width": 1360, "height": 900}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", default="emoji")
    parser.add_argument("--prompt", default="a red apple to the left of a dog face")
    parser.add_argument(
        "--other",
        default="a red apple to the left of a star",
        help="for the right side of the first picture, painted over",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with served(f"--checkpoint={given.checkpoint}") as address, launched() as browser:
        for name, picture in (("drawing", drawing), ("inpainting", inpainting), ("comparison", comparison)):
            page = open_page(browser.new_context(viewport=VIEW), address)
            picture(page, given)
            page.screenshot(path=given.out / f"demo_{name}.png", full_page=True, animations="disabled")
            print(given.out / f"demo_{name}.png")


def drawing(page, given) -> None:
    """A picture half way."""
    draw(page, Prompt=given.prompt, Seed=1)
    slider = page.locator(".slider")
    slider.click(position={"x": slider.bounding_box()["width"] * 0.5, "y": 5})
    page.locator(".caption", has_text="call 5").wait_for()


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


if __name__ == "__main__":
    main()
