"""An inspection of a data set: what is in it, what is left out of it and why, and a look at examples."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..config import ModelConfig, VQGANConfig
from ..errors import BrokenRecord, MissingCaption, printable, shortened
from ..pictures import colour_of
from ..text.tokenizer import Tokenizer
from .account import Account, account_of
from .captions import captions_in
from .config import DataConfig
from .examples import CachedExamples, PictureExamples, decoded, read_record, tokenizer_config
from .loader import Batches
from .records import Source
from .summary import classes_of
from .token_cache import TokenCache

WIDTH, HEIGHT = 80, 40  # of a screen, in characters, where there is none
_REASON_WIDTH = 46
_THREADS = 4
_ATTEMPTS = 3  # names that a row of the table shows
_FEWEST = 2  # rows of reasons
_UNUSABLE = "cannot be used: "
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CELL, _MARGIN, _TEXT_LINES, _LINE = 128, 8, 3, 14  # pixels of a contact sheet


_Reason = tuple[str, int, list[str]]  # with the number of its files and the first names


@dataclass
class Inspection:
    """The facts found in one split of a data set.

    examples: of the split.  read: of these, the ones that were looked at.  captions: the number of captions of each
    example that was read and has any.  sizes: (width, height) of each picture.  account: what is left out, with the
    examples that cannot be used.  tokens: those of a token cache in words.
    """

    where: str
    split: str
    examples: int
    read: int
    classes: str
    account: Account
    captions: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    tokens: str = ""


def inspect(
    source: Source, config: DataConfig, model: ModelConfig | VQGANConfig, split: str, *, most: int
) -> Inspection:
    """Read at most ``most`` examples, spread over the split, and return what was found."""
    account = Account()
    account.add(account_of(source).to_table())
    indices = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).round().astype(int)).tolist()
    found = Inspection(
        f"{config.source} at {config.root}", split, len(source), len(indices), classes_of(source), account
    )
    examples = _examples(source, config, model)

    def look(index: int) -> tuple[tuple[int, int] | None, int, BrokenRecord | None]:
        try:
            record = read_record(source, index)
            size = decoded(record).size
            examples(index, None)
        except BrokenRecord as error:
            return None, 0, error
        try:
            return size, len(captions_in(record.get("captions", ()))), None
        except ValueError:  # captions that this model does not read
            return size, 0, None

    with ThreadPoolExecutor(_THREADS) as pool:
        for size, count, error in pool.map(look, indices):
            if error is not None:
                account.left_out(kind_of(error), f"{error.name}")
            elif size is not None:
                found.sizes.append(size)
                found.captions.append(count)
    return found


def kind_of(error: BrokenRecord) -> str:
    """Return the reason why an example cannot be used, the same for all of a kind."""
    if isinstance(error, MissingCaption):
        return "without a caption"
    return _UNUSABLE + shortened(error.reason.partition(":")[2].strip() or error.reason, 120)


def table(found: Sequence[Inspection], files: Sequence[str], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return a table of at most ``width`` columns, 80 or more, and ``height`` lines, 24 or more.

    What is left out of all splits for the same reason stands there once.
    files: lines that say what was written.
    """
    rows = [row for one in found for row in _facts(one)]
    notes = list(dict.fromkeys(note for one in found for note in one.account.notes))
    most = 4 if height >= HEIGHT else 2
    kept = notes if len(notes) <= most else [*notes[: most - 1], f"{len(notes) - most + 1} more"]
    rows += [f"{'  note':<11}{note}" for note in kept]
    groups = _groups(found)
    rooms = [len(reasons) for _, reasons in groups]
    left = height - len(files) - len(rows) - len(groups)
    while sum(rooms) > left and max(rooms) > _FEWEST:  # those with most reasons show fewer
        rooms[rooms.index(max(rooms))] -= 1
    for_reason = _REASON_WIDTH + (width - WIDTH) // 2
    for (title, reasons), room in zip(groups, rooms, strict=True):
        if not reasons:
            rows.append(f"{title}: nothing is left out")
            continue
        rows.append(f"{title + ', left out because':<{for_reason}} {'files':>7}  for instance")
        rows += [_row(*reason, for_reason, width) for reason in reasons[: room - 1 if len(reasons) > room else room]]
        if len(reasons) > room:
            rows.append(f"  and for {len(reasons) - room + 1} more reasons")
    return "\n".join(_cut(line, width) for line in [*rows, *files])


