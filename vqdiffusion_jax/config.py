"""A model's configuration, as frozen dataclasses that check themselves.

``configs/*.py`` and the converters build them.  A checkpoint fixes its architecture (``DenoiserConfig``,
``VQGANConfig``, ...); the user chooses ``ComputeConfig``.  ``vqdiffusion_jax.presets`` holds the released
configurations by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .checks import check, fraction, one_of, whole
from .config_table import from_dict as from_dict
from .config_table import to_dict as to_dict
from .errors import ConfigError, shown
from .extensions import Options, check_name

# A configuration may be a stranger's: these sizes decide how long loops and tables are before any weight is read.
_MOST_TIMESTEPS, _MOST_BLOCKS, _MOST_LEVELS, _MOST_MULTIPLIER, _MOST_CONTEXT = 10**6, 100, 16, 1024, 10**5
_MOST_PROJECTION = 2**15  # a file may lack the projection, which is zeros then
CONDITIONS = ("text", "class", "none")
MLPS = ("dense", "conv")
ACTIVATIONS = ("gelu2", "gelu")
EMBEDDINGS = ("learned", "sinusoidal")
CLASS_NORMS = ("layer", "instance")
QUANTIZERS = ("gumbel", "vq", "ema", "fsq")
CODEC_NETWORKS = ("conv", "dense", "linear")
DENOMINATORS = ("num_codes", "num_codes_plus_one")
AUXILIARY_WEIGHTINGS = ("decreasing", "increasing", "constant")
DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("auto", "xla", "blocked", "cudnn")


# Names of noise schedules -> module and class below ``vqdiffusion_jax.diffusion.schedules``; imported only when asked
# for.
SCHEDULES = {
    "alpha1": "alpha1:Alpha1",
    "cosine": "cosine:Cosine",
    "linear": "linear:Linear",
}
# Names of training objectives -> module and class below ``vqdiffusion_jax.diffusion.objectives``.
OBJECTIVES = {
    "variational": "variational:Variational",
    "masked_cross_entropy": "masked_cross_entropy:MaskedCrossEntropy",
}


class Named:
    """A configuration whose field ``name`` chooses a class and whose ``options`` are that class's keyword arguments.

    The reference's own class has its arguments as fields, so that old files keep their form.
    """

    _REFERENCE: ClassVar[str]  # name of the reference's own class
    _ARGUMENTS: ClassVar[tuple[str, ...]]  # fields that are its arguments
    _ONLY_REFERENCE: ClassVar[tuple[str, ...]]  # fields that mean nothing to other classes

    name: str
    options: Mapping[str, Any]

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the class."""
        if self.name == self._REFERENCE:
            return {name: getattr(self, name) for name in self._ARGUMENTS}
        return dict(self.options)

    def _check_named(self, builtin: Mapping[str, str]) -> None:
        kind = type(self).__name__
        check_name(self, "name", builtin)
        if not isinstance(self.options, Mapping):
            raise ConfigError(f"{kind}.options is {self.options!r}; it must be a table of keyword arguments")
        object.__setattr__(self, "options", Options(self.options))
        if self.name == self._REFERENCE:
            if self.options:
                raise ConfigError(
                    f"{kind}.options is {dict(self.options)!r}; {self.name} takes none, set {kind}'s own fields"
                )
            return
        # A field's default is the class's attribute.
        changed = [name for name in self._ONLY_REFERENCE if getattr(self, name) != getattr(type(self), name)]
        if changed:
            raise ConfigError(
                f"{kind}.{changed[0]} is {getattr(self, changed[0])!r}, but it belongs to {self._REFERENCE}; "
                f"give options of {self.name}"
            )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Named):
    """Mask-and-replace noise over ``num_timesteps`` timesteps: a schedule by name.

    alpha1, the reference's (paper section 4.1), has its settings as fields: the cumulative keep and mask probabilities
    run linearly from ``*_start`` at t = 0 to ``*_end`` at t = num_timesteps - 1.  Other schedules take ``options``.
    """

    _REFERENCE = "alpha1"
    _ARGUMENTS = ("keep_start", "keep_end", "mask_start", "mask_end")
    _ONLY_REFERENCE = (*_ARGUMENTS, "denominator")

    num_codes: int
    num_timesteps: int = 100
    name: str = "alpha1"  # one of SCHEDULES, or package.module:Class of your own
    options: Mapping[str, Any] = field(default_factory=Options)  # keyword arguments of any class but alpha1
    keep_start: float = 0.99999
    keep_end: float = 0.000009
    mask_start: float = 0.000009
    mask_end: float = 0.99999
    denominator: str = "num_codes"  # files from before spring 2022 hold "num_codes_plus_one"

    def __post_init__(self):
        whole(self, 1, "num_codes")
        whole(self, 1, "num_timesteps", most=_MOST_TIMESTEPS)
        one_of(self, "denominator", DENOMINATORS)
        self._check_named(SCHEDULES)
        for end in ("start", "end"):
            keep, mask = getattr(self, f"keep_{end}"), getattr(self, f"mask_{end}")
            if not (0.0 < keep < 1.0 and 0.0 < mask < 1.0 and keep + mask < 1.0):
                raise ConfigError(
                    f"ScheduleConfig: keep_{end}={keep} and mask_{end}={mask} must both lie in (0, 1) "
                    "and sum to less than 1"
                )


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """The transformer that predicts clean tokens (paper section 4.3)."""

    condition: str  # "text": cross attention; "class": AdaLN on the label; "none"
    num_codes: int  # K; the network reads K + 1 tokens ([MASK] is K) and predicts K
    grid: tuple[int, int]  # (height, width) in tokens
    width: int
    num_layers: int
    num_heads: int
    num_timesteps: int = 100
    # Position tables are 32 wide in every released model, even where the grid is 16 x 16:
    # token p takes row p // 32 and column p % 32.
    position_grid: tuple[int, int] = (32, 32)
    mlp: str = "dense"
    mlp_ratio: float = 4  # mlp_width / width
    activation: str = "gelu2"
    timestep_embedding: str = "learned"
    condition_width: int = 512  # text only
    condition_length: int = 77  # text only
    num_classes: int = 0  # class only: rows of the class table; larger labels take the mean row
    class_embedding: str = "learned"  # class only; "sinusoidal" is the reference's class_type adalayernorm_abs
    class_norm: str = "layer"  # class only; "instance" (over the tokens, not the channels) is its adainsnorm
    # A trained null condition for guidance.  text: an embedding of its own; class: the last row of the table.
    learnable_null: bool = False
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0

    def __post_init__(self):
        whole(self, 1, "num_codes", "width", "num_layers", "num_heads")
        whole(self, 1, "num_timesteps", most=_MOST_TIMESTEPS)
        _check_mlp_ratio(self)
        one_of(self, "condition", CONDITIONS)
        one_of(self, "mlp", MLPS)
        one_of(self, "activation", ACTIVATIONS)
        one_of(self, "timestep_embedding", EMBEDDINGS)
        one_of(self, "class_embedding", EMBEDDINGS)
        one_of(self, "class_norm", CLASS_NORMS)
        fraction(self, "attention_dropout", "residual_dropout")
        if self.width % self.num_heads:
            raise ConfigError(f"DenoiserConfig.num_heads={self.num_heads} does not divide width={self.width}")
        if self.num_tokens > self.position_grid[0] * self.position_grid[1]:
            raise ConfigError(
                f"DenoiserConfig.grid={self.grid} has more tokens than position_grid={self.position_grid}"
            )
        if self.condition == "text":
            whole(self, 1, "condition_width", "condition_length")
        if self.condition == "class":
            whole(self, 1, "num_classes")
        if self.learnable_null and self.condition == "none":
            raise ConfigError("DenoiserConfig.learnable_null needs a condition; this one is 'none'")

    @property
    def num_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def mask_token(self) -> int:
        return self.num_codes

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads

    @property
    def mlp_width(self) -> int:
        """Hidden width of the MLP."""
        return _mlp_width(self)

    @property
    def null_label(self) -> int:
        """class only: the label of no class; if none was trained it lies past the table and takes the mean row."""
        return self.num_classes - 1 if self.learnable_null else self.num_classes


