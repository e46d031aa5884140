"""Relax module of composites  =>  `Program`: a kernel of `schedules` for each composite.

Layout is decided here, in one place: activations are planes, channels outermost; a pointwise layer
keeps the planes of its input, windows start new ones, what is flattened has no padding.  A `concat`
gives no call: its parts become views of one tensor.  Anything else that would need a copy is refused.
"""

from __future__ import annotations

import tvm
from tvm import relax

from schedules import (
    LRN, AdaptiveAvgPool, Conv2d, Dense, Depthwise, GlobalAvgPool, Machine, Plane, Pointwise, Reshuffled,
    ValidAvgPool, WindowPool, Winograd,
)  # fmt: skip

from .program import Call, Program, Tensor


class UnsupportedGraph(Exception):
    """The graph holds an operator, or an operator in a place, that no kernel covers."""


def select_kernels(module: tvm.IRModule, machine: Machine) -> Program:
    """Every binding of `main` becomes a kernel call or a view; raises `UnsupportedGraph`."""
    return _Selector(module, machine).program()


class _Selector:
    def __init__(self, module: tvm.IRModule, machine: Machine):
        self.module, self.machine = module, machine
        self.tensors: dict[relax.Var, Tensor] = {}
        self.calls: list[Call] = []

    def program(self) -> Program:
        main = self.module["main"]
        (block,) = main.body.blocks
        self.flattened = {b.value.args[0] for b in block.bindings if _is_op(b.value, "relax.reshape")}
        _, channels, height, width = _shape(main.params[0])
        source = Tensor("input", channels, Plane.dense(height, width))
        self.tensors[main.params[0]] = source
        for binding in block.bindings:
            self._bind(binding.var, binding.value)
        return Program(source, self.tensors[main.body.body], self.calls)

    def _bind(self, var: relax.Var, value: relax.Expr) -> None:
        if isinstance(value, relax.Var):
            self.tensors[var] = self.tensors[value]
        elif _is_op(value, "relax.concat"):
            self._concat(var, [self.tensors[part] for part in value.args[0].fields])
        elif _is_op(value, "relax.reshape"):
            self._flatten(var, self.tensors[value.args[0]])
        elif _is_op(value, "relax.call_tir"):
            self._lrn(var, value)
        elif isinstance(value, relax.Call) and isinstance(value.op, relax.GlobalVar):
            composite = _Composite(self.module[value.op], value.args)
            select = getattr(self, "_" + composite.kind, None)
            if select is None:
                raise UnsupportedGraph(f"composite {composite.kind} has no kernel")
            select(var, composite)
        else:
            raise UnsupportedGraph(f"{value.op if isinstance(value, relax.Call) else value} has no kernel")

    def _call(self, var, workload, inputs, channels, plane, parameters=()) -> None:
        tensor = Tensor(f"t{len(self.calls)}", channels, plane)
        self.tensors[var] = tensor
        self.calls.append(Call(workload, inputs, tensor, list(parameters)))

    def _plane(self, var: relax.Var) -> Plane:
        """The plane of a tensor that a window kernel writes."""
        _, _, height, width = _shape(var)
        if var in self.flattened:
            return Plane.dense(height, width)
        return Plane.padded(height, width, self.machine.lanes)

    # Views

    def _concat(self, var, parts: list[Tensor]) -> None:
        if len({part.plane for part in parts}) > 1 or any(part.base for part in parts):
            raise UnsupportedGraph("concat of parts that differ in their planes or lie in another concat")
        whole = Tensor(f"c{len(self.calls)}", sum(part.channels for part in parts), parts[0].plane)
        first = 0
        for part in parts:
            part.base, part.first = whole, first
            first += part.channels
        self.tensors[var] = whole

    def _flatten(self, var, source: Tensor) -> None:
        if source.plane != Plane.dense(source.plane.height, source.plane.width):
            raise UnsupportedGraph("reshape of a tensor whose planes are padded")
        self.tensors[var] = source

    # Composites

    def _shuffled_conv(self, var, composite) -> None:
        grouped = _shape(composite.call("relax.permute_dims").args[0])
        self._conv(var, composite, shuffle=grouped[1])

    def _conv(self, var, composite, shuffle: int = 0) -> None:
        """`shuffle`: the number of groups of the shuffle behind it, 0 for none."""
        conv = composite.call("relax.nn.conv2d")
        weight = conv.args[1].value.numpy()
        bias = composite.call("relax.add").args[1].value.numpy().ravel()
        groups, stride, pad, kernel = (*(_single(conv, a) for a in ("groups", "strides", "padding")), weight.shape[2])
        data = self.tensors[composite.argument(conv.args[0])]
        residual = [self.tensors[v] for v in composite.arguments if self.tensors[v] is not data]
        relu = composite.has("relax.nn.relu")
        lanes, outputs = self.machine.lanes, weight.shape[0]
        if kernel == 1 and stride == 1 and pad == 0:
            plane = data.plane
            sizes = groups, weight.shape[1], outputs // groups, plane, lanes, relu, bool(residual)
            if shuffle in (0, groups):
                workload = Pointwise(*sizes, bool(shuffle))
            else:
                workload = Reshuffled(*sizes, shuffle_groups=shuffle)
        elif residual or shuffle:
            raise UnsupportedGraph("residual add or channel shuffle behind a convolution that is not pointwise")
        elif groups == outputs == data.channels:
            plane = self._plane(var)
            workload = Depthwise(outputs, data.plane, plane, kernel, stride, pad, lanes, relu)
        else:
            _, _, height, width = _shape(var)
            channels = groups, weight.shape[1], outputs // groups
            if Winograd.fits(kernel, stride):
                plane = Winograd.plane(height, width, kernel, lanes)
                workload = Winograd(*channels, data.plane, plane, kernel, pad, lanes, relu)
            else:
                plane = Plane.padded_rows(height, width, lanes)
                workload = Conv2d(*channels, data.plane, plane, kernel, stride, pad, lanes, relu)
        self._call(var, workload, [data, *residual], outputs, plane, [weight, bias])

    def _pool(self, kind: str, var, composite) -> None:
        pool = composite.call(f"relax.nn.{kind}_pool2d")
        data, plane = self.tensors[composite.argument(pool.args[0])], self._plane(var)
        kernel, stride, pad = (_single(pool, a) for a in ("pool_size", "strides", "padding"))
        relu = composite.has("relax.nn.relu")
        sizes = data.channels, data.plane, plane, kernel, stride, pad, self.machine.lanes, relu
        if kind == "avg" and pad and not pool.attrs["count_include_pad"]:
            workload = ValidAvgPool(*sizes)
        else:
            workload = WindowPool(*sizes, kind)
        self._call(var, workload, [data], data.channels, plane)

    def _max_pool(self, var, composite) -> None:
        self._pool("max", var, composite)

    def _avg_pool(self, var, composite) -> None:
        self._pool("avg", var, composite)

    def _global_avg_pool(self, var, composite) -> None:
        (data,) = (self.tensors[v] for v in composite.arguments)
        workload = GlobalAvgPool(data.channels, data.plane, self.machine.lanes)
        self._call(var, workload, [data], data.channels, Plane.dense(1, 1))

    def _adaptive_avg_pool(self, var, composite) -> None:
        (data,), plane = (self.tensors[v] for v in composite.arguments), self._plane(var)
        self._call(var, AdaptiveAvgPool(data.channels, data.plane, plane), [data], data.channels, plane)

    def _lrn(self, var, call) -> None:
        lrn = self.module[call.args[0]].attrs["lrn"]
        (data,) = (self.tensors[v] for v in call.args[1].fields)
        if float(lrn["beta"]) != 0.75:
            raise UnsupportedGraph(f"local response normalisation with beta {lrn['beta']}: only 0.75 has a kernel")
        vectors = data.plane.size // self.machine.lanes
        workload = LRN(
            data.channels, vectors, self.machine.lanes, int(lrn["size"]), float(lrn["alpha"]), float(lrn["k"])
        )
        self._call(var, workload, [data], data.channels, data.plane)

    def _dense(self, var, composite) -> None:
        weight = composite.call("relax.permute_dims").args[0].value.numpy()
        bias = composite.call("relax.add").args[1].value.numpy()
        (data,) = (self.tensors[v] for v in composite.arguments)
        outputs, inputs = weight.shape
        workload = Dense(inputs, outputs, self.machine.lanes, composite.has("relax.nn.relu"))
        self._call(var, workload, [data], outputs, Plane.dense(1, 1), [weight, bias])


