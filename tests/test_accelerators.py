"""The reader of a TPU's compiled programs counts loops by their trips and Pallas kernels by their padded shapes."""

import pytest

from benchmarks._collectives import collectives_of
from benchmarks._tpu_program import attention_flops, kernels_of

CALL = (
    "  %fused_attention_of_16_heads.3 = bf16[2,1024,1408]{2,1,0:T(8,128)(2,1)} custom-call(%a, %b, %c), "
    'custom_call_target="tpu_custom_call", operand_layout_constraints={bf16[2,1024,1408]{2,1,0}, '
    'bf16[2,77,1408]{2,1,0}, bf16[2,77,1408]{2,1,0}}, metadata={op_name="jit(f)/attention/pallas_call"}'
)
PROGRAM = f"""
%body (x: s32[]) -> s32[] {{
  %fusion.1 = f32[8]{{0}} fusion(%x), metadata={{op_name="jit(f)/mlp/dot"}}, backend_config={{"estimated_cycles":"10"}}
  %copy.2 = f32[8]{{0}} copy(%x), metadata={{op_name="jit(f)/mlp/add"}}, backend_config={{"estimated_cycles":"3"}}
{CALL}
}}

%condition (x: s32[]) -> pred[] {{
  %constant.4 = s32[] constant(7)
}}

ENTRY %main (x: s32[]) -> s32[] {{
  %fusion.5 = f32[8]{{0}} fusion(%x), metadata={{op_name="jit(f)/add"}}, backend_config={{"estimated_cycles":"100"}}
  %while.6 = s32[] while(%x), condition=%condition, body=%body
}}
"""


def test_kernels_of_a_program():
    found = {kernel.name: (kernel.kind, kernel.runs, kernel.cycles) for kernel in kernels_of(PROGRAM)}
    assert found == {
        "fusion.5": ("other", 1, 100),
        "fusion.1": ("MLP", 7, 10),
        "copy.2": ("copies and transposes", 7, 3),
        "fused_attention_of_16_heads.3": ("attention (Pallas)", 7, 0),
    }


def test_a_loop_counted_without_sign_turns_as_often():
    """The compiler's own loops, over parts of a product whose factor comes from other chips, count in u32."""
    program = PROGRAM.replace("s32[] constant(7)", "u32[]{:T(128)} constant(7)")
    assert {kernel.name: kernel.runs for kernel in kernels_of(program)}["fusion.1"] == 7


def test_a_loop_that_may_end_early_counts_as_one_turn():
    """Its bound is told beside what it looks for, as in the search for a tie that truncation splits."""
    ends = "  ROOT %and.5 = pred[]{:T(512)} and(%lt.3, %fusion.4)\n}"
    program = PROGRAM.replace("s32[] constant(7)\n}", f"s32[] constant(7)\n{ends}")
    assert {kernel.name: kernel.runs for kernel in kernels_of(program)}["fusion.1"] == 1


EXCHANGE = """
%body (x: s32[]) -> s32[] {
  %x = bf16[4,8]{1,0} parameter(0)
  %permute-start.1 = (bf16[4,8]{1,0}, bf16[4,8]{1,0}) collective-permute-start(%x), channel_id=1
  %fusion.2 = f32[8]{0} fusion(%x), calls=%plain, backend_config={"estimated_cycles":"10"}
  %permute-done.1 = bf16[4,8]{1,0} collective-permute-done(%permute-start.1)
  %all-reduce.3 = (f32[16]{0}, f32[4]{0}) all-reduce(%x, %x), channel_id=2, to_apply=%add
}

%condition (x: s32[]) -> pred[] {
  %constant.4 = s32[] constant(7)
}

%gathers (x: bf16[2,8]) -> bf16[8,8] {
  %all-gather.5 = bf16[8,8]{1,0} all-gather(%x), channel_id=3
}

%async_collective_fusion.6 (x: bf16[2,8]) -> bf16[8,8] {
  %all-gather.6 = bf16[8,8]{1,0} all-gather(%x), channel_id=3
}

%scatters (x: f32[8]) -> f32[2] {
  %reduce-scatter.7 = f32[2]{0} reduce-scatter(%x), channel_id=4
}

ENTRY %main (x: s32[]) -> s32[] {
  %async-collective-start.8 = bf16[8,8]{1,0} fusion(%x), kind=kCustom, calls=%gathers
  %while.9 = s32[] while(%x), condition=%condition, body=%body
  %fusion.10 = f32[8]{0} fusion(%x), calls=%async_collective_fusion.6, backend_config={"estimated_cycles":"5"}
  %async-collective-done.8 = bf16[8,8]{1,0} fusion(%x), kind=kCustom, calls=%gathers
  %fusion.11 = f32[2]{0} fusion(%x), kind=kCustom, calls=%scatters
}
"""


def test_what_devices_exchange_and_what_is_scheduled_meanwhile():
    found = {one.kind: (one.runs, one.size, one.between) for one in collectives_of(EXCHANGE)}
    assert found == {
        "collective-permute": (7, 64, 10),
        "all-reduce": (7, 80, None),
        "all-gather": (1, 128, 7 * 10 + 5),  # once, though three fusions carry it; the loop with all its turns
        "reduce-scatter": (1, 8, None),
    }
    assert [one.kind for one in collectives_of(EXCHANGE) if one.hidden] == ["all-gather", "collective-permute"]


def test_a_pallas_call_is_counted_by_its_padded_shape():
    assert attention_flops(CALL) == 4 * 2 * 16 * 1024 * 128 * 128
    gradients = CALL.replace("fused_attention", "gradients_of_fused_attention")
    gradients = gradients.replace(
        "}, bf16[2,77,1408]{2,1,0}}, meta", "}, bf16[2,77,1408]{2,1,0}, bf16[2,1024,1408]{2,1,0}}, meta"
    )
    assert attention_flops(gradients) == 10 * 2 * 16 * 1024 * 128 * 128
    with pytest.raises(ValueError, match="without a rule"):
        attention_flops(CALL.replace("fused_attention_of_16_heads", "other"))
