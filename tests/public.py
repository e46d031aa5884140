"""The networks of the list as public code writes them: names of modules, and what they compute, in plain PyTorch.

Nothing of the project's is used; see `tvm_shufflenet/exchange/public_models.py`.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from .foreign import Wrapped, conv, conv_bn, shuffle_gn


def chain(*layers) -> nn.Sequential:
    """Modules, and what stands in several of them, in one sequence."""
    return nn.Sequential(*(part for layer in layers for part in (layer if isinstance(layer, tuple) else (layer,))))


def named(**modules) -> nn.Module:
    """A module that holds others under these names."""
    holder = nn.Module()
    for name, module in modules.items():
        holder.add_module(name, module)
    return holder


def numbered(prefix: str, modules, first: int = 1) -> nn.Sequential:
    return nn.Sequential(OrderedDict((f"{prefix}{index}", module) for index, module in enumerate(modules, first)))


class ShuffleNetV2(nn.Module):
    """torchvision's; `halves` in the units, a shuffle behind each."""

    def __init__(self, channels=(48, 96, 192), last=1024, classes=10, stem=24):
        super().__init__()
        self.build(stem, channels, last, classes)

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            half = outputs // 2
            self.branch1 = chain()
            if stride == 2:
                self.branch1 = chain(conv_bn(inputs, inputs, 3, 2, inputs), conv_bn(inputs, half), nn.ReLU())
            self.branch2 = chain(
                conv_bn(inputs if stride == 2 else half, half), nn.ReLU(), conv_bn(half, half, 3, stride, half),
                conv_bn(half, half), nn.ReLU(),
            )  # fmt: skip

        def forward(self, x):
            left, right = (x, x) if len(self.branch1) else x.chunk(2, 1)
            return shuffle_gn(torch.cat((self.branch1(left), self.branch2(right)), 1), 2)

    def stages(self, inputs, channels):
        for outputs, count in zip(channels, (4, 8, 4)):
            yield [self.Unit(inputs, outputs, 2)] + [self.Unit(outputs, outputs, 1) for _ in range(count - 1)]
            inputs = outputs

    def build(self, stem, channels, last, classes):
        self.conv1 = chain(conv_bn(3, stem, 3, 2), nn.ReLU())
        self.stage2, self.stage3, self.stage4 = (nn.Sequential(*units) for units in self.stages(stem, channels))
        self.conv5 = chain(conv_bn(channels[-1], last), nn.ReLU())
        self.fc = nn.Linear(last, classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 3, 2, 1)
        return self.fc(self.conv5(self.stage4(self.stage3(self.stage2(x)))).mean((2, 3)))


class MegviiV2(ShuffleNetV2):
    """Even and odd channels; the shortcut keeps its input's channels; no bias in the classifier."""

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            half = outputs // 2
            own, self.down = outputs - inputs if stride == 2 else half, stride == 2
            self.branch_main = chain(
                conv_bn(inputs if self.down else half, half), nn.ReLU(), conv_bn(half, half, 3, stride, half),
                conv_bn(half, own), nn.ReLU(),
            )  # fmt: skip
            if self.down:
                self.branch_proj = chain(conv_bn(inputs, inputs, 3, 2, inputs), conv_bn(inputs, inputs), nn.ReLU())

        def forward(self, x):
            if self.down:
                return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
            return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)

    def build(self, stem, channels, last, classes):
        self.first_conv = chain(conv_bn(3, stem, 3, 2), nn.ReLU())
        self.features = nn.Sequential(*(unit for units in self.stages(stem, channels) for unit in units))
        self.conv_last = chain(conv_bn(channels[-1], last), nn.ReLU())
        self.classifier = chain(nn.Linear(last, classes, bias=False))

    def forward(self, x):
        x = self.features(F.max_pool2d(self.first_conv(x), 3, 2, 1))
        return self.classifier(self.conv_last(x).mean((2, 3)))


