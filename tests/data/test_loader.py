"""Batches: their contents, their order, where they continue, and what happens to broken examples."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from tests.data import layouts
from vqdiffusion_jax import preset
from vqdiffusion_jax.data import make_loader
from vqdiffusion_jax.errors import ConfigError, DataError
from vqdiffusion_jax.text.tokenizer import Tokenizer

TEXT = preset("tiny_text")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return {"source": "folder", "root": str(layouts.folder(tmp_path_factory.mktemp("data") / "pictures", 10))}


def loader(data, model=TEXT, split="train", batch_size=4, **options):
    return make_loader(data, model, split=split, batch_size=batch_size, **options)


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def names(batches):
    return [str(name) for batch in batches for name in batch["ids"]]


def test_text_batch(pictures):
    batch = next(iter(loader(pictures)))
    assert {name: (value.shape, value.dtype) for name, value in batch.items() if name != "ids"} == {
        "images": ((4, 16, 16, 3), np.uint8),
        "text_ids": ((4, 8), np.int32),
        "text_mask": ((4, 8), bool),
    }
    tokenizer = Tokenizer(TEXT.tokenizer)
    for name, ids in zip(batch["ids"], batch["text_ids"]):
        number = int(name[:3])
        assert tokenizer.decode(ids) in (f"picture {number}", f"a drawing of {number}")


def test_class_and_unconditional_batches(tmp_path):
    data = {"source": "imagenet", "root": str(layouts.imagenet(tmp_path))}
    batch = next(iter(loader(data, preset("tiny_class"))))
    assert batch["labels"].dtype == np.int32 and batch["labels"].tolist() == [int(name[2]) - 1 for name in batch["ids"]]
    assert set(next(iter(loader(data, preset("tiny_unconditional"))))) == {"images", "ids"}


def test_every_epoch_has_every_example_in_another_order(pictures):
    stream = names(take(iter(loader(pictures, batch_size=5)), 6))
    epochs = [stream[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(epoch) == [f"{i:03d}.png" for i in range(10)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_same_seed_same_batches_and_other_seed_others(pictures):
    first, second, other = (take(iter(loader(pictures, seed=seed)), 5) for seed in (3, 3, 4))
    assert all(map(equal, first, second)) and names(first) != names(other)


def test_crops_and_captions_change_from_epoch_to_epoch(pictures):
    seen = {}
    for batch in take(iter(loader(pictures, batch_size=5)), 40):
        for i, name in enumerate(batch["ids"]):
            seen.setdefault(str(name), []).append((batch["images"][i].tobytes(), batch["text_ids"][i].tobytes()))
    assert all(len({text for _, text in versions}) == 2 for versions in seen.values())
    assert all(
        len({image for image, _ in versions}) > 2 for name, versions in seen.items() if int(name[:3]) % 4 != 2
    )  # 16 x 16 fits


def test_continues_in_the_middle_of_an_epoch(pictures):
    iterator = iter(loader(pictures))
    take(iterator, 3)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = take(iterator, 4)
    again = iter(loader(pictures))
    again.set_state(state)
    assert all(map(equal, take(again, 4), expected))
    iterator.set_state(state)  # also where it went on
    assert all(map(equal, take(iterator, 4), expected))


def test_a_state_of_another_stream_is_refused(pictures):
    state = iter(loader(pictures)).get_state()
    others = ({"seed": 1}, "seed 0, now it is 1"), ({"batch_size": 2}, "global_batch_size 4, now it is 2")
    for options, match in others:
        with pytest.raises(DataError, match=match):
            iter(loader(pictures, **options)).set_state(state)


def test_processes_share_the_global_batches(pictures):
    whole = take(iter(loader(pictures, batch_size=6)), 5)
    parts = [take(iter(loader(pictures, batch_size=2, process_index=i, process_count=3)), 5) for i in range(3)]
    for step, batch in enumerate(whole):
        joined = {name: np.concatenate([part[step][name] for part in parts]) for name in batch}
        assert equal(joined, batch)
    # Disjoint: 10 positions of one epoch over five steps of two.
    halves = [names(take(iter(loader(pictures, batch_size=1, process_index=i, process_count=2)), 5)) for i in range(2)]
    assert not set(halves[0]) & set(halves[1]) and len(set(halves[0] + halves[1])) == 10


def test_other_number_of_processes_continues(pictures):
    one = iter(loader(pictures, batch_size=4))
    take(one, 2)
    state, expected = one.get_state(), next(one)
    for index in range(2):
        half = iter(loader(pictures, batch_size=2, process_index=index, process_count=2))
        half.set_state(state)
        assert names([next(half)]) == names([expected])[2 * index : 2 * index + 2]


def test_worker_processes_give_the_same_batches(pictures):
    alone, many = iter(loader(pictures)), iter(loader(pictures, workers=2))
    try:
        assert all(map(equal, take(alone, 5), take(many, 5)))
        workers = multiprocessing.active_children()
        assert len(workers) >= 2
        for worker in workers:
            os.kill(worker.pid, signal.SIGINT)  # as a terminal does on Ctrl-C, after which training still ends in order
        assert all(map(equal, take(alone, 30), take(many, 30)))
        many.set_state(many.get_state())
        assert equal(next(alone), next(many))
    finally:
        many.close()


def test_validation_is_in_order_once_and_without_chance(pictures, tmp_path):
    for split in ("train", "val"):
        layouts.folder(tmp_path / split, 10)
    data = {"source": "folder", "root": str(tmp_path), "drop_rate": 0.9}
    runs = [list(loader(data, split="validation", seed=seed, short_batches=True)) for seed in (0, 1)]
    assert names(runs[0]) == [f"{i:03d}.png" for i in range(10)]
    assert [len(batch["ids"]) for batch in runs[0]] == [4, 4, 2] and not any("weights" in batch for batch in runs[0])
    assert all(map(equal, *runs)) and Tokenizer(TEXT.tokenizer).decode(runs[0][0]["text_ids"][2]) == "picture 2"
    (small,) = loader(data, split="validation", batch_size=32, short_batches=True)
    assert len(small["ids"]) == 10


def test_validation_of_whole_batches(tmp_path):
    for split in ("train", "val"):
        layouts.folder(tmp_path / split, 10)
    data = {"source": "folder", "root": str(tmp_path)}
    whole = loader(data, split="validation")
    assert whole.num_batches == 2 and whole.num_examples == 10 and [len(b["ids"]) for b in whole] == [4, 4]
    with pytest.raises(DataError, match="10 examples, fewer than a global batch of 32; lower batch_size"):
        loader(data, split="validation", batch_size=32)


def test_processes_share_a_short_validation_batch(tmp_path):
    for split in ("train", "val"):
        layouts.folder(tmp_path / split, 10)
    data = {"source": "folder", "root": str(tmp_path)}
    parts = [
        list(loader(data, split="validation", batch_size=2, process_index=i, process_count=4, short_batches=True))
        for i in range(4)
    ]
    assert [len(part) for part in parts] == [2] * 4
    last = [part[-1] for part in parts]
    assert names(last) == ["008.png", "009.png", "009.png", "009.png"]
    assert [batch["weights"].tolist() for batch in last] == [[1.0], [1.0], [0.0], [0.0]]  # of one form in all


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("fraction", [0.001, 0.05])
def test_some_of_a_few_pictures_are_held_out(tmp_path, count, fraction):
    data = {"source": "folder", "root": str(layouts.folder(tmp_path / "few", count)), "validation_fraction": fraction}
    counts = [
        loader(data, split=split, batch_size=32, short_batches=True).num_examples for split in ("train", "validation")
    ]
    assert sum(counts) == count and min(counts) >= 1


def test_too_few_to_hold_any_out(tmp_path):
    data = {"source": "folder", "root": str(layouts.folder(tmp_path / "one", 1)), "validation_fraction": 0.05}
    with pytest.raises(DataError, match=r"validation_fraction is 0\.05, .* none of the 1 examples"):
        loader(data, split="validation")
    assert len(next(iter(loader(data, batch_size=3)))["ids"]) == 3


def test_dropping(pictures, tmp_path):
    batches = take(iter(loader(pictures | {"drop_rate": 0.3}, batch_size=10)), 40)
    dropped = np.concatenate([~batch["text_mask"][:, 2] for batch in batches])
    assert 0.2 < dropped.mean() < 0.4
    start, end = Tokenizer(TEXT.tokenizer).encode("")
    assert all(
        batch["text_ids"][i, :3].tolist() == [start, end, 0]
        for batch in batches
        for i in np.flatnonzero(~batch["text_mask"][:, 2])
    )
    data = {"source": "imagenet", "root": str(layouts.imagenet(tmp_path)), "drop_rate": 0.5}
    labels = np.concatenate([batch["labels"] for batch in take(iter(loader(data, preset("tiny_class"))), 20)])
    assert set(labels.tolist()) == {0, 1, 2, preset("tiny_class").denoiser.null_label}


def broken_folder(root, broken, count=10):
    layouts.folder(root, count)
    for i in broken:
        layouts.put(root / f"{i:03d}.png", layouts.encoded(i)[:60])
    return {"source": "folder", "root": str(root)}


def test_broken_examples_are_named_counted_and_replaced(tmp_path):
    data = broken_folder(tmp_path / "data", (2, 3))
    (tmp_path / "data" / "007.txt").write_text(" \n")
    (tmp_path / "data" / "008.txt").write_bytes(b"\xff\xfe\xfa")
    runs = []
    for _ in range(2):
        iterator = iter(loader(data, batch_size=5))
        runs.append(take(iterator, 4))
    assert all(map(equal, *runs)) and set(names(runs[0])) == {f"{i:03d}.png" for i in (0, 1, 4, 5, 6, 9)}
    assert iterator.broken.keys() == {"002.png", "003.png", "007.png", "008.png"}
    assert (
        iterator.broken["007.png"] == "it has no caption" and "its image cannot be read" in iterator.broken["002.png"]
    )
    assert names(runs[0][:2]).count("004.png") == 3  # in place of 2 and 3
    state = iterator.get_state()
    again = iter(loader(data, batch_size=5))
    again.set_state(json.loads(json.dumps(state)))
    assert again.broken == iterator.broken


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_broken_examples_stop_with_their_names(tmp_path, workers):
    data = broken_folder(tmp_path / "data", (2, 5, 8)) | {"max_broken": 2}
    iterator = iter(loader(data, batch_size=5, workers=workers))
    with pytest.raises(DataError, match="3 broken examples, more than max_broken=2") as error:
        take(iterator, 2)
    iterator.close()
    assert all(f"00{i}.png: " in str(error.value) for i in (2, 5, 8)) and "\n" not in str(error.value)


@pytest.mark.parametrize("data", [[1, 2], "root", None, 5, [("source", "folder")]])
def test_what_is_no_table_of_options_is_told(data):
    with pytest.raises(ConfigError, match="data is .*; it must be a table of fields"):
        loader(data)


def test_mistakes_are_found_before_the_first_batch(pictures, tmp_path):
    bare = {"source": "folder", "root": str(layouts.folder(tmp_path / "bare", 3, captions=False))}
    imagenet = {"source": "imagenet", "root": str(layouts.imagenet(tmp_path / "imagenet"))}
    for n in range(3):
        layouts.put(tmp_path / "imagenet" / "train" / f"n1{n}" / "x.JPEG", b"")
    for arguments, match in (
        ((bare, TEXT), "none of the first 3 examples can be used; 000.png: it has no caption"),
        ((pictures, preset("tiny_class")), "000.png: it has no label"),
        ((broken_folder(tmp_path / "broken", range(4), 4), TEXT), "none of the first 4 .* cannot be read"),
        ((imagenet, preset("tiny_class")), "has 6 classes but the model has 5"),
        ((pictures, TEXT, "test"), "split is 'test'; allowed: train, validation"),
    ):
        with pytest.raises(DataError, match=match) as error:
            loader(*arguments)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="data has unknown fields sauce"):
        loader(pictures | {"sauce": 1})
    with pytest.raises(ConfigError, match="process 2 of 2"):
        loader(pictures, process_index=2, process_count=2)
