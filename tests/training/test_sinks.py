"""Sinks of a run's numbers: each told once, failing alone, and TensorBoard's files read back by TensorBoard."""

import json
import sys
from types import ModuleType, SimpleNamespace

import jax
import numpy as np
import pytest

from vqdiffusion_jax.errors import CheckpointError, ConfigError
from vqdiffusion_jax.training.config import WatchConfig
from vqdiffusion_jax.training.metric_writer import MetricWriter

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


class Kept:
    """A sink of one's own, which keeps what it gets in a list of the class."""

    runs, got = [], []

    def __init__(self, run):
        self.runs.append(run)

    def scalars(self, step, values):
        self.got.append((step, dict(values)))

    def image(self, step, name, pixels):
        self.got.append((step, name, pixels.shape))

    def close(self, failed):
        self.got.append(("closed", failed))


class Failing(Kept):
    def scalars(self, step, values):
        if step == 2:
            raise RuntimeError("no\nnetwork")
        super().scalars(step, values)


class NeverOpen(Kept):
    def __init__(self, run):
        raise OSError("no key")


class Replacing(Kept):
    replaces = True


KEPT, FAILING, NEVER_OPEN, REPLACING = (f"{__name__}:{cls.__name__}" for cls in (Kept, Failing, NeverOpen, Replacing))


@pytest.fixture(autouse=True)
def nothing_kept():
    Kept.runs.clear()
    Kept.got.clear()


def run(folder, names, first, steps, **more):
    """Write records as the loop does, with validation and pictures at even steps."""
    with MetricWriter(folder, first, report_to=names, config={"steps": 6}, **more) as writer:
        for step in steps:
            writer.write(step, {"loss": 1.0 / step, "loss_by_timestep": [0.0]})
            if step % 2 == 0:
                writer.write(step, {"validation_bits": 2.0 / step})
                writer.image(step, "samples", PIXELS)


def of_step(step):
    even = [(step, {"validation_bits": 2.0 / step}), (step, "samples", (4, 6, 3))]
    return [(step, {"loss": 1.0 / step})] + (even if step % 2 == 0 else [])


def test_a_run_that_goes_on_reports_nothing_twice(tmp_path):
    run(tmp_path, [KEPT], 0, (1, 2, 3, 4))
    Kept.got.pop()
    run(tmp_path, [KEPT], 2, (3, 4, 5, 6))
    assert Kept.got == [*(one for step in range(1, 7) for one in of_step(step)), ("closed", False)]
    first, second = Kept.runs
    assert first.id == second.id and len(first.id) == 16
    assert (second.first_step, second.name, second.config) == (2, tmp_path.name, {"steps": 6})


def test_a_run_that_was_killed_before_validation_reports_the_validation(tmp_path):
    run(tmp_path, [KEPT], 0, (1,))
    with MetricWriter(tmp_path, 1, report_to=[KEPT]) as writer:
        writer.write(2, {"loss": 0.5})
    Kept.got.clear()
    run(tmp_path, [KEPT], 1, (2,))
    assert Kept.got == [*of_step(2)[1:], ("closed", False)]


def test_a_sink_that_is_named_later_and_one_that_replaces_get_all_from_there(tmp_path):
    run(tmp_path, [KEPT], 0, (1, 2, 3))
    Kept.got.clear()
    run(tmp_path, [REPLACING], 1, (2, 3))
    run(tmp_path, [REPLACING], 1, (2, 3))
    assert Kept.got == 2 * [*of_step(2), *of_step(3), ("closed", False)]


@pytest.mark.parametrize("kept", ["{", "[]", '{"id": 3, "sent": {}}', '{"id": "a", "sent": {"x": {"step": "2"}}}'])
def test_a_damaged_account_of_what_was_reported_begins_anew(tmp_path, kept):
    (tmp_path / "reported.json").write_text(kept)
    run(tmp_path, [KEPT], 0, (1,))
    assert Kept.got[0] == (1, {"loss": 1.0})
    assert json.loads((tmp_path / "reported.json").read_text())["sent"][KEPT] == {"step": 1, "names": ["loss"]}


MORE = "nothing more goes there in this run, metrics.jsonl has all of it"


def test_a_sink_that_fails_is_told_once_and_ends_alone(tmp_path):
    lines = []
    run(tmp_path, [FAILING, NEVER_OPEN, KEPT], 0, (1, 2, 3, 4), log=lines.append)
    assert lines == [
        f"report_to: {NEVER_OPEN} failed (OSError: no key); {MORE}",
        f"report_to: {FAILING} failed (RuntimeError: no network); {MORE}",
    ]
    assert [one for one in Kept.got if one[0] == 4] == of_step(4)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 2, 3, 4, 4]


def test_a_run_that_ends_by_an_error_says_so(tmp_path):
    with pytest.raises(CheckpointError):
        with MetricWriter(tmp_path, 0, report_to=[KEPT]):
            raise CheckpointError("full")
    assert Kept.got == [("closed", True)]


def test_one_process_of_several_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    run(tmp_path, [KEPT, "wandb"], 0, (1, 2))
    assert not Kept.runs and not list(tmp_path.iterdir())


