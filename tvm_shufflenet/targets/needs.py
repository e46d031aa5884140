"""What a library asks of the processor that runs it: without these instructions it would end in SIGILL."""

from __future__ import annotations

from . import TargetSpec
from .detect import features_of
from .precision import Precision

# LLVM's name, and Linux's in /proc/cpuinfo, of what kernels on x86-64 are made of wherever the target has it.
X86 = {
    "avx": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c", "avx512f": "avx512f", "avx512bw": "avx512bw",
    "avx512dq": "avx512dq", "avx512vl": "avx512vl", "avx512vbmi": "avx512vbmi", "avx512vnni": "avx512_vnni",
    "avx512fp16": "avx512_fp16", "avxvnni": "avx_vnni",
}  # fmt: skip


def needed(target: TargetSpec, precision: Precision) -> list[str]:
    """Features as Linux calls them; of 64-bit Arm those beyond Armv8.0 that the precision takes."""
    if target.arch == "x86_64":
        there = features_of(target.tvm)
        return [name for feature, name in X86.items() if feature in there]
    if target.arch == "aarch64":
        halves, dots = precision.activations == "float16", precision.dot == "sdot"
        return ["asimdhp"] * halves + ["asimddp"] * dots
    return []
