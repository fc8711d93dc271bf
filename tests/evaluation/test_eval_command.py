"""``--mode=eval`` as a person types it, in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.networks import random_network
from tests.processes import free_address, run_on_devices
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.evaluation.statistics import read_statistics
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[2]


def start(*flags):
    command = [sys.executable, str(REPO / "main.py"), "--mode=eval", *map(str, flags)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*flags):
    process = start(*flags)
    said, wrong = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, wrong)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny unconditional model, and pictures."""
    root, rng = tmp_path_factory.mktemp("eval"), np.random.default_rng(0)
    model = random_network(VQDiffusionModel, preset("tiny_unconditional"))
    VQDiffusionPipeline(model).save_pretrained(root / "model")
    (root / "pictures").mkdir()
    for number in range(5):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(root / "pictures" / f"{number}.png")
    return root


def whole_evaluation(folders, out):
    return [
        f"--checkpoint={folders / 'model'}",
        f"--data_root={folders / 'pictures'}",
        f"--out={out}",
        "--noprogress",
        "--chunk=2",
        "--set=num_samples=3",
        "--set=num_inference_steps=2",
        "--what=samples",
        "--what=likelihood",
        "--what=reconstruction",
    ]


@pytest.fixture(scope="module")
def alone(folders):
    """Return the output of one process that evaluates everything, and the folder it wrote."""
    done = run(*whole_evaluation(folders, folders / "alone"))
    assert done.returncode == 0, done.stderr
    return done.stdout, folders / "alone"


def test_everything_that_needs_no_network(alone):
    said, out = alone
    report = json.loads((out / "report.json").read_text())
    assert report["scores"].keys() == {
        "psnr",
        "ssim",
        "codes_used",
        "code_perplexity",
        "bits_per_token",
        "bits_per_token_error",
    }
    assert (
        report["about"]["samples"] == 3
        and report["about"]["likelihood"] == 5
        and report["protocol"]["num_samples"] == 3
    )
    assert "SSIM of reconstructions" in said and "samples: " in said
    assert json.loads((out / "speed.json").read_text())["pictures_per_second"]["reconstruction"] > 0


