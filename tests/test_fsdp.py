"""fsdp means that devices exchange weights, never activations; read from the compiled program."""

import json

import pytest

from tests.processes import run_on_devices
from tests.sharded_collectives import BATCH

SAMPLES = [
    [n] for n in (BATCH, 2 * BATCH, BATCH // 8, 2 * BATCH // 8)
]  # of a batch, and of its conditions and null conditions


@pytest.fixture(scope="module")
def report():
    done = run_on_devices(8, "tests/sharded_collectives.py")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["tiny_text", "tiny_class"])
def test_fsdp_gathers_weights_and_leaves_activations_where_they_are(report, kind):
    assert report["devices"] == 8
    sent = report[kind]["fsdp"]
    assert ["all-gather", "f32", [16, 16]] in sent  # attention kernels, layer by layer
    assert any(operation == "all-gather" and 64 in shape for operation, _, shape in sent)  # the MLP's
    of_samples = [one for one in sent if one[1] != "pred" and one[2][:1] in SAMPLES]
    # The tokens' and labels' numbers may travel; nothing that a layer has made does.
    assert [one for one in of_samples if one[1].startswith(("f", "bf"))] == []


@pytest.mark.parametrize("kind", ["tiny_text", "tiny_class"])
def test_data_parallel_devices_exchange_nothing_of_a_sample(report, kind):
    assert [one for one in report[kind]["data"] if one[1].startswith(("f", "bf"))] == []


def test_few_pictures_are_spread_too(report):
    assert report["together"] == 8
    assert report["same tokens"] and report["same codes"]
    assert report["pixels apart"] <= 1
