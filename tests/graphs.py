"""Seeded random networks over every operator, in any order and any sharing, and which neighbours they held."""

from __future__ import annotations

import math
import random

from tvm_shufflenet.architectures import Network, NetworkBuilder
from tvm_shufflenet.errors import UserError

PLANES, VECTORS = frozenset({4}), frozenset({2})
BOTH = PLANES | VECTORS
# By operator: the numbers of dimensions that it reads, and those that it leaves.
RANKS = {
    "conv": (PLANES, PLANES), "batch_norm": (BOTH, BOTH), "relu": (BOTH, BOTH), "clip": (BOTH, BOTH),
    "leaky_relu": (BOTH, BOTH), "sigmoid": (BOTH, BOTH), "hard_sigmoid": (BOTH, BOTH), "hard_swish": (BOTH, BOTH),
    "softmax": (BOTH, BOTH), "shuffle": (PLANES, PLANES), "slice": (BOTH, BOTH), "gather": (BOTH, BOTH),
    "max_pool": (PLANES, PLANES), "avg_pool": (PLANES, PLANES), "valid_avg_pool": (PLANES, PLANES),
    "adaptive_avg_pool": (PLANES, PLANES), "global_avg_pool": (PLANES, VECTORS), "global_max_pool": (PLANES, VECTORS),
    "lrn": (PLANES, PLANES), "add": (BOTH, BOTH), "multiply": (BOTH, BOTH), "concat": (BOTH, BOTH),
    "pad": (PLANES, PLANES), "depth_to_space": (PLANES, PLANES), "resize": (PLANES, PLANES),
    "flatten": (BOTH, VECTORS), "reshape": (BOTH, BOTH), "dropout": (BOTH, BOTH), "dense": (VECTORS, VECTORS),
}  # fmt: skip
OUTPUT = "output"  # stands for the reader of a network's outputs
ELEMENTS = 1 << 15  # of one tensor: tests are to be quick
TRIES = 20  # of random attributes, before a layer is given up


def pairs(network: Network) -> set[tuple[str, str]]:
    """Every pair (producer, consumer) of neighbouring operators in the network."""
    layers = network.layers
    found = {(layers[source].op, layer.op) for layer in layers for source in layer.inputs}
    return found | {(layers[index].op, OUTPUT) for index in network.outputs}


def possible_pairs() -> set[tuple[str, str]]:
    """Every pair (producer, consumer) that some network holds."""
    leaves = {"input": PLANES} | {op: after for op, (_, after) in RANKS.items()}
    reads = {op: before for op, (before, _) in RANKS.items()} | {OUTPUT: BOTH}
    return {(a, b) for a, after in leaves.items() for b, before in reads.items() if after & before}


