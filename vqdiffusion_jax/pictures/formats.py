"""The picture formats that every door reads, their file name extensions, and the names of other formats."""

from __future__ import annotations

from PIL import Image

# Passed to Pillow, so that no other parser sees a file, and EPS never reaches Ghostscript.  MPO is part of JPEG.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
# Of what a source lists.  The order decides where an example of a tar shard has several pictures.
EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".jfif", ".jpe", ".mpo", ".dib", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif"),
)
_RAW = (".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf")
# Pictures that are not read, for the account of a source that leaves them out.
UNREAD_EXTENSIONS = (
    *(".heic", ".heif", ".jxl", ".jp2", ".j2k", ".svg", ".eps", ".ps", ".pdf", ".psd", ".xcf", ".ico", ".tga"),
    *(".exr", ".hdr", *_RAW),
)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_FIRST_BYTES = (
    (b"\xff\xd8", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"%!PS", "PostScript or EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\x01\0", "ICO"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"FUJIFILMCCD-RAW", "a camera's raw format"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1aE\xdf\xa3", "a film"),
)
_TEXTS = (
    ("version https://git-lfs", "a pointer of Git LFS"),
    ("<!doctype html", "a web page"),
    ("<html", "a web page"),
    ("<svg", "SVG"),
)
_NO_PICTURES = {
    "a pointer of Git LFS": "run git lfs pull",
    "a web page": "download it again",
    "a gzip file": "unpack it",
    "a zip archive": "unpack it",
    "a film": "take single pictures from it",
}


def readable_formats() -> list[str]:
    """Return Pillow's names of the formats that are read, those that the installed Pillow has."""
    if not Image.OPEN.keys() >= {*_FORMATS}:
        Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def name_of_format(data: bytes) -> str | None:
    """Return the name of the format that the first bytes of a file tell, of those that are read and of others."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, min(len(data), 64), 4))}
        if brands & {*_AVIF_BRANDS}:
            return "AVIF"
        return "HEIC" if brands & {*_HEIF_BRANDS} else "a film or a camera's raw format"
    if data[:1] == b"P" and data[1:2] in b"1234567Ff" and data[2:3].isspace():
        return "PPM"
    for first, name in _FIRST_BYTES:
        if data.startswith(first):
            return name
    text = data[:1024].decode("latin-1").removeprefix("\xef\xbb\xbf").lstrip().lower()
    if text.startswith("<?xml") and "<svg" in text:
        return "SVG"
    return next((name for first, name in _TEXTS if text.startswith(first)), None)


def refusal(data: bytes) -> str:
    """Return the reason why Pillow does not identify a file: what it is, and what to do."""
    name = name_of_format(data)
    if not data:
        return "it is empty"
    if name is None:
        return f"it is no picture; give one of {', '.join(readable_formats())}"
    if name == "AVIF" and not _reads_avif():
        return "it is AVIF, which the installed Pillow does not read; install pillow>=11.3, or save it as PNG or JPEG"
    if name.upper() in readable_formats():
        return f"it begins as {name} does but is damaged, or of a kind that Pillow does not know; save it as PNG"
    if name in _NO_PICTURES:
        return f"it is {name}, not a picture; {_NO_PICTURES[name]}"
    return f"it is {name}, which is not read; save it as PNG or JPEG"


def _reads_avif() -> bool:
    try:
        from PIL import AvifImagePlugin
    except ImportError:  # Pillow before 11.3
        return False
    return bool(AvifImagePlugin.SUPPORTED)