@dataclass(frozen=True, kw_only=True)
class VQGANConfig:
    """Image codec: convolutional encoder and decoder around a codebook (taming transformers)."""

    quantizer: str  # "gumbel": f8 OpenImages; "vq": f16; "ema": ITHQ; "fsq": the embedded model
    codebook_size: int
    embed_dim: int  # width of a code
    image_size: int = 256
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[int, ...] = (3,)  # level i works at image_size / 2**i
    z_channels: int = 256
    image_channels: int = 3
    norm_groups: int = 32
    dropout: float = 0.0
    reduced_codebook_size: int | None = None  # K, where only some codes are kept
    # Pixels a side of the squares that the encoder sees one at a time; None: the whole picture.
    encoder_window: int | None = None

    levels: tuple[int, ...] = ()  # fsq: values of each number of a code; their product is codebook_size
    # "dense": matrix products on cells of encoder_window pixels (models/dense_codec.py), ``channels`` wide; "linear":
    # the same with an encoder of one linear layer, so that codes can be found without training (k-means).
    network: str = "conv"

    def __post_init__(self):
        whole(self, 1, "codebook_size", "embed_dim", "image_size", "channels")
        whole(self, 1, "num_res_blocks", most=_MOST_BLOCKS)
        whole(self, 1, "z_channels", "image_channels", "norm_groups")
        one_of(self, "quantizer", QUANTIZERS)
        one_of(self, "network", CODEC_NETWORKS)
        fraction(self, "dropout")
        if self.quantizer == "fsq" and not (
            min(self.levels, default=0) >= 2
            and math.prod(self.levels) == self.codebook_size
            and len(self.levels) == self.embed_dim
        ):
            raise ConfigError(
                f"VQGANConfig.levels={self.levels} must be embed_dim={self.embed_dim} numbers of at least 2"
                f" whose product is codebook_size={self.codebook_size}"
            )
        if self.network != "conv" and self.encoder_window is None:
            raise ConfigError(
                f"VQGANConfig.network is {self.network!r}, which needs encoder_window, the side of its cells"
            )
        if not self.channel_multipliers:
            raise ConfigError("VQGANConfig.channel_multipliers is empty; give one whole number a level")
        whole_levels = all(isinstance(m, int) and 1 <= m <= _MOST_MULTIPLIER for m in self.channel_multipliers)
        levels = f"it must be at most {_MOST_LEVELS} whole numbers from 1 to {_MOST_MULTIPLIER}"
        check(self, whole_levels and len(self.channel_multipliers) <= _MOST_LEVELS, "channel_multipliers", levels)
        if self.image_size % self.downsampling:
            raise ConfigError(
                f"VQGANConfig.image_size={self.image_size} is not divisible by its downsampling of {self.downsampling}"
            )
        window = self.encoder_window
        if window is not None and (window < 1 or window % self.downsampling or self.image_size % window):
            raise ConfigError(
                f"VQGANConfig.encoder_window is {window}; it must be a multiple of the downsampling of "
                f"{self.downsampling} that divides image_size={self.image_size}, or None"
            )
        for channels in (self.channels, *(self.channels * multiplier for multiplier in self.channel_multipliers)):
            if channels % self.norm_groups:
                raise ConfigError(
                    f"VQGANConfig: {channels} channels are not divisible by norm_groups={self.norm_groups}"
                )
        for level in self.attention_levels:
            if not 0 <= level < len(self.channel_multipliers):
                raise ConfigError(
                    f"VQGANConfig.attention_levels has {level}; "
                    f"levels run from 0 to {len(self.channel_multipliers) - 1}"
                )
        if self.reduced_codebook_size is not None and not 1 <= self.reduced_codebook_size <= self.codebook_size:
            raise ConfigError(
                f"VQGANConfig.reduced_codebook_size={self.reduced_codebook_size} must lie in 1..{self.codebook_size}"
            )

    @property
    def cell(self) -> int:
        """Pixels a side of what the encoder sees at a time."""
        return self.encoder_window or self.image_size

    @property
    def downsampling(self) -> int:
        return 2 ** (len(self.channel_multipliers) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        side = self.image_size // self.downsampling
        return (side, side)

    @property
    def num_codes(self) -> int:
        """K, the number of codes that the diffusion draws from."""
        return self.reduced_codebook_size or self.codebook_size


@dataclass(frozen=True, kw_only=True)
class CLIPTextConfig:
    """OpenAI CLIP's text tower; the defaults are ViT-B/32's."""

    vocab_size: int = 49408
    context_length: int = 77
    width: int = 512
    num_layers: int = 12
    num_heads: int = 8
    mlp_ratio: float = 4  # mlp_width / width
    projection_width: int = 512
    activation: str = "gelu2"  # QuickGELU, as in every CLIP of OpenAI

    def __post_init__(self):
        _check_tower(self)

    @property
    def mlp_width(self) -> int:
        """Hidden width of the MLP."""
        return _mlp_width(self)


@dataclass(frozen=True, kw_only=True)
class CLIPVisionConfig:
    """OpenAI CLIP's image tower; the defaults are ViT-B/32's."""

    image_size: int = 224
    patch_size: int = 32
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4  # mlp_width / width
    projection_width: int = 512
    activation: str = "gelu2"  # QuickGELU, as in every CLIP of OpenAI

    def __post_init__(self):
        _check_tower(self)
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"CLIPVisionConfig.patch_size={self.patch_size} does not divide image_size={self.image_size}"
            )

    @property
    def mlp_width(self) -> int:
        """Hidden width of the MLP."""
        return _mlp_width(self)