def missing_pairs(seen: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The possible pairs that are not among those seen."""
    return sorted(possible_pairs() - seen)


def random_network(seed: int, seen: set[tuple[str, str]] = frozenset()) -> Network:
    """The network of a seed; where `seen` is given, pairs of neighbours outside it come more often."""
    return _Growth(random.Random(seed), seen).network(f"random-{seed}")


class _Growth:
    """A network that grows layer by layer.

    `degree` of a layer: as which power of the picture its values grow.  Products of products are numbers that single
    precision cannot hold.
    """

    def __init__(self, rng: random.Random, seen: set[tuple[str, str]]):
        self.rng, self.seen = rng, seen
        most = rng.choice((6, 12, 12, 20, 64))
        size = rng.randint(1, most), rng.randint(1, most)
        channels = rng.choice((1, 2, 3, 3, 4, rng.randint(1, 8)))
        self.net = NetworkBuilder(size, channels, rng.choice(("NCHW",) * 4 + ("NHWC",)))
        self.degree = [1]

    def network(self, name: str) -> Network:
        most = self.rng.randint(2, 14)
        while len(self.net.layers) <= most:
            if self.rng.random() < 0.25:
                self._unit()
            else:
                self._layer()
        return self.net.network(name, outputs=self._outputs())

    def _outputs(self) -> list[int]:
        """Mostly the last layer, at times others beside it or in its place: also the picture and what others read."""
        layers = self.net.layers
        new = [i for i, layer in enumerate(layers) if (layer.op, OUTPUT) not in self.seen]
        found = [len(layers) - 1]
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            found.append(self.rng.choice(new or range(len(layers))))
        if self.rng.random() < 0.1:
            found[0] = self.rng.randrange(len(layers))
        return list(dict.fromkeys(found))

    def _shape(self, x: int) -> tuple[int, ...]:
        return self.net.shape(x)

    def _add(self, op: str, *inputs: int, **attrs) -> int:
        """Appends a layer; `UserError` where it would be none, too large, or of too high a degree."""
        degree = (sum if op == "multiply" else max)(self.degree[x] for x in inputs)
        if degree > 4:
            raise UserError("a product of too many factors")
        count = len(self.net.layers)
        index = getattr(self.net, op)(f"{op}{count}", *inputs, **attrs)
        if len(self.net.layers) > count:
            if math.prod(self._shape(index)) > ELEMENTS:
                layer = self.net.layers.pop()
                self.net._names.remove(layer.name)
                raise UserError("too large")
            bounded = op in ("sigmoid", "hard_sigmoid", "softmax", "clip") and not attrs.get("log")
            self.degree.append(0 if bounded else degree)
        return index

    def _layer(self) -> None:
        """One layer of any kind behind any layer, rather where that pair is new."""
        places = [
            (x, op) for x in range(len(self.net.layers)) for op, (ranks, _) in RANKS.items()
            if len(self._shape(x)) in ranks
        ]  # fmt: skip
        new = [(x, op) for x, op in places if (self.net.layers[x].op, op) not in self.seen]
        x, op = self.rng.choice(new if self.seen and new and self.rng.random() < 0.8 else self._recent(places))
        for _ in range(TRIES):
            try:
                self._add(op, *self._inputs(op, x), **self._attributes(op, self._shape(x)))
                return
            except UserError:
                continue

    def _recent(self, places: list) -> list:
        """Mostly those behind the last three layers, so that networks become deep."""
        recent = [place for place in places if place[0] >= len(self.net.layers) - 3]
        return recent if recent and self.rng.random() < 0.8 else places

    def _inputs(self, op: str, x: int) -> list[int]:
        rng, shape = self.rng, self._shape(x)
        if op == "concat":
            fitting = [i for i in range(len(self.net.layers)) if self._plane(i) == self._plane(x)]
            inputs = [x] + [rng.choice(fitting) for _ in range(rng.randint(0, 4))]
        elif op in ("add", "multiply"):
            fitting = [i for i in range(len(self.net.layers)) if self._fits(self._shape(i), shape)]
            inputs = [x, rng.choice(fitting)]
        else:
            return [x]
        rng.shuffle(inputs)
        return inputs

    def _plane(self, x: int) -> tuple[int, ...]:
        shape = self._shape(x)
        return (len(shape), *shape[2:])

    @staticmethod
    def _fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return a == b or (a[1] == b[1] and (set(a[2:]) <= {1} or set(b[2:]) <= {1}))

    def _window(self, shape: tuple[int, ...], padded: bool = True) -> dict:
        rng = self.rng
        kernel = [min(rng.choice((1, 2, 3, 3, 3, 5, 7)), extent + 2) for extent in shape[2:]]
        kernel = kernel if rng.random() < 0.4 else [kernel[0]] * 2
        stride = rng.choice((1, 1, 1, 2, 2, 3, 4, (1, 2), (3, 1)))
        side = rng.choice((0, 0, (kernel[0] // 2, kernel[1] // 2), tuple(rng.randint(0, 3) for _ in range(4))))
        return {"kernel": kernel, "stride": stride, "pad": side if padded else 0}

    def _attributes(self, op: str, shape: tuple[int, ...]) -> dict:
        rng, channels = self.rng, shape[1]
        if op == "conv":
            groups = rng.choice((1, 1, rng.choice(_divisors(channels)), channels))
            width = groups * rng.randint(1, max(1, min(64, 4 * channels) // groups))
            if rng.random() < 0.3:
                width = channels
            return {
                **self._window(shape), "channels": width, "groups": groups, "bias": rng.random() < 0.5,
                "dilation": rng.choice((1, 1, 1, 2, 3, (1, 2))),
            }  # fmt: skip
        if op in ("max_pool", "avg_pool", "valid_avg_pool"):
            extra = {"dilation": rng.choice((1, 1, 2))} if op == "max_pool" else {}
            return {**self._window(shape), "ceil": rng.random() < 0.4, **extra}
        if op == "slice":
            start = rng.randrange(channels)
            return {"start": start, "stop": rng.randint(start + 1, channels), "step": rng.choice((1, 1, 1, 2, 3))}
        if op == "pad":
            low = -1 if rng.random() < 0.3 else 0
            mode = rng.choice(("constant", "edge", "reflect"))
            return {
                "pad": [rng.randint(low, 3) for _ in range(4)], "mode": mode,
                "value": rng.choice((0.0, 0.0, 1.5, -2.0)),
                "channels": rng.choice(((0, 0), (0, 0), (1, 2), (0, -1))) if mode == "constant" else (0, 0),
            }  # fmt: skip
        if op == "resize":
            # Scales of powers of two and odd quotients; positions between them are exact in no precision.
            return {
                "size": [max(1, rng.choice((extent * 2, extent * 2, extent // 2, extent + 3))) for extent in shape[2:]],
                "mode": rng.choice(("nearest", "bilinear")),
                "coordinates": rng.choice(("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")),
                "rounding": rng.choice(("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")),
            }  # fmt: skip
        if op == "reshape":
            count = math.prod(shape)
            a = rng.choice([d for d in _divisors(count) if d <= 64])
            b = rng.choice([d for d in _divisors(count // a) if d <= 64])
            return {"shape": rng.choice(((1, count), (1, a, b, count // a // b)))}
        return {
            "clip": lambda: rng.choice(({}, {"low": -1.0, "high": 1.0}, {"low": -0.5, "high": 3e38})),
            "leaky_relu": lambda: {"slope": rng.choice((0.01, 0.1, 0.3))},
            "hard_sigmoid": lambda: rng.choice(({}, {"alpha": 0.2, "beta": 0.5})),
            "softmax": lambda: {"log": rng.random() < 0.3},
            "shuffle": lambda: {"groups": rng.choice(_divisors(channels))},
            "gather": lambda: {
                "channels": [rng.randrange(channels) for _ in range(rng.randint(1, min(64, 2 * channels)))]
            },
            "adaptive_avg_pool": lambda: {"size": (rng.randint(1, 8), rng.randint(1, 8))},
            "lrn": lambda: {
                "size": rng.randint(1, 6), "alpha": rng.choice((1e-4, 0.1, 1.0)),
                "beta": rng.choice((0.5, 0.75, 1.0, rng.random())), "k": rng.choice((1.0, 2.0)),
            },
            "depth_to_space": lambda: {"block": rng.choice((1, 2, 2, 3)), "mode": rng.choice(("DCR", "CRD"))},
            "dropout": lambda: {"p": 0.5},
            "dense": lambda: {"units": rng.randint(1, 64)},
        }.get(op, dict)()  # fmt: skip

    def _unit(self) -> None:
        """Several layers in an order that networks are made of."""
        planes = [i for i in range(len(self.net.layers)) if len(self._shape(i)) == 4]
        x = self.rng.choice(planes[-3:])
        unit = self.rng.choice(
            (self._residual, self._squeeze_excite, self._split, self._shuffle_unit, self._twice, self._stage,
             self._attention, self._projection)
        )  # fmt: skip
        try:
            unit(x, self._shape(x)[1])
        except UserError:  # what was appended before stays, read by nothing
            pass

    def _residual(self, x: int, channels: int) -> None:
        """Post- or pre-activation; the branch may be taken behind the ReLU and the shortcut before it."""
        y = x
        if self.rng.random() < 0.5:
            y = self._add("relu", self._add("batch_norm", x))
        y = self._add("conv", y, channels=channels, kernel=3, pad=1, groups=self.rng.choice((1, channels)))
        if self.rng.random() < 0.7:
            y = self._add("batch_norm", y)
        y = self._add("add", x, y)
        if self.rng.random() < 0.5:
            self._add("relu", y)

    def _squeeze_excite(self, x: int, channels: int) -> None:
        y = self._add("reshape", self._add("global_avg_pool", x), shape=(1, channels, 1, 1))
        y = self._add("relu", self._add("conv", y, channels=max(1, channels // 4), bias=True))
        y = self._add("conv", y, channels=channels, bias=True)
        self._add("multiply", x, self._add(self.rng.choice(("sigmoid", "hard_sigmoid")), y))

    def _split(self, x: int, channels: int) -> None:
        """Cut into parts, some of them convolved, and put together in another order."""
        cuts = sorted({0, channels, *(self.rng.randint(0, channels) for _ in range(2))})
        parts = [self._add("slice", x, start=start, stop=stop) for start, stop in zip(cuts, cuts[1:])]
        self.rng.shuffle(parts)
        parts[0] = self._add("conv", parts[0], channels=self._shape(parts[0])[1], kernel=3, pad=1)
        self._shuffle_behind(self._add("concat", *parts))

    def _shuffle_unit(self, x: int, channels: int) -> None:
        """ShuffleNet's unit with stride 2: a pooled shortcut beside a grouped bottleneck."""
        groups = self.rng.choice(_divisors(channels))
        y = self._add("relu", self._add("batch_norm", self._add("conv", x, channels=channels, groups=groups)))
        y = self._add("shuffle", y, groups=groups)
        y = self._add("conv", y, channels=channels, groups=channels, kernel=3, stride=2, pad=1)
        y = self._add("conv", y, channels=channels, groups=groups)
        y = self._add("concat", self._add("avg_pool", x, kernel=3, stride=2, pad=1), y)
        self._add("relu", y)

    def _stage(self, x: int, channels: int) -> None:
        """ShuffleNet v2's units of stride 1, of any widths: some channels stay, the others are computed anew."""
        x = self._add("conv", x, channels=self.rng.randint(2, 16))
        for _ in range(self.rng.randint(1, 4)):
            channels, even = self._shape(x)[1], self.rng.random() < 0.5
            cut = self.rng.randint(1, channels - 1)
            ends = ((0, channels, 2), (1, channels, 2)) if even else ((0, cut, 1), (cut, channels, 1))
            kept, y = (self._add("slice", x, start=start, stop=stop, step=step) for start, stop, step in ends)
            width = self._shape(y)[1]
            z = self._add("conv", y, channels=self.rng.choice((width, self.rng.randint(1, 8))))
            if self.rng.random() < 0.5:
                z = self._add("conv", z, channels=self._shape(z)[1], groups=self._shape(z)[1], kernel=3, pad=1)
            if self.rng.random() < 0.3:
                z = self._attention(z, width)
            else:
                z = self._add("conv", z, channels=width, groups=self.rng.choice(_common(self._shape(z)[1], width)))
            if self.rng.random() < 0.3:
                z = self._add("add", y, z)
            if self.rng.random() < 0.7:
                z = self._add("relu", z)
            parts = [kept, z]
            self.rng.shuffle(parts)
            x = self._add("concat", *parts)
            divisors = _divisors(self._shape(x)[1])
            x = x if even else self._add("shuffle", x, groups=self.rng.choice(divisors))
        if self.rng.random() < 0.5:
            self._add("conv", x, channels=self.rng.randint(1, 16))

    def _attention(self, x: int, channels: int) -> int:
        """A 1x1 convolution and its channel attention, of means or of maxima."""
        channels = self.rng.choice((channels, self.rng.randint(1, 16)))
        y = self._add(
            "conv", x, channels=channels, groups=self.rng.choice(_common(self._shape(x)[1], channels)), bias=True
        )
        if self.rng.random() < 0.2:
            y = self._add("relu", y)
        s = self._add(self.rng.choice(("global_avg_pool",) * 4 + ("global_max_pool",)), y)
        s = self._add("relu", self._add("dense", s, units=self.rng.randint(1, 8)))
        return self._add("multiply", y, self._add("sigmoid", self._add("dense", s, units=channels)))

    def _projection(self, x: int, channels: int) -> None:
        """A bottleneck of stride 2 and the 1x1 convolution beside it."""
        stride = self.rng.choice((2, 2, 3, (1, 2)))
        y = self._add("relu", self._add("conv", x, channels=channels, stride=stride))
        y = self._add("conv", y, channels=channels, kernel=3, pad=1)
        z = self._add("conv", x, channels=2 * channels, stride=stride)
        self._add("relu", self._add("add", self._add("conv", y, channels=2 * channels), z))

    def _twice(self, x: int, channels: int) -> None:
        """The same tensor on both sides."""
        self._shuffle_behind(self._add(self.rng.choice(("add", "concat", "multiply")), x, x))

    def _shuffle_behind(self, x: int) -> None:
        if self.rng.random() < 0.5:
            self._add("shuffle", x, groups=self.rng.choice(_divisors(self._shape(x)[1])))


def _common(a: int, b: int) -> list[int]:
    return _divisors(math.gcd(a, b))


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
