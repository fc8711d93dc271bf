"""Cases are read by what lies in their folders, whatever their files, sizes and timesteps are."""

import zipfile

import numpy as np
import pytest

from tests.golden.cases import Case, find_cases
from tests.golden.test_clip import recorded_options
from tests.golden.test_completeness import is_same_recording
from tests.golden.test_diffusers import source_of
from tests.golden.test_prompts import ordinary_run
from vqdiffusion_jax.config import TextEmbeddingConfig


def make_case(folder, kind, readme="", **arrays) -> Case:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "golden.npz", **arrays)
    (folder / "README.md").write_text(readme)
    return Case(folder, kind)


def test_files_may_have_other_names(tmp_path):
    for name, files in {
        "a": {"trained.pth": "", "config.yaml": "target: a.Condition2ImageTransformer", "codes.pt": ""},
        "b": {"vqvae.pth": ""},
        "c": {"text_tower.pt": ""},
        "d": {"golden.npz": ""},
        "e": {"notes.txt": ""},
    }.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
    first, codec, clip, schedules = find_cases(tmp_path)
    assert [case.kind for case in (first, codec, clip, schedules)] == ["class", "codec", "clip", "schedules"]
    assert first.weights.name == "trained.pth" and codec.weights.name == "vqvae.pth" and codec.companions == {}
    assert {role: file.name for role, file in first.companions.items()} == {
        "config": "config.yaml",
        "mapping": "codes.pt",
    }
    assert set(clip.towers) == {"state"}
    with zipfile.ZipFile(clip.path / "whole.pt", "w") as archive:
        archive.writestr("whole/constants.pkl", b"")
    assert {source: file.name for source, file in clip.towers.items()} == {
        "archive": "whole.pt",
        "state": "text_tower.pt",
    }


def test_the_readme_names_the_options_of_a_text_embedding(tmp_path):
    options = "{'pick_last_embedding': True, 'keep_seq_len_dim': True, 'embed_dim': 64}"
    row = f"| `last_fp32` | (5, 1, 64) | float32 | {options} |"
    case = make_case(tmp_path / "clip", "clip", row, last_fp32=np.zeros(1), last_fp32_last=np.zeros(1))
    assert case.text_embeddings == ["last_fp32"]
    assert recorded_options(case, "last_fp32") == TextEmbeddingConfig(pick_last=True, keep_length_axis=True)


def outputs(*timesteps):
    rng = np.random.default_rng(0)
    return {f"transformer_t{t}": np.float32(rng.uniform(-9, -1, (2, 4, 3))) for t in timesteps}


def test_posteriors_are_of_the_timestep_that_the_readme_names(tmp_path):
    row = "| `q_posterior_t2` | (2, 5, 3) | float32 | scheduler.q_posterior(transformer_t7, x_t, 2): unclamped |"
    arrays = outputs(3, 5, 7)
    case = make_case(tmp_path / "diffusers", "diffusers", row, **arrays)
    np.testing.assert_array_equal(source_of(case, "q_posterior_t2"), np.swapaxes(arrays["transformer_t7"], 1, 2))


def test_or_of_the_one_that_the_truncations_keep(tmp_path):
    arrays = outputs(3, 5)
    case = make_case(tmp_path / "diffusers", "diffusers", **arrays)
    with pytest.raises(pytest.skip.Exception, match="does not say which"):
        source_of(case, "q_posterior_t2")
    kept = np.where(arrays["transformer_t3"] > -5, arrays["transformer_t3"], -70)
    case = make_case(tmp_path / "diffusers", "diffusers", **arrays, **{"truncate_r0.5": kept})
    np.testing.assert_array_equal(source_of(case, "q_posterior_t2"), np.swapaxes(arrays["transformer_t3"], 1, 2))


def test_a_foreign_case_of_the_same_name_is_another_recording(tmp_path):
    noise = np.random.default_rng(0).random((2, 3))
    kept = make_case(tmp_path / "kept", "text", **{"q/q_sample_u": noise})
    assert is_same_recording(kept, make_case(tmp_path / "cut", "text", **{"q/q_sample_u": noise}))
    assert not is_same_recording(kept, make_case(tmp_path / "other", "text", **{"q/q_sample_u": noise + 1}))
    assert not is_same_recording(kept, make_case(tmp_path / "none", "text", **{"q/x0": noise}))
    assert not is_same_recording(kept, make_case(tmp_path / "kind", "class", **{"q/q_sample_u": noise}))


def test_prompts_are_replayed_in_a_run_without_a_strategy(tmp_path):
    readme = """
- `run_a`: generate_content(sample_type='top0.9r,time2', guidance_scale=1.0, learnable_cf=True, prior_rule=0)
- `run_b`: generate_content(sample_type='top0.9r', guidance_scale=2.0, learnable_cf=False, prior_rule=0)
- `run_c`: generate_content(sample_type='top0.9r', guidance_scale=1.0, learnable_cf=True, prior_rule=0)
"""
    case = make_case(tmp_path / "text", "text", readme, **{f"run_{run}/tokens": np.zeros(1) for run in "abc"})
    assert ordinary_run(case, guided=False) == "run_c"
    with pytest.raises(pytest.skip.Exception, match="no ordinary run with guidance"):
        ordinary_run(case, guided=True)
