"""The page as a visitor sees it, in a headless browser."""

import base64
import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests.demo.browser import (
    REPO,
    choose,
    draw,
    fill,
    paint,
    press,
    served,
    source,
    upload,
    wait_for_another,
)
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import outpaint


def state(page, text):
    page.locator(".status", has_text=text).wait_for()


def saved(name, folder):
    """Save a random model of a preset, with weights so large that a class makes a difference; return the folder."""
    model = random_network(VQDiffusionModel, preset(name))
    model.denoiser = jax.tree.map(lambda leaf: 4 * leaf, model.denoiser)
    VQDiffusionPipeline(model).save_pretrained(folder / "model")
    return folder / "model"


def colours():
    """Return a picture of the small models' size without two equal parts."""
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def pixels(page, which=".picture"):
    return np.asarray(Image.open(BytesIO(base64.b64decode(source(page, which).partition(",")[2]))))


def test_the_same_seed_draws_the_same_again_and_the_slider_goes_back(visit):
    page = visit()
    first = draw(page, Seed=1, Steps=10)
    assert draw(page, Seed=2) != first
    assert draw(page, Seed=1) == first
    page.locator(".caption", has_text="call 10 of 10, timestep 0: 0 of 16 tokens masked").wait_for()
    tokens = source(page, ".tokens")
    page.locator(".slider").click(position={"x": 1, "y": 5})
    page.locator(".caption", has_text="call 1 of 10, timestep 99").wait_for()
    assert source(page, ".tokens") != tokens


def test_two_strategies_side_by_side(visit):
    page = visit()
    choose(page, "Compare with", "maskgit")
    draw(page, Steps=4, Images=2)
    assert (
        page.locator(".job:visible").count() == 2
        and page.locator(".picture").count() == 4 == page.locator(".kept").count()
    )
    assert [label.split(",")[0] for label in page.locator(".caption").all_inner_texts()] == ["call 8 of 8"] * 2
    captions = [text.splitlines()[0] for text in page.locator(".kept").all_inner_texts()]
    assert captions[-1] == "a red apple, seed 0, picture 1 of 2, posterior, 4 calls" and len(set(captions)) == 4


def test_the_settings_of_a_strategy_are_inputs(visit):
    page = visit()
    page.get_by_text("Settings of the strategy").click()
    choose(page, "Strategy", "maskgit")
    page.get_by_label("Temperature", exact=True).wait_for()
    fill(page, Temperature=-1)
    press(page, "Draw")
    page.locator(".mistake", has_text="Temperature is -1.0; it must be a finite number from 0 to 10000").wait_for()
    fill(page, Temperature=2)
    choose(page, "Mask schedule", "linear")
    draw(page, Steps=6)
    page.locator(".caption", has_text="call 6 of 6").wait_for()


def test_settings_that_change_nothing_are_told_beside_the_pictures(visit):
    page = visit()
    fill(page, Guidance=1)
    fill(page, **{"Guidance plausibility": 0.5})
    draw(page, Steps=4)
    page.locator(".note", has_text="Guidance plausibility changes nothing, as Guidance is 1").wait_for()
    fill(page, Guidance=2)
    draw(page, Seed=1)
    assert page.locator(".note").inner_text() == ""


