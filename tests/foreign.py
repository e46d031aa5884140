"""ShuffleNet v1 and MobileNet v1 written as others write them: names of modules, and what they compute.

Only the structure is theirs; see `tvm_shufflenet/exchange/styles.py`.  Every module computes what its style is said
to compute with plain PyTorch, and nothing of the project's.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


def shuffle_gn(x, groups: int):
    """Channels as (g, n), transposed."""
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


def shuffle_ng(x, groups: int):
    """Channels as (n, g), transposed."""
    batch, channels, height, width = x.shape
    return x.view(batch, channels // groups, groups, height, width).transpose(1, 2).reshape(x.shape)


class Net(nn.Module):
    """Stem, stages of units, classifier, as the classes below name them.

    `channels` are those of the stem and behind each stage, `repeats` the units of each stage.
    """

    shuffle = staticmethod(shuffle_gn)
    groups_of_first = 1
    pool = True

    def __init__(self, channels=(12, 60, 120, 240), groups=3, repeats=(2, 3, 2), classes=10):
        super().__init__()
        self.groups = groups
        self.build(*channels, repeats, classes)

    def units(self, channels, repeats, make):
        """For each stage a list of units: make(inputs, outputs of the unit, first groups, downsample)."""
        for stage, (inputs, outputs, count) in enumerate(zip(channels, channels[1:], repeats)):
            first = self.groups_of_first if stage == 0 else self.groups
            yield [make(inputs, outputs, first, True)] + [
                make(outputs, outputs, self.groups, False) for _ in range(count - 1)
            ]


def conv(inputs, outputs, kernel=1, stride=1, groups=1, bias=False):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)


def conv_bn(inputs, outputs, kernel=1, stride=1, groups=1, bias=False):
    return conv(inputs, outputs, kernel, stride, groups, bias), nn.BatchNorm2d(outputs)


class Megvii(Net):
    """Shuffles (n, g) behind the depthwise convolution; no bias in the classifier."""

    class Unit(nn.Module):
        def __init__(self, net, inputs, outputs, first, down):
            super().__init__()
            middle = outputs // 4
            self.groups, self.down, self.shuffle = net.groups, down, net.shuffle
            self.branch_main_1 = nn.Sequential(
                *conv_bn(inputs, middle, groups=first), nn.ReLU(), *conv_bn(middle, middle, 3, 1 + down, middle)
            )
            own = outputs - inputs if down else outputs
            self.branch_main_2 = nn.Sequential(*conv_bn(middle, own, groups=net.groups))

        def forward(self, x):
            y = self.branch_main_1(x)
            if self.groups > 1:
                y = self.shuffle(y, self.groups)
            y = self.branch_main_2(y)
            return torch.cat((F.avg_pool2d(x, 3, 2, 1), F.relu(y)), 1) if self.down else F.relu(x + y)

    shuffle = staticmethod(shuffle_ng)

    def build(self, *channels_repeats_classes):
        *channels, repeats, classes = channels_repeats_classes
        self.first_conv = nn.Sequential(*conv_bn(3, channels[0], 3, 2), nn.ReLU())
        stages = self.units(channels, repeats, lambda *a: self.Unit(self, *a))
        self.features = nn.Sequential(*(unit for stage in stages for unit in stage))
        self.classifier = nn.Sequential(nn.Linear(channels[-1], classes, bias=False))

    def forward(self, x):
        x = F.max_pool2d(self.first_conv(x), 3, 2, 1)
        return self.classifier(self.features(x).mean((2, 3)))


class PytorchCV(Net):
    """The branch comes before the pooled input in a concatenation."""

    class Unit(nn.Module):
        def __init__(self, net, inputs, outputs, first, down):
            super().__init__()
            middle, own = outputs // 4, outputs - inputs if down else outputs
            self.groups, self.down, self.shuffle = net.groups, down, net.shuffle
            self.compress_conv1, self.compress_bn1 = conv_bn(inputs, middle, groups=first)
            self.dw_conv2, self.dw_bn2 = conv_bn(middle, middle, 3, 1 + down, middle)
            self.expand_conv3, self.expand_bn3 = conv_bn(middle, own, groups=net.groups)

        def forward(self, x):
            y = self.shuffle(F.relu(self.compress_bn1(self.compress_conv1(x))), self.groups)
            y = self.expand_bn3(self.expand_conv3(self.dw_bn2(self.dw_conv2(y))))
            return F.relu(torch.cat((y, F.avg_pool2d(x, 3, 2, 1)), 1) if self.down else x + y)

    def build(self, *channels_repeats_classes):
        *channels, repeats, classes = channels_repeats_classes
        stem = nn.Module()
        stem.conv, stem.bn = conv_bn(3, channels[0], 3, 2)
        self.features = nn.Module()
        self.features.init_block = stem
        self.stages = []
        for index, units in enumerate(self.units(channels, repeats, lambda *a: self.Unit(self, *a)), 1):
            stage = nn.Sequential(OrderedDict((f"unit{i}", unit) for i, unit in enumerate(units, 1)))
            self.features.add_module(f"stage{index}", stage)
        self.output = nn.Linear(channels[-1], classes)

    def forward(self, x):
        stem, *stages = self.features.children()
        x = F.max_pool2d(F.relu(stem.bn(stem.conv(x))), 3, 2, 1)
        for stage in stages:
            x = stage(x)
        return self.output(x.mean((2, 3)))


class Jaxony(Net):
    """Biases everywhere, a stem without batch norm and ReLU, and a logarithmic softmax at the end."""

    class Unit(nn.Module):
        def __init__(self, net, inputs, outputs, first, down):
            super().__init__()
            middle, own = outputs // 4, outputs - inputs if down else outputs
            self.groups, self.down, self.shuffle = net.groups, down, net.shuffle

            def pointwise(a, b, groups, *more):
                conv, norm = conv_bn(a, b, groups=groups, bias=True)
                return nn.Sequential(OrderedDict([("conv1x1", conv), ("batch_norm", norm), *more]))

            self.g_conv_1x1_compress = pointwise(inputs, middle, first, ("relu", nn.ReLU()))
            self.depthwise_conv3x3, self.bn_after_depthwise = conv_bn(middle, middle, 3, 1 + down, middle, bias=True)
            self.g_conv_1x1_expand = pointwise(middle, own, net.groups)

        def forward(self, x):
            y = self.shuffle(self.g_conv_1x1_compress(x), self.groups)
            y = self.g_conv_1x1_expand(self.bn_after_depthwise(self.depthwise_conv3x3(y)))
            return F.relu(torch.cat((F.avg_pool2d(x, 3, 2, 1), y), 1) if self.down else x + y)

    def build(self, *channels_repeats_classes):
        *channels, repeats, classes = channels_repeats_classes
        self.conv1 = conv(3, channels[0], 3, 2, bias=True)
        for index, units in enumerate(self.units(channels, repeats, lambda *a: self.Unit(self, *a)), 2):
            names = (f"ShuffleUnit_Stage{index}_{i}" for i in range(len(units)))
            self.add_module(f"stage{index}", nn.Sequential(OrderedDict(zip(names, units))))
        self.fc = nn.Linear(channels[-1], classes)

    def logits(self, x):
        x = F.max_pool2d(self.conv1(x), 3, 2, 1)
        return self.fc(self.stage4(self.stage3(self.stage2(x))).mean((2, 3)))

    def forward(self, x):
        return F.log_softmax(self.logits(x), 1)


class Wrapped(nn.Module):
    """A convolution and its batch norm in a module of their own, as OpenMMLab and others have them."""

    def __init__(self, *args, **options):
        super().__init__()
        self.conv, self.bn = conv_bn(*args, **options)

    def forward(self, x):
        return self.bn(self.conv(x))


class MMPretrain(Net):
    class Unit(nn.Module):
        def __init__(self, net, inputs, outputs, first, down):
            super().__init__()
            middle, own = outputs // 4, outputs - inputs if down else outputs
            self.groups, self.down, self.shuffle = net.groups, down, net.shuffle
            self.g_conv_1x1_compress = Wrapped(inputs, middle, groups=first)
            self.depthwise_conv3x3_bn = Wrapped(middle, middle, 3, 1 + down, middle)
            self.g_conv_1x1_expand = Wrapped(middle, own, groups=net.groups)

        def forward(self, x):
            y = self.shuffle(F.relu(self.g_conv_1x1_compress(x)), self.groups)
            y = self.g_conv_1x1_expand(self.depthwise_conv3x3_bn(y))
            return F.relu(torch.cat((F.avg_pool2d(x, 3, 2, 1), y), 1) if self.down else x + y)

    def build(self, *channels_repeats_classes):
        *channels, repeats, classes = channels_repeats_classes
        self.backbone, self.head = nn.Module(), nn.Module()
        self.backbone.conv1 = Wrapped(3, channels[0], 3, 2)
        stages = self.units(channels, repeats, lambda *a: self.Unit(self, *a))
        self.backbone.layers = nn.ModuleList(nn.Sequential(*units) for units in stages)
        self.head.fc = nn.Linear(channels[-1], classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.backbone.conv1(x)), 3, 2, 1)
        for stage in self.backbone.layers:
            x = stage(x)
        return self.head.fc(x.mean((2, 3)))


class Cifar(Net):
    """For 32x32: a 1x1 stem without stride and pooling; a quarter of a unit's own channels; ReLU behind depthwise."""

    class Unit(nn.Module):
        def __init__(self, net, inputs, outputs, first, down):
            super().__init__()
            own = outputs - inputs if down else outputs
            self.first, self.down, self.shuffle, middle = first, down, net.shuffle, own // 4
            self.conv1, self.bn1 = conv_bn(inputs, middle, groups=first)
            self.conv2, self.bn2 = conv_bn(middle, middle, 3, 1 + down, middle)
            self.conv3, self.bn3 = conv_bn(middle, own, groups=net.groups)

        def forward(self, x):
            y = self.shuffle(F.relu(self.bn1(self.conv1(x))), self.first)
            y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
            return F.relu(torch.cat((y, F.avg_pool2d(x, 3, 2, 1)), 1) if self.down else x + y)

    def build(self, *channels_repeats_classes):
        *channels, repeats, classes = channels_repeats_classes
        self.conv1, self.bn1 = conv_bn(3, channels[0])
        for index, units in enumerate(self.units(channels, repeats, lambda *a: self.Unit(self, *a)), 1):
            self.add_module(f"layer{index}", nn.Sequential(*units))
        self.linear = nn.Linear(channels[-1], classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class Cifar100(Net):
    """For 32x32: a 3x3 stem without stride and pooling; the first convolution of stage 2 has groups; biases."""

    class Inside(nn.Module):
        def __init__(self, name, *args, **options):
            super().__init__()
            self.add_module(name, nn.Sequential(*conv_bn(*args, bias=True, **options)))

        def forward(self, x):
            return next(self.children())(x)

    class Unit(nn.Module):
        def __init__(self, net, inputs, outputs, first, down):
            super().__init__()
            middle, own = outputs // 4, outputs - inputs if down else outputs
            self.groups, self.down, self.shuffle = net.groups, down, net.shuffle
            self.gp1 = nn.Sequential(net.Inside("pointwise", inputs, middle, groups=net.groups), nn.ReLU())
            self.depthwise = net.Inside("depthwise", middle, middle, 3, 1 + down, middle)
            self.expand = net.Inside("pointwise", middle, own, groups=net.groups)

        def forward(self, x):
            y = self.expand(self.depthwise(self.shuffle(self.gp1(x), self.groups)))
            return F.relu(torch.cat((F.avg_pool2d(x, 3, 2, 1), y), 1) if self.down else x + y)

    def build(self, *channels_repeats_classes):
        *channels, repeats, classes = channels_repeats_classes
        self.conv1 = Wrapped(3, channels[0], 3, bias=True)
        for index, units in enumerate(self.units(channels, repeats, lambda *a: self.Unit(self, *a)), 2):
            self.add_module(f"stage{index}", nn.Sequential(*units))
        self.fc = nn.Linear(channels[-1], classes)

    def forward(self, x):
        return self.fc(self.stage4(self.stage3(self.stage2(F.relu(self.conv1(x))))).mean((2, 3)))


BLOCKS = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *[(16, 1)] * 5, (32, 2), (32, 1))


