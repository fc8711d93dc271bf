"""The largest pictures that are read take no more memory than is said."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from tests.pictures.files import encoded, png

MEASURE = """
import resource, sys
from vqdiffusion_jax.pictures import decode
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) << 10
before = peak()
picture = decode(open(sys.argv[1], "rb").read())
print(*picture.size, peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
@pytest.mark.parametrize(
    "name, data",
    [
        ("RGB", lambda: png(10_000, 10_000, 8, 2, bytes(30_001 * 10_000))),
        ("JPEG", lambda: encoded(Image.new("RGB", (11_500, 8_700), "red"), "JPEG", exif=Image.Exif())),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_largest_pictures_take_bounded_memory(name, data, tmp_path):
    (tmp_path / "large").write_bytes(data())
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "large")], capture_output=True, text=True, check=True
    )
    width, height, taken = map(int, run.stdout.split())
    assert width * height < 2**26 and taken < 0.62 * 2**30, f"{taken >> 20} MiB"
    assert run.stderr == ""
