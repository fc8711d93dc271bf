"""Words that a model was taught: what is said of prompts with others, and the file in a model folder."""

import json
import warnings

import pytest

from tests.networks import random_network
from tests.told import own
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.data.scenes.concepts import EMBEDDED, choose_concepts
from vqdiffusion_jax.data.sources.scenes import words_of_scenes
from vqdiffusion_jax.embedded import folder_of
from vqdiffusion_jax.errors import CheckpointError, UnknownWordsWarning
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.text.known_words import FILE, KnownWords, read_words, write_words

WORDS = KnownWords(
    ("red apple", "car"), frozenset({"a", "on", "red", "background"}), {"auto": "car", "fruit": "red apple"}
)


@pytest.fixture(scope="module")
def tiny():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")), known_words=WORDS)


@pytest.mark.parametrize("prompt", ["", "a car", "A RED APPLE!", "Red apple, on a red background.", "apple", "?!"])
def test_nothing_is_said_of_words_that_were_taught(prompt):
    assert WORDS.told(prompt) == ""


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("auto", "car"),
        ("autos", "car"),
        ("cars", "car"),
        ("car's", "car"),
        ("appel", "red apple"),
        ("apples", "red apple"),
        ("backgruond", "background"),
        ("fruits", "red apple"),
        ("no", ""),
        ("tackground", ""),  # people seldom mistype the first letter
        ("world", ""),
        ("赤い", ""),
        ("x" * 10_000, ""),
    ],
)
def test_the_nearest_known_name_is_offered(word, nearest):
    assert WORDS.unknown(f"a {word}, {word.upper()}") == [word]
    assert WORDS.nearest(word) == nearest


def test_one_line_names_the_words_and_what_is_known():
    assert WORDS.told("an auto") == (
        'the model was not taught "an", "auto" (did you mean car?); it draws something, but not what that says'
    )
    assert WORDS.told("hello").endswith(
        'taught "hello"; it draws something, but not what that says. It knows red apple, car'
    )
    long = WORDS.told(" ".join(f"w{number}" for number in range(1000)))
    assert "and 995 more;" in long and len(long) < 300
    lines = WORDS.told_of_all([*(f"w{number}" for number in range(10)), "w1", "car"])
    assert len(lines) == 4 and lines[-1].endswith("taught: 7")


def test_what_is_said_of_a_strangers_words_is_one_printable_line():
    said = KnownWords(("evil\x1b[2J\nname",)).told("a \u202ecat")
    assert said.isprintable() and "evil" in said and "cat" in said


def test_the_embedded_model_of_scenes_carries_the_words_of_its_training():
    words = read_words(folder_of("emoji16"))
    assert words == words_of_scenes(choose_concepts(EMBEDDED))
    for word, name in {"car": "automobile", "puppy": "dog face", "kittens": "cat face", "burger": "hamburger"}.items():
        assert words.nearest(word) == name


def test_a_folder_without_words_is_silent_and_a_damaged_one_is_named(tmp_path):
    assert read_words(tmp_path) is None
    write_words(tmp_path, WORDS)
    assert read_words(tmp_path) == WORDS
    for text in ("[]", "{", '{"names": "a"}', '{"names": [1]}', '{"names": [], "synonyms": {"a": 1}}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(CheckpointError, match=FILE):
            read_words(tmp_path)
    (tmp_path / FILE).write_text(json.dumps({"names": ["car"]}))
    assert read_words(tmp_path) == KnownWords(("car",))


def test_a_call_warns_of_a_prompt_once(tiny):
    with pytest.warns(UnknownWordsWarning, match='"dog"') as told:
        tiny(["a dog", "a dog", "a car"], num_inference_steps=1, output_type="tokens")
    assert [one.filename for one in own(told)] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny(["a dog", "a car"], num_inference_steps=1, output_type="tokens")


def test_words_go_where_the_model_goes(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "saved")
    assert VQDiffusionPipeline.from_pretrained(tmp_path / "saved").known_words == WORDS
