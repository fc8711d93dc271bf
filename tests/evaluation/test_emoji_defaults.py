"""The measurement behind the embedded model's defaults: true pictures, wrong tokens, chunks that are kept."""

import json

import numpy as np
import pytest

from benchmarks import emoji_defaults
from benchmarks.emoji_defaults_page import _square, interval, page, summary
from benchmarks.emoji_truth import KINDS, Grids, question, seen_styles
from vqdiffusion_jax.data.scenes import Drawings
from vqdiffusion_jax.data.scenes.held_out import is_held_out
from vqdiffusion_jax.data.scenes.words import STYLES

CONCEPTS = ("red apple", "cat face", "automobile")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Drawings that are squares of a colour of their own."""
    folder, rows, images = tmp_path_factory.mktemp("emoji"), [], []
    for concept in CONCEPTS:
        for style in STYLES:
            rows.append({"caption": concept, "style": style, "style_word": style})
            images.append(np.full((64, 64, 4), (10 * len(rows), 3, 3, 255), np.uint8))
    np.savez(folder / "emoji.npz", images=np.stack(images))
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Drawings(folder, CONCEPTS)


class Codec:
    """A codec whose token is the red of a cell's middle."""

    encoded = 0

    def encode(self, pictures):
        self.encoded += len(pictures)
        return pictures[:, 4::8, 4::8, 0].reshape(len(pictures), 64).astype(np.int32)


def test_a_prompt_is_true_of_every_style_that_it_leaves_open(drawings):
    name = question("names", 4, drawings)
    assert name.prompt == "cat face" and name.styles == [(style,) for style in STYLES]
    pair = question("pairs", 0, drawings)
    assert len(pair.scenes) == len(STYLES) ** 2 and len({scene.background for scene in pair.scenes}) == 1
    assert all(concept in pair.prompt for concept in (placed.concept for placed in pair.scenes[0].objects))
    caption = question("captions", 0, drawings)
    assert len(caption.scenes) == 1 and caption == question("captions", 0, drawings)
    assert "an automobile" in " ".join(question("pairs", number, drawings).prompt for number in range(20))


def test_wrong_tokens_are_those_that_differ_from_the_nearest_true_picture(drawings):
    codec = Codec()
    grids, asked = Grids(codec, drawings), question("names", 0, drawings)
    tokens = grids.of(asked.scenes)[3].copy()
    assert grids.nearest(asked, tokens) == (0, 3) and codec.encoded == len(STYLES)
    tokens[20:23] = 999
    assert grids.nearest(asked, tokens) == (3, 3) and codec.encoded == len(STYLES)  # each was encoded once


def test_calls_are_counted_until_the_last_mask_is_gone():
    path = np.array([[[9, 9], [9, 2], [1, 2], [1, 2]], [[9, 3], [1, 3], [1, 3], [1, 3]]])
    assert emoji_defaults.calls_made(path, {"strategy": "entropy_bound"}).tolist() == [3, 2]
    assert emoji_defaults.calls_made(path, {"strategy": "maskgit"}).tolist() == [4, 4]


def row(wrong, styles):
    kinds = {
        kind: {"wrong": wrong, "styles": [[style] for style in styles], "passes": [17] * len(wrong)} for kind in KINDS
    }
    kinds["names"]["concepts"] = ["red apple"] * len(wrong)
    return kinds | {"cpu_seconds": 1.0}


def test_figures_of_a_row_have_intervals():
    even = {"red apple": ["a", "b"]}
    found = summary(row([0, 2, 3, 64] * 25, ["a", "b"] * 50), even, np.random.default_rng(0))
    value, low, high = found["right"]["of_all"]
    assert value == 0.5 and 0.4 < low < value < high < 0.6 and found["passes"] == 17
    assert found["distance"][0] == 0 and 0 < found["distance"][2] < 0.2
    one = summary(row([0] * 100, ["a"] * 100), even, np.random.default_rng(0))
    np.testing.assert_allclose(one["distance"], 0.5**0.5)
    assert one["right"]["names"] == (1.0, 1.0, 1.0)
    foreign = summary(row([0] * 100, ["c"] * 100), even, np.random.default_rng(0))
    np.testing.assert_allclose(foreign["distance"], 1.5**0.5)


def test_the_distance_does_not_depend_on_the_number_of_pictures():
    """Shares of 0.7 and 0.3 in place of halves are 0.08 apart, squared."""
    rng = np.random.default_rng(0)

    def mean_square(count):
        drawn = (["a" if one < 0.7 else "b" for one in rng.random(count)] for _ in range(2000))
        shares = np.array([[of_it.count("a"), of_it.count("b")] for of_it in drawn]) / count
        return _square(shares, np.array([0.5, 0.5]), count).mean()

    np.testing.assert_allclose([mean_square(10), mean_square(100)], 0.08, atol=0.01)


def test_an_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    ends = [interval([rng.random(40) < 0.3], rng)[1:] for _ in range(60)]
    assert 50 <= sum(low <= 0.3 <= high for low, high in ends) <= 60


def test_chunks_are_kept_and_those_of_other_settings_are_not_taken(tmp_path, monkeypatch, drawings):
    monkeypatch.setattr(emoji_defaults, "ROWS", {"one": {"strategy": "purity"}})
    chunk = {"settings": {"strategy": "purity"}, "kind": "names", "first": 0, "wrong": [0, 1], "styles": [["a"], ["b"]]}
    chunk |= {"passes": [17, 17], "cpu_seconds": 1.5}
    lines = [json.dumps(chunk), json.dumps(chunk | {"settings": {"strategy": "maskgit"}}), json.dumps(chunk)[:20]]
    (tmp_path / "one.jsonl").write_text("\n".join(lines))
    assert emoji_defaults.chunks_of("one", tmp_path) == [chunk]
    monkeypatch.setattr(emoji_defaults, "CHUNK", 2)
    found = emoji_defaults.collected("one", tmp_path, drawings)
    assert found["names"]["wrong"] == [0, 1] and found["names"]["concepts"] == ["red apple", "cat face"]
    assert found["cpu_seconds"] == 1.5 and emoji_defaults.collected("two", tmp_path, drawings) is None


def test_the_page_names_the_best_row_within_the_passes():
    slow = row([0] * 32, ["a", "b"] * 16)
    slow["names"]["passes"] = slow["pairs"]["passes"] = slow["captions"]["passes"] = [200] * 32
    rows = {"slow": slow, "good": row([0, 0, 0, 9] * 8, ["a", "b"] * 16), "bad": row([9] * 32, ["a", "b"] * 16)}
    rows["dull"] = row([0] * 32, ["a"] * 32)
    made = page({"of": {"model": "m"}, "rows": rows, "seen_styles": {"red apple": ["a", "b"]}})
    assert "**good**" in made["emoji_defaults.md"] and made["emoji_defaults.svg"].startswith("<svg")
    assert "| 2. good | 17.0 | 75 % (" in made["emoji_defaults.md"]


def test_styles_of_training_are_those_that_are_not_held_out(drawings):
    for concept in CONCEPTS:
        assert [is_held_out(("style", concept, style)) for style in STYLES] == [
            style not in seen_styles(concept, drawings) for style in STYLES
        ]