def _groups(found: Sequence[Inspection]) -> list[tuple[str, list[_Reason]]]:
    """Return the reasons of all splits, if there are any, and then each split's own, with the names of the splits."""
    grouped = [_grouped(one.account) for one in found]
    shared = [] if len(found) < 2 else [reason for reason in grouped[0] if all(reason in one for one in grouped[1:])]
    own = [(one.split, [r for r in reasons if r not in shared]) for one, reasons in zip(found, grouped, strict=True)]
    if not shared:
        return own
    return [(" and ".join(one.split for one in found), shared), *(group for group in own if group[1])]


def _grouped(account: Account) -> list[_Reason]:
    """Return reason, count and names of an account, with reasons that differ in numbers alone as one."""
    groups: dict[str, _Reason] = {}
    for reason, count, names in account:
        told, before, known = groups.get(kind := _NUMBER.sub("0", reason), (reason, 0, []))
        groups[kind] = (told.removeprefix(_UNUSABLE), before + count, known + names)
    return list(groups.values())


def _facts(one: Inspection) -> list[str]:
    """Return the rows about a split."""
    rows = [f"{one.split:<11}{one.examples:,} examples, {one.where}"]
    if one.read < one.examples:
        rows.append(f"{'  read':<11}{one.read:,} of them, spread over all")
    if any(one.captions):
        without = sum(not count for count in one.captions)
        rows.append(
            f"{'  captions':<11}{np.mean(one.captions):.3g} a picture" + (f", {without} without" if without else "")
        )
    if one.classes:
        rows.append(f"{'  classes':<11}{one.classes}")
    if one.sizes:
        areas = sorted(one.sizes, key=lambda size: size[0] * size[1])
        sides = " to ".join(dict.fromkeys(f"{width} x {height}" for width, height in (areas[0], areas[-1])))
        rows.append(f"{'  pixels':<11}{sides}")
    if one.tokens:
        rows.append(f"{'  tokens':<11}{one.tokens}")
    return rows


def _row(reason: str, count: int, names: Sequence[str], for_reason: int, width: int) -> str:
    """Return one reason, the number of its files and the first of them."""
    told = reason if len(reason) <= for_reason - 2 else reason[: for_reason - 5] + "..."
    room = width - for_reason - 10
    shown = names[0]
    for name in names[1:_ATTEMPTS]:
        if len(shown) + len(name) + 2 > room:
            break
        shown += f", {name}"
    if len(shown) > room:  # of a path the end tells most, of a name with its reason the beginning
        shown = shown[: room - 3] + "..." if " (" in shown else "..." + shown[-(room - 3) :]
    return f"  {told:<{for_reason - 2}} {count:>7,}  {shown}"


def _cut(text: str, width: int) -> str:
    """Return the text, printable and cut to the width of a screen."""
    text = printable(text)
    return text if len(text) <= width else text[: width - 3] + "..."


def all_left_out(found: Sequence[Inspection]) -> str:
    """Return a line for each file that is left out: its splits, the reason and the name, with tabs between."""
    splits: dict[tuple[str, str], list[str]] = {}
    for one in found:
        for reason, _, _ in one.account:
            for name in dict.fromkeys(one.account.names(reason)):
                splits.setdefault((reason, name), []).append(one.split)
    return "".join(f"{', '.join(of)}\t{printable(reason)}\t{name}\n" for (reason, name), of in splits.items())


