"""Enforce the annotated shapes and kinds of arrays in the functions of diffusion, sampling and models."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

PACKAGES = ["vqdiffusion_jax.diffusion", "vqdiffusion_jax.sampling", "vqdiffusion_jax.models"]


def check(function: Callable) -> Callable:
    """Return ``function`` with its annotations checked at every call, those that name the shape of an array."""
    names = getattr(function, "__globals__", {})
    hints = {name: _evaluated(hint, names) for name, hint in getattr(function, "__annotations__", {}).items()}
    function.__annotations__ = {name: hint for name, hint in hints.items() if _has_shape(hint)}
    return beartype(function)


def _evaluated(hint: Any, names: dict[str, Any]) -> Any:
    try:
        return eval(hint, names) if isinstance(hint, str) else hint
    except NameError:  # a name of type checkers or of a function: no type of array is one
        return None


def _has_shape(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(map(_has_shape, get_args(hint)))


def install() -> None:
    """Check the calls of all functions in PACKAGES; to be called before they are imported."""
    install_import_hook(PACKAGES, f"{__name__}.check")
