"""Transparency is composed on a background, by one rule for files of every kind, PIL pictures and arrays."""

import numpy as np
import pytest
from PIL import Image

from tests.pictures.files import encoded, png
from vqdiffusion_jax.call import pictures_of
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.examples import PictureExamples
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.data.transforms import decode
from vqdiffusion_jax.errors import ConfigError, SettingError
from vqdiffusion_jax.pictures import WHITE, colour_of, in_rgb, on_white
from vqdiffusion_jax.presets import preset

CODEC = preset("emoji").codec
BLUE = (0, 0, 200)


def drawing(hidden, size: int = 16) -> np.ndarray:
    """A red square, its lower half half transparent, on transparent ground of a hidden colour."""
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[..., :3] = hidden
    pixels[4:12, 4:12] = (255, 0, 0, 255)
    pixels[8:12, 4:12, 3] = 128
    return pixels


def composed(pixels: np.ndarray, background=WHITE) -> np.ndarray:
    colour, alpha = pixels[..., :3].astype(int), pixels[..., 3:].astype(int)
    return (colour * alpha + np.array(background) * (255 - alpha) + 127) // 255


def indexed() -> Image.Image:
    picture = Image.new("P", (16, 16), 0)
    picture.putpalette([9, 9, 9, 255, 0, 0] + [0] * 762)
    picture.paste(1, (4, 4, 12, 12))
    return picture


def test_every_pair_of_colour_and_alpha_is_rounded_to_the_nearest():
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    pairs = np.stack([colour, colour, colour, alpha], -1).astype(np.uint8)
    for background in (WHITE, (0, 0, 0), (10, 100, 200)):
        np.testing.assert_array_equal(np.asarray(in_rgb(pairs, background)), composed(pairs, background))
    np.testing.assert_array_equal(on_white(pairs), composed(pairs))


@pytest.mark.parametrize("background", [WHITE, BLUE])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255), (0, 200, 0)])
def test_hidden_colours_do_not_matter(hidden, background):
    pixels = drawing(hidden)
    expected = composed(pixels, background)
    for kind, options in {"PNG": {}, "WEBP": dict(lossless=True, exact=True), "TIFF": {}}.items():
        np.testing.assert_array_equal(np.asarray(decode(encoded(pixels, kind, **options), background)), expected)
    np.testing.assert_array_equal(np.asarray(decode(pixels, background)), expected)
    np.testing.assert_array_equal(np.asarray(in_rgb(Image.fromarray(pixels), background)), expected)


@pytest.mark.parametrize("mode", ["LA", "PA", "La", "RGBa"])
def test_pil_pictures_of_other_modes(mode):
    grey = drawing((7, 7, 7))
    grey[..., :3] = grey[..., :1]  # the same in every mode
    picture = Image.fromarray(grey)
    expected = composed(grey)
    if mode == "PA":
        picture = Image.fromarray(np.dstack([(grey[..., 0] == 255).astype(np.uint8), grey[..., 3]]), "LA")
        made = Image.new("PA", picture.size)
        made.putpalette([7, 7, 7, 255, 255, 255])
        made.im.putband(picture.getchannel("L").im, 0)
        made.im.putband(picture.getchannel("A").im, 1)
        picture = made
    else:
        picture = picture.convert("LA" if mode in ("LA", "La") else "RGBA")
        picture = picture.convert(mode) if picture.mode != mode else picture
    assert picture.mode == mode
    assert np.abs(np.asarray(in_rgb(picture)).astype(int) - expected).max() <= 1  # of premultiplied alpha


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("animated", [False, True])
def test_palettes_and_first_frames(kind, animated):
    first, second = indexed(), Image.new("P", (16, 16), 1)
    second.putpalette(first.getpalette())
    if kind == "WEBP":
        first.info["transparency"] = 0
        first, second = first.convert("RGBA"), second.convert("RGBA")
    options = dict(save_all=True, append_images=[second], duration=100) if animated else {}
    read = np.asarray(decode(encoded(first, kind, transparency=0, lossless=True, **options)))
    assert read[0, 0].tolist() == [255, 255, 255] and read[8, 8].tolist() == [255, 0, 0]


def test_a_palette_with_many_alphas():
    read = np.asarray(decode(encoded(indexed(), "PNG", transparency=bytes([128, 255])), (0, 0, 0)))
    assert read[0, 0].tolist() == [5, 5, 5] and read[8, 8].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "data, first, last",
    [
        (png(8, 1, 1, 0, b"\0\x0f", (b"tRNS", b"\0\0")), 200, 255),
        (png(4, 1, 2, 0, b"\0\x5b", (b"tRNS", b"\0\1")), 200, 255),
        (png(2, 1, 4, 0, b"\0\x5f", (b"tRNS", b"\0\5")), 200, 255),
        (png(2, 1, 8, 0, b"\0\x09\xff", (b"tRNS", b"\0\x09")), 200, 255),
        (png(2, 1, 16, 0, b"\0\x12\x34\xff\xff", (b"tRNS", b"\x12\x34")), 200, 255),
        (png(2, 1, 8, 2, b"\0" + b"\x09" * 3 + b"\xff" * 3, (b"tRNS", b"\0\x09" * 3)), 200, 255),
        (png(2, 1, 16, 2, b"\0" + b"\x12\x34" * 3 + b"\xff\xff" * 3, (b"tRNS", b"\x12\x34" * 3)), 200, 255),
    ],
    ids=["1 bit", "2 bits", "4 bits", "8 bits", "16 bits", "RGB", "RGB of 16 bits"],
)
def test_a_transparent_colour_of_a_png(data, first, last):
    read = np.asarray(decode(data, (200, 200, 200)))
    assert (read[0, 0] == first).all() and (read[0, -1] == last).all()


def test_data_sets_have_a_background(tmp_path):
    pixels = drawing((0, 200, 0), size=64)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.png").write_bytes(encoded(pixels, "PNG"))
    np.savez(tmp_path / "arrays.npz", images=pixels[None])
    for background in ("white", "#0000c8", "rgb(0, 0, 200)", [0, 0, 200]):
        for source, root, options in (("folder", "files", {}), ("npz", "arrays.npz", {"captions": ""})):
            config = DataConfig(source=source, root=str(tmp_path / root), options=options, background=background)
            examples = PictureExamples(open_source(config, "train"), CODEC, background=colour_of(config.background))
            expected = composed(pixels, colour_of(background))
            np.testing.assert_array_equal(examples(0, None)["images"], expected)


@pytest.mark.parametrize("value", ["whitish", "", 7, None, (1, 2), (1, 2, 256), (0.5, 0, 0), (True, 0, 0), "#00000080"])
def test_another_background_is_refused(value):
    with pytest.raises(ConfigError, match=r"DataConfig.background is .*; it must be a colour's name, #rrggbb"):
        DataConfig(source="folder", root=".", background=value)


def test_pictures_given_in_python():
    pixels = drawing((0, 0, 0), size=CODEC.image_size)
    expected = composed(pixels)[None]
    for given in (pixels, Image.fromarray(pixels), [pixels], pixels[None], [Image.fromarray(pixels)]):
        np.testing.assert_array_equal(pictures_of(given, CODEC), expected)
    grey = pixels[..., 0]
    for given in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(pictures_of(given, CODEC), np.repeat(grey[None, ..., None], 3, -1))
    for wrong in (pixels.astype(float), pixels[:9], np.zeros((64, 64, 5), np.uint8), 5, None, [[1, 2], [3]], "", b""):
        with pytest.raises(SettingError, match="image") as caught:
            pictures_of(wrong, CODEC)
        assert "\n" not in str(caught.value)
