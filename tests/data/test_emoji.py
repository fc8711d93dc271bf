"""The emoji set is built from its packages' tarballs, whole or not at all, and is the set that was trained on."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqdiffusion_jax.data.emoji import build as build_module
from vqdiffusion_jax.data.emoji import packages, signs
from vqdiffusion_jax.data.scenes.concepts import all_concepts, choose_concepts
from vqdiffusion_jax.data.scenes.drawings import Drawings
from vqdiffusion_jax.data.scenes.held_out import is_held_out
from vqdiffusion_jax.data.scenes.words import COLOURS
from vqdiffusion_jax.errors import DataError

# The set's pictures on white, to compare what the builder writes with.
EMOJI64 = Path(os.environ.get("EMOJI64_ROOT", Path(__file__).resolve().parents[3] / "shared" / "data" / "emoji64"))
BUILT = Path(os.environ.get("EMOJI_ROOT", "/nowhere"))  # what the builder wrote with --size=64

# A red disc of half the picture's width; the rest is transparent.
DISC = '<circle cx="8" cy="8" r="4" fill="#f00"/>'


def tarball(folder: Path, package: str, files: dict[str, bytes]) -> None:
    with tarfile.open(folder / packages.tarball(package), "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def tarballs(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "all_concepts", lambda: ["red heart", "cat"])
    monkeypatch.setattr(signs, "_letters", lambda folder: iter(()))  # no font here
    folder = tmp_path / "tarballs"
    folder.mkdir()
    square = np.zeros((32, 32, 4), np.uint8)
    square[8:24, 8:24] = (0, 0, 255, 255)
    file = io.BytesIO()
    Image.fromarray(square).save(file, "WEBP", lossless=True)
    tarball(folder, packages.FLUENT_3D, {"assets/2764-fe0f.webp": file.getvalue()})

    def icons(package, names, codes):
        table = {"width": 16, "height": 16, "icons": {name: {"body": DISC} for name in names}}
        tarball(folder, package, {"icons.json": json.dumps(table).encode(), "chars.json": json.dumps(codes).encode()})

    icons(packages.NOTO, ["red-heart", "cat"], {"2764": "red-heart", "1f408": "cat"})
    icons(packages.TWEMOJI, ["heart"], {"2764": "heart"})
    icons(packages.FXEMOJI, ["cat"], {})
    icons(packages.FLUENT_COLOR, ["red-heart"], {})
    icons(packages.FLUENT_FLAT, ["red-heart", "cat"], {"2764": "red-heart", "1f408": "cat"})
    icons(packages.EMOJIONE, ["cat"], {})
    tarball(folder, packages.LETTERS, {})
    labels = [("red heart", "2764-FE0F", 0, 1, ["love"]), ("cat", "1F408", 3, 2, ["pet"]), ("dog", "1F415", 3, 2, [])]
    data = [dict(zip(("label", "hexcode", "group", "subgroup", "tags"), row)) for row in labels]
    orders = {"groups": ((0, "smileys"), (3, "animals")), "subgroups": ((1, "hearts"), (2, "mammals"))}
    messages = {kind: [{"order": i, "message": message} for i, message in rows] for kind, rows in orders.items()}
    tarball(
        folder,
        packages.NAMES,
        {"en/data.json": json.dumps(data).encode(), "en/messages.json": json.dumps(messages).encode()},
    )
    return folder


def test_drawings_and_their_lines(tmp_path, tarballs):
    pytest.importorskip("resvg_py")
    assert build_module.build(tmp_path / "out", size=16, tarballs=tarballs) == 9 + len(signs._SHAPES)
    rows = [json.loads(line) for line in (tmp_path / "out/captions.jsonl").read_text().splitlines()]
    assert [(row["style"], row["codepoint"]) for row in rows[:9]] == [
        ("fluent-3d", "2764"),
        ("noto", "1f408"),
        ("noto", "2764"),
        ("twemoji", "2764"),
        ("fxemoji", "1f408"),
        ("fluent-color", "2764"),
        ("fluent-flat", "1f408"),
        ("fluent-flat", "2764"),
        ("emojione", "1f408"),
    ]
    assert [row["i"] for row in rows] == list(range(len(rows)))
    assert {row["style"] for row in rows[9:]} == {"plain"} and {row["license"] for row in rows[9:]} == {"MIT"}
    assert rows[1] == {
        "i": 1,
        "caption": "cat",
        "style": "noto",
        "style_word": "flat shaded",
        "tags": ["pet"],
        "group": "animals",
        "subgroup": "mammals",
        "codepoint": "1f408",
        "license": "Apache-2.0",
    }
    images = np.load(tmp_path / "out/emoji.npz")["images"]
    assert images.shape == (len(rows), 16, 16, 4) and images.dtype == np.uint8
    assert images[0, 8, 8].tolist() == [0, 0, 255, 255] and images[0, 0, 0, 3] == 0
    circle = images[9]
    assert circle[8, 8, 3] == 255 and circle[0, 0, 3] == 0
    assert abs(circle[..., 3].sum() / 255 - np.pi * 6.8**2) < 2
    for image in images[1:9]:
        assert image[8, 8].tolist() == [255, 0, 0, 255] and image[0, 0, 3] == 0
        assert abs(image[..., 3].sum() / 255 - np.pi * 16) < 0.5  # the disc's area, its edge smoothed


def test_mistakes_are_one_line_and_leave_nothing(tmp_path, tarballs, monkeypatch):
    pytest.importorskip("resvg_py")
    path = tarballs / packages.tarball(packages.TWEMOJI)

    def refused(match, **options):
        with pytest.raises(DataError, match=match) as error:
            build_module.build(tmp_path / "out", tarballs=tarballs, **options)
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()

    refused("size is 4; it must be 8 to 1024", size=4)
    monkeypatch.setattr(build_module, "all_concepts", lambda: ["red heart", "no such thing"])
    refused("does not know no such thing")
    path.write_bytes(path.read_bytes()[:100])
    refused("cannot be read .*delete it")
    path.unlink()
    monkeypatch.setenv("PATH", "")
    refused("npm is not installed")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tarballs"]


def test_a_full_folder_is_not_touched(tmp_path, tarballs):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        build_module.build(tmp_path, tarballs=tarballs)


def test_the_list_of_concepts():
    concepts = all_concepts()
    assert len(concepts) == len({concept.lower() for concept in concepts}) == 1002
    assert concepts[:2] == ["red apple", "cat face"] and all(concept == concept.strip() for concept in concepts)
    for concept in map(str.lower, concepts):  # none is hidden from training
        assert sum(is_held_out(("background", concept, colour)) for colour in COLOURS) < len(COLOURS) / 2


@pytest.mark.skipif(
    not (EMOJI64.exists() and BUILT.exists()), reason="needs EMOJI_ROOT, a built folder, and EMOJI64_ROOT"
)
def test_the_built_set_is_emoji64():
    """Composited on white, every drawing is the picture of emoji64 with its code points and style."""
    expected = {(row["codepoint"], row["style"]): row for row in map(json.loads, (EMOJI64 / "captions.jsonl").open())}
    rows = {(row["codepoint"], row["style"]): row for row in map(json.loads, (BUILT / "captions.jsonl").open())}
    assert set(expected) <= set(rows)
    both = list(expected)
    assert all(rows[key] | {"i": 0} == expected[key] | {"i": 0} for key in both)
    rgba = np.load(BUILT / "emoji.npz")["images"][[rows[key]["i"] for key in both]].astype(np.uint16)
    on_white = (rgba[..., :3] * rgba[..., 3:] + 255 * (255 - rgba[..., 3:]) + 127) // 255
    wanted = np.load(EMOJI64 / "emoji64.npz")["images"][[expected[key]["i"] for key in both]]
    difference = np.abs(on_white.astype(np.int16) - wanted).mean((1, 2, 3))
    assert (difference <= 2).all(), f"{(difference > 2).sum()} of {len(both)} differ"


@pytest.mark.skipif(not BUILT.exists(), reason="needs EMOJI_ROOT: a built folder")
def test_no_concept_is_held_out_in_every_style():
    drawings = Drawings(BUILT, choose_concepts(0))
    for concept in drawings.concepts:
        assert not all(is_held_out(("style", concept, style)) for style in drawings.styles_of(concept)), concept