class SELayer(nn.Module):
    """megvii's: a batch norm between its convolutions, a hard sigmoid behind them."""

    def __init__(self, channels):
        super().__init__()
        hidden = channels // 4
        self.SE_opr = chain(
            nn.AdaptiveAvgPool2d(1), conv_bn(channels, hidden), nn.ReLU(), conv(hidden, channels), nn.Hardsigmoid()
        )

    def forward(self, x):
        return x * self.SE_opr(x)


class MegviiV2Plus(nn.Module):
    """megvii's V2+: windows of 3 to 7 pixels, 0 for three separable convolutions."""

    WINDOWS = ((3, 3, 0, 5), (5, 5, 3, 3), (7, 3, 7, 5, 5, 3, 7, 3), (7, 5, 0, 7))

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, window, stage, down):
            super().__init__()
            half, act, stride = outputs // 2, nn.Hardswish if stage else nn.ReLU, 2 if down else 1
            self.down, taken = down, inputs if down else inputs // 2
            own = outputs - taken
            if window:
                main = [conv_bn(taken, half), act(), conv_bn(half, half, window, stride, half), conv_bn(half, own)]
            else:
                main = []
                for a, b in ((taken, half), (half, half), (half, own)):
                    main += [conv_bn(a, a, 3, 1, a), conv_bn(a, b), act()]
                main.pop()
            self.branch_main = chain(*main, act(), *([SELayer(own)] if stage >= 2 else []))
            if down:
                self.branch_proj = chain(conv_bn(inputs, inputs, window, 2, inputs), conv_bn(inputs, inputs), act())

        def forward(self, x):
            if self.down:
                return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
            return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)

    def __init__(self, channels=(36, 104, 208, 416), classes=10):
        super().__init__()
        self.first_conv = chain(conv_bn(3, 16, 3, 2), nn.Hardswish())
        units, inputs = [], 16
        for stage, (outputs, windows) in enumerate(zip(channels, self.WINDOWS)):
            for index, window in enumerate(windows):
                units.append(self.Unit(inputs, outputs, window, stage, index == 0))
                inputs = outputs
        self.features = nn.Sequential(*units)
        self.conv_last = chain(conv_bn(inputs, 1280), nn.Hardswish())
        self.LastSE = SELayer(1280)
        self.fc = chain(nn.Linear(1280, 1280, bias=False), nn.Hardswish())
        self.classifier = chain(nn.Linear(1280, classes, bias=False))

    def forward(self, x):
        x = self.LastSE(self.conv_last(self.features(self.first_conv(x))).mean((2, 3), keepdim=True))
        return self.classifier(self.fc(x.flatten(1)))


class MMPretrainV2(ShuffleNetV2):
    """As torchvision's, each convolution and its batch norm in a module."""

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            half, self.down = outputs // 2, stride == 2
            if self.down:
                self.branch1 = chain(Wrapped(inputs, inputs, 3, 2, inputs), Wrapped(inputs, half))
            self.branch2 = chain(
                Wrapped(inputs if self.down else half, half), Wrapped(half, half, 3, stride, half), Wrapped(half, half)
            )

        def forward(self, x):
            left, right = (x, x) if self.down else x.chunk(2, 1)
            if self.down:
                left = F.relu(self.branch1[1](self.branch1[0](left)))
            right = self.branch2[1](F.relu(self.branch2[0](right)))
            return shuffle_gn(torch.cat((left, F.relu(self.branch2[2](right))), 1), 2)

    def build(self, stem, channels, last, classes):
        stages = [nn.Sequential(*units) for units in self.stages(stem, channels)]
        layers = nn.Sequential(*stages, Wrapped(channels[-1], last))
        self.backbone = named(conv1=Wrapped(3, stem, 3, 2), layers=layers)
        self.head = named(fc=nn.Linear(last, classes))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.backbone.conv1(x)), 3, 2, 1)
        return self.head.fc(F.relu(self.backbone.layers(x)).mean((2, 3)))


