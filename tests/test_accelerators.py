"""The reader of a TPU's compiled programs counts loops by their trips and Pallas kernels by their padded shapes."""

import pytest

from benchmarks.accelerators import attention_flops, kernels_of

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


def test_a_pallas_call_is_counted_by_its_padded_shape():
    assert attention_flops(CALL) == 4 * 2 * 16 * 1024 * 128 * 128
    gradients = CALL.replace("fused_attention", "gradients_of_fused_attention")
    gradients = gradients.replace(
        "}, bf16[2,77,1408]{2,1,0}}, meta", "}, bf16[2,77,1408]{2,1,0}, bf16[2,1024,1408]{2,1,0}}, meta"
    )
    assert attention_flops(gradients) == 10 * 2 * 16 * 1024 * 128 * 128
    with pytest.raises(ValueError, match="without a rule"):
        attention_flops(CALL.replace("fused_attention_of_16_heads", "other"))
