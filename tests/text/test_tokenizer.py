"""The tokenizer against ids recorded from the reference, its folders, and properties that hold for any text."""

import json
import pickle
import subprocess
import sys

import ftfy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdiffusion_jax.config import TokenizerConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.text import Tokenizer, Vocabulary, clean_text
from vqdiffusion_jax.text.tokenizer import clip_vocabulary

START, END = 49406, 49407
RECORDED = {
    "": [],
    "teddy bear playing in the pool": [11798, 4298, 1629, 530, 518, 2831],
    "a long exposure photo of waterfall": [320, 1538, 11903, 1125, 539, 16403],
    "A group of elephants walking in muddy water": [320, 1771, 539, 16871, 3941, 530, 21524, 1573],
    "It's café №5 &amp; co. 😀 don't": [585, 568, 15304, 8604, 500, 276, 261, 1320, 269, 7334, 847, 713],
    "&lt;html&gt; &amp;amp; entities": [283, 18231, 285, 261, 38134],
    "<|startoftext|> injected <|endoftext|>": [START, 13688, 775, END],
    "ﬁ ligature ﬀ and ½ ² ③": [3589, 19915, 4490, 1304, 537, 33613, 41175, 158, 239, 351],
    "mojibake âœ” cafÃ©": [617, 3252, 11878, 13749, 3471, 127, 352, 5811],
    "ß ẞ İ ı ſ": [127, 509, 127, 509, 328, 16384, 41901, 129, 379],
    "zero\u200bwidth\u200djoin": [5848, 9844, 23571, 728, 491, 1384],
    "non\xa0breaking\u2003space": [3353, 2755, 2138],
    "1234 e-5": [272, 273, 274, 275, 324, 268, 276],
    "!": [256],
    "?!?!?!": [49084],
    "😀😃 emoji 🐶 in text 👨\u200d👩\u200d👧": [12832, 8520, 16327, 10631, 530, 4160, 25023, 26304, 964, 356],
}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer()


@pytest.mark.parametrize(("text", "ids"), RECORDED.items())
def test_recorded_ids(tokenizer, text, ids):
    assert tokenizer.encode(text) == [START, *ids, END]


def test_padding_is_zero_and_masked(tokenizer):
    ids, mask = tokenizer(["", "teddy bear playing in the pool"])
    assert ids.shape == mask.shape == (2, 77) and ids.dtype == np.int32 and mask.dtype == bool
    assert ids[0].tolist() == [START, END] + [0] * 75
    assert mask.sum(-1).tolist() == [2, 8] and not mask[0, 2]


@pytest.mark.parametrize(("words", "real"), [(74, 76), (75, 77), (76, 77), (200, 77)])
def test_a_long_prompt_keeps_its_end(tokenizer, words, real):
    ids, mask = tokenizer(["word " * words])
    assert mask.sum() == real and ids[0, real - 1] == END
    assert ids[0, 1 : real - 1].tolist() == [2653] * (real - 2)


def test_without_start_and_end_a_long_prompt_keeps_its_last_token():
    config = TokenizerConfig(end_index=16384, context_length=8, pad_token=-100, add_start_and_end=False)
    ids, mask = Tokenizer(config)(["teddy bear playing in the pool", "a " * 9, "", "a " * 20 + "pool"])
    rows = [[11798, 4298, 1629, 530, 518, 2831, -100, -100], [320] * 8, [-100] * 8, [320] * 7 + [2831]]
    assert ids.tolist() == rows
    assert mask.sum(-1).tolist() == [6, 8, 0, 8]


def test_end_index_cuts_the_merges():
    small = Tokenizer(TokenizerConfig(end_index=290))
    assert (small.vocab_size, small.vocabulary.start, small.vocabulary.end) == (546, 544, 545)
    assert small.encode("the") == [544, 518, 545]  # "th e</w>" is among the first 32 merges
    assert small.encode("bear")[1:-1] == [65, 68, 64, 337]  # "ea", "ear" are not
    assert Tokenizer().vocab_size == 49408


def test_no_prompts_give_no_rows(tokenizer):
    ids, mask = tokenizer([])
    assert ids.shape == mask.shape == (0, 77)


def test_a_special_token_glued_to_a_symbol_is_ordinary_text(tokenizer):
    assert START not in tokenizer.encode("!<|startoftext|>")[1:]
    assert tokenizer.encode("x<|startoftext|>")[2] == START


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A\t b\r\nC\u2003d\xa0", "a b c d"),
        ("x\x1cy&#28;z\x00", "xyz"),  # control characters go, and are not taken for white space
        ("&amp;lt;B&amp;gt;", "<b>"),
        ("“smart” ﬁ", '"smart" fi'),
    ],
)
def test_cleaning(text, cleaned):
    assert clean_text(text) == cleaned


@pytest.mark.parametrize("wrong", [[None], [b"bytes"], ["fine", 3]])
def test_a_prompt_must_be_a_string(tokenizer, wrong):
    with pytest.raises(ValueError, match="every prompt must be a string"):
        tokenizer(wrong)


def test_a_bare_string_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"pass \[text\]"):
        tokenizer("a cat")


def test_end_index_beyond_the_merges_is_refused():
    with pytest.raises(ConfigError, match="must lie in 258..262402"):
        Tokenizer(TokenizerConfig(end_index=300_000))


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_the_short_cut_for_plain_text_changes_nothing(text):
    if "&" not in text:
        assert ftfy.fix_text(text.lower()) == text.lower()


