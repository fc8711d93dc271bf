"""The benchmarks of a GPU: their trial on any machine, and the predictions beside what they measure."""

import json

import pytest

from benchmarks._all import of_trial, run_all
from benchmarks.all_gpu import COMMANDS
from benchmarks.page import RESULTS, predicted_ms, section


def test_a_trial_does_little_and_writes_elsewhere(tmp_path):
    for _, *options in COMMANDS:
        made = of_trial(options, tmp_path)
        assert [one.partition("=")[0] for one in made[: len(options)]] == [one.partition("=")[0] for one in options]
        assert all(one.startswith(f"--out={tmp_path}/") for one in made if one.startswith("--out"))
        assert set(made) >= {"--layers=1", "--repeats=1"} or not options
    assert of_trial(["--models=ithq", "--batches=8,16", "--steps=5"], tmp_path)[:3] == [
        "--models=ithq",
        "--batches=1",
        "--steps=1",
    ]


def test_what_has_written_its_file_is_left_out(tmp_path, capfd):
    there = tmp_path / "there.json"
    there.write_text("{}")
    run_all([("no_such_module", f"--out={there}")], [], go_on=True)
    assert f"{there} is there already" in capfd.readouterr().out
    with pytest.raises(SystemExit, match="failed: no_such_module"):
        run_all([("no_such_module", f"--out={there}")], [])
    with pytest.raises(SystemExit, match="no benchmark is named other; there are smoke"):
        run_all(COMMANDS, ["other"])


@pytest.mark.parametrize(("model", "file"), [("ithq", "ithq-h100-batch8"), ("coco_cf", "coco-h100-batch8")])
def test_predictions_stand_beside_what_an_h100_took(model, file):
    loop = next(
        row
        for row in json.loads((RESULTS.parent / "accelerators" / f"{file}.json").read_text())["rows"]
        if row["program"] == "loop"
    )
    row = {"name": f"{model} x 8", "contestant": "ours", "dtype": "bfloat16", "steps": 5, "median_ms": 1.0}
    record = {"benchmark": "sampling", "device": "NVIDIA H100 80GB HBM3"}
    assert predicted_ms(record, row) == pytest.approx(loop["predicted_seconds"] * 1e3 * 5 / 100)
    others = ({"name": f"{model} x 3"}, {"dtype": "float32"}, {"contestant": "diffusers"}, {"name": "a whole run"})
    assert all(predicted_ms(record, row | other) is None for other in others)
    assert predicted_ms(record | {"device": "cpu"}, row) is None
    shown = dict(record, rows=[row], versions={}, machine="", load=[0], date="", peak_gib=1)
    assert "| predicted ms |" in section("x", shown)[2]
