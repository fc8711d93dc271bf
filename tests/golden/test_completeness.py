"""No recorded array goes unread: each name is one that some test here replays."""

import re

import numpy as np
import pytest

from tests.conftest import BESIDE, RECORDED
from tests.golden.cases import Case, find_cases

LOG_TABLES = r"log_(at|bt|ct|1_min_ct|cumprod_at|cumprod_bt|cumprod_ct|1_min_cumprod_ct)"
QUERIES = (
    "x0|t|x_t|log_x0_onehot|log_p_x0|q_pred|q_pred_tminus1|q_sample_u|q_pred_one_timestep"
    "|q_posterior_(true|soft|allmask)"
)
LOSS = (
    "x0|t|pt|u|xt|log_x0_recon|log_model_prob|log_true_prob|kl_per_position|kl|decoder_nll|kl_loss|kl_aux|kl_aux_loss"
    "|aux_weight|loss1|loss2|vb_loss|loss|out_logits|Lt_(history|count)_(before|after)|grad/.*|grad_names|grad_norms"
    "|grad_total_norm|tokens|text_mask|cond_row_norms|labels|cond"
)
CODEC = (
    "image|prequant|tokens|decode_tokens|decode_pixels|roundtrip_pixels|gumbel_noise|gumbel_logits|tokens_argmax(_full)?"
    "|full_to_quantize|quantize_to_full|enc_conv_in|enc_down0_block0|enc_down0_downsample|min_margin"
)
RUN = "u|t|x_in|x_out|sampled_out|to_sample|exp_noise|n_drawn|log_x0_calls|log_x0|tokens|image|content_token"
# How far the recorded decisions were from another outcome: no output, and nothing to replay.
MARGINS = "min_margin|min_trunc_margin|min_select_margin"

CHECKPOINT = [
    rf"sched/{LOG_TABLES}",
    rf"q/({QUERIES})",
    r"text/(prompts|tokens|mask|emb_fp16|emb_fp32)",
    r"net/(labels|x_t|t|logits|predict_start|content_emb|block\d+_out|logits_label_(\d+|mean))",
    r"cfg/(log_x0_uncond|guided_[\d.]+)",
    r"trunc/((plain|guided_[\d.]+)_)?r[\d.]+",
    rf"loss/({LOSS})",
    r"importance/(Lt_history|pt_all|u|t|pt|uniform_fallback_when_count_le_10)",
    rf"codec/({CODEC})",
    r"n_sample(_multi)?",
    rf"run_\w+/({RUN}|{MARGINS})",
    r"solver/(lr_after_step|loss)",
]
KNOWN = {
    "text": CHECKPOINT,
    "class": CHECKPOINT,
    "none": CHECKPOINT,
    "codec": [rf"codec/({CODEC})", r"ema/(z|index|loss|embedding_after|cluster_size_after|embedding_avg_after)"],
    "clip": [r"tokens|prompts", r"\w+_fp(16|32)(_last)?"],
    "tokenizer": [r"(ids|mask)_\d+", r"ids_dalle_\d+_ctx\d+_pad-?\d+"],
    "schedules": [
        rf"N\d+_T\d+/(at|bt|ct|att|btt|ctt|{LOG_TABLES})",
        r"n_sample/T\d+_ps\d+",
        r"lr/(plateau_loss|plateau_lr|cosine_lr)",
    ],
    "diffusers": [
        r"prompts|input_ids|text_hidden|prompt_embeds|uncond_embeds|x_t",
        r"transformer_t\d+|q_posterior_t\d+|truncate_r[\d.]+",
        rf"sched/{LOG_TABLES}",
        r"vq_(image|latents|indices)|decode_(tokens|image)",
        r"run_\w+/(u|u_last|t|x|image|latents|min_margin)",
    ],
}
# Arrays that are drawn at random when a case is recorded, so that no two recordings share them.
DRAWN = {"text": "q/q_sample_u", "class": "q/q_sample_u", "none": "q/q_sample_u", "schedules": "lr/plateau_loss"}


@pytest.mark.cases(*KNOWN)
def test_every_array_is_replayed(case: Case):
    unknown = [name for name in case.arrays if not any(re.fullmatch(pattern, name) for pattern in KNOWN[case.kind])]
    assert unknown == []
    # A run from given content has no settings of its own.
    assert set(case.calls) >= {name for name in case.run_names if f"{name}/content_token" not in case}
    parents = [re.sub("_last$", "", name) for name in case.arrays] if case.kind == "clip" else []
    assert set(case.text_embeddings) >= {name for name in parents if "_fp" in name}


@pytest.mark.cases(*KNOWN)
def test_the_cases_of_every_clone_are_cut_from_these(case: Case, golden_root):
    if golden_root.resolve() == RECORDED:
        pytest.skip("these are the cases of every clone")
    kept = next((one for one in find_cases(RECORDED) if one.name == case.name), None)
    if kept is None:
        pytest.skip("no part of this case is kept in the repository")
    if golden_root.resolve() != BESIDE.resolve() and not is_same_recording(kept, case):
        pytest.skip(f"{case.name} is another recording than the one of that name in the repository")
    for name, array in kept.arrays.items():
        np.testing.assert_array_equal(array, case[name], err_msg=name)
    assert all(call == case.calls[run] for run, call in kept.calls.items())


def is_same_recording(kept: Case, case: Case) -> bool:
    """Return whether both folders hold the same random inputs, or for a tokenizer the same prompts."""
    if kept.kind != case.kind:
        return False
    if case.kind == "tokenizer":
        return (kept.path / "prompts.json").read_bytes() == (case.path / "prompts.json").read_bytes()
    name = DRAWN[kept.kind]
    return name in case and np.array_equal(kept[name], case[name])
