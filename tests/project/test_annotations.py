"""Every public function and method says what it takes and what it gives."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from ..conftest import ROOT

PARTS = [path for part in ("tvm_shufflenet", "schedules") for path in (ROOT / part).rglob("*.py")]
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PARTS)
SCRIPTS = {"T", "R", "I"}  # `@T.prim_func`, `@R.function`, `@I.ir_module`: TVMScript, which is parsed and never called


def public_functions(body: list[ast.stmt], of_class: bool = False) -> Iterator[tuple[ast.FunctionDef, bool]]:
    """Functions at the top of a module and methods of its public classes, with whether it is a method.

    What is defined inside a function is its own affair.
    """
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not in_tvmscript(node):
            yield from public_functions(node.body, True)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not in_tvmscript(node):
            if not node.name.startswith("_") or node.name in ("__init__", "__call__"):
                yield node, of_class
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            yield from public_functions(node.body, of_class)


def in_tvmscript(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    roots = (decorator.func if isinstance(decorator, ast.Call) else decorator for decorator in node.decorator_list)
    return any(isinstance(r, ast.Attribute) and isinstance(r.value, ast.Name) and r.value.id in SCRIPTS for r in roots)


def missing(function: ast.FunctionDef, method: bool) -> list[str]:
    """The parameters without annotation, and "return"."""
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    arguments = [*function.args.posonlyargs, *function.args.args]
    arguments = arguments[1:] if method and not static else arguments
    arguments += [*function.args.kwonlyargs, *filter(None, (function.args.vararg, function.args.kwarg))]
    names = [argument.arg for argument in arguments if argument.annotation is None]
    return names + ["return"] * (function.returns is None and function.name != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_have_annotations(module):
    found = public_functions(ast.parse((ROOT / module).read_text()).body)
    gaps = {f"{function.name}, line {function.lineno}": missing(function, method) for function, method in found}
    gaps = {where: names for where, names in gaps.items() if names}
    assert not gaps, f"{module}: no annotation of {gaps}"


def test_the_check_itself():
    code = (
        "def f(a, *b: int, c=1): ...\n"
        "class K:\n"
        "    def __init__(self, x): ...\n"
        "    def m(self, y: int) -> int:\n"
        "        def inner(z): ...\n"
        "    @T.prim_func\n"
        "    def script(p): ...\n"
        "class _Private:\n"
        "    def m(self, y): ...\n"
    )
    found = {function.name: missing(function, method) for function, method in public_functions(ast.parse(code).body)}
    assert found == {"f": ["a", "c", "return"], "__init__": ["x"], "m": []}
