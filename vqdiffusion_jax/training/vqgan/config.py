"""The configuration of a codec's training, as frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...checks import number, one_of, whole
from ...config import ComputeConfig, VQGANConfig
from ...errors import ConfigError
from ..config import EMAConfig, LearningRateConfig, OptimizerConfig, RunConfig

ADVERSARIAL_LOSSES = ("hinge", "vanilla")


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """Weights of the reconstruction loss; a weight of 0 leaves a term out of the program."""

    l1: float = 1.0
    l2: float = 0.0
    perceptual: float = 0.0  # LPIPS; taming uses 1
    # perceptual: file of VGG16's convolutions, torchvision's vgg16-397923af.pth or an .npz of the same names.
    vgg: str = ""
    # perceptual: file of LPIPS' channel weights, lpips' weights/v0.1/vgg.pth or an .npz of the same names.
    lins: str = ""

    def __post_init__(self):
        number(self, 0.0, 1.0e6, "l1", "l2", "perceptual")
        if not (self.l1 or self.l2 or self.perceptual):
            raise ConfigError(
                "ReconstructionConfig: l1, l2 and perceptual are all 0; one must be above, or nothing is learned"
            )
        if self.perceptual and not (self.vgg and self.lins):
            raise ConfigError(
                "ReconstructionConfig.perceptual needs the files vgg and lins; give both, or set perceptual to 0"
            )


@dataclass(frozen=True, kw_only=True)
class CodebookConfig:
    """The training of codes and latents towards each other; each kind of quantizer reads its own fields."""

    weight: float = 1.0  # of all of the quantizer's terms together
    commitment: float = 0.25  # vq, ema: beta of van den Oord et al. 2017, equation 3
    decay: float = 0.99  # ema: of the running sums
    # ema: codes used less than this share of the mean use are restarted; 0: none are, and the first ones are random.
    restart_below: float = 0.1
    kl_weight: float = 5.0e-4  # gumbel: of KL(choice || uniform)
    temperature_start: float = 1.0  # gumbel: of the relaxed choice
    temperature_end: float = 0.0625
    temperature_steps: int = 100_000  # gumbel: steps from one temperature to the other

    def __post_init__(self):
        number(self, 0.0, 1.0e6, "weight", "commitment", "kl_weight")
        number(self, 0.0, 0.999999, "decay", "restart_below")
        number(self, 1.0e-9, 1.0e3, "temperature_start", "temperature_end")
        whole(self, 0, "temperature_steps")


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """A network that tells patches of pictures from patches of reconstructions (Isola et al. 2017, section 3.2.2)."""

    weight: float = 0.0  # 0: there is none; taming uses 0.8
    start: int = 0  # the step it joins at
    adaptive: bool = True  # scale the weight to the reconstruction's gradient (Esser et al. 2021, equation 7)
    loss: str = "hinge"
    channels: int = 64
    num_layers: int = 3  # convolutions that halve
    norm_groups: int = 32

    def __post_init__(self):
        number(self, 0.0, 1.0e6, "weight")
        whole(self, 0, "start")
        whole(self, 1, "channels", "num_layers", "norm_groups")
        one_of(self, "loss", ADVERSARIAL_LOSSES)
        if 2 * self.channels % self.norm_groups:
            raise ConfigError(
                f"DiscriminatorConfig: 2 x {self.channels} channels are not divisible by norm_groups={self.norm_groups}"
            )

    def patches(self, image_size: int) -> int:
        """Return the number of logits along one side of a picture; below 1 if it is too small."""
        side = image_size
        for _ in range(self.num_layers):
            side //= 2  # 4 wide, stride 2, one row of padding at either end
        return side - 2  # two convolutions, 4 wide


@dataclass(frozen=True, kw_only=True)
class VQGANTrainConfig(RunConfig):
    """A codec's training run."""

    codec: VQGANConfig
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(b1=0.5, b2=0.9, clip_norm=1.0, weight_decay=0.0)
    )
    learning_rate: LearningRateConfig = field(default_factory=LearningRateConfig)  # the discriminator's too
    ema: EMAConfig = field(default_factory=lambda: EMAConfig(decay=0.999, interval=1))
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    # Encoder and codebook stay, so that a denoiser trained on their tokens can use the better decoder.
    decoder_only: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.decoder_only and self.optimizer.weight_decay:
            raise ConfigError(
                "VQGANTrainConfig.decoder_only is True, but weight_decay would shrink the encoder; set it to 0"
            )
        if self.accumulation != 1:
            raise ConfigError(
                f"VQGANTrainConfig.accumulation is {self.accumulation}; "
                "a codec is trained on whole batches, so it must be 1"
            )
        if self.codec.reduced_codebook_size is not None:
            raise ConfigError(
                "VQGANTrainConfig.codec.reduced_codebook_size is given; train all codes, then --mode=reduce_codebook"
            )
        if self.compute.param_dtype != "float32":
            raise ConfigError(
                f"VQGANTrainConfig.compute.param_dtype is {self.compute.param_dtype!r}; "
                "parameters are trained in float32"
            )
        if (self.discriminator.weight or self.reconstruction.perceptual) and self.codec.image_channels != 3:
            raise ConfigError(
                f"VQGANTrainConfig: discriminator and LPIPS see 3 channels, the codec has {self.codec.image_channels}"
            )
        if self.reconstruction.perceptual and self.codec.image_size < 16:
            raise ConfigError(
                "VQGANTrainConfig: LPIPS needs pictures of at least 16 pixels, "
                f"the codec's have {self.codec.image_size}"
            )
        if self.discriminator.weight and self.discriminator.patches(self.codec.image_size) < 1:
            raise ConfigError(
                f"DiscriminatorConfig.num_layers={self.discriminator.num_layers} leaves nothing of pictures of "
                f"{self.codec.image_size} pixels; give fewer layers"
            )
