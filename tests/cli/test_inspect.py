"""``--mode=inspect`` names all that a data set leaves out, in a table that fits a screen, and shows examples."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_help import said  # noqa: F401  (a fixture)
from tests.data import layouts
from tests.networks import random_network
from vqdiffusion_jax import preset
from vqdiffusion_jax.data import cache_writer, inspection
from vqdiffusion_jax.loading import write_folder
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

pytest.importorskip("grain")  # which defines flags of its own; the fixture would forget them if a test imported it

CONFIG = """\
from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    data = dict({data})
    return train_config_dict(model="{model}", train_text_encoder={text}, data=data, batch_size=4, steps=1, workers=0)
"""
CODEC = """\
from ml_collections import ConfigDict

from vqdiffusion_jax import preset
from vqdiffusion_jax.config import to_dict


def get_config():
    return ConfigDict(dict(codec=to_dict(preset("tiny_text").codec), data=dict(cache="tokens")))
"""
NEEDS = {"parquet": "pyarrow", "tfds": "tensorflow_datasets"}
LEFT_OUT = """\
assets: of no split
test: of the test split
train/pipe.png: a named pipe, no regular file
train/dangling.png: a link to nothing
train/a: a link to a folder that is read already
train/b: a link to a folder that is read already
train/grid-000000.png: a sheet of pictures that was written beside them
train/000.gif: an animation beside a picture of the same name
train/._000.png: a hidden or foreign file
train/Thumbs.db: a hidden or foreign file
train/__MACOSX: a hidden or foreign folder
train/.ipynb_checkpoints: a hidden or foreign folder
train/empty: an empty folder
train/orphan.txt: a text without a picture
train/phone.heic: in a format that is not read, .heic
train/notes.md: no picture by its ending
nocaption.PNG: without a caption
"""


def everything(root):
    """Write a folder with good examples and one of everything that is left out."""
    train = layouts.folder(root / "train", 6)
    for part in ("val", "test", "assets"):
        layouts.folder(root / part, 1)
    os.mkfifo(train / "pipe.png")
    for name, target in (("a", "."), ("b", "."), ("dangling.png", "nowhere.png")):
        os.symlink(target, train / name)
    for name in ("grid-000000.png", "nocaption.PNG"):
        layouts.put(train / name, layouts.encoded(0))
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 255)]
    frames[0].save(train / "000.gif", save_all=True, append_images=frames[1:])
    for name in ("._000.png", "Thumbs.db", "__MACOSX/0.png", ".ipynb_checkpoints/0.png", "phone.heic", "notes.md"):
        layouts.put(train / name, b"x")
    (train / "empty").mkdir()
    layouts.put(train / "orphan.txt", "nobody")
    layouts.put(train / "empty.png", b"")
    layouts.put(train / "text.png", "no picture")
    layouts.put(train / "cut.png", layouts.encoded(0)[:60])
    with open(os.fsencode(train) + b"/\xff.png", "wb") as file:
        file.write(b"neither")
    return root


def config(tmp_path, data, model="emoji", text=True):
    file = tmp_path / "config.py"
    file.write_text(CONFIG.format(model=model, text=text, data=data))
    return f"--config={file}"


def test_a_folder_of_everything(said, tmp_path):  # noqa: F811
    root = everything(tmp_path / "data")
    given = config(tmp_path, f"source='folder', root={str(root)!r}")
    status, printed, errors = said("--mode=inspect", given, f"--out={tmp_path / 'out'}")
    assert status == 0 and "Traceback" not in errors
    lines = printed.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    assert lines[0].startswith("train      11 examples, folder at ")
    rows = [row.split("\t") for row in (tmp_path / "out" / "left-out.txt").read_text().splitlines()]
    assert len({name for _, _, name in rows}) == len(rows)  # each once, whatever its splits
    of_train = {name: reason for splits, reason, name in rows if "train" in splits}
    for line in LEFT_OUT.splitlines():
        name, _, reason = line.partition(": ")
        assert of_train.pop(name) == reason
    assert set(of_train) == {"empty.png", "text.png", "cut.png", r"\xff.png"}
    assert all(reason.startswith("cannot be used: ") for reason in of_train.values())
    with Image.open(tmp_path / "out" / "contact-sheet.png") as sheet:
        assert sheet.width > 4 * 128 and sheet.height > 2 * 128


def test_tokens_are_shown_where_a_codec_is_at_hand(said, tmp_path):  # noqa: F811
    root = layouts.folder(tmp_path / "data", 3)
    given = config(tmp_path, f"source='folder', root={str(root)!r}")
    sheet = tmp_path / "sheet.png"
    status, printed, errors = said("--mode=inspect", given, "--checkpoint=emoji", f"--out={sheet}", "--split=train")
    assert (status, errors) == (0, "") and "nothing is left out" in printed
    with Image.open(sheet) as shown:
        assert shown.width > 3 * 2 * 128


@pytest.fixture
def cache(said, tmp_path, monkeypatch):  # noqa: F811
    """A cache of the training examples of the folder ``everything``, of any tokens, beside the model that it is for."""
    pytest.importorskip("array_record")
    codec = preset("tiny_text").codec
    some = np.random.default_rng(0).integers(0, codec.num_codes, (99, codec.grid[0] * codec.grid[1]))
    # Compiling the encoder would take longer than all else here.
    monkeypatch.setattr(cache_writer, "_encoder", lambda codec, seed: lambda images, *_: some[: len(images)])
    root = everything(tmp_path / "data")
    write_folder(tmp_path / "model", random_network(VQDiffusionModel, preset("tiny_text")), None)
    given = config(tmp_path, f"source='folder', root={str(root)!r}", "tiny_text", False)
    model, out = f"--checkpoint={tmp_path / 'model'}", f"--out={tmp_path / 'cache'}"
    status, _, errors = said("--mode=tokenize", given, model, out, "--split=train", "--crops=2", "--batch_size=2")
    assert status == 0, errors
    return tmp_path / "cache"


def test_a_token_cache(said, tmp_path, cache):  # noqa: F811
    given = config(tmp_path, f"cache={str(cache)!r}", "tiny_text", False)
    status, printed, errors = said("--mode=inspect", given, f"--out={tmp_path / 'out'}")
    assert (status, errors) == (0, "")
    assert "\ntrain      6 examples, token cache " in printed and "\n  captions " in printed
    assert " codes, 2 crops a picture" in printed and "note     made of folder;" in printed
    assert "--codec or --checkpoint shows them\n" in printed and "validation: " in printed
    assert not (tmp_path / "out" / "contact-sheet.png").exists()
    rows = [row.split("\t") for row in (tmp_path / "out" / "left-out.txt").read_text().splitlines()]
    assert {name for _, _, name in rows} == {"empty.png", "text.png", "cut.png", r"\xff.png", "nocaption.PNG"}
    assert ["train", "without a caption", "nocaption.PNG"] in rows

    # Decoded, they show what was tokenized.
    sheet = tmp_path / "sheet.png"
    model = f"--checkpoint={tmp_path / 'model'}"
    status, printed, errors = said("--mode=inspect", given, model, f"--out={sheet}", "--split=train")
    assert (status, errors) == (0, "") and "shows them" not in printed
    with Image.open(sheet) as shown:
        assert shown.width == 4 * (128 + 8) + 8

    # Another codec than the one that made it is refused.
    write_folder(tmp_path / "other", random_network(VQDiffusionModel, preset("tiny_text"), seed=1), None)
    status, _, errors = said("--mode=inspect", given, f"--checkpoint={tmp_path / 'other'}", f"--out={tmp_path / 'o'}")
    assert status == 1 and errors.count("\n") == 1 and "made by a codec with other weights" in errors

    # What is left out of a shard is told to be unknown where its list is lost, and a damaged list is one line.
    (left_out,) = (cache / "train").glob("0*.json")
    left_out.write_text("[]")
    status, _, errors = said("--mode=inspect", given, f"--out={tmp_path / 'o'}")
    assert status == 1 and errors.count("\n") == 1 and "copy the cache again" in errors
    left_out.unlink()
    status, printed, errors = said("--mode=inspect", given, f"--out={tmp_path / 'o'}")
    assert (status, errors) == (0, "") and f"note     {left_out.name} is missing" in printed


def test_a_codec_is_not_inspected_on_tokens(said, tmp_path):  # noqa: F811
    (tmp_path / "codec.py").write_text(CODEC)
    status, _, errors = said("--mode=inspect", f"--config={tmp_path / 'codec.py'}", f"--out={tmp_path / 'out'}")
    assert status == 1 and errors.count("\n") == 1 and "a codec is trained on pictures" in errors


def test_the_background_is_that_of_training(said, tmp_path):  # noqa: F811
    clear = np.zeros((64, 64, 4), np.uint8)
    for number in range(2):
        layouts.put(tmp_path / "data" / f"{number}.txt", "nothing")
        Image.fromarray(clear).save(tmp_path / "data" / f"{number}.png")
    given = config(tmp_path, f"source='folder', root={str(tmp_path / 'data')!r}, background='#ff0000'")
    status, _, errors = said("--mode=inspect", given, f"--out={tmp_path / 'sheet.png'}", "--split=train")
    assert (status, errors) == (0, "")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((70, 70)) == (255, 0, 0)


@pytest.mark.parametrize("source", ["tfds", "coco", "cub200", "ffhq", "imagenet", "npz", "tar_shards", "parquet"])
def test_every_source(said, tmp_path, source):  # noqa: F811
    if source in NEEDS:
        pytest.importorskip(NEEDS[source])
    root = layouts.folder(tmp_path / "ffhq", 3, False) if source == "ffhq" else getattr(layouts, source)(tmp_path / "d")
    model = {"ffhq": "tiny_unconditional", "imagenet": "tiny_class"}.get(source, "emoji")
    options = "name='tiny:1.0.0', caption_field='text'" if source == "tfds" else ""
    data = f"source={source!r}, root={str(root)!r}, options=dict({options})"
    given = config(tmp_path, data, model, text=model == "emoji")
    status, printed, errors = said("--mode=inspect", given, f"--out={tmp_path / 'out'}")
    assert status == 0 and " examples, " in printed, errors
    assert (tmp_path / "out" / "contact-sheet.png").exists()


def test_many_reasons_fit_a_screen():
    account = inspection.Account()
    for number in range(100):
        account.left_out(f"for reason {number} " + "x" * number, "y" * number)
    found = [inspection.Inspection("here", split, 5, 5, "", account) for split in ("train", "validation")]
    lines = inspection.table(found, ["written: " + "z" * 100]).splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80 and "more reasons" in lines[-2]
    assert lines[2].startswith("train and validation, left out because") and lines[3].startswith("  for reason 0 ")


@pytest.mark.parametrize("width, height", [(80, 24), (80, 40), (120, 50)])
def test_splits_have_reasons_and_notes_of_their_own(width, height):
    found = []
    for split in ("train", "validation"):
        account = inspection.Account()
        for number in range(9):
            account.left_out(f"shared {'abcdefghi'[number]}", f"{number}.png")
            account.left_out(f"{split} {'abcdefghi'[number]}", f"{number}.jpg")
            account.note(f"sentence {number} " + "x" * 100)
        facts = inspection.Inspection("here", split, 5, 4, "2 classes", account, [1] * 5, [(8, 8)] * 5)
        found.append(facts)
    lines = inspection.table(found, ["written: a", "written: b"], width, height).splitlines()
    assert len(lines) <= height and width - 3 <= max(map(len, lines)) <= width
    text = "\n".join(lines)
    for title in ("train and validation", "train", "validation"):
        assert f"\n{title}, left out because" in text
    assert text.count("sentence 0") == 1 and text.count(" more\n") == 1 and text.count("shared a") == 1
    assert inspection.all_left_out(found).count("train, validation\tshared a\t0.png\n") == 1
    found[1].account = inspection.Account()
    assert "validation: nothing is left out" in inspection.table(found, [], width, height)


def test_captions_of_any_script_are_drawn():
    picture = np.zeros((8, 8, 3), np.uint8)
    assert inspection.contact_sheet([(picture, "犬 \U0001f415 " * 30)] * 5).size[1] > 2 * 128


def test_a_configuration_without_a_model_is_one_line(tmp_path, said):  # noqa: F811
    (tmp_path / "config.py").write_text("def get_config():\n    return {'data': {}}\n")
    status, _, err = said("--mode=inspect", f"--config={tmp_path}/config.py", f"--out={tmp_path}/out")
    assert status == 1 and err.count("\n") == 1 and "model or codec" in err
