"""The emoji model's page: what was measured is what it says, parts are not measured twice, sheets are small."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.emoji_report import labelled, measured
from benchmarks.emoji_report_page import page
from benchmarks.emoji_report_sheets import MOST_BYTES, save_small, sheet

OF, MEASURED = (
    {"model": "aa", "judge": "bb"},
    {"date": "2026-01-01", "cores": 2, "device": "cpu", "load": 0.1, "seconds": 3.0, "jax": "0"},
)


QUESTIONS = ("concept", "background", "relation")


def row(right: int, **more):
    asked = [f"{question}_{part}" for question in QUESTIONS for part in ("seen", "held_out")]
    shares = {name: {"right": right, "count": 10, "interval": [0.1, 0.9]} for name in asked}
    shares |= {f"judge_{question}": {"right": 97, "count": 100, "interval": [0.9, 0.99]} for question in QUESTIONS}
    scores = {name: one["right"] / one["count"] for name, one in shares.items()}
    scores |= {"judge_precision": 0.5, "judge_recall": 0.25, "judge_fid": 12.5}
    about = {
        "seconds_a_picture": 0.5,
        "pictures": 20,
        "most_network_calls": 25,
        "settings": {"steps": 25},
        "warnings": ["20 are few"],
    }
    return {"shares": shares, "scores": scores, **about, **more}


def part(result):
    return {"of": OF, "measured": MEASURED, "result": result}


def test_the_page_says_what_was_measured_and_what_was_not():
    following = row(9, likelihood={"bits_per_token": 3.25, "standard_error": 0.05, "pictures": 4})
    files = page(
        {
            "codec": part(
                {"scenes": {"pictures": 5, "psnr": 26.5, "ssim": 0.9, "codes_used": 0.75, "code_perplexity": 300.0}}
            ),
            "following": part(following),
            "null_conditions": part([row(4, name="no guidance"), {"name": "null text, trained"}]),
            "guidance_scales": part([row(4, scale=1.0, distance=1.5), row(6, scale=2.0, distance=1.25)]),
            "strategies": part([row(4, name="fast"), row(8, name="slow", seconds_a_picture=2.0)]),
        }
    )
    text = files["emoji.md"]
    assert (
        "26.50" in text
        and "26 dB (reached) and 80 % of the codes (not reached)" in text
        and "Photographs: not run" in text
    )
    assert "| everything named is there, seen combinations | 90 % (10 % to 90 %; 9 of 10) | 85 % | reached |" in text
    assert "| background right, seen combinations | 90 % (10 % to 90 %; 9 of 10) | 95 % | not reached |" in text
    assert "3.250 bits a token (standard error 0.050, 4 real pictures)" in text
    assert text.count("To be doubted: 20 are few.") == 3  # once a table
    assert (
        "| null text, trained | not run |" in text
        and "| no guidance | 40 % | 40 % | 40 % | 0.500 | 0.250 | 12.5 | 0.50 |" in text
    )
    plots = {f"emoji/{name}.svg" for name in ("guidance_quality", "guidance_diversity", "strategies")}
    assert files.keys() == {"emoji.md", *plots} and all(f"]({plot})" in text for plot in plots)
    tables = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    assert len({line.count("|") for line in tables if "fast" in line or "slow" in line}) == 1


def test_a_part_is_measured_again_only_for_other_weights_or_options(tmp_path):
    calls = []
    study = SimpleNamespace(identity=lambda name: {"pictures": len(calls) // 2})
    for _ in range(3):
        measured("codec", lambda study: calls.append(study) or len(calls), study, tmp_path)
    assert len(calls) == 1 and json.loads((tmp_path / "codec.json").read_text())["result"] == 1
    study.identity = lambda name: {"pictures": 9}
    measured("codec", lambda study: 7, study, tmp_path)
    assert json.loads((tmp_path / "codec.json").read_text())["result"] == 7


def test_sheets_are_small_and_hold_every_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (66, 64, 64, 3), np.uint8)
    drawn = sheet(noise, ["a long caption that takes more than a line 赤"] * 66, 6)
    assert drawn.width == 6 * 136 and drawn.height > 11 * 138
    np.testing.assert_array_equal(np.asarray(drawn)[4:132:2, 4:132:2], noise[0])
    save_small(drawn, tmp_path / "noise.png")  # loses colours, or it would take a megabyte
    assert (tmp_path / "noise.png").stat().st_size <= MOST_BYTES and Image.open(
        tmp_path / "noise.png"
    ).size == drawn.size
    few = sheet(noise[:2] // 128 * 200, ["", ""], 2)
    save_small(few, tmp_path / "few.png")
    assert np.abs(np.asarray(Image.open(tmp_path / "few.png").convert("RGB")).astype(int) - np.asarray(few)).max() <= 8


def test_checkpoints_with_names():
    assert labelled("25:runs/a,100:runs/b") == {"25": "runs/a", "100": "runs/b"} and labelled("") == {}
    with pytest.raises(ValueError, match="is not NAME:DIR"):
        labelled("runs/a")