class PytorchCVV2(ShuffleNetV2):
    """As torchvision's, but for the first pooling, which has no padding and rounds up."""

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            half, self.down = outputs // 2, stride == 2
            self.compress_conv1, self.compress_bn1 = conv_bn(inputs if self.down else half, half)
            self.dw_conv2, self.dw_bn2 = conv_bn(half, half, 3, stride, half)
            self.expand_conv3, self.expand_bn3 = conv_bn(half, half)
            if self.down:
                self.dw_conv4, self.dw_bn4 = conv_bn(inputs, inputs, 3, 2, inputs)
                self.expand_conv5, self.expand_bn5 = conv_bn(inputs, half)

        def forward(self, x):
            left, right = (x, x) if self.down else x.chunk(2, 1)
            if self.down:
                left = F.relu(self.expand_bn5(self.expand_conv5(self.dw_bn4(self.dw_conv4(left)))))
            right = F.relu(self.compress_bn1(self.compress_conv1(right)))
            right = F.relu(self.expand_bn3(self.expand_conv3(self.dw_bn2(self.dw_conv2(right)))))
            return shuffle_gn(torch.cat((left, right), 1), 2)

    def build(self, stem, channels, last, classes):
        stages = {f"stage{i}": numbered("unit", units) for i, units in enumerate(self.stages(stem, channels), 1)}
        block = named(conv=Wrapped(3, stem, 3, 2))
        self.features = named(init_block=block, **stages, final_block=Wrapped(channels[-1], last))
        self.output = nn.Linear(last, classes)

    def forward(self, x):
        f = self.features
        x = F.max_pool2d(F.relu(f.init_block.conv(x)), 3, 2, ceil_mode=True)
        return self.output(F.relu(f.final_block(f.stage3(f.stage2(f.stage1(x))))).mean((2, 3)))


BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetV2(nn.Module):
    """torchvision's at a width whose channels are multiples of 8 (1, and 0.5 but for the first two)."""

    class Unit(nn.Module):
        """`conv`: sequences of convolution, batch norm and ReLU6; the last convolution and batch norm stand alone."""

        def __init__(self, inputs, outputs, stride, expansion):
            super().__init__()
            middle, self.added = inputs * expansion, stride == 1 and inputs == outputs
            first = [self.part(inputs, middle)] if expansion > 1 else []
            self.conv = chain(*first, self.part(middle, middle, 3, stride, middle), self.end(middle, outputs))

        @staticmethod
        def part(*args):
            return chain(conv_bn(*args), nn.ReLU6())

        end = staticmethod(conv_bn)

        def forward(self, x):
            return x + self.conv(x) if self.added else self.conv(x)

    def __init__(self, stem=32, widths=tuple(block[1] for block in BLOCKS), classes=10):
        super().__init__()
        stages, inputs = [], stem
        for (expansion, _, count, stride), outputs in zip(BLOCKS, widths):
            units = [self.Unit(inputs, outputs, stride, expansion)]
            stages.append(units + [self.Unit(outputs, outputs, 1, expansion) for _ in range(count - 1)])
            inputs = outputs
        self.build(stem, stages, inputs, classes)

    def build(self, stem, stages, inputs, classes):
        units = (unit for stage in stages for unit in stage)
        self.features = chain(self.Unit.part(3, stem, 3, 2), *units, self.Unit.part(inputs, 1280))
        self.classifier = chain(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class MMPretrainMobileNetV2(MobileNetV2):
    class Unit(MobileNetV2.Unit):
        @staticmethod
        def part(*args):
            block = Wrapped(*args)
            block.register_forward_hook(lambda module, inputs, output: F.relu6(output))
            return block

        end = staticmethod(Wrapped)

    def build(self, stem, stages, inputs, classes):
        layers = {f"layer{i}": nn.Sequential(*units) for i, units in enumerate(stages, 1)}
        self.backbone = named(conv1=self.Unit.part(3, stem, 3, 2), **layers, conv2=self.Unit.part(inputs, 1280))
        self.head = named(fc=nn.Linear(1280, classes))

    def forward(self, x):
        for part in self.backbone.children():
            x = part(x)
        return self.head.fc(x.mean((2, 3)))


class Fire(nn.Module):
    def __init__(self, inputs, squeezed, wrap=lambda convolution: convolution):
        super().__init__()
        self.squeeze = wrap(nn.Conv2d(inputs, squeezed, 1))
        self.expand1x1 = wrap(nn.Conv2d(squeezed, 4 * squeezed, 1))
        self.expand3x3 = wrap(nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1))

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), 1))


