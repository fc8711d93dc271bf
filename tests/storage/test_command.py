"""Command lines with addresses: served, or refused in one line before anything is done."""

from pathlib import Path

import pytest
from absl import flags

from tests.in_process import left_as_it_was
from tests.storage.buckets import new_folder
from vqdiffusion_jax.cli.addresses import HERE, READ, WRITTEN
from vqdiffusion_jax.cli.help import _groups
from vqdiffusion_jax.cli.main import mode_modules

# Flags of texts that are no files or folders.
_NO_PLACES = """
    class_labels clip_dtype clip_weights config coordinator dtype fetch_from guess_mode host info_strategy mesh metrics
    mode negative_prompt null part profile_first prompt protocol released rounding seed set split strategy sweep
    timesteps trajectory_format trust weights what
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mode=sample", "--out=zz://bucket/run"),
        ("--mode=sample", "--checkpoint=zz://bucket/run"),
        ("--mode=sample", "--prompts_file=zz://bucket/run"),
        ("--mode=sample", "--again=zz://bucket/run"),
        ("--mode=sample", "--image=zz://bucket/run"),
        ("--mode=train", "--config=emoji_tiny", "--workdir=zz://bucket/run"),
        ("--mode=train", "--config=emoji_tiny", "--init_from=zz://bucket/run", "--workdir=run"),
        ("--mode=train_vqgan", "--config=vqgan_emoji", "--workdir=zz://bucket/run"),
        ("--mode=eval", "--samples=zz://bucket/run"),
        ("--mode=eval", "--data_root=zz://bucket/run"),
        ("--mode=convert", "--checkpoint=emoji", "--out=zz://bucket/run"),
        ("--mode=sample", "--profile=zz://bucket/run"),
        ("--mode=reduce_codebook", "--out=memory://bucket/run"),
        ("--mode=inspect", "--out=memory://bucket/sheet.png"),
    ],
)
def test_an_address_that_cannot_be_served_is_quoted_at_the_start(command, tmp_path, arguments):
    status, out, err = command(*arguments)
    assert status == 1 and not out and len(err.splitlines()) == 1
    address = next(one for one in arguments if "://" in one)
    assert f"{address}:" in err
    assert not list(tmp_path.iterdir())  # no folder called "zz:"


def test_data_at_an_unknown_address_is_refused(command, tmp_path):
    told = ("--config.data.root=zz://bucket/data", "--workdir=run")
    status, _, err = command("--mode=train", "--config=emoji_tiny", *told)
    assert status == 1 and "zz://bucket/data: zz:// is not known" in err and not list(tmp_path.iterdir())


def test_every_flag_of_a_file_or_folder_is_in_one_of_the_lists():
    with left_as_it_was():
        mode_modules()
        texts = {
            flag.name
            for members in _groups().values()
            for flag in members
            if flag.flag_type() in ("string", "multi string") and not getattr(flag.parser, "enum_values", None)
        }
    told = {
        name
        for name in texts
        if any(word in (flags.FLAGS[name].help or "").lower() for word in ("file", "folder", ".pth", ".npz"))
    }
    assert told - {*READ, *WRITTEN, *HERE, *_NO_PLACES.split()} == set()


def test_what_is_not_there_is_told_with_its_address(command, tmp_path):
    folder = new_folder("memory")
    status, _, err = command("--mode=sample", f"--prompts_file={folder}/list.csv", "--out=out")
    assert status == 1 and f"--prompts_file={folder}/list.csv cannot be read" in err
    status, _, err = command("--mode=sample", "--prompt=a star", f"--checkpoint={folder}/model", "--out=out")
    assert status == 1 and f"{folder}/model: there is no such object" in err
    assert not Path(tmp_path, "out").exists()


@pytest.mark.parametrize("scheme", ["s3", "gs"], indirect=True)
@pytest.mark.parametrize("mode, config", [("train", "emoji_tiny"), ("train_vqgan", "vqgan_emoji")])
def test_a_workdir_in_a_bucket_that_is_not_there_is_told_before_data_is_opened(scheme, mode, config, command):
    told = ("--config.data.root=no-data", f"--workdir={scheme}://no-such-bucket/run")
    status, out, err = command(f"--mode={mode}", f"--config={config}", *told)
    assert status == 1 and not out and len(err.splitlines()) == 1
    assert f"{scheme}://no-such-bucket/run cannot be written to: " in err and "bucket" in err
