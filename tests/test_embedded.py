"""The embedded models draw what their prompts say, which is seen in the pixels."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.backgrounds import ASKED, background, check_backgrounds
from tests.compiling import optimised
from tests.docs.blocks import blocks, commands
from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.embedded import folder_of, is_embedded

REPO = Path(__file__).resolve().parents[1]
MIB = 2**20
STEPS = 25
WHOLE = {"guidance_scale": 1.5, "truncation_rate": 1.0}  # all codes: two seeds never give the very same picture


@pytest.fixture(scope="module")
def pipeline():
    with optimised():  # it draws for long: what optimising costs is saved many times over
        yield VQDiffusionPipeline.from_pretrained("emoji16")


def draw(pipeline, prompts, **options):
    options = {"seed": 0, "batch_size": 8, "output_type": "uint8"} | options
    return pipeline(prompts, STEPS, strategy="posterior", **options).images


@pytest.fixture(scope="module")
def apples(pipeline):
    """Return a small red apple in the middle on each background."""
    return draw(pipeline, [f"a small red apple in the middle on a {colour} background" for colour in ASKED])


def test_backgrounds_are_those_asked_for(apples):
    check_backgrounds(apples)


def test_something_red_lies_in_the_middle(apples):
    for picture, colour in zip(apples, ASKED, strict=True):
        if colour in ("red", "pink", "purple"):
            continue
        red, green, blue = picture[24:40, 24:40].reshape(-1, 3).mean(0)
        assert red > green + 40 and red > blue + 40, (colour, red, green, blue)


def test_size_and_position_are_those_asked_for(pipeline):
    places = {"top left": (slice(0, 32), slice(0, 32)), "bottom right": (slice(32, 64), slice(32, 64))}
    pictures = draw(
        pipeline, [f"a small panda in the {place} corner on a green background" for place in places for _ in range(4)]
    )
    for i, picture in enumerate(pictures):
        changed = np.abs(picture.astype(int) - background(picture)).max(-1) > 48
        quarter = changed[list(places.values())[i // 4]]
        assert quarter.sum() > 0.8 * changed.sum() and quarter.sum() > 60


def test_seeds_vary_the_picture_and_repeat_it(pipeline):
    prompt = ["a large cat face"] * 8
    first, other = draw(pipeline, prompt, **WHOLE), draw(pipeline, prompt, seed=1, **WHOLE)
    assert len({picture.tobytes() for picture in [*first, *other]}) == 16
    np.testing.assert_array_equal(draw(pipeline, prompt, **WHOLE), first)


def test_its_own_settings_are_quick_and_vary_the_picture_too(pipeline):
    """Of four drawings of a cat each is found in several pictures, so that some of them are equal to the last pixel."""
    assert pipeline.num_calls() == 20
    tokens = pipeline(["a large cat face"] * 8, seed=0, batch_size=8, output_type="tokens").tokens
    apart = (tokens[:, None] != tokens).sum(axis=-1)
    assert (apart > 16).any(axis=1).all(), apart  # each is another drawing than some other


def test_the_empty_prompt_and_unknown_words_draw_too(pipeline):
    pictures = draw(
        pipeline, ["", "", "qwxyz vrrpt", "ein roter apfel", "赤いりんご", "!!!", "very " * 100, "red apple"], **WHOLE
    )
    assert len({picture.tobytes() for picture in pictures}) == 8
    assert all(picture.std() > 10 for picture in pictures)


def test_the_first_command_of_the_readme_draws(tmp_path):
    readme = blocks((REPO / "README.md").read_text(encoding="utf-8"))
    first = next(
        words for block in readme if block.language == "shell" for _, words in commands(block) if "main.py" in words
    )
    assert first[0] == "python" and not any(word.startswith("--checkpoint") for word in first)
    command = [
        sys.executable,
        str(REPO / "main.py"),
        *first[2:],
        "--num_inference_steps=4",
        f"--out={tmp_path / 'out'}",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "000000.json",
        "000000.png",
        "grid-000000.png",
    ]
    picture = np.asarray(Image.open(tmp_path / "out" / "000000.png"))
    assert picture.shape == (64, 64, 3) and picture.std() > 10
    recipe = json.loads((tmp_path / "out" / "000000.json").read_text())
    expected = {"checkpoint": "emoji", "prompt": "a red apple", "num_inference_steps": 4, "seed": 0, "mode": "sample"}
    assert {name: recipe[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("emoji", ("Fluent Emoji", "Noto", "EmojiOne")), ("emoji16", ("Fluent Emoji", "Noto", "FxEmoji", "Twemoji"))],
)
def test_it_is_small_and_comes_with_its_notices(name, drawn):
    folder = folder_of(name)
    assert is_embedded(name)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 30 * MIB
    notices = (folder.parent / "NOTICE.md").read_text(encoding="utf-8")
    card = (folder / "README.md").read_text(encoding="utf-8")
    for drawings in drawn:
        assert drawings in notices and drawings in card


def test_a_folder_of_that_name_is_given_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emoji").mkdir()
    assert is_embedded("emoji") and not is_embedded("./emoji") and not is_embedded(Path("emoji"))
    assert folder_of("./emoji") == folder_of(Path("emoji")) == Path("emoji")


@pytest.mark.parametrize("name", ["emoji", "emoji16"])
def test_the_model_card_lists_every_word_that_it_was_taught(name):
    folder = folder_of(name)
    card = re.sub(r"\s*\n>?\s*", " ", (folder / "README.md").read_text(encoding="utf-8").lower())
    known = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    missing = [word for word in [*known["names"], *known["words"]] if not re.search(rf"\b{re.escape(word)}\b", card)]
    assert known["names"] and known["words"] and missing == []
