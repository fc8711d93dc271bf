"""Options of a named class are checked against its annotations."""

from collections.abc import Mapping, Sequence

import pytest

from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.extensions import check_options


class Source:
    def __init__(
        self,
        root: str,
        *,
        size: int = 1,
        rate: float = 0.5,
        name: str = "",
        whole: bool = False,
        names: Sequence[str] = (),
        some: int | str | None = None,
        table: Mapping[str, float] | None = None,
        other: "Unknown" = None,  # noqa: F821
    ):
        pass


class Plain:
    def __init__(
        self,
        *,
        size: int = 1,
        rate: float = 0.5,
        name: str = "",
        whole: bool = False,
        names: Sequence[str] = (),
        some: int | str | None = None,
        table: Mapping[str, float] | None = None,
    ):
        pass


@pytest.mark.parametrize(
    "options",
    [
        {"size": 2, "rate": 1, "name": "a", "whole": True},
        {"names": ["a"], "some": None, "table": {"a": 1.0}},
        {"some": 3},
    ],
)
def test_right_types_pass(options):
    check_options(Plain, "it", options)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("size", 1.5, "a whole number"),
        ("size", True, "a whole number"),
        ("size", None, "a whole number"),
        ("rate", "fast", "a number"),
        ("name", 5, "a text"),
        ("name", ["a"], "a text"),
        ("whole", "yes", "true or false"),
        ("names", "abc", "a list"),
        ("some", 1.5, "a whole number or a text or null"),
        ("table", [1], "a table or null"),
        ("name", {"a": "b" * 10**5}, "a text"),
    ],
)
def test_wrong_types_are_told_in_one_line(option, value, allowed):
    with pytest.raises(ConfigError, match=f"it: the option {option} is .*; it must be {allowed}") as caught:
        check_options(Plain, "it", {option: value})
    assert len(str(caught.value)) < 400


def test_annotations_that_cannot_be_resolved_are_not_checked():
    check_options(Source, "it", {"size": "large"})