class MobileNet(nn.Module):
    """`nn.Sequential`s in one `nn.Sequential`."""

    def __init__(self, width=8, classes=10, stride=2):
        super().__init__()
        layers, inputs = [nn.Sequential(*conv_bn(3, width, 3, stride), nn.ReLU())], width
        for factor, stride in BLOCKS:
            outputs = factor * width
            layers.append(
                nn.Sequential(
                    *conv_bn(inputs, inputs, 3, stride, inputs), nn.ReLU(), *conv_bn(inputs, outputs), nn.ReLU()
                )
            )
            inputs = outputs
        self.model = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc(self.model(x).mean((2, 3)))


class CifarMobileNet(nn.Module):
    def __init__(self, width=8, classes=10):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, width, 3)
        self.layers, inputs = nn.Sequential(), width
        for factor, stride in BLOCKS:
            block = nn.Module()
            block.conv1, block.bn1 = conv_bn(inputs, inputs, 3, stride, inputs)
            block.conv2, block.bn2 = conv_bn(inputs, factor * width)
            self.layers.append(block)
            inputs = factor * width
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for block in self.layers:
            x = F.relu(block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def randomised(module: nn.Module, seed: int = 0, eps: float | None = None) -> nn.Module:
    """The module in evaluation mode, with weights that keep activations alive and batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                fan_in = part.weight[0].numel()
                part.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if part.bias is not None:
                    part.bias.normal_(0, 0.1, generator=generator)
            elif isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.3, generator=generator)
                part.bias.normal_(0, 0.2, generator=generator)
                part.running_mean.normal_(0, 0.2, generator=generator)
                part.running_var.uniform_(0.5, 1.5, generator=generator)
                part.eps = part.eps if eps is None else eps
    return module.eval()