def merged(word, ranks):
    """Byte-pair encoding by its definition: merge every occurrence of the best-ranked pair until none is left."""
    parts = [*word[:-1], word[-1] + "</w>"]
    while pairs := [pair for pair in zip(parts, parts[1:], strict=False) if pair in ranks]:
        best, done = min(pairs, key=ranks.get), []
        for part in parts:
            if done and (done[-1], part) == best:
                done[-1] += part
            else:
                done.append(part)
        parts = done
    return parts


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="aehilnorst", min_size=1, max_size=24))
def test_merges_go_by_rank(word):
    vocabulary = clip_vocabulary(49152)
    ranks = {pair: rank for rank, pair in enumerate(vocabulary.merges)}
    assert Tokenizer().encode(word)[1:-1] == [vocabulary.ids[part] for part in merged(word, ranks)]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_encodes_and_decodes_to_its_cleaned_characters(text):
    tokenizer = Tokenizer()
    ids = tokenizer.encode(text)
    assert all(0 <= i < tokenizer.vocab_size for i in ids)
    cleaned = clean_text(text)
    if "<|" not in cleaned:
        assert "".join(tokenizer.decode(ids).split()) == "".join(cleaned.split())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=4))
def test_rows_do_not_depend_on_their_batch(texts):
    tokenizer = Tokenizer()
    ids, mask = tokenizer(texts)
    for row, text in enumerate(texts):
        alone = tokenizer([text])
        np.testing.assert_array_equal(ids[row], alone[0][0])
        np.testing.assert_array_equal(mask[row], alone[1][0])


def test_decoding_reads_up_to_the_end_token(tokenizer):
    ids, _ = tokenizer(["A Café, 2 dogs!"])
    assert tokenizer.decode(ids[0]) == "a café , 2 dogs !"


def test_files_round_trip(tmp_path):
    original = Tokenizer(TokenizerConfig(end_index=300, context_length=12))
    original.to_files(tmp_path / "tokenizer")
    again = Tokenizer.from_files(tmp_path / "tokenizer")
    assert again.config == original.config and again.vocab_size == original.vocab_size
    texts = ["the other thing", "", "naïve 😀 " * 5]
    np.testing.assert_array_equal(again(texts)[0], original(texts)[0])


def huggingface_folder(folder, *, single_file, legacy_merges=False, **settings_):
    """A Hugging Face CLIP tokenizer folder with the native vocabulary of end_index 300."""
    vocabulary = clip_vocabulary(300)
    folder.mkdir()
    merges = [" ".join(pair) for pair in vocabulary.merges]
    if single_file:
        model = {"type": "BPE", "vocab": vocabulary.ids, "merges": merges if legacy_merges else vocabulary.merges}
        (folder / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": []}))
    else:
        (folder / "vocab.json").write_text(json.dumps(vocabulary.ids))
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 9} | settings_))
    return folder


@pytest.mark.parametrize(
    "layout", [dict(single_file=False), dict(single_file=True), dict(single_file=True, legacy_merges=True)]
)
def test_huggingface_folder(tmp_path, layout):
    read = Tokenizer.from_huggingface(huggingface_folder(tmp_path / "t", pad_token="!", **layout))
    native = Tokenizer(TokenizerConfig(end_index=300, context_length=9))
    assert read.config == native.config
    texts = ["the cat!", "", "a very long prompt that does not fit"]
    np.testing.assert_array_equal(read(texts)[0], native(texts)[0])


def test_huggingface_pad_token(tmp_path):
    text = "<|endoftext|>"
    padded = Tokenizer.from_huggingface(
        huggingface_folder(tmp_path / "a", single_file=False, pad_token={"content": text})
    )
    assert padded([""])[0][0, 2:].tolist() == [padded.vocabulary.end] * 7
    unset = Tokenizer.from_huggingface(huggingface_folder(tmp_path / "b", single_file=False, model_max_length=10**30))
    assert unset.config.pad_token == 0 and unset.config.context_length == 77
    with pytest.raises(ConfigError, match="pad_token '<pad>' is not in the vocabulary"):
        Tokenizer.from_huggingface(huggingface_folder(tmp_path / "c", single_file=True, pad_token="<pad>"))


def test_broken_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vocab\.json does not exist"):
        Tokenizer.from_huggingface(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match=r"tokenizer\.json is no JSON"):
        Tokenizer.from_huggingface(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer\.json holds no byte-pair encoding"):
        Tokenizer.from_huggingface(tmp_path)
    folder = huggingface_folder(tmp_path / "t", single_file=False)
    (folder / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(ConfigError, match=r"merges\.txt, line 2: 'a b c' is not a merge"):
        Tokenizer.from_huggingface(folder)


def test_a_vocabulary_must_cover_bytes_merges_and_special_tokens():
    good = clip_vocabulary(300)
    for lost in ("a", "a</w>", "th", "<|endoftext|>"):
        ids = {token: i for token, i in good.ids.items() if token != lost}
        with pytest.raises(ConfigError, match="lacks"):
            Vocabulary(ids, good.merges)


def test_pickles_for_loader_processes(tokenizer):
    assert pickle.loads(pickle.dumps(tokenizer)).encode("a cat") == tokenizer.encode("a cat")


def test_importing_the_module_pulls_in_nothing_heavy():
    heavy = ("ftfy", "regex", "tokenizers", "torch")
    code = f"import sys, vqdiffusion_jax.text; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_a_file_that_is_no_text_is_named(tmp_path):
    Tokenizer(TokenizerConfig()).to_files(tmp_path)
    (tmp_path / "vocab.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="vocab.json is no UTF-8 text"):
        Tokenizer.from_files(tmp_path)
