"""Protocols, sweeps, and what is said when a field of one is wrong."""

import dataclasses
import json
from dataclasses import replace

import pytest

from tests.told import own
from vqdiffusion_jax import preset
from vqdiffusion_jax.errors import ConfigError, EvaluationError, SettingError
from vqdiffusion_jax.evaluation.metrics import choose
from vqdiffusion_jax.evaluation.protocol import COMPARING, DRAWING, ROLES, Protocol, to_table, with_settings
from vqdiffusion_jax.evaluation.protocols import PROTOCOLS, find_protocol
from vqdiffusion_jax.evaluation.report import write_sweep
from vqdiffusion_jax.evaluation.sweep import SWEEPS, parse_sweep, what_lacks
from vqdiffusion_jax.sampling import Ancestral, SamplingSettings


def test_protocols_and_settings(tmp_path):
    assert set(PROTOCOLS) == {"coco30k", "cub200", "cc", "ithq", "imagenet50k", "ffhq", "oxford102", "emoji", "own"}
    (tmp_path / "mine.json").write_text(json.dumps({"num_samples": 7, "strategy": "purity"}))
    mine = find_protocol(str(tmp_path / "mine.json"))
    assert (mine.name, mine.num_samples, type(mine.sampling.strategy).__name__) == ("mine", 7, "PurityPrior")
    changed = with_settings(
        PROTOCOLS["coco30k"], {"guidance_scale": "3", "num_reference": "none", "image_format": "jpeg"}
    )
    assert (changed.sampling.guidance_scale, changed.num_reference, changed.image_format) == (3.0, None, "jpeg")
    assert with_settings(changed, {}) == changed and changed.value("guidance_scale") == 3.0
    for settings, message in (
        ({"scale": "3"}, "a protocol has no field 'scale'; it has name, source"),
        ({"strategy": "posterior", "num_inference_steps": "many"}, "whole number"),
        (
            {"strategy": "posterior", "num_inference_steps": "0"},
            "num_inference_steps is 0; it must be a whole number of at",
        ),
        ({"resize": "lanczos"}, "allowed: pytorch_fid, clean_fid"),
        ({"jpeg_quality": "high"}, "jpeg_quality is 'high'; it must be a whole number"),
        ({"jpeg_quality": "200"}, "must lie in 1..100"),
        ({"purity_weight": "much"}, "purity_weight is 'much'; it must be a finite number"),
        ({"what": '["noise"]'}, "must list some of samples"),
        ({"guidance_interval": "[1]"}, "must be 2 values"),
        ({"num_likelihood": "0"}, "num_likelihood is 0; it must be a whole number"),
        (
            {"num_inference_steps": "5"},
            "num_inference_steps goes with strategy=posterior or maskgit or remask, not purity",
        ),
        ({"strategy": "maskgit", "entropy_bound": "2"}, "entropy_bound goes with strategy=entropy_bound, not maskgit"),
        ({"prompt": "a dog"}, "Protocol.sampling has prompt, which the protocol's other fields decide"),
        ({"batch_size": "3"}, "Protocol.sampling has batch_size, which the protocol's other fields decide"),
    ):
        with pytest.raises((EvaluationError, ConfigError, SettingError), match=message):
            with_settings(mine, settings)
    other = with_settings(mine, {"strategy": "maskgit", "num_inference_steps": "5", "temperature": "2"})
    assert (other.sampling.strategy.num_inference_steps, other.sampling.strategy.temperature) == (5, 2)
    with pytest.raises(EvaluationError, match="unknown protocol 'coco'; did you mean coco30k?"):
        find_protocol("coco")
    (tmp_path / "broken.json").write_text("{")
    for name, message in (("broken", "is no JSON"), ("absent", "cannot be read: No such file")):
        with pytest.raises(EvaluationError, match=message):
            find_protocol(str(tmp_path / f"{name}.json"))
    with pytest.raises(EvaluationError, match="unknown metric 'fvd'; known: fid"):
        choose(["fvd"])


def test_every_field_of_a_protocol_says_what_has_to_be_computed_anew():
    """A field without a role would silently let chunks of another value be reused."""
    for field in dataclasses.fields(Protocol):
        roles = field.metadata.get("roles", ())
        assert roles and set(roles) <= set(ROLES), f"Protocol.{field.name} belongs to none of {', '.join(ROLES)}"
    drawing, comparing = (PROTOCOLS["emoji"].identity(role) for role in (DRAWING, COMPARING))
    assert drawing.keys() >= {"source", "seed", "weights", "strategy", "num_inference_steps", "null", "rounding"}
    assert comparing.keys() == {
        *"source source_options reference_split validation_fraction num_reference crop seed".split()
    }
    other = PROTOCOLS["emoji"].changed(guidance_scale=7.5)
    assert other.identity(DRAWING) != drawing and other.identity(COMPARING) == comparing
    assert json.loads(json.dumps(drawing)) == drawing