def first_batch(
    source: Source | TokenCache, config: DataConfig, model: ModelConfig | VQGANConfig, *, seed: int, count: int = 16
) -> list[tuple[np.ndarray, str]]:
    """Return the first examples of training as the model sees them, each with its caption or label.

    They are (size, size, 3) uint8, or of a token cache (length,) int32.
    Raises DataError if too many are broken.
    """
    is_text = isinstance(model, ModelConfig) and model.denoiser.condition == "text"
    tokenizer = Tokenizer(tokenizer_config(model)) if isinstance(model, ModelConfig) and is_text else None
    batches = Batches(
        _examples(source, config, model, drop_rate=config.drop_rate, tokenizer=tokenizer),
        shuffle=True,
        batch_size=min(count, len(source)),
        seed=seed,
        process=(0, 1),
        max_broken=max(config.max_broken, len(source)),
    )
    batch = batches[0]
    shown = batch["tokens" if isinstance(source, TokenCache) else "images"]
    return [(one, _told(source, model, tokenizer, batch, row)) for row, one in enumerate(shown)]


def _examples(
    source: Source | TokenCache,
    config: DataConfig,
    model: ModelConfig | VQGANConfig,
    *,
    drop_rate: float = 0.0,
    tokenizer: Tokenizer | None = None,
) -> PictureExamples | CachedExamples:
    """Return the examples as training makes them."""
    missing = config.missing_captions
    if isinstance(source, TokenCache):
        assert isinstance(model, ModelConfig)  # a codec is not trained on tokens
        return CachedExamples(source, model, drop_rate=drop_rate, missing_captions=missing)
    background = colour_of(config.background)
    return PictureExamples(
        source,
        model,
        drop_rate=drop_rate,
        missing_captions=missing,
        tokenizer=tokenizer,
        background=background,
    )


def _told(
    source: Source | TokenCache,
    model: ModelConfig | VQGANConfig,
    tokenizer: Tokenizer | None,
    batch: dict[str, Any],
    row: int,
) -> str:
    """Return the condition of a row of a batch as text."""
    if tokenizer is not None:
        return tokenizer.decode(batch["text_ids"][row][batch["text_mask"][row]].tolist()) or "(no caption)"
    if "labels" in batch:
        label, names = int(batch["labels"][row]), getattr(source, "classes", ())
        if isinstance(model, ModelConfig) and label == model.denoiser.null_label:
            return "(no class)"
        return f"{label}: {names[label]}" if label < len(names) else f"class {label}"
    return ""


def contact_sheet(
    examples: Sequence[tuple[np.ndarray, str]], rebuilt: Callable[[np.ndarray], np.ndarray] | None = None
) -> Image.Image:
    """Return a sheet of pictures with their captions below, and their decoded tokens beside.

    rebuilt: from pictures (n, size, size, 3) uint8 to the same decoded from tokens; None for pictures alone.
    """
    pictures = np.stack([picture for picture, _ in examples])
    beside = None if rebuilt is None else rebuilt(pictures)
    columns = min(4, len(examples))
    width = _CELL * (1 if beside is None else 2)
    height = _CELL + _TEXT_LINES * _LINE
    rows = -(-len(examples) // columns)
    sheet = Image.new("RGB", (columns * (width + _MARGIN) + _MARGIN, rows * (height + _MARGIN) + _MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for number, (picture, text) in enumerate(examples):
        left = _MARGIN + number % columns * (width + _MARGIN)
        top = _MARGIN + number // columns * (height + _MARGIN)
        for place, shown in enumerate([picture] if beside is None else [picture, beside[number]]):
            sheet.paste(Image.fromarray(shown).resize((_CELL, _CELL)), (left + place * _CELL, top))
        for line, words in enumerate(textwrap.wrap(text, width // 6, max_lines=_TEXT_LINES, placeholder=" ...")):
            place = (left, top + _CELL + line * _LINE)
            try:
                draw.text(place, words, fill="black", font=font)
            except UnicodeError:  # Pillow's smallest font has Latin-1 alone
                draw.text(place, words.encode("ascii", "replace").decode(), fill="black", font=font)
    return sheet
