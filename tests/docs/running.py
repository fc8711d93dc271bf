"""All blocks of one document, one after the other."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from tests.docs.blocks import Block, blocks, commands
from tests.docs.commands import check


class WrongBlock(AssertionError):
    """A block of a document does not work; says where and why."""


def run_document(name: str, text: str) -> None:
    """Run the document's python blocks in one namespace, and its commands, in the order of the text.

    A python block that begins with a comment of a file's name alone is also written to that file.  Raises WrongBlock.
    """
    namespace: dict = {"__name__": "__main__"}
    try:
        found = blocks(text)
    except ValueError as error:
        raise WrongBlock(f"{name}: {error}") from error
    for block in found:
        if block.language == "python":
            _python(name, block, namespace)
        elif block.language == "shell":
            _shell(name, block)


def _python(name: str, block: Block, namespace: dict) -> None:
    if file := re.match(r"# (\w+\.py)$", block.text, re.MULTILINE):
        Path(file[1]).write_text(block.text + "\n")
    try:
        exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), namespace)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
        line = lines[-1] if lines else getattr(error, "lineno", block.line)
        raise WrongBlock(f"{name}:{line}: {type(error).__name__}: {error}") from error


def _shell(name: str, block: Block) -> None:
    try:
        found = commands(block)
    except ValueError as error:
        raise WrongBlock(f"{name}:{block.line}: {error}") from error
    for line, words in found:
        try:
            check(words)
        except AssertionError as error:
            raise WrongBlock(f"{name}:{line}: {' '.join(words)}: {error}") from error