def test_two_processes_report_what_one_does(folders, alone, tmp_path):
    coordinator = f"--coordinator={free_address()}"
    flags = [*whole_evaluation(folders, tmp_path), coordinator, "--num_processes=2"]
    both = [start(*flags, f"--process_id={index}") for index in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "samples: " in said[0][0] and "samples: " not in said[1][0]  # one of them reports
    assert (tmp_path / "report.json").read_bytes() == (alone[1] / "report.json").read_bytes()
    chunks = {path.relative_to(tmp_path) for path in tmp_path.rglob("chunk-*.npz")}
    assert chunks == {path.relative_to(alone[1]) for path in alone[1].rglob("chunk-*.npz")}


def run_all(lines, devices=1):
    """Command lines one after the other in one process, with a stand-in of 4 features for the Inception network."""
    lines = [["--mode=eval", "--noprogress", *map(str, line)] for line in lines]
    done = run_on_devices(devices, "tests/evaluation/command_lines.py", json.dumps(lines))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def with_a_network(folders, out, *flags):
    return [*whole_evaluation(folders, out), "--inception=stand_in.pth", "--metrics=fid,inception_score", *flags]


@pytest.fixture(scope="module")
def told(folders):
    """The folder that many command lines wrote to, and what each of them said."""
    model, pictures, out = f"--checkpoint={folders / 'model'}", f"--data_root={folders / 'pictures'}", folders / "out"
    out.mkdir()
    (folders / "empty.txt").write_text("\n \n")
    network = ["--inception=stand_in.pth", "--metrics=fid,inception_score", "--chunk=2"]
    drawn = [model, pictures, *network, "--set=num_samples=6", "--set=num_inference_steps=2", "--what=samples"]
    lines = {
        "whole": with_a_network(folders, out / "whole", "--keep_images", f"--write_reference={out / 'reference.npz'}"),
        "steps": [*drawn, "--sweep=num_inference_steps:2,4", f"--out={out / 'steps'}"],
        "strategies": [
            *drawn,
            "--sweep=strategy:posterior,fewer_tokens",
            f"--out={out / 'strategies'}",
        ],
        "null": [*drawn, "--sweep=null:auto,learnable,text", f"--out={out / 'null'}"],
        "nothing": [*drawn, "--sweep=null:learnable,text", f"--out={out / 'nothing'}"],
        "folder": [
            f"--samples={out / 'whole' / 'samples' / 'images'}",
            f"--reference={out / 'reference.npz'}",
            *network,
            f"--out={out / 'folder'}",
        ],
        "part 0": with_a_network(folders, out / "parts", "--part=0/2"),
        "part 1": with_a_network(folders, out / "parts", "--part=1/2"),
        "no network": [model, pictures, f"--write_reference={out / 'a.npz'}", f"--out={out / 'mistake'}"],
        "no npz": [model, pictures, *network, f"--write_reference={out / 'a.txt'}", f"--out={out / 'mistake'}"],
        "no prompt": [model, f"--prompts_file={folders / 'empty.txt'}", f"--out={out / 'mistake'}"],
        "bits": [
            model,
            pictures,
            *network,
            "--what=likelihood",
            f"--write_reference={out / 'bits.npz'}",
            f"--out={out / 'bits'}",
        ],
    }
    return out, dict(zip(lines, run_all(lines.values()), strict=True))


def scores_of(folder):
    return json.loads((folder / "report.json").read_text())["scores"]


def test_all_that_a_network_is_needed_for(told):
    out, said = told
    assert said["whole"]["status"] == 0, said["whole"]["err"]
    assert scores_of(out / "whole").keys() >= {"fid", "inception_score", "rfid", "psnr", "bits_per_token"}
    about = json.loads((out / "whole" / "report.json").read_text())["about"]
    assert about == {
        "checkpoint": "model",
        "data": "folder at pictures",
        "dtype": "float32",
        "platform": "cpu",
        "samples": 3,
        "likelihood": 5,
        "reconstruction": 5,
    }
    assert "- dtype: float32\n- platform: cpu\n" in (out / "whole" / "report.md").read_text()


def test_few_samples_are_one_line_of_warning(told):
    lines = [line for line in told[1]["whole"]["err"].splitlines() if "few" in line]
    assert lines == [
        "warning: samples: 3 pictures are too few for 4 features; the covariance is singular and FID is far too high"
    ]


def test_the_reference_is_written_as_pytorch_fid_reads_it(told):
    out, said = told
    statistics = read_statistics(out / "reference.npz")
    assert (statistics.count, statistics.width) == (5, 4) and "inception" in statistics.network
    assert f"written: statistics of 5 pictures, {out / 'reference.npz'}" in said["whole"]["out"]
    assert (said["bits"]["status"], scores_of(out / "bits").keys()) == (0, {"bits_per_token", "bits_per_token_error"})
    assert not (out / "bits" / "samples").exists()
    np.testing.assert_array_equal(read_statistics(out / "bits.npz").scatter, statistics.scatter)
    pytest.importorskip("torch")
    pytest.importorskip("pytorch_fid")
    from tests.evaluation.torchvision_stub import pytorch_fid

    with pytorch_fid() as (_, fid_score):
        mean, covariance = fid_score.compute_statistics_of_path(str(out / "reference.npz"), None, 50, 4, "cpu")
    np.testing.assert_array_equal(mean, statistics.mean)
    np.testing.assert_allclose(covariance, statistics.covariance, rtol=1e-12)


def test_a_sweep_is_a_table_and_a_plot(told):
    out, said = told
    assert said["steps"]["status"] == 0, said["steps"]["err"]
    page = (out / "steps" / "sweep.md").read_text()
    assert page in said["steps"]["out"] and "![fid over num_inference_steps](fid.svg)" in page
    points = json.loads((out / "steps" / "sweep.json").read_text())
    assert [point["settings"] for point in points] == [{"num_inference_steps": 2}, {"num_inference_steps": 4}]
    for point, folder in zip(points, ("num_inference_steps=2", "num_inference_steps=4"), strict=True):
        assert point["scores"] == scores_of(out / "steps" / folder) and point["scores"]["fid"] > 0
        assert (
            json.loads((out / "steps" / folder / "report.json").read_text())["protocol"]["sampling"][
                "num_inference_steps"
            ]
            == point["settings"]["num_inference_steps"]
        )
        assert f"| {point['settings']['num_inference_steps']} | {point['scores']['fid']:.6g} |" in page
    assert points[0]["scores"]["fid"] != points[1]["scores"]["fid"]
    about = json.loads((out / "steps" / "num_inference_steps=2" / "report.json").read_text())["about"]
    assert about == {
        "checkpoint": "model",
        "data": "folder at pictures",
        "dtype": "float32",
        "platform": "cpu",
        "samples": 6,
    }


def test_a_sweep_over_names_is_a_dot_for_each(told):
    out, said = told
    assert said["strategies"]["status"] == 0, said["strategies"]["err"]
    plot = (out / "strategies" / "fid.svg").read_text()
    assert (
        ">1: posterior<" in plot
        and ">2: fewer_tokens<" in plot
        and plot.count("<circle") == 2
        and "<polyline" not in plot
    )
    assert "![fid over rows](fid.svg)" in (out / "strategies" / "sweep.md").read_text()


def test_a_sweep_leaves_out_what_the_model_cannot_draw(told):
    out, said = told
    assert said["null"]["status"] == 0, said["null"]["err"]
    assert "null=learnable is left out: this model has no learnable null condition\n" in said["null"]["out"]
    assert "null=text is left out: this model reads no text" in said["null"]["out"]
    assert [point["settings"] for point in json.loads((out / "null" / "sweep.json").read_text())] == [{"null": "auto"}]
    assert {path.name for path in (out / "null").glob("null=*")} == {"null=auto"}
    assert said["nothing"]["status"] == 1
    account, error = said["nothing"]["err"].splitlines(keepends=True)
    assert account.startswith("data: ")
    assert error == (
        "error: no point of the sweep can be drawn (null=learnable is left out: this model has no learnable null "
        "condition; null=text is left out: this model reads no text, so that it has no empty prompt either); "
        "name other values\n"
    )


def test_pictures_that_are_drawn_already_score_as_when_they_were_drawn(told):
    out, said = told
    assert said["folder"]["status"] == 0, said["folder"]["err"]
    found, drawn = scores_of(out / "folder"), scores_of(out / "whole")
    assert found.keys() == {"fid", "inception_score", "inception_score_std"}
    assert found == pytest.approx({name: drawn[name] for name in found}, rel=1e-5)
    assert json.loads((out / "folder" / "report.json").read_text())["about"] == {
        "samples": "images",
        "data": "reference.npz",
        "platform": "cpu",
        "pictures": 3,
    }


def test_the_part_that_ends_last_reports_what_one_run_does(told):
    out, said = told
    assert "4 chunks belong to other parts (--part); the part that ends last reports" in said["part 0"]["out"]
    assert "# Evaluation" not in said["part 0"]["out"] and "# Evaluation" in said["part 1"]["out"]
    for name in ("report.json", "report.md", "likelihood.svg"):
        assert (out / "parts" / name).read_bytes() == (out / "whole" / name).read_bytes()


def test_what_cannot_be_is_one_line_before_anything_is_drawn(told):
    out, said = told
    for name, message in (
        ("no network", "give --data_root and --inception, and not --reference"),
        ("no npz", "a.txt must be an .npz file in a folder that"),
        ("no prompt", "empty.txt holds no prompt; write one a line"),
    ):
        assert said[name]["status"] == 1 and message in said[name]["err"]
        assert said[name]["err"].startswith("error: --") and said[name]["err"].count("\n") == 1
    assert not (out / "mistake").exists()


def test_four_devices_share_every_batch_and_score_what_one_does(folders, told, tmp_path):
    (done,) = run_all([with_a_network(folders, tmp_path, "--chunk=8")], devices=4)
    assert done["status"] == 0, done["err"]
    assert done["rows"] == {"_terms": [32, 8], "_rebuild": [32, 8], "_run": [128, 32]}
    assert told[1]["whole"]["rows"] == {"_terms": [8, 8], "_rebuild": [8, 8], "_run": [32, 32]}
    one = scores_of(told[0] / "whole")
    assert scores_of(tmp_path) == pytest.approx(one, rel=1e-5, abs=1e-6) and len(one) == 10  # of noise SSIM is about 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--protocol=coco"], "unknown protocol 'coco'; did you mean coco30k?"),
        (
            ["--inception=absent.pth", "--checkpoint=m"],
            "error: --inception=absent.pth does not exist; the file is pt_inception-2015-12-05-6726825d.pth",
        ),
    ],
)
def test_mistakes_are_one_line(flags, message, tmp_path):
    done = run(*flags, f"--out={tmp_path}")
    assert done.returncode == 1 and message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
