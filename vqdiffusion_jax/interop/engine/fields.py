"""Fields of a ModelConfig, section by section, as far as the sources of a model tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ConfigError

Fields = dict[str, dict[str, Any]]  # {section of ModelConfig: {field: value}}


def merge(weights: Mapping[str, Mapping[str, Any]], yaml: Mapping[str, Mapping[str, Any]], *, where: str) -> Fields:
    """Return the fields of both.  Raises ConfigError that names every field on which they disagree.

    Args:
        weights: fields that the shapes of the weights tell.
        yaml: fields that the yaml files set.
        where: names of the yaml files, for the error.
    """
    clashes = [
        f"{section}.{field} is {yaml[section][field]!r} in the yaml and {weights[section][field]!r} in the weights"
        for section in yaml
        for field in yaml[section]
        if field in weights.get(section, {}) and weights[section][field] != yaml[section][field]
    ]
    if clashes:
        raise ConfigError(
            f"{where} does not describe these weights: {'; '.join(clashes)}; "
            "give the yaml they were trained with, or none"
        )
    return {section: {**yaml.get(section, {}), **weights.get(section, {})} for section in {**weights, **yaml}}


def with_defaults(fields: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Mapping[str, Any]]) -> Fields:
    """Return the fields, and those of ``defaults`` that they leave open."""
    return {name: {**defaults.get(name, {}), **fields.get(name, {})} for name in {**fields, **defaults}}
