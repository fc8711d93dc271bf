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
from ..text.tokenizer import Tokenizer
from .account import Account, account_of
from .captions import captions_in
from .config import DataConfig
from .examples import PictureExamples, decoded, read_record, tokenizer_config
from .loader import Batches
from .records import Source
from .summary import classes_of

WIDTH, HEIGHT = 80, 40  # of a screen, in characters
_REASON_WIDTH = 46
_THREADS = 4
_ATTEMPTS = 3  # names that a row of the table shows
_FEWEST = 3  # rows of reasons
_UNUSABLE = "cannot be used: "
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CELL, _MARGIN, _TEXT_LINES, _LINE = 128, 8, 3, 14  # pixels of a contact sheet


@dataclass
class Inspection:
    """The facts found in one split of a data set.

    examples: of the split.  read: of these, the ones that were looked at.  captions: the number of captions of each
    example that was read and has any.  sizes: (width, height) of each picture.  account: what is left out, with the
    examples that cannot be used.
    """

    where: str
    split: str
    examples: int
    read: int
    classes: str
    account: Account
    captions: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)


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
    examples = PictureExamples(source, model, missing_captions=config.missing_captions)

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
                kind = "without a caption" if isinstance(error, MissingCaption) else _kind(error.reason)
                account.left_out(kind, f"{error.name}")
            elif size is not None:
                found.sizes.append(size)
                found.captions.append(count)
    return found


def _kind(reason: str) -> str:
    """Return what is common to the reasons of a kind: all before a value."""
    return _UNUSABLE + shortened(reason.partition(":")[2].strip() or reason, 120)


def table(found: Sequence[Inspection], files: Sequence[str]) -> str:
    """Return a table of at most 80 columns and 40 lines.

    files: lines that say what was written.
    """
    rows = [row for one in found for row in _facts(one)]
    grouped = [_grouped(one.account) for one in found]
    rooms = [len(reasons) for reasons in grouped]
    left = HEIGHT - len(files) - len(rows) - len(found)
    while sum(rooms) > left and max(rooms) > _FEWEST:  # those with most reasons show fewer
        rooms[rooms.index(max(rooms))] -= 1
    for one, room, reasons in zip(found, rooms, grouped, strict=True):
        if not reasons:
            rows.append(f"{one.split}: nothing is left out")
            continue
        rows.append(f"{one.split + ', left out because':<{_REASON_WIDTH}} {'files':>7}  for instance")
        rows += [_row(*reason) for reason in reasons[: room - 1 if len(reasons) > room else room]]
        if len(reasons) > room:
            rows.append(f"  and for {len(reasons) - room + 1} more reasons")
    return "\n".join(_cut(line) for line in [*rows, *files])


def _grouped(account: Account) -> list[tuple[str, int, list[str]]]:
    """Return reason, count and names of an account, with reasons that differ in numbers alone as one."""
    groups: dict[str, tuple[str, int, list[str]]] = {}
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
    rows += [f"{'  note':<11}{note}" for note in one.account.notes[:4]]
    return rows


def _row(reason: str, count: int, names: Sequence[str]) -> str:
    """Return one reason, the number of its files and the first of them."""
    told = reason if len(reason) <= _REASON_WIDTH - 2 else reason[: _REASON_WIDTH - 5] + "..."
    room = WIDTH - _REASON_WIDTH - 10
    shown = names[0]
    for name in names[1:_ATTEMPTS]:
        if len(shown) + len(name) + 2 > room:
            break
        shown += f", {name}"
    if len(shown) > room:  # of a path the end tells most, of a name with its reason the beginning
        shown = shown[: room - 3] + "..." if " (" in shown else "..." + shown[-(room - 3) :]
    return f"  {told:<{_REASON_WIDTH - 2}} {count:>7,}  {shown}"


def _cut(text: str) -> str:
    """Return the text, printable and cut to the width of a screen."""
    text = printable(text)
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def all_left_out(found: Sequence[Inspection]) -> str:
    """Return a line for each file that is left out: the split, the reason and the name, with tabs between."""
    return "".join(
        f"{one.split}\t{printable(reason)}\t{name}\n"
        for one in found
        for reason, _, _ in one.account
        for name in one.account.names(reason)
    )


def first_batch(
    source: Source, config: DataConfig, model: ModelConfig | VQGANConfig, *, seed: int, count: int = 16
) -> list[tuple[np.ndarray, str]]:
    """Return the first examples of training as the model sees them: (size, size, 3) uint8, and the caption or label.

    Raises DataError if too many are broken.
    """
    is_text = isinstance(model, ModelConfig) and model.denoiser.condition == "text"
    tokenizer = Tokenizer(tokenizer_config(model)) if isinstance(model, ModelConfig) and is_text else None
    examples = PictureExamples(
        source, model, drop_rate=config.drop_rate, missing_captions=config.missing_captions, tokenizer=tokenizer
    )
    batches = Batches(
        examples,
        shuffle=True,
        batch_size=min(count, len(source)),
        seed=seed,
        process=(0, 1),
        max_broken=max(config.max_broken, len(source)),
    )
    batch = batches[0]
    return [(picture, _told(source, model, tokenizer, batch, row)) for row, picture in enumerate(batch["images"])]


def _told(
    source: Source, model: ModelConfig | VQGANConfig, tokenizer: Tokenizer | None, batch: dict[str, Any], row: int
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
