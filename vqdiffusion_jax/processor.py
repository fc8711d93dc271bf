"""What this machine's processor can do."""

from __future__ import annotations

from pathlib import Path

_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # of x86-64, and of Arm


def features() -> frozenset[str]:
    """Return the features that Linux names; none where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    named = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(named.partition(":")[2].split())


def multiplies_bfloat16() -> bool:
    """Return whether products of bfloat16 matrices are faster here than those of float32."""
    return bool(features() & _BFLOAT16)
