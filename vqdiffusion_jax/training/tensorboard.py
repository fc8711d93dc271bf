"""TensorBoard event files, scalars and pictures, without TensorFlow.

An event file is a TFRecord file of ``tensorflow.Event`` messages; the four message types needed here are written by
hand.
"""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np


def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)  # CRC-32C, reflected
        table.append(number)
    return table


_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """Return TFRecord's checksum of ``data``."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


class EventFile:
    """Appends to a new event file in ``folder``; every event is flushed."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / f"events.out.tfevents.{time.time_ns()}", "ab")  # noqa: SIM115
        self._write(_bytes(3, b"brain.Event:2"))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Append a number."""
        self._summary(_bytes(1, name.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", value), step)

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Append a picture (height, width, 3) uint8."""
        from PIL import Image

        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "PNG")
        height, width, channels = pixels.shape
        picture = _number(1, height) + _number(2, width) + _number(3, channels) + _bytes(4, encoded.getvalue())
        self._summary(_bytes(1, name.encode()) + _bytes(4, picture), step)

    def close(self) -> None:
        self._file.close()

    def _summary(self, value: bytes, step: int) -> None:
        self._write(_number(2, step) + _bytes(5, _bytes(1, value)))

    def _write(self, event: bytes) -> None:
        event = _varint(1 << 3 | 1) + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.write(length + struct.pack("<I", masked_crc(length)) + event + struct.pack("<I", masked_crc(event)))
        self._file.flush()
