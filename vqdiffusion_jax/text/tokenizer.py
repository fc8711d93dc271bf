"""CLIP's byte-pair encoding, token for token as in the reference.

Cleaning and splitting follow OpenAI CLIP's SimpleTokenizer as called by the reference's text codec; the merges run in
the ``tokenizers`` library.  Heavy imports (tokenizers, regex, ftfy) wait for the first tokenizer.
"""

from __future__ import annotations

import functools
import gzip
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from ..config import TokenizerConfig, from_dict, to_dict
from ..errors import ConfigError, shown
from ..user_files import parse_json, read_text

MERGES_ASSET = "bpe_simple_vocab_16e6.txt.gz"
WORD_END = "</w>"
START_TOKEN, END_TOKEN = "<|startoftext|>", "<|endoftext|>"
_MOST_BYTES = 2**26  # of a tokenizer's file
_MOST_TOKENS = 2**24
_MERGES_HEADER = "#version: 0.2"
_SETTINGS_FILE, _VOCABULARY_FILE, _MERGES_FILE = "config.json", "vocab.json", "merges.txt"


@functools.cache
def byte_symbols() -> tuple[str, ...]:
    """Return the 256 characters that stand for bytes in the vocabulary, in id order: printable bytes first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    # A byte that prints is its own symbol; the others borrow code points from 256 on.
    return tuple(chr(b) for b in printable) + tuple(chr(256 + i) for i in range(256 - len(printable)))


@functools.cache
def _bytes_of_symbols() -> dict[str, int]:
    symbols = byte_symbols()
    own = {ord(s) for s in symbols if ord(s) < 256}
    borrowed = [b for b in range(256) if b not in own]
    return {s: ord(s) if ord(s) < 256 else borrowed[ord(s) - 256] for s in symbols}


def clean_text(text: str) -> str:
    """Return text as CLIP cleans captions: lower case, without encoding accidents, HTML entities, runs of white space.

    Raises ValueError for anything but a string.
    """
    if not isinstance(text, str):
        raise ValueError(f"a prompt is {type(text).__name__} {text!r:.40}; every prompt must be a string")
    text = text.lower()
    # ftfy changes nothing in printable ASCII without entities, and is slow.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A vocabulary: token ids and merges, most frequent first.

    Raises ConfigError if an id is no whole number from 0 on, or a byte, merge or special token has no id.
    """

    ids: dict[str, int]
    merges: tuple[tuple[str, str], ...]
    start_token: str = START_TOKEN
    end_token: str = END_TOKEN

    def __post_init__(self):
        def require(token: object, what: str) -> None:
            if not isinstance(token, str) or token not in self.ids:
                raise ConfigError(
                    f"the tokenizer's vocabulary lacks {shown(token)} ({what}); "
                    "vocabulary and merges must be of one model"
                )

        for token, index in self.ids.items():
            if type(index) is not int or not 0 <= index < _MOST_TOKENS:
                raise ConfigError(
                    f"the tokenizer's vocabulary gives {shown(token)} the id {shown(index)}; "
                    f"ids are whole numbers from 0 to {_MOST_TOKENS - 1}"
                )

        for symbol in byte_symbols():
            require(symbol, "a byte")
            require(symbol + WORD_END, "a byte that ends a word")
        for pair in self.merges:
            require("".join(pair), "made by a merge")
        require(self.start_token, "start of text")
        require(self.end_token, "end of text")

    @property
    def start(self) -> int:
        """Id of the start of text."""
        return self.ids[self.start_token]

    @property
    def end(self) -> int:
        """Id of the end of text."""
        return self.ids[self.end_token]


@functools.lru_cache(maxsize=4)
def clip_vocabulary(end_index: int = 49152) -> Vocabulary:
    """Return CLIP's vocabulary cut to ``end_index`` as in the reference.

    It has 256 bytes, 256 bytes that end a word, end_index - 258 merges and 2 special tokens.
    """
    packed = resources.files("vqdiffusion_jax").joinpath("assets", MERGES_ASSET).read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1:-1]
    count = end_index - 258
    if not 0 <= count <= len(lines):
        raise ConfigError(
            f"TokenizerConfig.end_index={end_index} must lie in 258..{len(lines) + 258}; there are {len(lines)} merges"
        )
    pairs = (line.split() for line in lines[:count])
    merges = tuple((left, right) for left, right in pairs)
    symbols = byte_symbols()
    tokens = [*symbols, *(s + WORD_END for s in symbols), *map("".join, merges), START_TOKEN, END_TOKEN]
    return Vocabulary({token: i for i, token in enumerate(tokens)}, merges)


