"""Of TIFF files whose first page is a thumbnail, the whole picture is read."""

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from vqdiffusion_jax.errors import PictureError
from vqdiffusion_jax.pictures import decode

NEW, OLD = 254, 255  # NewSubfileType, SubfileType
RNG = np.random.default_rng(0)
WHOLE = RNG.integers(0, 256, (12, 20, 3), np.uint8)
SMALL = np.full((3, 5, 3), 7, np.uint8)


def pages(*made, big=False, order="II") -> bytes:
    """Return a TIFF file of (samples, tags) a page."""
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file) as writer:
        for samples, tags in made:
            directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=order.encode())
            for tag, value in tags.items():
                directory[tag] = value
            Image.fromarray(samples).save(writer, "TIFF", tiffinfo=directory, big_tiff=big)
            writer.newFrame()
    return file.getvalue()


def read(data: bytes) -> np.ndarray:
    return np.asarray(decode(data))


@pytest.mark.parametrize("tag, value", [(NEW, 1), (NEW, 5), (OLD, 2)])
@pytest.mark.parametrize("before", [1, 2])
def test_the_whole_page_is_read(tag, value, before):
    data = pages(*[(SMALL, {tag: value})] * before, (WHOLE, {NEW: 0}))
    np.testing.assert_array_equal(read(data), WHOLE)


@pytest.mark.parametrize("tag, value", [(NEW, 0), (NEW, 2), (OLD, 1), (OLD, 3)])
def test_a_page_of_several_stays_the_first(tag, value):
    np.testing.assert_array_equal(read(pages((SMALL, {tag: value}), (WHOLE, {}))), SMALL)


def test_orientation_is_that_of_the_page():
    data = pages((SMALL, {NEW: 1, 274: 3}), (WHOLE, {274: 6}))
    np.testing.assert_array_equal(read(data), np.rot90(WHOLE, -1))


def test_big_endian_and_big_files():
    for made in (_by_hand("big", 4), _by_hand("little", 4), _by_hand("little", 8)):
        np.testing.assert_array_equal(read(made), [[[200] * 3]])


def _by_hand(order: str, wide: int) -> bytes:
    """Return two pages of one grey pixel, 50 in the thumbnail and 200 in the whole."""
    big = wide == 8
    head = (b"II" if order == "little" else b"MM") + (43 if big else 42).to_bytes(2, order)
    if big:
        head += (8).to_bytes(2, order) + bytes(2)
    start, size = len(head) + wide, (8 if big else 2) + 9 * (4 + 2 * wide) + wide
    body = b""
    for page, (kind, grey) in enumerate(((1, 50), (0, 200))):
        place = start + page * (size + 8)
        table = {254: kind, 256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: place + size, 278: 1, 279: 1}
        body += len(table).to_bytes(8 if big else 2, order)
        for tag, value in table.items():
            body += tag.to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(wide, order)
            body += value.to_bytes(4, order) + bytes(wide - 4)
        body += (0 if page else place + size + 8).to_bytes(wide, order) + bytes([grey]) + bytes(7)
    return head + start.to_bytes(wide, order) + body


def test_thumbnails_alone_are_told():
    looped = bytearray(_by_hand("little", 4))
    looped[8 + 2 + 9 * 12 : 8 + 2 + 9 * 12 + 4] = (8).to_bytes(4, "little")  # the next page is the first
    for data in (pages((SMALL, {NEW: 1})), pages((SMALL, {NEW: 1}), (SMALL, {OLD: 2})), bytes(looped)):
        with pytest.raises(PictureError, match="pages are all thumbnails"):
            decode(data)
