"""Random networks of what int8 computes: convolutions, activations, pools and means of any window, sums, shuffles,
attention, normalisation; the picture is read by any layer, and any layer is the last.
"""

from __future__ import annotations

import random

from tvm_shufflenet.architectures import Network, NetworkBuilder

SIZES = ((22, 18), (32, 32), (33, 29), (17, 40), (48, 16))  # height and width
KINDS = (
    "pointwise", "pointwise", "depthwise", "max", "avg", "concat", "add", "shuffle", "slice", "attention", "attention",
    "resize", "window", "window", "any window", "any window", "any max", "any avg", "sum", "adaptive", "lrn", "affine",
)  # fmt: skip
RECENT = 3  # layers of which one is read


def network_of(seed: int) -> Network:
    """The network of that number: the same on every machine."""
    return _Maker(seed).network()


class _Maker:
    def __init__(self, seed: int):
        self.seed, self.random = seed, random.Random(seed)
        self.builder = NetworkBuilder(self.random.choice(SIZES))
        self.names = 0

    def network(self) -> Network:
        pick, builder = self.random.choice, self.builder
        channels, stride = pick((4, 5, 12, 16)), pick((1, 2))
        match pick(("stem", "stem", "stem", "pixels", "any window", "pool")):
            case "stem":
                first = builder.conv(self.name(), 0, channels, pick((3, 5)), stride, pick((1, 2)), bias=True)
            case "pixels":
                first = builder.conv(self.name(), 0, channels, 1, stride, bias=True)
            case "any window":
                first = self.any_window(0, channels, 1)
            case _:
                pooled = builder.max_pool(self.name(), 0, 2, stride)
                first = builder.conv(self.name(), pooled, channels, 3, pad=1, bias=True)
        self.layers = [self.activated(first)]
        for _ in range(self.random.randint(3, 9)):
            x = pick(self.layers[-RECENT:])
            if min(builder.shape(x)[2:]) > 5:
                self.layers.append(self.layer(pick(KINDS), x))
        self.end(self.layers[-1])
        return builder.network(f"random{self.seed}")

    def end(self, x: int) -> None:
        """A classifier, of means, of maxima or of pixels; or no fully connected layer."""
        pick, builder = self.random.choice, self.builder
        kind = pick(("means", "means", "maxima", "pixels", "planes", "classes"))
        if kind == "classes":
            builder.global_avg_pool("pool", self.activated(builder.conv("classes", x, 10, bias=True)))
        elif kind == "planes":
            self.activated(builder.conv("planes", x, 7, 3, pad=1, bias=True))
        else:
            pool = builder.global_max_pool if kind == "maxima" else builder.global_avg_pool
            size = pick((2, (3, 2)))
            pooled = builder.adaptive_avg_pool("bins", x, size) if kind == "pixels" else pool("pool", x)
            builder.dense("fc", builder.flatten("flat", pooled), pick((3, 10, 33)))

    def any_window(self, x: int, outputs: int, groups: int) -> int:
        """A convolution of no square, with dilation, or padding on some sides."""
        pick, kernel = self.random.choice, (self.random.randint(1, 3), self.random.randint(1, 5))
        pad = [self.random.randint(0, 2) for _ in range(4)]
        stride, dilation = (pick((1, 2)), pick((1, 2))), (pick((1, 2)), 1)
        return self.builder.conv(self.name(), x, outputs, kernel, stride, pad, groups, True, dilation)

    def any_pool(self, x: int, maximum: bool) -> int:
        pick, builder = self.random.choice, self.builder
        kernel = self.random.randint(2, 4), self.random.randint(1, 3)
        pad = [self.random.randint(0, side // 2) for side in (*kernel, *kernel)]
        stride, up = (pick((1, 2)), pick((1, 2))), pick((True, False))
        if maximum:
            return builder.max_pool(self.name(), x, kernel, stride, pad, pick((1, 1, (1, 2))), up)
        return pick((builder.avg_pool, builder.valid_avg_pool))(self.name(), x, kernel, stride, pad, up)

    def name(self) -> str:
        self.names += 1
        return f"layer{self.names}"

    def activated(self, x: int) -> int:
        kind, builder, pick = self.random.random(), self.builder, self.random.choice
        if kind < 0.4:
            return builder.relu(self.name(), x)
        if kind < 0.55:
            return builder.clip(self.name(), x, pick((0.0, -0.4)), pick((1.0, 6.0)))
        if kind < 0.8:
            curve = pick((builder.hard_swish, builder.leaky_relu, builder.sigmoid, builder.hard_sigmoid))
            return curve(self.name(), x)
        return x

    def attention(self, x: int, channels: int, groups: int) -> int:
        """Of a convolution that can scale what it stores, with what is added and without, or of any layer."""
        pick, builder = self.random.choice, self.builder
        conv = builder.conv(self.name(), x, channels, groups=groups, bias=True) if pick((True, False)) else None
        product = x if conv is None else conv
        inner = builder.relu(
            self.name(), builder.dense(self.name(), builder.global_avg_pool(self.name(), product), pick((2, 5)))
        )
        outer = builder.dense(self.name(), inner, channels)
        factors = pick((builder.sigmoid, builder.hard_sigmoid))(self.name(), outer)
        product = builder.multiply(self.name(), product, factors)
        if conv is not None and pick((True, False)):
            product = builder.add(self.name(), product, x)
        return self.activated(product)

    def layer(self, kind: str, x: int) -> int:
        pick, builder, channels = self.random.choice, self.builder, self.builder.shape(x)[1]
        groups = pick([count for count in (1, 1, 2, 3, 4) if channels % count == 0])
        match kind:
            case "pointwise":
                outputs = groups * pick((1, 3, 5, 8))
                return self.activated(builder.conv(self.name(), x, outputs, groups=groups, bias=True))
            case "depthwise":
                kernel, stride = pick((1, 3, 5)), pick((1, 2))
                pad = pick((0, kernel // 2))
                return self.activated(builder.conv(self.name(), x, channels, kernel, stride, pad, channels, bias=True))
            case "max":
                return self.activated(builder.max_pool(self.name(), x, pick((2, 3)), pick((1, 2)), pick((0, 1))))
            case "avg":
                return self.activated(builder.avg_pool(self.name(), x, pick((2, 3)), pick((1, 2)), pick((0, 1))))
            case "concat":
                alike = [other for other in self.layers if builder.shape(other)[2:] == builder.shape(x)[2:]]
                return builder.concat(self.name(), x, pick(alike))
            case "add":
                conv = builder.conv(self.name(), x, channels, bias=True)
                return self.activated(builder.add(self.name(), *self.random.sample((conv, x), 2)))
            case "window":
                return self.activated(builder.conv(
                    self.name(), x, groups * pick((1, 3, 8)), pick((2, 3, 5)), pick((1, 2, 3)), pick((0, 1)), groups,
                    bias=True,
                ))  # fmt: skip
            case "any window":
                return self.activated(self.any_window(x, groups * pick((1, 3, 8)), groups))
            case "any max" | "any avg":
                return self.activated(self.any_pool(x, kind == "any max"))
            case "sum":
                alike = [other for other in self.layers if builder.shape(other) == builder.shape(x)]
                return self.activated(builder.add(self.name(), x, pick(alike)))
            case "adaptive":
                return builder.adaptive_avg_pool(self.name(), x, (pick((6, 7)), pick((6, 9))))
            case "resize":
                size = [side * pick((1, 2)) + pick((0, 0, 3)) for side in builder.shape(x)[2:]]
                if max(size) > 40:
                    size = [9, 11]
                if pick((True, False)):
                    return builder.resize(self.name(), x, size)
                coordinates = pick(("half_pixel", "align_corners"))
                return self.activated(builder.resize(self.name(), x, size, "bilinear", coordinates))
            case "lrn":
                return builder.lrn(self.name(), x, pick((3, 5)), 1e-2, 0.75, pick((1.0, 2.0)))
            case "affine":
                return self.activated(builder.batch_norm(self.name(), builder.max_pool(self.name(), x, 2, 1)))
            case "attention":
                return self.attention(x, channels, groups)
            case "shuffle":
                return builder.shuffle(self.name(), x, groups)
        return builder.slice(self.name(), x, self.random.randrange(max(1, channels // 2)), channels, pick((1, 2)))
