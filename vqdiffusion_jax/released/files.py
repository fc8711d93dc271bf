"""The files that the authors released, as their download script names them, and those that they come in."""

from __future__ import annotations

from dataclasses import dataclass

# Where vqdiffusion_download_checkpoints.sh of microsoft/VQ-Diffusion takes them from.
BASE = "https://github.com/tzco/storage/releases/download/vqdiffusion"
MAPPINGS = "https://raw.githubusercontent.com/microsoft/VQ-Diffusion/main/help_folder/statistics"


@dataclass(frozen=True)
class ReleasedFile:
    """A file of the release.

    parts: how many it comes in, named STEM_aa, STEM_ab, ...; 1 if it comes whole.  companion: the table of kept codes
    that it is converted with.  gibibytes: the least size, that of the model's weights alone, which training checkpoints
    exceed.  sha256: where it is known.  base: the address below which it lies, if not BASE.  converts: it is a model or
    a part of one.
    """

    name: str
    parts: int = 1
    companion: str | None = None
    gibibytes: float = 0.0
    sha256: str | None = None
    base: str | None = None
    converts: bool = True

    @property
    def pieces(self) -> tuple[str, ...]:
        """The names of the files to download, in the order in which they are joined."""
        if self.parts == 1:
            return (self.name,)
        stem = self.name.rpartition(".")[0]
        return tuple(f"{stem}_a{chr(ord('a') + number)}" for number in range(self.parts))


_TEXT, _CLASSES = "taming_vqvae_2887.pt", "taming_vqvae_974.pt"
_FILES = (
    ReleasedFile("ithq_learnable.pth", 11, None, 5.6),
    ReleasedFile("coco_learnable.pth", 7, _TEXT, 1.9),
    ReleasedFile("cc_learnable.pth", 7, _TEXT, 1.9),
    ReleasedFile("coco_pretrained.pth", 7, _TEXT, 1.9),
    ReleasedFile("CC_pretrained.pth", 7, _TEXT, 1.9),
    ReleasedFile("cub_pretrained.pth", 7, _TEXT, 1.9),
    ReleasedFile("human_pretrained.pth", 7, _TEXT, 1.9),
    ReleasedFile("imagenet_pretrained.pth", 9, _CLASSES, 2.2),
    ReleasedFile("imagenet_learnable.pth", 9, _CLASSES, 2.2),
    ReleasedFile("vqgan_ffhq_f16_1024.pth", 10),
    ReleasedFile("ithq_vqvae.pth"),
    ReleasedFile("taming_f8_8192_openimages_last.pth", 1, _TEXT),
    ReleasedFile("vqgan_imagenet_f16_16384.pth", 1, _CLASSES),
    ReleasedFile(
        "ViT-B-32.pt", sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    ),  # the hash in the address at which OpenAI's clip package fetches it
    ReleasedFile(
        _TEXT, base=MAPPINGS, converts=False, sha256="183fecebb9924542f19fcac38b043ac9931ba75804738730ca9affd2b48e1c9c"
    ),
    ReleasedFile(
        _CLASSES,
        base=MAPPINGS,
        converts=False,
        sha256="7ff66f541063dcfffcdb43c0a2b3795eefb1070b78a22cf6e913ab1a31c4ccb0",
    ),
)
RELEASED = {file.name: file for file in _FILES}
