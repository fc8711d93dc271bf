"""Compiled samplers in files: made ahead of time, perhaps for a machine that is not here, and run without a compiler.

``ahead`` compiles one and writes it, ``run`` reads it and runs it.  ``depends`` tells what programs depend on, ``file``
how they are stored, and ``known_names`` what a program may name.
"""

from .ahead import ProgramCost, compile_sampler
from .run import CompiledSampler

__all__ = ["CompiledSampler", "ProgramCost", "compile_sampler"]
