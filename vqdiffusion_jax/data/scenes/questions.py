"""The questions by which a model is judged: scenes in fixed numbers of each kind, of which none ever taught a judge."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ...errors import DataError
from .held_out import held_out_of
from .scene import Scene

_JUDGED_SHARE = 0.1  # of all scenes, by their hash


def is_for_judging(scene: Scene) -> bool:
    """Return whether a scene, wherever exactly its drawings lie, is kept from every judge's training."""
    objects = tuple(replace(placed, shift=(0, 0), drawing=0) for placed in scene.objects)
    digest = hashlib.sha256(repr((objects, scene.background, scene.axis)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56 < _JUDGED_SHARE


@dataclass(frozen=True)
class Kind:
    """A kind of question: how many drawings (1 or 2), and which one kind of combination is held out ("": none)."""

    drawings: int
    held_out: str

    @classmethod
    def of(cls, scene: Scene) -> Kind | None:
        """Return a scene's kind; None if combinations of several kinds are held out."""
        kinds = {combination[0] for combination in held_out_of(scene.combinations)}
        return cls(len(scene.objects), "".join(kinds)) if len(kinds) < 2 else None


# Of twenty questions in a row.  Half of them are of seen combinations, half of them about two drawings.
ROUND = (
    *[Kind(1, ""), Kind(2, ""), Kind(1, "background"), Kind(2, "relation")] * 3,
    *[Kind(1, ""), Kind(2, ""), Kind(1, "style"), Kind(2, "relation")] * 2,
)


def choose_questions(scenes: Iterable[Scene], count: int) -> list[Scene]:
    """Return ``count`` of the scenes, question i of the kind ``ROUND[i % 20]``, so that more questions begin alike.

    Raises DataError if the scenes end before every question has one.
    """
    asked = [ROUND[number % len(ROUND)] for number in range(count)]
    missing = {kind: asked.count(kind) for kind in set(asked)}
    found: dict[Kind, deque[Scene]] = {kind: deque() for kind in missing}
    for scene in scenes:
        kind = Kind.of(scene)
        if kind is not None and missing.get(kind) and is_for_judging(scene):
            found[kind].append(scene)
            missing[kind] -= 1
            if not any(missing.values()):
                break
    for kind, number in missing.items():
        if number:
            combination = f"a held-out {kind.held_out}" if kind.held_out else "nothing held out"
            raise DataError(
                f"{number} scenes of {kind.drawings} drawing(s) with {combination} are not found; use more concepts"
            )
    return [found[kind].popleft() for kind in asked]
