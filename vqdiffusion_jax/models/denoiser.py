"""The network that predicts clean tokens from noised ones (paper section 4.3, figure 2).

A pre-norm transformer over the token grid.  The timestep enters through AdaLayerNorm in every block; text enters by
cross attention, a class label by AdaLayerNorm before the MLP.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..array_types import Condition, Key, Logits, SampleIndices, Sequence, TextStates, Timesteps, Tokens
from ..config import ComputeConfig, DenoiserConfig
from ..diffusion.schedule import check_timesteps, host_values
from ..diffusion.transitions import check_tokens
from .convolution import Conv3x3
from .layers import (
    ACTIVATION_FUNCTIONS,
    Attention,
    LayerNorm,
    Mlp,
    apart,
    dropout,
    embed,
    linear,
    lookup,
    over_batch,
    sample_by_sample,
    scan_layers,
    stack,
    standardize,
)


def sinusoidal_embedding(num_timesteps: int, width: int) -> np.ndarray:
    """Return sines, then cosines, of t / num_timesteps * 4000 for every t: (num_timesteps, width) float32.

    The table is made on the host in float64: angles reach 4000, where float32 has only three or four decimals left and
    two compilations of one formula disagree.
    """
    half = width // 2
    frequencies = np.exp(np.arange(half) * (-math.log(10000.0) / (half - 1)))
    angles = np.arange(num_timesteps)[:, None] / num_timesteps * 4000.0 * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)


class AdaLayerNorm(nnx.Module):
    """LayerNorm whose scale and shift are a function of an index: a timestep or a class label.

    Scale and shift of one index, concatenated, are its "modulation"; it does not depend on x and can be computed ahead.

    mean_row: an index past the table, a label for "no class", takes the mean of the rows; otherwise the last row.
    over_tokens: normalise each channel over the tokens (the reference's AdaInsNorm), not each token over its channels.
    """

    def __init__(
        self,
        num_rows: int,
        width: int,
        compute: ComputeConfig = ComputeConfig(),
        *,
        sinusoidal: bool = False,
        mean_row: bool = False,
        over_tokens: bool = False,
        rngs: nnx.Rngs,
    ):
        if sinusoidal and (width < 4 or width % 2):
            raise ValueError(f"a sinusoidal embedding needs an even width of at least 4, not {width}")
        self.embedding = None if sinusoidal else embed(num_rows, width, compute, rngs=rngs)
        self.linear = linear(width, 2 * width, compute, rngs=rngs, out_dtype="float32")
        self.num_rows = num_rows
        self.mean_row = mean_row
        self.axis = 1 if over_tokens else -1
        self.dtype = compute.dtype

    def modulation(self, index: SampleIndices) -> jax.Array:
        """Return scale, then shift, of each index: (batch,) int -> (batch, 2 * width) float32."""
        if self.embedding is None:
            table = jnp.asarray(sinusoidal_embedding(self.num_rows, self.linear.in_features))
            rows = jnp.take(table, index, axis=0, mode="clip")
        else:
            table, rows = self.embedding.embedding[...], lookup(self.embedding, index)
        if self.mean_row:
            mean = table.mean(0, dtype=jnp.float32)
            rows = jnp.where((index >= self.num_rows)[:, None], mean, rows)
        return self.linear(jax.nn.silu(rows))

    def __call__(self, x: Sequence, modulation: jax.Array) -> Sequence:
        """Return x (batch, length, width), normalised, scaled and shifted by modulation (batch or 1, 2 * width)."""
        scale, shift = jnp.split(modulation[:, None, :], 2, axis=-1)
        return (standardize(x, self.axis) * (1.0 + scale) + shift).astype(self.dtype)


@functools.cache
def _uniform_init(fan_in: int):
    """Return the initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's for convolutions.

    It is cached because modules compare it by identity.
    """
    bound = 1.0 / math.sqrt(fan_in)
    return lambda key, shape, dtype, **_: jax.random.uniform(key, shape, dtype, -bound, bound)


class ConvMlp(nnx.Module):
    """The MLP as two 3x3 convolutions over the token grid: parameters ``up`` and ``down``, HWIO kernels."""

    def __init__(self, config: DenoiserConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        def conv(in_features, out_features):
            init = _uniform_init(9 * in_features)
            return Conv3x3(in_features, out_features, compute, kernel_init=init, bias_init=init, rngs=rngs)

        self.up = conv(config.width, config.mlp_width)
        self.down = conv(config.mlp_width, config.width)
        self.activation = config.activation
        self.grid = config.grid

    def __call__(self, x: Sequence) -> Sequence:
        """Return the output for x (batch, length, width), of the same shape."""
        grid = x.reshape(x.shape[0], *self.grid, x.shape[-1])
        return self.down(ACTIVATION_FUNCTIONS[self.activation](self.up(grid))).reshape(x.shape)


class Block(nnx.Module):
    """Self attention, cross attention (text only) and MLP, each with its norm before it and a residual around it."""

    mlp_norm: AdaLayerNorm | LayerNorm

    def __init__(self, config: DenoiserConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        def time_norm():
            sinusoidal = config.timestep_embedding == "sinusoidal"
            return AdaLayerNorm(config.num_timesteps, config.width, compute, sinusoidal=sinusoidal, rngs=rngs)

        self.config = config
        self.self_norm = time_norm()
        self.self_attention = Attention(config.width, config.num_heads, compute, fp8=compute.fp8, rngs=rngs)
        if config.condition == "text":
            self.cross_norm = time_norm()
            self.cross_attention = Attention(
                config.width,
                config.num_heads,
                compute,
                context_width=config.condition_width,
                fp8=compute.fp8,
                rngs=rngs,
            )
        if config.condition == "class":
            self.mlp_norm = AdaLayerNorm(
                config.num_classes,
                config.width,
                compute,
                sinusoidal=config.class_embedding == "sinusoidal",
                mean_row=True,
                over_tokens=config.class_norm == "instance",
                rngs=rngs,
            )
        else:
            self.mlp_norm = LayerNorm(config.width, compute, rngs=rngs)
        if config.mlp == "conv":
            self.mlp = ConvMlp(config, compute, rngs=rngs)
        else:
            self.mlp = Mlp(config.width, config.mlp_width, config.activation, compute, fp8=compute.fp8, rngs=rngs)

    def modulation(self, timesteps: SampleIndices) -> dict[str, jax.Array]:
        """Return scale and shift of each timestep norm by its name: timesteps (n,) -> (n, 2 * width) float32."""
        modulation = {"self": self.self_norm.modulation(timesteps)}
        if self.config.condition == "text":
            modulation["cross"] = self.cross_norm.modulation(timesteps)
        return modulation

    def condition(self, condition: Condition | None) -> Any:
        """Return what the block needs of the condition: text's keys and values, a label's scale and shift, or None."""
        if condition is None:
            return None
        if isinstance(self.mlp_norm, AdaLayerNorm):
            return self.mlp_norm.modulation(condition)
        return self.cross_attention.keys_values(condition)

    def __call__(
        self, x: Sequence, modulation: dict[str, jax.Array], conditioning: Any, dropout_key: Key | None = None
    ) -> Sequence:
        """Return the output for x (batch, length, width), of the same shape, given ``modulation`` and ``condition``."""
        config = self.config
        keys = [None] * 5 if dropout_key is None else jax.random.split(dropout_key, 5)

        def residual(x, update, key):
            return x + dropout(update, config.residual_dropout, key)

        with jax.named_scope("self_attention"):
            update = self.self_attention(
                self.self_norm(x, modulation["self"]), dropout_rate=config.attention_dropout, dropout_key=keys[0]
            )
            x = residual(x, update, keys[1])
        if config.condition == "text":
            with jax.named_scope("cross_attention"):
                update = self.cross_attention(
                    self.cross_norm(x, modulation["cross"]),
                    conditioning,
                    dropout_rate=config.attention_dropout,
                    dropout_key=keys[2],
                )
                x = residual(x, update, keys[3])
        with jax.named_scope("mlp"):
            norm = self.mlp_norm
            normed = norm(x, conditioning) if isinstance(norm, AdaLayerNorm) else norm(x)
            return residual(x, self.mlp(normed), keys[4])


class Denoiser(nnx.Module):
    """The network from noised tokens, timesteps and a condition to logits of the clean tokens (paper equation 9)."""

    def __init__(self, config: DenoiserConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        height, width = config.position_grid
        self.config = config
        self.compute = compute
        self.token_embedding = embed(config.num_codes + 1, config.width, compute, rngs=rngs)
        self.height_embedding = embed(height, config.width, compute, rngs=rngs)
        self.width_embedding = embed(width, config.width, compute, rngs=rngs)
        self.blocks = stack(lambda keys: Block(config, compute, rngs=keys), config.num_layers, rngs)
        self.final_norm = LayerNorm(config.width, compute, rngs=rngs)
        self.logits = linear(config.width, config.num_codes, compute, rngs=rngs, out_dtype="float32")
        # A class model's learned null condition is the last row of its class tables.
        has_null = config.learnable_null and config.condition == "text"
        shape = (config.condition_length, config.condition_width)
        self.null_condition = nnx.Param(jax.random.normal(rngs.params(), shape, "float32")) if has_null else None

    def __call__(
        self,
        tokens: Tokens,
        timesteps: Timesteps,
        condition: Condition | None = None,
        *,
        conditioning: Any = None,
        modulation: dict[str, jax.Array] | None = None,
        dropout_key: Key | None = None,
    ) -> Logits:
        """Return logits (batch, length, num_codes) float32 of the clean tokens.

        Args:
          tokens: (batch, length) int32; ``num_codes`` is [MASK].
          timesteps: (batch,) or () int32, from 0, the least noise, to num_timesteps - 1.
          condition: text (batch, condition_length, condition_width) float; class (batch,) int32, where a label of
            num_classes or more means no class; none: None.
          conditioning: ``precompute(condition)``, used in place of ``condition``.
          modulation: ``modulation_table()``, so that no timestep embedding is run.
          dropout_key: turns on the configured dropout.

        Raises:
          ValueError: shapes and types that do not fit the config and, outside jit, tokens, timesteps and labels out of
            range.
        """
        timesteps = jnp.asarray(timesteps)
        self._check_tokens(tokens, timesteps)
        if conditioning is None:
            self._check_condition(condition, tokens.shape[0])
        timesteps = jnp.atleast_1d(timesteps)
        if modulation is not None:
            modulation = jax.tree.map(lambda table: jnp.take(table, timesteps, axis=1, mode="clip"), modulation)
        dropout_keys = None if dropout_key is None else jax.random.split(dropout_key, self.config.num_layers)

        def body(x, layer):
            block, modulation, conditioning, key = layer
            if modulation is None:
                modulation = block.modulation(timesteps)
            if conditioning is None:
                conditioning = block.condition(condition)
            if key is not None:
                return block(x, modulation, conditioning, key)
            return sample_by_sample(block, hidden_numbers, x, modulation, conditioning)

        hidden_numbers = self.config.num_tokens * self.config.mlp_width
        with jax.named_scope("embedding"):
            x = over_batch(lookup(self.token_embedding, tokens) + self.positions())
        with jax.named_scope("blocks"):
            x = scan_layers(body, x, (self.blocks, modulation, conditioning, dropout_keys), self.compute)
        with jax.named_scope("logits"):
            return self.logits(self.final_norm(x))

    def for_a_loop(self) -> Denoiser:
        """Return a network for calls in a loop and nothing else: blocks that are not scanned are set apart.

        ``layers.apart`` says why.
        """
        if self.compute.scan_layers:
            return self
        network = jax.tree.map(lambda leaf: leaf, self)
        network.blocks = apart(self.blocks)
        return network

    def positions(self) -> jax.Array:
        """Return the position embedding (length, width) of the token sequence.

        Token p takes row p // W and column p % W of the position grid, even if that is wider than the token grid: the
        released weights expect it.
        """
        length, columns = self.config.num_tokens, self.config.position_grid[1]
        rows = self.height_embedding.embedding[...][: -(-length // columns), None]
        table = rows + self.width_embedding.embedding[...]
        return table.reshape(-1, self.config.width)[:length].astype(self.compute.dtype)

    def precompute(self, condition: Condition | None) -> Any:
        """Return all that depends on the condition alone, with a leading layer axis; None for an unconditional model.

        Text: keys and values, each (layers, batch, condition_length, heads, head width).  Class: scale and shift
        (layers, batch, 2 * width).
        """
        if self.config.condition == "none":
            self._check_condition(condition, 0)
            return None
        self._check_condition(condition, None if condition is None else condition.shape[0])
        return jax.vmap(lambda block: block.condition(condition))(self.blocks)

    def modulation_table(self) -> dict[str, jax.Array]:
        """Return scale and shift of every timestep norm by its name: (layers, num_timesteps, 2 * width) float32."""
        timesteps = jnp.arange(self.config.num_timesteps)
        return jax.vmap(lambda block: block.modulation(timesteps))(self.blocks)

    def null(self, batch: int) -> TextStates:
        """Return the learned null condition (batch, condition_length, condition_width); ValueError if there is none."""
        if self.null_condition is None:
            raise ValueError(
                "this denoiser has no learned null condition; "
                "use the empty prompt's, or a config with learnable_null=True"
            )
        null = self.null_condition[...]
        return jnp.broadcast_to(null, (batch, *null.shape))

    def _check_tokens(self, tokens: jax.Array, timesteps: jax.Array) -> None:
        length = self.config.num_tokens
        if tokens.ndim != 2 or tokens.shape[1] != length or not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(
                f"tokens are {tokens.dtype}{list(tokens.shape)}; "
                f"the denoiser takes integers (batch, {length}), its grid being {self.config.grid}"
            )
        if timesteps.shape not in ((), tokens.shape[:1]) or not jnp.issubdtype(timesteps.dtype, jnp.integer):
            raise ValueError(
                f"timesteps are {timesteps.dtype}{list(timesteps.shape)}; "
                f"the denoiser takes integers () or ({tokens.shape[0]},), one a sample"
            )
        check_tokens(tokens, self.config.num_codes, allow_mask=True)
        check_timesteps(timesteps, self.config.num_timesteps)

    def _check_condition(self, condition: jax.Array | None, batch: int | None) -> None:
        config = self.config
        if config.condition == "none":
            if condition is not None:
                raise ValueError("this denoiser is unconditional; leave condition out")
            return
        if condition is None:
            raise ValueError(
                f"this denoiser needs a {config.condition} condition; pass condition, or conditioning from precompute"
            )
        text = config.condition == "text"
        expected = (batch, config.condition_length, config.condition_width) if text else (batch,)
        kind = jnp.floating if text else jnp.integer
        if condition.shape != expected or not jnp.issubdtype(condition.dtype, kind):
            raise ValueError(
                f"condition is {condition.dtype}{list(condition.shape)}; "
                f"a {config.condition} denoiser takes {kind.__name__} {expected}"
            )
        labels = None if text else host_values(condition)
        if labels is not None and (labels < 0).any():
            raise ValueError(
                f"label {labels.min()} is out of range; allowed: 0 to {config.num_classes - 1}, or more for no class"
            )