def fires(wrap=lambda convolution: convolution, inputs=96):
    for squeezed in (16, 16, 32, 32, 48, 48, 64, 64):
        yield Fire(inputs, squeezed, wrap)
        inputs = 8 * squeezed


class SqueezeNet(nn.Module):
    """torchvision's; `version` "1.0" or "1.1"."""

    stages = {"1.0": (3, 4, 1), "1.1": (2, 2, 4)}  # fire modules between the poolings

    def __init__(self, version="1.0", classes=10):
        super().__init__()
        self.first = nn.Conv2d(3, 96, 7, 2) if version == "1.0" else nn.Conv2d(3, 64, 3, 2)
        self.build(self.stages[version], classes)
        del self.first

    def build(self, stages, classes):
        units, layers = fires(inputs=self.first.out_channels), [self.first, nn.ReLU()]
        for count in stages:
            layers += [nn.MaxPool2d(3, 2, ceil_mode=True), *(next(units) for _ in range(count))]
        self.features = nn.Sequential(*layers)
        self.classifier = chain(nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU())

    def forward(self, x):
        return self.classifier(self.features(x)).mean((2, 3))


class PytorchCVSqueezeNet(SqueezeNet):
    def build(self, stages, classes):
        def wrap(convolution):
            return nn.Sequential(OrderedDict(conv=convolution))

        units, parts = fires(wrap, self.first.out_channels), {"init_block": wrap(self.first)}
        for index, count in enumerate(stages, 1):
            pool = nn.MaxPool2d(3, 2, ceil_mode=True)
            parts[f"stage{index}"] = nn.Sequential(
                OrderedDict(pool=pool, **{f"unit{i}": next(units) for i in range(1, count + 1)})
            )
        self.features = nn.Sequential(OrderedDict(parts))
        self.output = nn.Sequential(OrderedDict(final_conv=nn.Conv2d(512, classes, 1)))

    def forward(self, x):
        f = self.features
        x = f.stage3(f.stage2(f.stage1(F.relu(f.init_block(x)))))
        return F.relu(self.output(x)).mean((2, 3))


class GoogLeNet(nn.Module):
    """torchvision's, with the auxiliary heads that only training reads; its batch norms have an epsilon of 1e-3."""

    modules_of = {
        "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
    }  # fmt: skip

    class Module(nn.Module):
        def __init__(self, inputs, one, reduce3, three, reduce5, five, pooled):
            super().__init__()
            self.branch1 = GoogLeNet.part(inputs, one)
            self.branch2 = chain(GoogLeNet.part(inputs, reduce3), GoogLeNet.part(reduce3, three, 3))
            self.branch3 = chain(GoogLeNet.part(inputs, reduce5), GoogLeNet.part(reduce5, five, 3))
            self.branch4 = chain(nn.MaxPool2d(3, 1, 1, ceil_mode=True), GoogLeNet.part(inputs, pooled))

        def forward(self, x):
            return torch.cat([branch(x) for branch in self.children()], 1)

    @staticmethod
    def part(*args):
        block = Wrapped(*args)
        block.bn.eps = 1e-3
        block.register_forward_hook(lambda module, inputs, output: F.relu(output))
        return block

    def __init__(self, classes=10):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = self.part(3, 64, 7, 2), self.part(64, 64), self.part(64, 192, 3)
        inputs = 192
        for name, widths in self.modules_of.items():
            self.add_module(f"inception{name}", self.Module(inputs, *widths))
            inputs = widths[0] + widths[2] + widths[4] + widths[5]
            if name in ("4a", "4d"):
                index = "1" if name == "4a" else "2"
                head = named(conv=self.part(inputs, 128), fc1=nn.Linear(2048, 1024), fc2=nn.Linear(1024, classes))
                self.add_module(f"aux{index}", head)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        for name in self.modules_of:
            if name in ("4a", "5a"):
                x = F.max_pool2d(x, 3 if name == "4a" else 2, 2, ceil_mode=True)
            x = getattr(self, f"inception{name}")(x)
        return self.fc(x.mean((2, 3)))


