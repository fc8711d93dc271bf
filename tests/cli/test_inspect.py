"""``--mode=inspect`` names all that a data set leaves out, in a table that fits a screen, and shows examples."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_help import said  # noqa: F401  (a fixture)
from tests.data import layouts
from vqdiffusion_jax.data import inspection

pytest.importorskip("grain")  # which defines flags of its own; the fixture would forget them if a test imported it

CONFIG = """\
from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(model="{model}", train_text_encoder={text}, data=dict({data}), batch_size=4, steps=1)
"""
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
    layouts.put(train / "000.gif", layouts.encoded(0, "GIF"))
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


@pytest.mark.parametrize("source", ["coco", "cub200", "ffhq", "imagenet", "npz", "tar_shards", "parquet"])
def test_every_source(said, tmp_path, source):  # noqa: F811
    if source == "parquet":
        pytest.importorskip("pyarrow")
    root = layouts.folder(tmp_path / "ffhq", 3, False) if source == "ffhq" else getattr(layouts, source)(tmp_path / "d")
    model = {"ffhq": "tiny_unconditional", "imagenet": "tiny_class"}.get(source, "emoji")
    given = config(tmp_path, f"source={source!r}, root={str(root)!r}", model, text=model == "emoji")
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
