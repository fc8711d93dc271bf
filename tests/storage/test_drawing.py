"""Pictures drawn from and into buckets by the command line."""

import json

import jax
import numpy as np
import pytest

from tests.storage.buckets import names, new_folder, put, read
from vqdiffusion_jax import VQDiffusionPipeline


def test_pictures_are_drawn_from_a_list_of_a_bucket_into_it(command):
    folder = new_folder("memory")
    put(f"{folder}/list.csv", b"prompt,file_name\na red apple,apple.png\na star,star.png\n")
    drawn = ("--mode=sample", f"--prompts_file={folder}/list.csv", f"--out={folder}/out", "--num_inference_steps=2")
    status, out, _ = command(*drawn)
    assert status == 0 and f"written: 2 of 2 pictures, apple to star, in {folder}/out" in out
    assert names(f"{folder}/out") == ["apple.json", "apple.png", "grid-apple.png", "star.json", "star.png"]
    status, out, _ = command(*drawn)
    assert status == 0 and f"skipped: 2 of 2 pictures, which are in {folder}/out already" in out

    status, _, _ = command("--mode=sample", f"--again={folder}/out/star.png", f"--out={folder}/again")
    assert status == 0 and read(f"{folder}/again/000000.png") == read(f"{folder}/out/star.png")
    started = ("--mode=sample", "--prompt=a star", f"--image={folder}/out/star.png", "--strength=0.5")
    status, _, _ = command(*started, "--num_inference_steps=2", f"--out={folder}/other")
    recipe = json.loads(read(f"{folder}/other/000000.json"))
    assert status == 0 and recipe["image"] == f"{folder}/out/star.png"


def test_a_model_is_saved_to_a_bucket_and_loaded_from_there(command):
    folder = new_folder("memory")
    pipeline = VQDiffusionPipeline.from_pretrained("emoji")
    pipeline.save_pretrained(f"{folder}/model")
    assert names(folder)[0] == "model/README.md" and b"from_pretrained" in read(f"{folder}/model/README.md")
    with pytest.raises(FileExistsError, match=f"{folder}/model is not an empty folder"):
        pipeline.save_pretrained(f"{folder}/model")
    loaded = VQDiffusionPipeline.from_pretrained(f"{folder}/model")
    for one, other in zip(jax.tree.leaves(loaded.model), jax.tree.leaves(pipeline.model), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    drawn = ("--mode=sample", "--prompt=a star", f"--checkpoint={folder}/model", f"--out={folder}/out")
    status, _, _ = command(*drawn, "--num_inference_steps=2")
    assert status == 0 and json.loads(read(f"{folder}/out/000000.json"))["checkpoint"] == f"{folder}/model"


def test_file_addresses_are_paths(command, tmp_path):
    (tmp_path / "prompts.txt").write_text("a star\n")
    status, out, _ = command(
        "--mode=sample",
        f"--prompts_file=file://{tmp_path}/prompts.txt",
        f"--out=file://{tmp_path}/out",
        "--num_inference_steps=2",
    )
    assert status == 0 and (tmp_path / "out" / "000000.png").exists() and f"in {tmp_path}/out" in out
