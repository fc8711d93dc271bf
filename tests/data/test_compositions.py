"""Compositions: picture, words and description agree, and what is held out is never trained on."""

import json
import pickle
import re

import numpy as np
import pytest

from vqdiffusion_jax.data.compositions.captions import caption
from vqdiffusion_jax.data.compositions.colours import HUES, palette_of, recoloured, visible_share
from vqdiffusion_jax.data.compositions.composition import Composition, Thing
from vqdiffusion_jax.data.compositions.grammar import Grammar
from vqdiffusion_jax.data.compositions.layouts import CANVAS, FULL, GROUPS, PAIRS, PLACES
from vqdiffusion_jax.data.compositions.prompts import read_prompts
from vqdiffusion_jax.data.compositions.render import render
from vqdiffusion_jax.data.compositions.tokens import TokenLibrary
from vqdiffusion_jax.data.compositions.vocabulary import Name, choose_concepts, names_of, read_vocabulary, with_article
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.scenes.held_out import is_held_out
from vqdiffusion_jax.data.scenes.words import COLOURS
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.errors import ConfigError, DataError
from vqdiffusion_jax.text.known_words import read_words, words_of, write_words

CONCEPTS = ["red apple", "cat face", "umbrella", "glasses", "glass of milk", "star", "letter a"]
STYLES = ["noto", "twemoji", "plain"]
FILL = {"red apple": (220, 30, 40), "umbrella": (90, 60, 200), "star": (250, 200, 40), "letter a": (47, 111, 219)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Discs of one colour a concept, in each style; grey where FILL names no colour."""
    folder = tmp_path_factory.mktemp("emoji")
    y, x = np.mgrid[:64, :64] - 31.5
    disc = (x**2 + y**2 < 28**2)[..., None]
    rows, images = [], []
    for style in STYLES:
        for concept in CONCEPTS:
            if (style == "plain") == (concept == "letter a"):
                colour = np.array([*FILL.get(concept, (70, 70, 70)), 255], np.uint8)
                images.append(np.where(disc, colour, np.uint8(0)))
                rows.append({"i": len(rows), "caption": concept, "style": style})
    np.savez(folder / "emoji.npz", images=np.stack(images))
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def opened(root, split="train", **options):
    data = DataConfig(source="compositions", root=str(root), options={"concepts": CONCEPTS} | options)
    return open_source(data, split)


@pytest.fixture(scope="module")
def source(root):
    return opened(root)


def test_an_example_depends_on_its_number_alone(source, root):
    again = pickle.loads(pickle.dumps(source))
    for i in (7, 0, 3_999_999):
        np.testing.assert_array_equal(source[i]["image"], again[i]["image"])
        assert source[i]["captions"] == again[i]["captions"]
        np.testing.assert_array_equal(source[i]["image"], render(source.composition(i), source.library))
    assert len({repr(source.composition(i)) for i in range(300)}) > 200
    assert opened(root, seed=1).composition(3) != source.composition(3)
    assert opened(root, "validation").composition(3) != source.composition(3)


def test_drawings_lie_on_the_grid_of_eight_pixels_and_apart():
    layouts = [FULL, *PLACES.values(), *PAIRS.values(), *(cells for ways in GROUPS.values() for cells in ways)]
    for cells in layouts:
        for x, y, side in cells:
            assert 0 <= min(x, y) and max(x, y) + side <= CANVAS
        middle = cells[:4] if len(cells) == 5 else cells
        assert {(x % 8, y % 8) for x, y, _ in middle} <= {(2, 2)} or cells == FULL
        covered = np.zeros((CANVAS, CANVAS), int)
        for x, y, side in cells:
            covered[y : y + side, x : x + side] += 1
        assert covered.max() == 1
    assert all(len(cells) == count for count, ways in GROUPS.items() for cells in ways)


@pytest.mark.parametrize("rate, axes", [(0.0, {"horizontal"}), (0.5, {"horizontal", "vertical"}), (1.0, {"vertical"})])
def test_pairs_lie_above_one_another_as_often_as_is_asked(root, rate, axes):
    grammar = dict(large=0.0, small=0.0, pair=1.0, count=0.0, mixed=0.0, vertical_rate=rate)
    pairs = opened(root, grammar=grammar)
    assert {pairs.composition(i).arrangement for i in range(40)} == axes


def test_pictures_show_so_many_drawings_in_their_colours(source):
    for i in range(300):
        composition = source.composition(i)
        picture = source[i]["image"].astype(int)
        assert sum(thing.count for thing in composition.things) == len(composition.cells)
        drawn = [thing for thing in composition.things for _ in range(thing.count)]
        for thing, (x, y, side) in zip(drawn, composition.cells, strict=True):
            shown = picture[y + side // 2, x + side // 2]
            expected = FILL.get(thing.concept, (70, 70, 70))
            assert thing.colour or np.abs(shown - expected).max() <= 2
            if thing.colour:
                patch = np.dstack([np.full((4, 4, 3), shown), np.full((4, 4, 1), 255)]).astype(np.uint8)
                assert palette_of(patch).word in (thing.colour, {"orange": "brown"}.get(thing.colour))
        assert (picture[0, 0] == COLOURS[composition.background]).all()


def facts_in(words):
    """The meaning of a caption, read without the code that wrote it."""
    relation = re.search(
        r"\b(left of|right of|on the left of|on the right of|above|over|on top of|below|under\w*)\b", words
    )
    number = re.search(r"\b(two|three|four|five|[2-5])\b", words)
    ground = re.search(
        r"\b(" + "|".join([*COLOURS, "gray"]) + r") background|\bon (" + "|".join([*COLOURS, "gray"]) + r")$", words
    )
    return {
        "relation": relation and relation[0],
        "number": number and number[0],
        "background": ground and (ground[1] or ground[2]).replace("gray", "grey"),
    }


def test_captions_say_only_what_is_so(source):
    told = dict.fromkeys(("relation", "number", "background"), 0)
    names = read_vocabulary()
    for i in range(1500):
        composition, words = source.composition(i), source[i]["captions"][0]
        assert words == words.lower() and "  " not in words and " ," not in words and not words.endswith(" ")
        for thing in composition.things:
            said = [name.plural if thing.count > 1 else name.text for name in names[thing.concept]]
            assert any(re.search(rf"\b{re.escape(name)}\b", words) for name in said), words
            if thing.colour and thing.style != "plain":
                assert thing.colour in words
        facts = facts_in(words)
        for name, fact in facts.items():
            told[name] += fact is not None
        assert (facts["background"] or "white") == composition.background, words
        assert (facts["number"] is not None) == (max(t.count for t in composition.things) > 1), words
        if composition.arrangement == "single" and composition.cells[0].side == 28:
            assert re.search(r"\b(small|little|tiny|left|right|top|bottom)\b", words)
        if facts["relation"]:
            vertical = facts["relation"].startswith(("above", "over", "on top", "below", "under"))
            assert composition.arrangement == ("vertical" if vertical else "horizontal")
    assert told["number"] > 150 and told["relation"] > 100 and told["background"] > 500, told


def test_relations_are_said_either_way_round(source):
    things = tuple(Thing(drawing=0, concept=c, style="noto") for c in ("red apple", "star"))
    composition = Composition(things=things, cells=PAIRS["horizontal"], background="white", arrangement="horizontal")
    words = {caption(composition, source.library, np.random.default_rng(i)) for i in range(400)}
    assert any(re.search(r"apple.* left of .*star", w) for w in words)
    assert any(re.search(r"star.* right of .*apple", w) for w in words)
    assert not any(re.search(r"star.* left of|apple.* right of", w) for w in words)


def test_training_never_shows_what_is_held_out(root, source):
    kinds = set()
    for i in range(400):
        assert not any(is_held_out(combination) for combination in source.composition(i).combinations)
    for combinations, wanted in (("held_out", {True}), ("both", {False, True})):
        validation = opened(root, "validation", combinations=combinations)
        found = [[c for c in validation.composition(i).combinations if is_held_out(c)] for i in range(200)]
        assert {bool(f) for f in found} == wanted
        kinds |= {c[0] for f in found for c in f}
    assert {"background", "relation"} <= kinds


def test_kinds_of_combinations_that_are_not_held_out_are_shown(root):
    """With one style, a concept of which that style is held out would never be seen."""
    source = opened(root, grammar={"kinds_held_out": ["background", "relation"]})
    kinds = {c[0] for i in range(400) for c in source.composition(i).combinations if is_held_out(c)}
    assert kinds and kinds <= {"style", "colour"}
    with pytest.raises(ConfigError, match="kinds_held_out has 'place'"):
        Grammar(kinds_held_out=("place",))


def test_of_each_concept_one_style_and_some_in_other_colours(root):
    styles = ["twemoji", "noto", "plain"]
    library = opened(root, styles=styles, one_style_each=True, recoloured=["star"]).library
    assert {tuple(library.styles_of(concept)) for concept in library.concepts} == {("twemoji",), ("plain",)}
    changing = {c for c in library.concepts for row in library.styles_of(c).values() if library.colours_of(row)}
    assert changing == {"star", "letter a"}  # a letter has no colour of its own
    with pytest.raises(DataError, match="recoloured names 'unicorn'"):
        opened(root, recoloured=["unicorn"])


def test_larger_pictures_are_the_same_larger(root, source):
    large = opened(root, size=128)
    for i in range(20):
        assert large.composition(i) == source.composition(i)
        means = large[i]["image"].reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert means.shape == source[i]["image"].shape
        assert np.abs(means - source[i]["image"]).mean() < 6


def test_all_concepts():
    concepts = choose_concepts("all")
    assert len(concepts) == len(set(concepts)) > 1002 and concepts[:2] == ["red apple", "cat face"]
    names = names_of(concepts)
    assert names["woman’s hat"] == (Name("woman's hat", "woman's hats"),)
    assert names["skis"][0].kind == "plural" and names["cat face"][0].text == "cat"


def test_the_vocabulary():
    names = read_vocabulary()
    spoken = [name.text for ways in names.values() for name in ways]
    assert len(names) > 350 and len(spoken) == len(set(spoken))  # a word means one thing
    assert Name.parse("cherry").plural == "cherries" and Name.parse("box").plural == "boxes"
    assert Name.parse("mouse>mice") == Name("mouse", "mice") and Name.parse("toy").plural == "toys"
    assert Name.parse("glasses*").kind == "plural" and Name.parse("milk~").kind == "mass"
    articles = {"apple": "an", "unicorn": "a", "ufo": "a", "8 ball": "an", "owl": "an", "orange fish": "an"}
    assert all(with_article(word).startswith(article + " ") for word, article in articles.items())


def test_prompts_ask_for_what_the_vocabulary_has():
    prompts, names = read_prompts(), read_vocabulary()
    assert len({prompt.prompt for prompt in prompts}) == len(prompts) == 200
    assert {prompt.kind for prompt in prompts} == {
        "name", "synonym", "count", "colour", "pair", "relation", "background"
    }  # fmt: skip
    for prompt in prompts:
        assert prompt.background in ("", *COLOURS) and prompt.relation in ("", "left of", "above")
        for thing in prompt.objects:
            assert all(concept in names for concept in thing.concepts)
            assert 1 <= thing.count <= 5 and thing.colour in ("", *HUES)


@pytest.mark.parametrize("colour", HUES)
def test_a_drawing_takes_another_colour_and_keeps_its_shading(colour):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[:, :4, :3], rgba[:, 4:, :3] = (220, 40, 50), (160, 20, 30)
    rgba[0, 0, :3] = 255  # white stays white
    palette = palette_of(rgba)
    assert palette.word == "red" and palette.can_change
    changed = recoloured(rgba, palette, colour)
    assert palette_of(changed).word == colour
    assert changed[0, 0].tolist() == [255] * 4
    assert changed[4, 2, :3].sum() > changed[4, 6, :3].sum()


def test_what_does_not_show_on_its_background_is_left_out(root):
    white = np.full((8, 8, 4), 255, np.uint8)
    assert visible_share(white, COLOURS["white"]) == 0 and visible_share(white, COLOURS["black"]) == 1
    source = opened(root)
    assert not any(
        thing.colour == composition.background
        for composition in map(source.composition, range(600))
        for thing in composition.things
    )


def test_mistakes_are_named(root):
    def refused(match, error=DataError, **options):
        with pytest.raises(error, match=match) as raised:
            opened(root, **options)
        assert "\n" not in str(raised.value)

    refused("size is 96", size=96)
    refused("concepts is 'every'", concepts="every")
    refused("training shows 'seen' ones only", combinations="both")
    refused("no drawings in the style 'none'", styles=["none"])
    refused("'flying pig', which neither", concepts=["star", "flying pig"])
    refused("must sum to 1", ConfigError, grammar={"large": 0.9})
    with pytest.raises(ConfigError, match="white_rate is 2"):
        Grammar(white_rate=2)
    with pytest.raises(DataError, match="concepts is 1;"):
        choose_concepts(1)


def test_tokens_put_together_are_those_of_the_picture(source):
    """The codec here makes four numbers of each square of 8 x 8 pixels, which all of its pixels change."""
    calls = []

    def encode(images):
        calls.append(len(images))
        squares = images.reshape(-1, 8, 8, 8, 8, 3).swapaxes(2, 3).astype(np.int64)
        weights = np.arange(1, 4 * 192 + 1).reshape(4, 8, 8, 3) % 101
        sums = np.einsum("nijyxc,kyxc->nijk", squares, weights) % 1000
        return sums.reshape(-1, 8, 8, 2, 2).swapaxes(2, 3).reshape(-1, 256)

    tokens = TokenLibrary(source.library, encode)
    wholes = np.stack([encode(source[i]["image"][None])[0] for i in range(400)])
    found = [tokens.tokens(source.composition(i)) for i in range(400)]
    np.testing.assert_array_equal(found, wholes)
    calls.clear()
    for i in range(400):
        tokens.tokens(source.composition(i))
    fives = sum(len(source.composition(i).cells) == 5 for i in range(400))
    assert len(calls) <= fives < 40  # the middle one of five meets its neighbours


def test_known_words_are_those_of_the_captions(source, tmp_path):
    """Whatever a caption says is known; of the words besides names, all that this library's drawings allow are said."""
    rng, known, said = np.random.default_rng(0), source.known_words, set()
    for index in range(4000):
        text = caption(source.composition(index), source.library, rng)
        assert known.unknown(text) == [], text
        said.update(words_of(text))
    # Styles and colours that none of these drawings has are words of other libraries' captions.
    other = {"3d", "outlined", "gradient", "simple", "cartoon", "brown"}
    assert known.words <= said | other, known.words - said
    assert known.names[:2] == ("apple", "cat") and {"kitty", "glass of milk"} <= set(known.names)
    assert known.unknown("two kittens on a zorbl") == ["zorbl"] and known.nearest("umbrela") == "umbrella"
    write_words(tmp_path, known)
    assert read_words(tmp_path) == known
