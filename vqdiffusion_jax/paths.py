"""Dotted paths of a model's parameters, for checkpoints, sharding rules and converters."""

from __future__ import annotations

from typing import Any

import jax


def path_of(key_path: tuple) -> str:
    """Return a pytree key path as ``blocks.mlp.up.kernel``, without the ``.value`` at the end of NNX variables."""
    names = [str(getattr(key, "name", getattr(key, "idx", getattr(key, "key", key)))) for key in key_path]
    return ".".join(names[:-1] if names[-1:] == ["value"] else names)


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Return every leaf of ``tree`` under its dotted path, in tree order."""
    return {path_of(key_path): leaf for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