def test_inpainting_changes_the_inside_alone_and_the_download_draws_it_again(visit, tmp_path):
    page = visit()
    draw(page, Steps=10)
    before = pixels(page)
    press(page, "edit")
    choose(page, "Start from", "the picture, but where it is red")
    press(page, "Draw")
    page.locator(".mistake", has_text="nothing is painted").wait_for()
    paint(page, (0.1, 0.1), (0.25, 0.1))
    draw(page, Seed=5)
    after = pixels(page)
    changed = (after != before).any(-1)
    assert changed.any() and not changed[8:].any() and not changed[:, 8:].any()

    page.wait_for_function("document.querySelectorAll('.kept').length === 2")  # the newest first
    with page.expect_download() as download:
        page.locator(".kept").first.get_by_role("button", name="download").click()
    with zipfile.ZipFile(Path(download.value.path())) as file:
        file.extractall(tmp_path)
    assert json.loads((tmp_path / "000002.json").read_text())["seed"] == 5
    command = [
        sys.executable,
        str(REPO / "main.py"),
        "--mode=sample",
        f"--again={tmp_path / '000002.json'}",
        f"--out={tmp_path / 'out'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "000000.png")), after)


def test_an_upload_is_drawn_over_as_the_pipeline_does(visit, pipeline):
    page, picture = visit(), colours()
    page.get_by_text("Start from a picture").click()
    upload(page, picture)
    np.testing.assert_array_equal(pixels(page, ".mask-editor"), picture)
    draw(page, Seed=3, Steps=10, Strength=0.5)
    drawn = pipeline(
        "a red apple", 10, seed=3, image=picture, strength=0.5, output_type="uint8", callback=lambda *_: None
    )
    np.testing.assert_array_equal(pixels(page), drawn.images[0])
    page.locator(".slider").click(position={"x": 1, "y": 5})
    page.locator(".caption", has_text="call 1 of 10, timestep 49").wait_for()


@pytest.mark.parametrize("side, margin", [("left", np.s_[:, :4]), ("bottom", np.s_[12:])])
def test_outpainting_keeps_the_whole_picture_and_draws_the_margin(visit, side, margin):
    page, picture = visit(), colours()
    page.get_by_text("Start from a picture").click()
    press(page, side)
    page.locator(".start-mistake", has_text="there is no picture to extend; upload one first").wait_for()
    upload(page, picture)
    before = source(page, ".mask-editor")
    press(page, side)
    wait_for_another(page, ".mask-editor", before)
    smaller, mask = outpaint(picture, len(picture), **{side: 0.25})
    assert mask[margin].all() and (~mask).sum() == 12 * 12  # the whole picture, in its proportions
    drawn = []
    for seed in (1, 2):
        draw(page, Seed=seed, Steps=10)
        drawn.append(pixels(page))
        np.testing.assert_array_equal(drawn[-1][~mask], smaller[~mask])
    assert (drawn[0][mask] != drawn[1][mask]).any() and (drawn[0][mask] != smaller[mask]).any()


def test_the_page_starts_on_the_embedded_model(visit_at):
    with served() as address:
        page = visit_at(address)
        page.get_by_text("emoji: 64 x 64 pixels from 8 x 8 tokens of 4096 codes, 100 timesteps").wait_for()
        draw(page, Prompt="a red apple on a blue background", Steps=8)
        red, green, blue = pixels(page)[24:40, 24:40].reshape(-1, 3).mean(0)
        assert red > green + 40 and red > blue + 40
        red, green, blue = np.median(np.concatenate([pixels(page)[:4], pixels(page)[-4:]]).reshape(-1, 3), axis=0)
        assert blue > red + 40 and blue > green + 40


def test_a_model_of_classes_is_asked_for_one(visit_at, tmp_path):
    with served(f"--checkpoint={saved('tiny_class', tmp_path)}") as address:
        page = visit_at(address)
        page.get_by_text("Class to draw. Up to 4.").wait_for()
        assert [page.get_by_label(label, exact=True).count() for label in ("Prompt", "Class", "Guidance")] == [0, 1, 1]
        first = draw(page, Class=1, Steps=3)
        assert page.locator(".kept").inner_text().startswith("1, seed 0, posterior")
        assert draw(page, Class=2) != first
        assert draw(page, Class=1) == first
        fill(page, Class=5)
        press(page, "Draw")
        page.locator(".mistake", has_text="Class is 5; it must be a whole number from 0 to 4").wait_for()


def test_an_unconditional_model_is_asked_for_nothing(visit_at, tmp_path):
    with served(f"--checkpoint={saved('tiny_unconditional', tmp_path)}") as address:
        page = visit_at(address)
        first = draw(page, Steps=3)
        assert [page.get_by_label(label, exact=True).count() for label in ("Prompt", "Class", "Guidance")] == [0, 0, 0]
        assert page.locator(".kept").inner_text().startswith("seed 0, posterior")
        assert draw(page, Seed=1) != first


def test_a_run_waits_for_its_turn_and_stops_when_told_to(visit):
    page, another = visit(), visit()
    fill(page, Images=8, Steps=100)  # longer than a busy machine takes for all that follows
    press(page, "Draw")
    page.locator(".caption", has_text="call").wait_for()
    press(another, "Draw")
    state(another, "waiting, 1 before this one")
    press(another, "Stop")
    state(another, "stopped")
    press(page, "Stop")
    state(page, "stopped")
    calls = int(page.locator(".caption").first.inner_text().split()[1])
    assert 0 < calls < 800 and page.locator(".kept").count() == 0
    draw(page, Images=1, Steps=10)


def test_absurd_numbers_are_refused_with_a_message(visit):
    page = visit()
    for field, value, message in (
        ("Images", 1_000_000, "Images is 1000000; it must be a whole number from 1 to 8"),
        ("Steps", -3, "Steps is -3; it must be a whole number from 1 to 100"),
        ("Seed", 1.5, "Seed is 1.5; it must be a whole number from 0 to 9007199254740991"),
        ("Guidance", "1e99", "Guidance is 1e+99; it must be a finite number from -30 to 30"),
        ("Prompt", "apple " * 1000, "Prompt has 5,999 characters; give at most 300"),
    ):
        before = page.get_by_label(field, exact=True).input_value()
        fill(page, **{field: value})
        press(page, "Draw")
        page.locator(".mistake", has_text=message).wait_for()
        fill(page, **{field: before})
    draw(page, Steps=10)
    assert page.locator(".mistake").inner_text() == ""


def test_bad_uploads_are_refused_with_a_message(visit, address, tmp_path):
    page = visit()
    page.get_by_text("Start from a picture").click()
    many = BytesIO()
    Image.new("1", (12_000, 12_000)).save(many, format="PNG")
    for name, data, message in (
        ("notes.png", b"no picture at all", "the file cannot be used: it is no picture"),
        ("huge.png", many.getvalue(), "it is 12000 x 12000 pixels; at most"),
        ("long.png", bytes(33 * 2**20), "the file has more than 32 MiB"),
    ):
        (tmp_path / name).write_bytes(data)
        page.locator("input[type=file]").set_input_files(tmp_path / name)
        page.locator(".start-mistake", has_text=message).wait_for()
    assert page.locator(".mistake").inner_text() == ""
    assert page.request.post(address, data=bytes(11 * 2**20)).status == 413
