"""Shapes and kinds of the arrays that public functions take and give, as jaxtyping's annotations.

A name in a shape stands for one size throughout a call.  Only tests check them (``tests/test_array_types.py``).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8
from jaxtyping import Key as KeyOf

# The diffusion: one token a place of the grid, and distributions over K codes, or over K codes and [MASK].
Tokens = Int[Array, "batch length"]
Logits = Float[Array, "batch length codes"]
LogProbs = Float[Array, "batch length codes"]
LogProbsWithMask = Float[Array, "batch length codes+1"]
Timesteps = Int[Array | np.ndarray, "..."] | int  # () or (batch,)
SampleIndices = Int[Array, " batch"]  # a timestep or a class label a sample
SampleFloats = Float[Array, " batch"]
TokenFloats = Float[Array, "batch length"]
TokenMask = Bool[Array, "batch length"]

# The transformers.
Sequence = Float[Array, "batch length width"]
Queries = Float[Array, "batch length heads head_width"]
KeysOrValues = Float[Array, "batch context heads head_width"]
TextIds = Int[Array | np.ndarray, "batch words"]
TextStates = Float[Array, "batch words width"]
Condition = TextStates | SampleIndices

# The codec.
Images = Float[Array, "batch height width channels"]
FeatureMap = Float[Array, "batch height width channels"]
Codebook = Float[Array, "codes embed_dim"]
Latents = Float[Array, "*places embed_dim"]
CodeIndices = Int[Array, "*places"]

Pixels = UInt8[Array, "..."]
Scalar = Float[Array, ""]
AnyFloat = Float[Array, "..."]
AnyInt = Int[Array, "..."]
Key = KeyOf[Array, "..."]  # one key of ``jax.random.key``, or an array of them
