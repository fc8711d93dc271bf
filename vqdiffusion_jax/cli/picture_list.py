"""The pictures of --prompts_file: drawn in batches of equal settings, those left out that exist already."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..call import Call, planned
from ..call.call import with_defaults
from ..call.joint import OWN, joint, shared_by, single_pictures
from ..config import ModelConfig
from ..errors import SettingError, UsageError
from ..multihost import all_gather
from ..pipeline import VQDiffusionOutput, VQDiffusionPipeline, pictures_together
from ..recipe import recipe, recipe_of_one, with_absolute_paths
from ..sampling.choice import SCHEDULES, without_excluded
from ..sampling.fields import settings_of
from ..sampling.registry import STRATEGIES
from ..sampling.settings import EXCLUSIVE, SamplingSettings
from ..user_files import read_json
from .pictures import Writer
from .prompt_table import Row, place

if TYPE_CHECKING:
    from jax.sharding import Mesh

_MOST_BYTES = 2**20  # of a recipe


@dataclass(frozen=True)
class Listed:
    """One picture of a list: its line in the file, the name of its files or None, and its settings alone."""

    line: int
    name: str | None
    settings: SamplingSettings


def listed_of_rows(file: str, rows: Sequence[Row], base: SamplingSettings, given: Mapping[str, Any]) -> list[Listed]:
    """Return the pictures of a table in order.

    base, given: the settings of all rows, and those of the flags, in whose place a row's own stand.  Equal rows are
    pictures of one seed after each other, as equal prompts of a call are.
    Raises UsageError, one line that names the row, for settings that are not allowed and names that occur twice.
    """
    for name in OWN:
        if isinstance(given.get(name), list) and len(given[name]) > 1:
            raise UsageError(f"--{name} is given {len(given[name])} times beside a table; give it once, for all rows")
    listed: list[Listed] = []
    before: Counter = Counter()
    lines: dict[str, int] = {}
    for row in rows:
        try:
            settings = base.changed(**_over(given, row.fields), output_type="uint8")
            key = json.dumps(settings.flat(), sort_keys=True)
            if "first_image" not in row.fields:
                first = settings.first_image + before[key] * settings.num_images_per_prompt
                settings = settings.changed(first_image=first)
            before[key] += 1
            pictures = list(_pictures(row, settings))
        except ValueError as error:
            raise UsageError(f"{place(file, row.line)}: {error}") from error
        for one in pictures:
            if one.name is None:
                continue
            if (other := lines.setdefault(one.name.casefold(), row.line)) != row.line:
                told = f"file_name {one.name!r} is that of line {other} too; give each row its own"
                raise UsageError(f"{place(file, row.line)}: {told}")
        listed += pictures
    return listed


def listed_of_subjects(settings: SamplingSettings, subjects: Sequence[Mapping[str, Any]]) -> list[Listed]:
    """Return the pictures of one call in order.  subjects: each picture's own settings."""
    before: Counter = Counter()
    listed = []
    for line, subject in enumerate(subjects, 1):
        key = tuple(subject.items())
        number = settings.first_image + before[key]
        before[key] += 1
        own = settings.changed(**subject, num_images_per_prompt=1, first_image=number)
        listed.append(Listed(line, None, own))
    return listed


