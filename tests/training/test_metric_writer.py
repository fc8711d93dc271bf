import json
import os

import numpy as np
import pytest

from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.training.denoiser.task import loss_by_timestep
from vqdiffusion_jax.training.metric_writer import MetricWriter, console_line


def test_writer_drops_what_a_killed_run_wrote_later(tmp_path):
    writer = MetricWriter(tmp_path, 0)
    for step in (1, 2, 3):
        writer.write(step, {"loss": 0.5 * step, "loss_by_timestep": [0.0]})
    writer.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    MetricWriter(tmp_path, 2).close()
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("line", ['{"loss": 1.0}', '{"step": "2"}', '{"step": null}', "[2]", "\\xff", "[" * 5000])
def test_records_behind_a_damaged_line_are_dropped(tmp_path, line):
    whole = '{"step": 1, "loss": 0.5}\n'
    (tmp_path / "metrics.jsonl").write_text(f'{whole}{line}\n{{"step": 2}}\n')
    MetricWriter(tmp_path, 9).close()
    assert (tmp_path / "metrics.jsonl").read_text() == whole


def test_records_in_a_named_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(OSError, match="named pipe"):
        MetricWriter(tmp_path, 1)


def test_full_disk_is_one_line(tmp_path):
    writer = MetricWriter(tmp_path, 0)
    with open("/dev/full", "a") as writer._file:
        with pytest.raises(
            CheckpointError, match="cannot be written to: No space left on device; make room and start the run again"
        ):
            writer.write(1, {"loss": 1.0})
        with pytest.raises(CheckpointError, match="No space left on device"):
            writer.close()


def test_loss_by_timestep_is_per_token():
    assert loss_by_timestep(np.array([0.0, 64.0]), 4) == [0.0, 2.0]
    line = console_line(
        1, 2, {"loss": 1.0, "bits_per_token": 2.0, "learning_rate": 1e-4, "samples_per_second": 3.0, "hours_left": 4.0}
    )
    assert line == "step 1/2  loss 1  bits per token 2  learning rate 0.0001  3 samples/s  4 h left"