def _check_tower(config: CLIPTextConfig | CLIPVisionConfig) -> None:
    names = {field.name for field in dataclasses.fields(config)} - {"mlp_ratio", "activation"}
    whole(config, 1, *sorted(names))
    whole(config, 1, "projection_width", most=_MOST_PROJECTION)
    _check_mlp_ratio(config)
    one_of(config, "activation", ACTIVATIONS)
    if config.width % config.num_heads:
        raise ConfigError(f"{type(config).__name__}.num_heads={config.num_heads} does not divide width={config.width}")


def _mlp_width(config: DenoiserConfig | CLIPTextConfig | CLIPVisionConfig) -> int:
    return round(config.mlp_ratio * config.width)


def _check_mlp_ratio(config: DenoiserConfig | CLIPTextConfig | CLIPVisionConfig) -> None:
    """Raise ConfigError unless the hidden width is at least 1; a whole ratio becomes an int, as files hold it."""
    ratio = config.mlp_ratio
    good = isinstance(ratio, int | float) and not isinstance(ratio, bool) and 0.0 < ratio < float("inf")
    check(config, good and _mlp_width(config) >= 1, "mlp_ratio", "it must be a number that gives a width of at least 1")
    if ratio == int(ratio):
        object.__setattr__(config, "mlp_ratio", int(ratio))