class VGG16(nn.Module):
    def __init__(self, norms=False, classes=10):
        super().__init__()
        layers, inputs = [], 3
        for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if not width:
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers.append(conv(inputs, width, 3, bias=True))
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if norms else [nn.ReLU()]
            inputs = width
        self.features, self.pooled = nn.Sequential(*layers), 7
        self.classifier = chain(
            nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), self.pooled).flatten(1))


class AlexNet(VGG16):
    def __init__(self, classes=10):
        nn.Module.__init__(self)
        self.features, self.pooled = chain(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
            nn.MaxPool2d(3, 2), conv(192, 384, 3, bias=True), nn.ReLU(), conv(384, 256, 3, bias=True), nn.ReLU(),
            conv(256, 256, 3, bias=True), nn.ReLU(), nn.MaxPool2d(3, 2),
        ), 6  # fmt: skip
        self.classifier = chain(
            nn.Dropout(), nn.Linear(256 * 36, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, classes),
        )  # fmt: skip


class ResNet50(nn.Module):
    """torchvision's: the stride is the 3x3 convolution's."""

    class Unit(nn.Module):
        def __init__(self, inputs, middle, stride):
            super().__init__()
            self.conv1, self.bn1 = conv_bn(inputs, middle)
            self.conv2, self.bn2 = conv_bn(middle, middle, 3, stride)
            self.conv3, self.bn3 = conv_bn(middle, 4 * middle)
            if inputs != 4 * middle:
                self.downsample = chain(conv_bn(inputs, 4 * middle, 1, stride))

        def forward(self, x):
            y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
            return F.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if hasattr(self, "downsample") else x))

    def __init__(self, classes=10):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 64, 7, 2)
        inputs = 64
        for index, count in enumerate((3, 4, 6, 3)):
            middle, units = 64 << index, []
            for unit in range(count):
                units.append(self.Unit(inputs, middle, 2 if index and not unit else 1))
                inputs = 4 * middle
            self.add_module(f"layer{index + 1}", nn.Sequential(*units))
        self.fc = nn.Linear(2048, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class CadeneSENet154(nn.Module):
    """Cadene's: its fully connected layers are convolutions of one pixel."""

    class Unit(nn.Module):
        def __init__(self, inputs, width, stride, window):
            super().__init__()
            outputs = 4 * width
            self.conv1, self.bn1 = conv_bn(inputs, 2 * width)
            self.conv2, self.bn2 = conv_bn(2 * width, outputs, 3, stride, 64)
            self.conv3, self.bn3 = conv_bn(outputs, outputs)
            self.se_module = named(
                fc1=conv(outputs, outputs // 16, bias=True), fc2=conv(outputs // 16, outputs, bias=True)
            )
            self.downsample = chain(conv_bn(inputs, outputs, window, stride)) if inputs != outputs else chain()

        def forward(self, x):
            y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
            y = self.bn3(self.conv3(y))
            scale = self.se_module.fc2(F.relu(self.se_module.fc1(y.mean((2, 3), keepdim=True))))
            return F.relu(y * torch.sigmoid(scale) + self.downsample(x))

    def __init__(self, classes=10):
        super().__init__()
        norms = chain(conv_bn(3, 64, 3, 2), conv_bn(64, 64, 3), conv_bn(64, 128, 3))
        names = (f"{kind}{i}" for i in (1, 2, 3) for kind in ("conv", "bn"))
        self.layer0 = named(**dict(zip(names, norms)))
        inputs = 128
        for index, count in enumerate((3, 8, 36, 3)):
            width, units = 64 << index, []
            for unit in range(count):
                units.append(self.Unit(inputs, width, 2 if index and not unit else 1, 3 if index else 1))
                inputs = 4 * width
            self.add_module(f"layer{index + 1}", nn.Sequential(*units))
        self.last_linear = nn.Linear(2048, classes)

    def forward(self, x):
        stem = self.layer0
        for i in (1, 2, 3):
            x = F.relu(getattr(stem, f"bn{i}")(getattr(stem, f"conv{i}")(x)))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        return self.last_linear(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class PytorchCVSENet154(nn.Module):
    """pytorchcv's: the pooling behind the stem has padding."""

    class Unit(nn.Module):
        def __init__(self, inputs, width, stride, window):
            super().__init__()
            outputs, block = 4 * width, lambda *shape: PytorchCVSENet154.block(*shape)
            self.body = named(
                conv1=block(inputs, 2 * width), conv2=block(2 * width, outputs, 3, stride, 64),
                conv3=block(outputs, outputs),
            )  # fmt: skip
            self.se = named(
                conv1=conv(outputs, outputs // 16, bias=True), conv2=conv(outputs // 16, outputs, bias=True)
            )
            if inputs != outputs:
                self.identity_conv = block(inputs, outputs, window, stride)

        def forward(self, x):
            y = self.body.conv3(F.relu(self.body.conv2(F.relu(self.body.conv1(x)))))
            scale = self.se.conv2(F.relu(self.se.conv1(F.adaptive_avg_pool2d(y, 1))))
            return F.relu(y * torch.sigmoid(scale) + (self.identity_conv(x) if hasattr(self, "identity_conv") else x))

    @staticmethod
    def block(*shape):
        convolution, norm = conv_bn(*shape)
        return nn.Sequential(OrderedDict(conv=convolution, bn=norm))

    def __init__(self, classes=10):
        super().__init__()
        stem = named(conv1=self.block(3, 64, 3, 2), conv2=self.block(64, 64, 3), conv3=self.block(64, 128, 3))
        self.features, inputs = named(init_block=stem), 128
        for index, count in enumerate((3, 8, 36, 3)):
            width, units = 64 << index, []
            for unit in range(count):
                units.append(self.Unit(inputs, width, 2 if index and not unit else 1, 3 if index else 1))
                inputs = 4 * width
            self.features.add_module(f"stage{index + 1}", numbered("unit", units))
        self.output = named(fc=nn.Linear(2048, classes))

    def forward(self, x):
        parts = self.features
        for layer in parts.init_block.children():
            x = F.relu(layer(x))
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in (parts.stage1, parts.stage2, parts.stage3, parts.stage4):
            x = stage(x)
        return self.output.fc(x.mean((2, 3)))


class TransformersMobileNet(nn.Module):
    """MobileNet v1 with ReLU6 and TensorFlow's padding; its batch norms have an epsilon of 1e-3."""

    class Layer(nn.Module):
        def __init__(self, *args):
            super().__init__()
            self.convolution, self.normalization = conv_bn(*args)
            self.convolution.padding, self.normalization.eps = (0, 0), 1e-3

        def forward(self, x):
            extents, kernel, stride = x.shape[2:], self.convolution.kernel_size[0], self.convolution.stride[0]
            total = [max(kernel - (extent % stride or stride), 0) for extent in extents]
            (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in total)
            return F.relu6(self.normalization(self.convolution(F.pad(x, (left, right, top, bottom)))))

    def __init__(self, width=8, classes=10):
        super().__init__()
        layers, inputs = [], width
        for factor, stride in ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *[(16, 1)] * 5, (32, 2), (32, 1)):
            layers += [self.Layer(inputs, inputs, 3, stride, inputs), self.Layer(inputs, factor * width)]
            inputs = factor * width
        self.mobilenet_v1 = named(conv_stem=self.Layer(3, width, 3, 2), layer=nn.Sequential(*layers))
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.classifier(self.mobilenet_v1.layer(self.mobilenet_v1.conv_stem(x)).mean((2, 3)))