def test_names_of_older_protocols_are_read_with_a_line(tmp_path):
    older = {
        "name": "older",
        "strategy": "posterior",
        "steps": 25,
        "skip_step": 1,
        "tokens_per_step": None,
        "purity_weight": 1.0,
        "strategy_options": {},
        "guidance_interval": [20, 99],
    }
    (tmp_path / "older.json").write_text(json.dumps(older))
    with pytest.warns(UserWarning) as told:
        found = find_protocol(str(tmp_path / "older.json"))
    assert [str(one.message) for one in own(told)] == [
        f"{old} is now {new}; the next release drops the former name"
        for old, new in (("steps", "num_inference_steps"), ("tokens_per_step", "tokens_per_call"))
    ]
    assert found.sampling == SamplingSettings(strategy=Ancestral(25), guidance_interval=(20, 99))
    with pytest.warns(UserWarning, match="steps is now num_inference_steps"):
        assert with_settings(found, {"steps": "7"}).sampling.strategy.num_inference_steps == 7
    with pytest.warns(UserWarning, match="stand beside it, without strategy_options"):
        bound = found.changed(strategy="entropy_bound", strategy_options={"gamma": 0.5})
    assert bound.sampling.strategy.entropy_bound == 0.5
    with pytest.warns(UserWarning, match="tokens_per_step is now tokens_per_call"):
        assert parse_sweep("tokens_per_step:1,2").names == ["tokens_per_call"]
    (tmp_path / "again.json").write_text(json.dumps(to_table(bound)))
    assert find_protocol(str(tmp_path / "again.json")) == bound


def test_sweeps(tmp_path):
    assert parse_sweep("guidance_scale:1,2,3").points == (
        {"guidance_scale": "1"},
        {"guidance_scale": "2"},
        {"guidance_scale": "3"},
    )
    for sweep in SWEEPS.values():
        for point in sweep.points:
            with_settings(PROTOCOLS["coco30k"], point)
    for text in ("guidance_scale", "guidance_scale:", ":1,2"):
        with pytest.raises(
            EvaluationError, match="neither field:value,value,... .* nor one of table1, table2, table3, table4, figure2"
        ):
            parse_sweep(text)
    points = [({"steps": 10, "null": "text"}, {"fid": 20.0}), ({"steps": 50, "null": "text"}, {"fid": 8.5, "kid": 0.1})]
    write_sweep(tmp_path, "Steps", ["steps", "null"], points)
    assert "| 50 | text | 8.5 | 0.1 |" in (tmp_path / "sweep.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"sweep.md", "sweep.json", "fid.svg"}
    import xml.etree.ElementTree as ElementTree

    dots = ElementTree.parse(tmp_path / "fid.svg").findall(".//{*}circle")
    assert len(dots) == 2 and float(dots[0].get("cy")) < float(dots[1].get("cy"))  # 20 stands above 8.5
    assert "![fid over steps](fid.svg)" in (tmp_path / "sweep.md").read_text()


@pytest.mark.parametrize(
    "settings, names",
    [
        (
            [{"null": "text"}, {"null": "auto"}, {"null": "learnable"}],
            ["1: text", "2: auto", "3: learnable"],
        ),  # no numbers
        ([{"guidance_scale": s} for s in (1.0, None, 3.0)], ["1: 1.0", "2: ", "3: 3.0"]),  # the checkpoint's own
        (
            [{"steps": 5, "null": n} for n in ("text", "auto", "learnable")],
            ["1: 5, text", "2: 5, auto", "3: 5, learnable"],
        ),  # one number
    ],
)
def test_a_sweep_without_a_number_for_each_run_is_plotted_as_dots(settings, names, tmp_path):
    import xml.etree.ElementTree as ElementTree

    runs = [
        (point, {"fid": fid, "kid": 0.1} if fid < 9 else {"fid": fid})
        for point, fid in zip(settings, (20.0, 8.0, 14.0), strict=True)
    ]
    write_sweep(tmp_path, "Null <conditions>", list(settings[0]), runs)
    assert {path.name for path in tmp_path.iterdir()} == {
        "sweep.md",
        "sweep.json",
        "fid.svg",
    }  # not of kid, which one run alone has
    assert "![fid over rows](fid.svg)" in (tmp_path / "sweep.md").read_text()
    plot = ElementTree.parse(tmp_path / "fid.svg")
    assert not plot.findall(".//{*}polyline")
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in plot.findall(".//{*}circle")]
    across, down = zip(*dots, strict=True)
    assert list(across) == sorted(across) and across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)
    assert down[1] > down[2] > down[0] and (down[1] - down[2]) == pytest.approx(down[2] - down[0], abs=0.2)
    assert [text.text for text in plot.findall(".//{*}text")][-3:] == names


def test_one_run_has_nothing_to_plot(tmp_path):
    write_sweep(tmp_path, "Steps", ["steps"], [({"steps": 10}, {"fid": 20.0})])
    assert {path.name for path in tmp_path.iterdir()} == {"sweep.md", "sweep.json"}
    assert "| 10 | 20 |" in (tmp_path / "sweep.md").read_text()


def test_what_a_model_lacks_is_told():
    protocol = Protocol(name="test")
    kinds = {kind: preset(f"tiny_{kind}") for kind in ("text", "class", "unconditional")}
    for kind, config in kinds.items():
        assert what_lacks(protocol, config) is None
        learned = replace(config, denoiser=replace(config.denoiser, learnable_null=kind != "unconditional"))
        assert (what_lacks(protocol.changed(null="learnable"), learned) is None) == (kind != "unconditional")
        assert (what_lacks(protocol.changed(null="text"), config) is None) == (kind == "text")
