"""TIR module  =>  object code, through TVM's S-TIR pipeline and LLVM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tvm
from tvm import tirx
from tvm.tirx import compilation_pipeline

from ..targets.generation import order_of, with_options
from ..zig import call, zig
from .reorder import reorder

PIPELINE = "tvm_shufflenet"


def compile_module(module: tvm.IRModule, target: dict) -> tvm.runtime.Module:
    """The compiled module, for `write_object`; its `inspect_source` gives LLVM IR."""
    return tirx.build(module, tvm.target.Target(with_options(target)), pipeline=PIPELINE)


def write_object(
    code: tvm.runtime.Module, target: dict, path: Path, done: Callable[[float], None] = lambda share: None
) -> None:
    """Writes the object file of a compiled module, for cores in order with instructions in the order of their model.

    `done` is told what share of the instructions, 0 to 1, is in that order.
    """
    if (model := order_of(target)) is None:
        code.write_to_file(str(path), "o")
        return
    source = path.with_suffix(".s")
    source.write_text(reorder(code.inspect_source("asm"), model, done))
    clang = [zig(), "clang", "-target", "aarch64-linux-gnu", f"-mcpu={target['mcpu']}"]
    call("assembling", [*clang, "-c", str(source), "-o", str(path)])
    source.unlink()


@tvm.transform.module_pass(opt_level=0, name="NameKernels")
def _name_kernels(module, _context):
    """Private functions get their symbols back once they can no longer be taken for public ones."""
    functions = {
        variable: function if "global_symbol" in function.attrs else function.with_attr(
            "global_symbol", variable.name_hint
        )
        for variable, function in module.functions.items()
    }  # fmt: skip
    return tvm.IRModule(functions, attrs=module.attrs)


@tirx.transform.prim_func_pass(opt_level=0, name="KeepAllocationsOnStack")
def _keep_on_stack(function, _module, _context):
    """Register tiles and scratch rows stay on the stack, from where LLVM moves tiles to registers.

    TVM would turn any that reaches 1,024 bytes into an allocation at run time.
    """

    def keep(statement):
        if isinstance(statement, tirx.AllocBuffer):
            annotations = {**dict(statement.annotations), "disable_lower_builtin": tirx.IntImm("int32", 1)}
            return tirx.AllocBuffer(statement.buffer, annotations=annotations)
        return statement

    return function.with_body(_map_leaves(function.body, keep))


def _map_leaves(statement, change):
    """Rebuilds a statement with `change` applied to each statement in it that holds no other statement."""

    def inside(child):
        return _map_leaves(child, change)

    match statement:
        case tirx.SeqStmt():
            return tirx.SeqStmt([inside(child) for child in statement.seq])
        case tirx.For():
            s = statement
            return tirx.For(
                s.loop_var, s.min, s.extent, s.kind, inside(s.body), s.thread_binding, s.annotations, s.step
            )
        case tirx.IfThenElse():
            other = statement.else_case
            return tirx.IfThenElse(
                statement.condition, inside(statement.then_case), None if other is None else inside(other)
            )
        case tirx.AttrStmt():
            return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, inside(statement.body))
        case _:
            return change(statement)


def _pipeline():
    passes, host, device = compilation_pipeline.PIPELINE_MAP["s_tir"]()
    return passes, lambda: tvm.transform.Sequential([_keep_on_stack, host(), _name_kernels]), device


compilation_pipeline.PIPELINE_MAP[PIPELINE] = _pipeline