@functools.lru_cache(maxsize=4)
def _clip_encoder(end_index: int):
    return _build_encoder(clip_vocabulary(end_index))


def _build_encoder(vocabulary: Vocabulary):
    """Return the library's encoder of words that are split already."""
    from tokenizers import AddedToken, models, pre_tokenizers
    from tokenizers import Tokenizer as Encoder

    encoder = Encoder(models.BPE(vocab=vocabulary.ids, merges=list(vocabulary.merges), end_of_word_suffix=WORD_END))
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    special = (vocabulary.start_token, vocabulary.end_token)
    encoder.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return encoder


@functools.lru_cache(maxsize=4)
def _word_pattern(start_token: str, end_token: str):
    """Return the pattern of words, for `regex` as in the reference: the library's own engine splits special tokens."""
    import regex

    special = "|".join(map(regex.escape, (start_token, end_token)))
    return regex.compile(rf"{special}|'s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE)


class Tokenizer:
    """A tokenizer of prompts, which gives padded ids.

    ``Tokenizer(config)`` has CLIP's vocabulary; ``from_huggingface`` and ``from_files`` read another.  Special tokens
    written out in a prompt count as special tokens, as in the reference.
    """

    def __init__(self, config: TokenizerConfig = TokenizerConfig(), vocabulary: Vocabulary | None = None):
        self.config = config
        self.vocabulary = vocabulary or clip_vocabulary(config.end_index)
        self._encoder = _build_encoder(vocabulary) if vocabulary else _clip_encoder(config.end_index)

    @property
    def vocab_size(self) -> int:
        """Number of rows in a text tower's token table."""
        return max(self.vocabulary.ids.values()) + 1

    def encode(self, text: str) -> list[int]:
        """Return the ids of one prompt, neither cut nor padded, with start and end if the config adds them."""
        words = _word_pattern(self.vocabulary.start_token, self.vocabulary.end_token).findall(clean_text(text))
        ids = self._encoder.encode(words, is_pretokenized=True, add_special_tokens=False).ids if words else []
        return [self.vocabulary.start, *ids, self.vocabulary.end] if self.config.add_start_and_end else ids

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokenize a list of n prompts.

        Returns:
            ids: (n, context_length) int32, padded with ``config.pad_token``.  A longer prompt loses tokens before its
                last one, which is the end of text if the config adds it.
            mask: (n, context_length) bool, True on tokens, False on padding.

        Raises:
            ValueError: for a bare string or a prompt that is not a string.
        """
        if isinstance(texts, str):
            raise ValueError(f"Tokenizer takes a list of prompts, got the string {texts!r:.40}; pass [text]")
        config = self.config
        ids = np.full((len(texts), config.context_length), config.pad_token, np.int32)
        mask = np.zeros(ids.shape, bool)
        for row, text in enumerate(texts):
            tokens = self.encode(text)
            if len(tokens) > config.context_length:
                tokens = [*tokens[: config.context_length - 1], tokens[-1]]
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = True
        return ids, mask

    def decode(self, ids: Sequence[int]) -> str:
        """Return the cleaned text of one prompt's ids, up to the end token, with one space between words."""
        tokens = []
        for index in map(int, ids):
            if index == self.vocabulary.end:
                break
            if index != self.vocabulary.start and index in self._tokens:
                tokens.append(self._tokens[index])
        words = "".join(tokens).split(WORD_END)
        byte = _bytes_of_symbols()
        return " ".join(bytes(byte[symbol] for symbol in word).decode("utf-8", "replace") for word in words).strip()

    @functools.cached_property
    def _tokens(self) -> dict[int, str]:
        return {index: token for token, index in self.vocabulary.ids.items()}

    def to_files(self, folder: str | Path) -> None:
        """Write vocab.json, merges.txt and config.json into ``folder``, which is made if it is absent."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        vocabulary = self.vocabulary
        settings = to_dict(self.config) | {"start_token": vocabulary.start_token, "end_token": vocabulary.end_token}
        lines = [_MERGES_HEADER, *(" ".join(pair) for pair in vocabulary.merges)]
        _write(folder / _VOCABULARY_FILE, json.dumps(vocabulary.ids, ensure_ascii=False))
        _write(folder / _MERGES_FILE, "\n".join(lines) + "\n")
        _write(folder / _SETTINGS_FILE, json.dumps(settings, indent=2) + "\n")

    @classmethod
    def from_files(cls, folder: str | Path) -> Tokenizer:
        """Read what ``to_files`` wrote.  Raises FileNotFoundError or ConfigError naming the file."""
        folder = Path(folder)
        settings = _read_json(folder / _SETTINGS_FILE)
        specials = {name: settings.pop(name) for name in ("start_token", "end_token") if name in settings}
        config = from_dict(TokenizerConfig, settings, where=str(folder / _SETTINGS_FILE))
        return cls(config, Vocabulary(*_read_vocabulary(folder), **specials))

    @classmethod
    def from_huggingface(cls, folder: str | Path) -> Tokenizer:
        """Read the tokenizer folder of a Hugging Face CLIP (tokenizer.json, or vocab.json and merges.txt).

        Ids, special tokens, pad token and length come from the folder.  The text treatment stays the reference's, so
        that a prompt too long keeps its end token and a pad symbol written in a prompt is ordinary text.  Without a pad
        token in the folder, padding is 0 as in all VQ-Diffusion models.  Raises FileNotFoundError or ConfigError naming
        the file.
        """
        folder = Path(folder)
        settings: dict = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).exists():
                settings |= _read_json(folder / name)
        ids, merges = (
            _read_tokenizer_json(folder / "tokenizer.json")
            if (folder / "tokenizer.json").exists()
            else _read_vocabulary(folder)
        )
        vocabulary = Vocabulary(
            ids,
            merges,
            start_token=_token_text(settings.get("bos_token")) or START_TOKEN,
            end_token=_token_text(settings.get("eos_token")) or END_TOKEN,
        )
        pad = _token_text(settings.get("pad_token"))
        if pad is not None and (not isinstance(pad, str) or pad not in ids):
            raise ConfigError(
                f"{folder}: pad_token {shown(pad)} is not in the vocabulary; name one that is in tokenizer_config.json"
            )
        length = settings.get("model_max_length", 77)
        config = TokenizerConfig(
            end_index=len(merges) + 258,
            # Transformers writes 1e30 where a tokenizer sets no limit; CLIP's is 77.
            context_length=length if isinstance(length, int) and 0 < length < 10**6 else 77,
            pad_token=0 if pad is None else ids[pad],
        )
        return cls(config, vocabulary)


def _token_text(token: str | dict | None) -> str | None:
    """Return the text of a special token, which transformers writes as text or as a table with ``content``."""
    return token.get("content") if isinstance(token, dict) else token


def _read_tokenizer_json(path: Path) -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    data = _read_json(path)
    model = data.get("model") or {}
    if not isinstance(model, dict) or not {"vocab", "merges"} <= model.keys():
        raise ConfigError(
            f"{path} holds no byte-pair encoding (model.vocab and model.merges); it must be a CLIP tokenizer's"
        )
    try:
        added = {token["content"]: token["id"] for token in data.get("added_tokens", ())}
        merges = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
        return model["vocab"] | added, tuple(("" + left, "" + right) for left, right in merges)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} holds no vocabulary and merges of text; it must be a CLIP tokenizer's") from error


def _read_vocabulary(folder: Path) -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    ids = _read_json(folder / _VOCABULARY_FILE)
    path = folder / _MERGES_FILE
    merges = []
    for number, line in enumerate(_read(path).split("\n")):
        if not line.strip() or (number == 0 and line.startswith("#version")):
            continue
        pair = tuple(line.split())
        if len(pair) != 2:
            raise ConfigError(
                f"{path}, line {number + 1}: {line!r:.40} is not a merge; it must be two tokens with one space between"
            )
        merges.append(pair)
    if not merges and len(ids) > 2 * 256 + 2:  # more than the bytes, alone and at the end of a word, and two marks
        raise ConfigError(f"{path} holds no merges, though {_VOCABULARY_FILE} has {len(ids)} tokens; fetch it again")
    return ids, tuple(merges)


def _read(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; a tokenizer folder has vocab.json and merges.txt, or tokenizer.json"
        )
    try:
        return read_text(path, most=_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}; fetch it again") from error
    except ValueError as error:
        raise ConfigError(f"{error}; or fetch it again") from error


def _read_json(path: Path) -> dict:
    text = _read(path)
    try:
        data = parse_json(text, str(path))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds a {type(data).__name__}; it must be a JSON table")
    return data


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
