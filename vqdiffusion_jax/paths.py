"""Names of a model's parameters, as checkpoints, sharding rules and converters use them."""

from __future__ import annotations

from typing import Any

import jax


def path_of(key_path: tuple) -> str:
    """A pytree key path as ``blocks.mlp.up.kernel``, without the ``.value`` that every NNX variable ends in."""
    names = [str(getattr(key, "name", getattr(key, "idx", getattr(key, "key", key)))) for key in key_path]
    return ".".join(names[:-1] if names[-1:] == ["value"] else names)


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Every leaf of ``tree`` under its dotted path, in tree order."""
    return {path_of(key_path): leaf for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