@dataclass(frozen=True, kw_only=True)
class TextEmbeddingConfig:
    """The way from the text tower's states to the condition (the reference's CLIPTextEmbedding).

    Every released model takes all states, each divided by its L2 norm.
    """

    normalize: bool = True
    pick_last: bool = False  # the end-of-text state, projected, instead of all states
    keep_length_axis: bool = False  # (batch, 1, width) instead of (batch, width)
    double: bool = False  # concatenate with itself before normalising
    additional_last: bool = False  # also return the projected end-of-text state


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """CLIP byte-pair encoding as the reference sets it up."""

    end_index: int = 49152  # the reference's end_idx: 256 + 2 + number of merges used
    context_length: int = 77
    pad_token: int = 0  # not the end-of-text id: pads are attended, so this changes pictures
    add_start_and_end: bool = True

    def __post_init__(self):
        whole(self, 1, "context_length", most=_MOST_CONTEXT)
        if self.end_index < 258:
            raise ConfigError(f"TokenizerConfig.end_index={self.end_index}; it must be at least 258 (no merges)")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Named):
    """The loss that training minimises: an objective by name.

    variational, the reference's, is the variational bound and an auxiliary term on x_0 (paper equation 10 and
    appendix); its settings are fields.  Other objectives take ``options``.
    """

    _REFERENCE = "variational"
    _ARGUMENTS = ("auxiliary_weight", "auxiliary_weighting", "masked_weight", "unmasked_weight")
    _ONLY_REFERENCE = _ARGUMENTS[1:]  # presets set the auxiliary weight, whatever the objective

    name: str = "variational"  # one of OBJECTIVES, or package.module:Class of your own
    options: Mapping[str, Any] = field(default_factory=Options)  # keyword arguments of any class but variational
    auxiliary_weight: float = 5.0e-4
    auxiliary_weighting: str = "decreasing"  # "increasing" is what the code did before spring 2022
    masked_weight: float = 1.0
    unmasked_weight: float = 1.0

    def __post_init__(self):
        self._check_named(OBJECTIVES)
        one_of(self, "auxiliary_weighting", AUXILIARY_WEIGHTINGS)
        for name in ("auxiliary_weight", "masked_weight", "unmasked_weight"):
            if not getattr(self, name) >= 0.0:
                raise ConfigError(f"ObjectiveConfig.{name}={getattr(self, name)!r} must not be negative")


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """Settings of a call that gives none: for a released model those that its authors document.

    strategy: a name of ``sampling.STRATEGIES``.  strategy_options: its own settings, by name.  A call that names a
    strategy, or gives a setting of one, takes neither.
    """

    guidance_scale: float = 1.0
    truncation_rate: float = 0.86
    strategy: str = "posterior"
    strategy_options: Mapping[str, Any] = field(default_factory=Options)

    def __post_init__(self):
        if not 0.0 < self.truncation_rate <= 1.0:
            raise ConfigError(f"SamplingDefaults.truncation_rate={self.truncation_rate!r} must lie in (0, 1]")
        if not isinstance(self.strategy_options, Mapping):
            told = f"SamplingDefaults.strategy_options is {shown(self.strategy_options)}"
            raise ConfigError(f"{told}; it must be a table of the strategy's settings")
        object.__setattr__(self, "strategy_options", Options(self.strategy_options))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole VQ-Diffusion model: codec, denoiser, noise and, for text, CLIP."""

    denoiser: DenoiserConfig
    codec: VQGANConfig
    schedule: ScheduleConfig
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    text_encoder: CLIPTextConfig | None = None
    text_embedding: TextEmbeddingConfig | None = None
    tokenizer: TokenizerConfig | None = None

    def __post_init__(self):
        denoiser, codec, schedule = self.denoiser, self.codec, self.schedule
        if codec.num_codes != denoiser.num_codes:
            raise ConfigError(f"the codec gives {codec.num_codes} codes but the denoiser expects {denoiser.num_codes}")
        if schedule.num_codes != denoiser.num_codes:
            raise ConfigError(
                f"the schedule is made for {schedule.num_codes} codes but the denoiser expects {denoiser.num_codes}"
            )
        if schedule.num_timesteps != denoiser.num_timesteps:
            raise ConfigError(
                f"the schedule has {schedule.num_timesteps} timesteps but the denoiser has embeddings "
                f"for {denoiser.num_timesteps}"
            )
        if codec.grid != denoiser.grid:
            raise ConfigError(f"the codec gives a grid of {codec.grid} tokens but the denoiser expects {denoiser.grid}")
        tower, embedding, tokenizer = self.text_encoder, self.text_embedding, self.tokenizer
        if denoiser.condition == "text":
            if tower is None or embedding is None or tokenizer is None:
                raise ConfigError("a text model needs text_encoder, text_embedding and tokenizer")
            self._check_text_condition(tower, embedding)
        elif any(part is not None for part in (tower, embedding, tokenizer)):
            raise ConfigError(
                f"a model with condition={denoiser.condition!r} takes no text_encoder, text_embedding or tokenizer"
            )

    def _check_text_condition(self, tower: CLIPTextConfig, text: TextEmbeddingConfig) -> None:
        """Raise ConfigError unless text becomes a condition (batch, condition_length, condition_width)."""
        denoiser = self.denoiser
        if text.additional_last:
            raise ConfigError(
                "text_embedding.additional_last gives a second array, which no denoiser here takes; set it to False"
            )
        if text.pick_last and not text.keep_length_axis:
            raise ConfigError(
                "text_embedding.pick_last gives no sequence for the denoiser to attend to; set keep_length_axis too "
                "(keep_seq_len_dim in the reference's files)"
            )
        if text.pick_last and denoiser.condition_length != 1:
            raise ConfigError(
                "text_embedding.pick_last gives one state but the denoiser's condition_length is "
                f"{denoiser.condition_length}; set it to 1 (condition_seq_len in the reference's files)"
            )
        width = (tower.projection_width if text.pick_last else tower.width) * (2 if text.double else 1)
        if width != denoiser.condition_width:
            doubled = " (text_embedding.double, embed_dim in the reference's files)" if text.double else ""
            raise ConfigError(
                f"the text condition is {width} wide{doubled} but the denoiser's condition_width is "
                f"{denoiser.condition_width}"
            )


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """The arithmetic and execution of a network, which no checkpoint fixes.

    dtype is that of activations and matmuls; normalisation statistics, softmax, logits and everything in log space stay
    float32.
    """

    dtype: str = "float32"
    param_dtype: str = "float32"
    attention: str = "auto"
    # One traced layer for all, or all unrolled: slower to compile, and to sample takes a second copy of the denoiser's
    # weights, which a GPU then reads in place (on a mesh that splits weights, all of them whole on each device).
    scan_layers: bool = True
    remat: bool = False  # recompute activations in the backward pass, layer by layer
    fp8: bool = False  # the denoiser's attention and dense MLPs multiply in float8: for sampling only, and not exact

    def __post_init__(self):
        one_of(self, "dtype", DTYPES)
        one_of(self, "param_dtype", DTYPES)
        one_of(self, "attention", ATTENTIONS)


ROUNDINGS = ("truncate", "round")  # of pixels to 8 bits
MODEL_DTYPES = ("float32", "bfloat16", "float8")  # of ``compute_in`` and --dtype


def compute_in(dtype: str) -> ComputeConfig:
    """Return the ComputeConfig of weights and arithmetic in ``dtype``; "float8" is bfloat16 with ``fp8``."""
    held = "bfloat16" if dtype == "float8" else dtype
    return ComputeConfig(dtype=held, param_dtype=held, fp8=dtype != held)


def dtype_of(compute: ComputeConfig) -> str:
    """Return "float8" or the dtype of the arithmetic; the inverse of ``compute_in``."""
    return "float8" if compute.fp8 else compute.dtype


def mlp_ratio(mlp_width: int, width: int) -> float:
    """Return the ``mlp_ratio`` of a network ``width`` wide whose MLP is ``mlp_width`` wide."""
    return mlp_width // width if mlp_width % width == 0 else mlp_width / width
