"""The former name of ``interop.files.torch_zip``, kept for one release."""

from .files.torch_zip import open_checkpoint, state_dict

__all__ = ["open_checkpoint", "state_dict"]
