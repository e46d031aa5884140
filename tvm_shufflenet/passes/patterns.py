"""The patterns of Relax operators that become one kernel each: `FuseOpsByPattern` puts every match
into a function of its own, whose attribute "Composite" is the name given here."""

from __future__ import annotations

from tvm.relax.dpl import is_const, is_op, wildcard


def convolution():
    """conv2d + bias: add(conv2d(x, constant), constant)."""
    return is_op("relax.add")(is_op("relax.nn.conv2d")(wildcard(), is_const()), is_const())


def relu(value):
    return is_op("relax.nn.relu")(value)


def dense():
    """matmul + bias: add(matmul(x, permute_dims(constant)), constant)."""
    product = is_op("relax.matmul")(wildcard(), is_op("relax.permute_dims")(is_const()))
    return is_op("relax.add")(product, is_const())


def channel_shuffle(value):
    """reshape to (1, g, n, H, W), transpose g and n, reshape back."""
    grouped = is_op("relax.reshape")(value, wildcard())
    return is_op("relax.reshape")(is_op("relax.permute_dims")(grouped), wildcard())
