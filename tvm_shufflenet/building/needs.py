"""What a library asks of the processor that runs it: without these instructions it would end in SIGILL."""

from __future__ import annotations

from ..library.instructions import known
from ..targets import TargetSpec
from ..targets.detect import features_of
from ..targets.precision import Precision

OF_DOT = {"sdot": ("asimddp",), "smmla": ("asimddp", "i8mm")}  # instructions of `Precision.dot`


def needed(target: TargetSpec, precision: Precision) -> list[str]:
    """The processor features that the library needs, as Linux names them.

    Of 64-bit Arm these are the ones beyond Armv8.0 that the precision uses: LLVM finds no use for others in fp32.  Of
    x86-64 and 32-bit Arm these are all that the target has, because LLVM uses any of them.
    """
    there = features_of(target.tvm)
    names = [name for name, llvm in known(target.arch).items() if llvm in there]
    if target.arch != "aarch64":
        return names
    halves = ("asimdhp",) if precision.activations == "float16" else ()
    return [name for name in names if name in (*halves, *OF_DOT.get(precision.dot, ()))]
