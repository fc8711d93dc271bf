"""The released files: their names and parts, and a download that resumes, joins and checks them."""

from .fetch import fetch
from .files import BASE, RELEASED, ReleasedFile

__all__ = ["BASE", "RELEASED", "ReleasedFile", "fetch"]