def test_a_missing_package_is_one_line_before_anything_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tensorboard, which needs the package tensorboardX.*\.\[tensorboard\]"):
        MetricWriter(tmp_path, 0, report_to=[KEPT, "tensorboard"])
    assert not Kept.runs


def test_names_are_checked(tmp_path):
    assert WatchConfig(report_to=("wandb, mlflow", "wandb")).report_to == ("wandb", "mlflow")
    with pytest.raises(ConfigError, match=r"report_to has 'wanb'; allowed: tensorboard, .*did you mean wandb\?"):
        WatchConfig(report_to=("wanb",))
    with pytest.raises(ConfigError, match="no metric sink: it has no scalars and no image and no close"):
        MetricWriter(tmp_path, 0, report_to=["pathlib:Path"])


def test_tensorboard_reads_its_files_back(tmp_path):
    pytest.importorskip("tensorboardX")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tmp_path, ["tensorboard"], 0, (1, 2, 3, 4))
    run(tmp_path, ["tensorboard"], 2, (3, 4, 5, 6))
    read = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(one.step, one.value) for one in read.Scalars("loss")] == [(s, np.float32(1 / s)) for s in range(1, 7)]
    assert [one.step for one in read.Scalars("validation_bits")] == [2, 4, 6]
    assert [(one.step, one.width, one.height) for one in read.Images("samples")] == [(s, 6, 4) for s in (2, 4, 6)]
    assert read.Tags()["scalars"] == ["loss", "validation_bits"]


# The services' packages are heavy, so the tests know of them what the sinks call.


class FakeRun:
    def __init__(self, **options):
        self.options, self.calls = options, []

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, args, options))


def package(monkeypatch, name, **content):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_wandb(tmp_path, monkeypatch):
    opened = []
    package(monkeypatch, "wandb", init=lambda **o: opened.append(FakeRun(**o)) or opened[-1], Image=lambda p: p.shape)
    run(tmp_path, ["wandb"], 0, (1, 2))
    run(tmp_path, ["wandb"], 1, (2, 3))
    first, second = opened
    assert first.options == second.options
    assert first.options["resume"] == "allow" and first.options["name"] == tmp_path.name
    assert [args for name, args, _ in first.calls if name == "log"] == [
        ({"loss": 1.0, "step": 1},),
        ({"loss": 0.5, "step": 2},),
        ({"validation_bits": 1.0, "step": 2},),
        ({"samples": (4, 6, 3), "step": 2},),
    ]
    assert [args for name, args, _ in second.calls if name == "log"] == [({"loss": 1 / 3, "step": 3},)]
    assert first.calls[-1] == ("finish", (), {"exit_code": 0})


def test_trackio(tmp_path, monkeypatch):
    opened = []
    package(monkeypatch, "trackio", init=lambda **o: opened.append(FakeRun(**o)) or opened[-1], Image=lambda p: p.shape)
    run(tmp_path, ["trackio"], 0, (2,))
    (only,) = opened
    assert only.options["name"].startswith(f"{tmp_path.name}-") and only.options["resume"] == "allow"
    assert only.calls == [
        ("log", ({"loss": 0.5},), {"step": 2}),
        ("log", ({"validation_bits": 1.0},), {"step": 2}),
        ("log", ({"samples": (4, 6, 3)},), {"step": 2}),
        ("finish", (), {}),
    ]


class FakeMLflow:
    """A server of one run."""

    tags, calls = {}, []

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return "7"

    def search_runs(self, places, filter_string):
        found = filter_string == f"tags.`vqdiffusion_jax.run` = '{self.tags.get('vqdiffusion_jax.run')}'"
        return [SimpleNamespace(info=SimpleNamespace(run_id="r"))] if found else []

    def create_run(self, place, run_name, tags):
        self.tags.update(tags)
        return SimpleNamespace(info=SimpleNamespace(run_id="r"))

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, args, options))


def test_mlflow(tmp_path, monkeypatch):
    package(monkeypatch, "mlflow", MlflowClient=FakeMLflow)
    entity = lambda *values: values  # noqa: E731
    package(monkeypatch, "mlflow.entities", Param=entity, Metric=entity)
    run(tmp_path, ["mlflow"], 0, (1,))
    with pytest.raises(RuntimeError):
        with MetricWriter(tmp_path, 1, report_to=["mlflow"]) as writer:
            writer.write(2, {"loss": 0.5, "gradient_norm": float("nan")})
            writer.image(2, "samples", PIXELS)
            raise RuntimeError
    first, second = ["log_batch", "log_batch"], ["update_run", "log_batch", "log_image"]
    names = [name for name, _, _ in FakeMLflow.calls]
    assert names == [*first, "set_terminated", *second, "set_terminated"]
    assert FakeMLflow.calls[0] == ("log_batch", ("r",), {"params": [("steps", "6")]})
    ((name, value, _, step),) = FakeMLflow.calls[4][1][1]  # what is not finite is left out
    assert (name, value, step) == ("loss", 0.5, 2)
    assert FakeMLflow.calls[2][1] == ("r", "FINISHED") and FakeMLflow.calls[-1][1] == ("r", "FAILED")
