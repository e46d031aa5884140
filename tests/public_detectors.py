"""Detectors, and the classifier below one, as public code writes them: names, raw heads and boxes, in plain PyTorch.

Nothing of the project's is used; see `tvm_shufflenet/exchange/public_models.py`.  `forward` gives the raw heads, the
scores before softmax or sigmoid, as (N, classes), and the numbers of the boxes; `boxes` what is found.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from .foreign import conv, conv_bn, shuffle_gn
from .public import chain, named

V3 = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
)  # fmt: skip


def part(*args, act=nn.Identity) -> nn.Sequential:
    convolution, norm = conv_bn(*args)
    norm.eps = 1e-3
    return chain(convolution, norm, act())


class Squeeze(nn.Module):
    def __init__(self, channels):
        super().__init__()
        hidden = max(8, (channels // 4 + 4) // 8 * 8)
        hidden += 8 * (hidden < 0.9 * (channels // 4))
        self.fc1, self.fc2 = conv(channels, hidden, bias=True), conv(hidden, channels, bias=True)

    def forward(self, x):
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class V3Unit(nn.Module):
    def __init__(self, inputs, kernel, middle, outputs, attention, swish, stride):
        super().__init__()
        act = nn.Hardswish if swish else nn.ReLU
        self.added = stride == 1 and inputs == outputs
        self.block = chain(
            *([part(inputs, middle, act=act)] if middle != inputs else []),
            part(middle, middle, kernel, stride, middle, act=act), *([Squeeze(middle)] if attention else []),
            part(middle, outputs),
        )  # fmt: skip

    def forward(self, x):
        return x + self.block(x) if self.added else self.block(x)


def v3_features(share: int) -> list[nn.Module]:
    units = [*V3, (5, 672, 160 // share, True, True, 2), *[(5, 960 // share, 160 // share, True, True, 1)] * 2]
    inputs, layers = 16, [part(3, 16, 3, 2, act=nn.Hardswish)]
    for unit in units:
        layers.append(V3Unit(inputs, *unit))
        inputs = unit[2]
    return [*layers, part(inputs, 6 * inputs, act=nn.Hardswish)]


class MobileNetV3(nn.Module):
    """torchvision's mobilenet_v3_large; `share` 2 is its reduced_tail."""

    def __init__(self, share=1, classes=10):
        super().__init__()
        self.features = nn.Sequential(*v3_features(share))
        hidden = 1280 // share
        self.classifier = chain(
            nn.Linear(960 // share, hidden), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(hidden, classes)
        )

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class SSDLite(nn.Module):
    """torchvision's ssdlite320_mobilenet_v3_large for any size."""

    least, overlap, candidates, best = 0.001, 0.55, 300, 300

    def __init__(self, share=2, classes=4):
        super().__init__()
        layers, self.classes = v3_features(share), classes
        c4 = layers[13].block
        first = nn.Sequential(*layers[:13], c4[0])
        second = nn.Sequential(c4[1:], *layers[14:])  # a part of a Sequential keeps its numbers
        extra, inputs = nn.ModuleList(), 960 // share
        for outputs in (512, 256, 256, 128):
            half = outputs // 2
            extra.append(chain(
                part(inputs, half, act=nn.ReLU6), part(half, half, 3, 2, half, act=nn.ReLU6),
                part(half, outputs, act=nn.ReLU6),
            ))  # fmt: skip
            inputs = outputs
        self.backbone = named(features=nn.Sequential(first, second), extra=extra)

        def heads(numbers):
            widths = (672, 960 // share, 512, 256, 256, 128)
            return named(module_list=nn.ModuleList(
                chain(part(n, n, 3, 1, n, act=nn.ReLU6), nn.Conv2d(n, 6 * numbers, 1)) for n in widths
            ))  # fmt: skip

        self.head = named(classification_head=heads(classes + 1), regression_head=heads(4))

    def forward(self, x):
        self.size, maps = x.shape[2:], []
        for layer in (*self.backbone.features, *self.backbone.extra):
            x = layer(x)
            maps.append(x)
        self.planes = [m.shape[2:] for m in maps]

        def rows(head, numbers):
            found = (layer(m) for layer, m in zip(head.module_list, maps))
            return torch.cat([y.unflatten(1, (-1, numbers)).permute(0, 3, 4, 1, 2).reshape(-1, numbers) for y in found])

        return rows(self.head.classification_head, self.classes + 1), rows(self.head.regression_head, 4)

    def boxes(self, x):
        logits, deltas = self(x)
        defaults = self.defaults() * torch.tensor([*self.size[::-1]] * 2)
        centres = defaults[:, :2] + deltas[:, :2] / 10 * defaults[:, 2:]
        half = torch.exp((deltas[:, 2:] / 5).clamp(max=math.log(1000 / 16))) * defaults[:, 2:] / 2
        return chosen(self, logits.softmax(1)[:, 1:], torch.cat([centres - half, centres + half], 1))

    def defaults(self):
        scales, found = [0.2 + 0.15 * i for i in range(6)] + [1.0], []
        for index, (rows, columns) in enumerate(self.planes):
            here, after = scales[index : index + 2]
            sides = [(here, here), (math.sqrt(here * after),) * 2]
            for ratio in (2, 3):
                long, short = here * math.sqrt(ratio), here / math.sqrt(ratio)
                sides += [(long, short), (short, long)]
            for y in range(rows):
                for x in range(columns):
                    found += [((x + 0.5) / columns, (y + 0.5) / rows, min(w, 1), min(h, 1)) for w, h in sides]
        return torch.tensor(found)


def chosen(model, scores, boxes):
    """Boxes, scores and labels that stay, the surest first: suppression within each class."""
    height, width = model.size
    boxes = torch.stack([boxes[:, i].clamp(0, (width, height)[i % 2]) for i in range(4)], 1)
    found = []
    for label in range(scores.shape[1]):
        own = scores[:, label]
        places = torch.argsort(own, descending=True, stable=True)
        places = places[own[places] > model.least][: model.candidates].tolist()
        while places:
            first, places = places[0], places[1:]
            found.append((own[first].item(), label, boxes[first]))
            places = [i for i in places if overlap(boxes[first], boxes[i]) <= model.overlap]
    found.sort(key=lambda row: -row[0])
    found = found[: model.best]
    return torch.stack([row[2] for row in found]), [row[0] for row in found], [row[1] for row in found]


def overlap(a, b) -> float:
    (ax, ay, ar, ab), (bx, by, br, bb) = a.tolist(), b.tolist()
    shared = max(0, min(ar, br) - max(ax, bx)) * max(0, min(ab, bb) - max(ay, by))
    return shared / ((ar - ax) * (ab - ay) + (br - bx) * (bb - by) - shared) if shared else 0.0


def leaky():
    return nn.LeakyReLU(0.1)


class Separable(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__()
        self.depthwise, self.dwnorm = conv_bn(inputs, inputs, kernel, stride, inputs)
        self.pointwise, self.pwnorm = conv_bn(inputs, outputs)
        self.act = leaky()

    def forward(self, x):
        return self.act(self.pwnorm(self.pointwise(self.act(self.dwnorm(self.depthwise(x))))))


class ShuffleNetV2(nn.Module):
    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            half, self.branch1 = outputs // 2, chain()
            if stride == 2:
                self.branch1 = chain(conv_bn(inputs, inputs, 3, 2, inputs), conv_bn(inputs, half), leaky())
            self.branch2 = chain(
                conv_bn(inputs if stride == 2 else half, half), leaky(), conv_bn(half, half, 3, stride, half),
                conv_bn(half, half), leaky(),
            )  # fmt: skip

        def forward(self, x):
            left, right = (x, x) if len(self.branch1) else x.chunk(2, 1)
            return shuffle_gn(torch.cat((self.branch1(left), self.branch2(right)), 1), 2)

    def __init__(self, channels):
        super().__init__()
        self.conv1, inputs = chain(conv_bn(3, 24, 3, 2), leaky()), 24
        for stage, (outputs, count) in enumerate(zip(channels, (4, 8, 4)), 2):
            units = [self.Unit(inputs, outputs, 2)] + [self.Unit(outputs, outputs, 1) for _ in range(count - 1)]
            self.add_module(f"stage{stage}", nn.Sequential(*units))
            inputs = outputs

    def forward(self, x):
        x, found = F.max_pool2d(self.conv1(x), 3, 2, 1), []
        for stage in (self.stage2, self.stage3, self.stage4):
            x = stage(x)
            found.append(x)
        return found


class NanoDet(nn.Module):
    """RangiLyu/nanodet's NanoDet-m, with the tensors that nothing reads: `gfl_reg` and the distances."""

    least, overlap, candidates, best = 0.05, 0.6, 1000, 100
    strides, kernel, offset = (8, 16, 32), 3, 0.5

    def __init__(self, channels=(48, 96, 192), width=96, classes=5):
        super().__init__()
        self.backbone, self.classes = ShuffleNetV2(channels), classes
        self.fpn = self.pyramid(channels, width)
        self.head = named(
            cls_convs=nn.ModuleList(
                chain(*(Separable(width, width, self.kernel) for _ in range(2))) for _ in self.strides
            ),
            gfl_cls=nn.ModuleList(nn.Conv2d(width, classes + 32, 1) for _ in self.strides),
        )
        self.unread(width)

    def unread(self, width):
        self.head.gfl_reg = nn.ModuleList(nn.Conv2d(width, 32, 1) for _ in self.strides)
        self.head.distribution_project = nn.Module()
        self.head.distribution_project.register_buffer("project", torch.linspace(0, 7, 8))

    def pyramid(self, channels, width):
        return named(lateral_convs=nn.ModuleList(named(conv=nn.Conv2d(n, width, 1)) for n in channels))

    def maps(self, found):
        found = [lateral.conv(x) for lateral, x in zip(self.fpn.lateral_convs, found)]
        for i in (2, 1):
            found[i - 1] = found[i - 1] + F.interpolate(found[i], scale_factor=2, mode="bilinear")
        for i in (0, 1):
            found[i + 1] = found[i + 1] + F.interpolate(found[i], scale_factor=0.5, mode="bilinear")
        return found

    def forward(self, x):
        self.size, found = x.shape[2:], []
        maps = self.maps(self.backbone(x))
        self.planes = [m.shape[2:] for m in maps]
        for m, convs, last in zip(maps, self.head.cls_convs, self.head.gfl_cls):
            found.append(last(convs(m))[0].flatten(1).T)
        return torch.cat(found).split([self.classes, 32], 1)

    def boxes(self, x):
        logits, edges = self(x)
        centres = torch.tensor([
            ((column + self.offset) * stride, (row + self.offset) * stride, stride)
            for stride, (rows, columns) in zip(self.strides, self.planes)
            for row in range(rows) for column in range(columns)
        ])  # fmt: skip
        distances = (edges.unflatten(1, (4, 8)).softmax(2) @ torch.arange(8.0)) * centres[:, 2:]
        x, y = centres[:, :1], centres[:, 1:2]
        left, top, right, bottom = distances.split(1, 1)
        return chosen(self, logits.sigmoid(), torch.cat([x - left, y - top, x + right, y + bottom], 1))


class Ghost(nn.Module):
    def __init__(self, inputs, outputs, act):
        super().__init__()
        half = outputs // 2
        self.primary_conv = chain(conv_bn(inputs, half), act())
        self.cheap_operation = chain(conv_bn(half, half, 3, 1, half), act())

    def forward(self, x):
        x = self.primary_conv(x)
        return torch.cat((x, self.cheap_operation(x)), 1)


class GhostBlocks(nn.Module):
    def __init__(self, width):
        super().__init__()
        block = named(ghost1=Ghost(2 * width, width, leaky), ghost2=Ghost(width, width, nn.Identity))
        block.shortcut = chain(conv_bn(2 * width, 2 * width, 5, 1, 2 * width), conv_bn(2 * width, width))
        self.blocks = chain(block)

    def forward(self, *parts):
        x, block = torch.cat(parts, 1), self.blocks[0]
        return block.ghost2(block.ghost1(x)) + block.shortcut(x)


class NanoDetPlus(NanoDet):
    """NanoDet-Plus-m, with some of what only training reads."""

    strides, kernel, offset = (8, 16, 32, 64), 5, 0

    def unread(self, width):
        self.aux_fpn = self.pyramid((48, 96, 192), width)
        self.aux_head = named(cls_convs=chain(Separable(2 * width, 2 * width, 3)))
        self.head.register_buffer("project", torch.linspace(0, 7, 8))

    def pyramid(self, channels, width):
        def reduced(inputs):
            convolution, norm = conv_bn(inputs, width)
            return named(conv=convolution, bn=norm)

        def smaller(count):
            return nn.ModuleList(Separable(width, width, 5, 2) for _ in range(count))

        return named(
            reduce_layers=nn.ModuleList(map(reduced, channels)),
            top_down_blocks=nn.ModuleList(GhostBlocks(width) for _ in range(2)), downsamples=smaller(2),
            bottom_up_blocks=nn.ModuleList(GhostBlocks(width) for _ in range(2)), extra_lvl_in_conv=smaller(1),
            extra_lvl_out_conv=smaller(1),
        )  # fmt: skip

    def maps(self, found):
        fpn = self.fpn
        low, middle, high = (leaky()(r.bn(r.conv(x))) for r, x in zip(fpn.reduce_layers, found))
        inner = fpn.top_down_blocks[0](F.interpolate(high, scale_factor=2, mode="bilinear"), middle)
        out = [fpn.top_down_blocks[1](F.interpolate(inner, scale_factor=2, mode="bilinear"), low)]
        for i, x in enumerate((inner, high)):
            out.append(fpn.bottom_up_blocks[i](fpn.downsamples[i](out[-1]), x))
        return [*out, fpn.extra_lvl_in_conv[0](high) + fpn.extra_lvl_out_conv[0](out[-1])]