class _Composite:
    """The calls inside a composite function, by operator, and the caller's arguments."""

    def __init__(self, function: relax.Function, arguments):
        self.kind = str(function.attrs["Composite"]).removeprefix("tsn.")
        self.arguments = list(arguments)
        self._parameters = list(function.params)
        (block,) = function.body.blocks
        self._calls = [b.value for b in block.bindings if isinstance(b.value, relax.Call)]

    def has(self, op: str) -> bool:
        return any(_is_op(call, op) for call in self._calls)

    def call(self, op: str) -> relax.Call:
        """The first call of `op`."""
        return next(call for call in self._calls if _is_op(call, op))

    def argument(self, parameter: relax.Var) -> relax.Var:
        """What the caller passes for `parameter`."""
        return self.arguments[[p.same_as(parameter) for p in self._parameters].index(True)]


def _is_op(value, name: str) -> bool:
    return isinstance(value, relax.Call) and getattr(value.op, "name", None) == name


def _shape(var: relax.Var) -> tuple[int, ...]:
    return tuple(int(n) for n in var.ty.shape)


def _single(call: relax.Call, attribute: str) -> int:
    """The value of an attribute that is a number, or a list of equal numbers."""
    value = call.attrs[attribute]
    values = {int(value)} if isinstance(value, int) else {int(v) for v in value}
    if len(values) > 1:
        raise UnsupportedGraph(f"{call.op.name} with {attribute} {sorted(values)}: only equal ones have a kernel")
    return values.pop()
