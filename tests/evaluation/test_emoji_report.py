"""The emoji model's page: what was measured is what it says, parts are not measured twice, sheets are small."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.emoji_report import measured, same_weights
from benchmarks.emoji_report_exact import mcnemar
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
    about = {
        "seconds_a_picture": 0.5,
        "pictures": 20,
        "most_network_calls": 25,
        "settings": {"steps": 25},
        "warnings": ["20 are few"],
    }
    return {"shares": shares, "scores": scores, **about, **more}


def exact(right: int, only_here: int, only_first: int, p: float):
    paired = {"only_here": only_here, "only_first": only_first, "p": p}
    return {"name": "row", "right": right, "count": 100, "interval": [0.1, 0.9], "wrong": [1.5, 1.0, 2.0], **paired}


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
            "names": part([exact(90, 0, 0, 1.0), exact(80, 5, 15, 0.0414)]),
        }
    )
    text = files["emoji16.md"]
    assert (
        "26.50" in text
        and "26 dB (reached) and 80 % of the codes (not reached)" in text
        and "Photographs: not run" in text
    )
    assert "| everything named is there, seen combinations | 90 % (10 % to 90 %; 9 of 10) | 85 % | reached |" in text
    assert "| background right, seen combinations | 90 % (10 % to 90 %; 9 of 10) | 95 % | not reached |" in text
    assert "3.250 bits a token (standard error 0.050, 4 real pictures)" in text
    assert "| row | 90 % (10 % to 90 %; 90 of 100) | 1.50 (1.00 to 2.00) |  |" in text
    assert "| row | 80 % (10 % to 90 %; 80 of 100) | 1.50 (1.00 to 2.00) | 5 to 15, p = 0.041 |" in text
    assert files.keys() == {"emoji16.md"}


def test_a_page_holds_parts_of_one_model_and_one_judge():
    judged, exact = {"model": "a", "judge": "b"}, {"model": "a"}
    assert same_weights(judged, judged) and same_weights(judged, {"model": "a", "judge": None})
    assert same_weights(exact, exact) and not same_weights(exact, {"model": "c"})
    assert not same_weights(judged, {"model": "a", "judge": "c"})


def test_mcnemar_is_the_binomial_test():
    assert mcnemar(0, 0) == 1.0 and mcnemar(3, 3) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 32) and mcnemar(5, 15) == pytest.approx(0.04139, abs=1e-5)
    assert mcnemar(15, 5) == mcnemar(5, 15)


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