def _over(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags' settings with a row's own in place of them and of those that they exclude."""
    kept = without_excluded(given, own, (*EXCLUSIVE, *SCHEDULES))
    named = own.get("strategy")
    if named in STRATEGIES:  # another begins with its own defaults
        taken = settings_of(STRATEGIES[named]) if kept.get("strategy", named) == named else ()
        kept = {name: value for name, value in kept.items() if name in settings_of(SamplingSettings) or name in taken}
    return kept | dict(own)


def _pictures(row: Row, settings: SamplingSettings) -> Iterator[Listed]:
    """Yield the pictures of a row, each with the settings from which it alone is drawn."""
    count = settings.num_images_per_prompt
    for k, own in enumerate(single_pictures(settings)):
        yield Listed(row.line, row.name if row.name is None or count == 1 else f"{row.name}-{k}", own)


def groups_of(listed: Sequence[Listed]) -> list[list[int]]:
    """Return the numbers of pictures that can be drawn together (see ``call.joint``)."""
    groups: dict[str, list[int]] = {}
    for number, one in enumerate(listed):
        groups.setdefault(shared_by(one.settings), []).append(number)
    return list(groups.values())


def settled(
    file: str, listed: Sequence[Listed], config: ModelConfig, settle: Callable[[SamplingSettings], Any]
) -> list[Listed]:
    """Return the pictures with the model's values in place of those that they leave to it.

    Raises UsageError that names the row of the first picture whose call does not fit the model.
    """
    listed = [_with_defaults(file, one, config) for one in listed]
    for numbers in groups_of(listed):
        pictures = [listed[number] for number in numbers]
        if pictures[0].settings.image is None:
            try:
                settle(joint([one.settings for one in pictures]))
                continue
            except ValueError:
                pass  # the row is found below
        for one in pictures:  # each picture to start from alone, so that one at a time is held
            try:
                settle(one.settings)
            except ValueError as error:
                raise UsageError(f"{place(file, one.line)}: {error}") from error
    return listed


def _with_defaults(file: str, one: Listed, config: ModelConfig) -> Listed:
    try:
        return dataclasses.replace(one, settings=with_defaults(config, one.settings))
    except SettingError as error:
        raise UsageError(f"{place(file, one.line)}: {error}") from error


class Work:
    """The pictures of a list that ``out`` does not hold yet, in chunks that are drawn together.

    came_from: the origin of the model.  mesh: of the devices.
    """

    def __init__(self, file: str, listed: Sequence[Listed], out: Path, came_from: Mapping[str, Any], mesh: Mesh | None):
        together = {}  # of whole groups, so that what is left of them is drawn as it would have been
        groups = groups_of(listed)
        for numbers in groups:
            size = pictures_together(mesh, len(numbers), listed[numbers[0]].settings.batch_size)
            together |= dict.fromkeys(numbers, size)
        sized = [one.settings.changed(batch_size=together[number]) for number, one in enumerate(listed)]
        self.listed = [dataclasses.replace(one, settings=own) for one, own in zip(listed, sized, strict=True)]
        self.recipes = [recipe_of_one(with_absolute_paths(recipe(came_from, own)), own.first_image) for own in sized]
        self.out = out
        self.todo = missing(file, listed, self.recipes, out)
        self.skipped = len(listed) - len(self.todo)
        left = set(self.todo)
        self.chunks: list[list[int]] = []
        for numbers in groups:
            numbers, size = [number for number in numbers if number in left], together[numbers[0]]
            self.chunks += [numbers[first : first + size] for first in range(0, len(numbers), size)]

    def writer(self, start: int, animation: str) -> ListWriter:
        """Return the writer of the pictures.  start: number of the first file."""
        recipes, names = [self.recipes[i] for i in self.todo], [self.listed[i].name for i in self.todo]
        return ListWriter(self.out, start, recipes, names, animation)

    def calls(self, pipeline: VQDiffusionPipeline) -> list[int]:
        """Return the network calls of each chunk, at most."""
        first = [self.listed[chunk[0]].settings for chunk in self.chunks]
        return [len(planned(pipeline.config, pipeline.schedule, own.strategy, own.strength)[1]) for own in first]

    def drawn(
        self, settle: Callable[[SamplingSettings], Call], draw: Callable[[Call], Iterator[VQDiffusionOutput]]
    ) -> Iterator[tuple[VQDiffusionOutput, int]]:
        """Yield each batch as soon as it is drawn, numbered as the writer counts, and its network calls at most."""
        rank = {number: index for index, number in enumerate(self.todo)}
        for chunk in self.chunks:
            call = settle(joint([self.listed[number].settings for number in chunk]))
            numbers = np.array([rank[number] for number in chunk])
            for batch in draw(call):
                yield dataclasses.replace(batch, indices=numbers[batch.indices]), len(call.plan)


def missing(file: str, listed: Sequence[Listed], recipes: Sequence[dict[str, Any]], out: Path) -> list[int]:
    """Return the numbers of the pictures that ``out`` does not hold yet, as all processes see it.

    A picture is there if a PNG stands beside the JSON of its recipe, under its own name if it has one.
    Raises UsageError, one line that names the row, if a file of its name was drawn otherwise.
    """
    made = _recipes_in(out)
    anywhere = set(made.values())
    there = np.zeros(len(listed), np.int32)
    for number, (one, own) in enumerate(zip(listed, recipes, strict=True)):
        wanted = _canonical(own)
        if one.name is None:
            there[number] = wanted in anywhere
        elif (out / f"{one.name}.png").exists():
            if made.get(one.name) != wanted:
                told = f"{out / one.name}.png is there already and was drawn otherwise"
                raise UsageError(f"{place(file, one.line)}: {told}; give another file_name, or another --out")
            there[number] = True
    return np.flatnonzero(all_gather(there).reshape(-1, len(listed)).min(axis=0) == 0).tolist()


def _recipes_in(out: Path) -> dict[str, str]:
    """Return the recipes of a folder's pictures by the name of their files."""
    made = {}
    for picture in out.glob("*.png"):
        try:
            found = read_json(picture.with_suffix(".json"), most=_MOST_BYTES)
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            made[picture.stem] = _canonical(found)
    return made


def _canonical(table: Mapping[str, Any]) -> str:
    """Return a recipe as a text that is equal for equal ones, of any version of the package."""
    return json.dumps({name: value for name, value in table.items() if name != "version"}, sort_keys=True)


class ListWriter(Writer):
    """A writer of pictures that each have a recipe, and perhaps a name, of their own."""

    def __init__(
        self, out: Path, start: int, recipes: list[dict[str, Any]], names: Sequence[str | None], animation: str
    ):
        super().__init__(out, start, [{}] * len(recipes), {}, 0, animation)
        self.recipes, self.names = recipes, names

    def recipe(self, index: int) -> dict[str, Any]:
        return self.recipes[index]

    @contextmanager
    def _number(self, index: int) -> Iterator[str]:
        name = self.names[index]
        if name is None:
            with super()._number(index) as numbered:
                yield numbered
            return
        try:
            yield name
        except BaseException:
            self._remove(name)
            raise
