"""The part of torchvision that pytorch-fid imports, written from Szegedy et al. 2016, figures 5 to 7.

torchvision itself is not among the test requirements; pytorch-fid takes only these blocks' submodules from it and
overrides their forward passes.
"""

import contextlib
import importlib
import sys
import types

import torch
import torch.nn.functional as F
from torch import nn


class BasicConv2d(nn.Module):
    def __init__(self, inputs, outputs, **options):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def _row(width):
    return {"kernel_size": (1, width), "padding": (0, width // 2)}


def _column(width):
    return {"kernel_size": (width, 1), "padding": (width // 2, 0)}


class InceptionA(nn.Module):
    def __init__(self, inputs, pool_features):
        super().__init__()
        self.branch1x1 = BasicConv2d(inputs, 64, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(inputs, 48, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(48, 64, kernel_size=5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(inputs, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, padding=1)
        self.branch_pool = BasicConv2d(inputs, pool_features, kernel_size=1)


class InceptionB(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.branch3x3 = BasicConv2d(inputs, 384, kernel_size=3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(inputs, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, stride=2)

    def forward(self, x):
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class InceptionC(nn.Module):
    def __init__(self, inputs, channels_7x7):
        super().__init__()
        width = channels_7x7
        self.branch1x1 = BasicConv2d(inputs, 192, kernel_size=1)
        self.branch7x7_1 = BasicConv2d(inputs, width, kernel_size=1)
        self.branch7x7_2 = BasicConv2d(width, width, **_row(7))
        self.branch7x7_3 = BasicConv2d(width, 192, **_column(7))
        self.branch7x7dbl_1 = BasicConv2d(inputs, width, kernel_size=1)
        self.branch7x7dbl_2 = BasicConv2d(width, width, **_column(7))
        self.branch7x7dbl_3 = BasicConv2d(width, width, **_row(7))
        self.branch7x7dbl_4 = BasicConv2d(width, width, **_column(7))
        self.branch7x7dbl_5 = BasicConv2d(width, 192, **_row(7))
        self.branch_pool = BasicConv2d(inputs, 192, kernel_size=1)


class InceptionD(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.branch3x3_1 = BasicConv2d(inputs, 192, kernel_size=1)
        self.branch3x3_2 = BasicConv2d(192, 320, kernel_size=3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(inputs, 192, kernel_size=1)
        self.branch7x7x3_2 = BasicConv2d(192, 192, **_row(7))
        self.branch7x7x3_3 = BasicConv2d(192, 192, **_column(7))
        self.branch7x7x3_4 = BasicConv2d(192, 192, kernel_size=3, stride=2)

    def forward(self, x):
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)


class InceptionE(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.branch1x1 = BasicConv2d(inputs, 320, kernel_size=1)
        self.branch3x3_1 = BasicConv2d(inputs, 384, kernel_size=1)
        self.branch3x3_2a = BasicConv2d(384, 384, **_row(3))
        self.branch3x3_2b = BasicConv2d(384, 384, **_column(3))
        self.branch3x3dbl_1 = BasicConv2d(inputs, 448, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, kernel_size=3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, **_row(3))
        self.branch3x3dbl_3b = BasicConv2d(384, 384, **_column(3))
        self.branch_pool = BasicConv2d(inputs, 192, kernel_size=1)


class Inception3(nn.Module):
    """The modules alone: pytorch-fid puts its own blocks in and runs them in its own order."""

    def __init__(self, num_classes):
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, kernel_size=3)
        self.Mixed_6a, self.Mixed_7a = InceptionB(288), InceptionD(768)
        self.fc = nn.Linear(2048, num_classes)


def inception_v3(*, num_classes, aux_logits, weights, init_weights):
    assert not aux_logits and weights is None and init_weights is False
    return Inception3(num_classes)


@contextlib.contextmanager
def pytorch_fid():
    """(pytorch_fid.inception, pytorch_fid.fid_score), imported over this stub, which is gone again afterwards."""
    root, models, inception = (
        types.ModuleType(name) for name in ("torchvision", "torchvision.models", "torchvision.models.inception")
    )
    root.__version__, root.models, root.transforms = "0.13.0", models, types.ModuleType("torchvision.transforms")
    models.inception, models.inception_v3 = inception, inception_v3
    for block in (InceptionA, InceptionC, InceptionE):
        setattr(inception, block.__name__, block)
    stub = {
        "torchvision": root,
        "torchvision.models": models,
        "torchvision.models.inception": inception,
        "torchvision.transforms": root.transforms,
    }
    before = {name: sys.modules.get(name) for name in stub}
    sys.modules.update(stub)
    try:
        yield importlib.import_module("pytorch_fid.inception"), importlib.import_module("pytorch_fid.fid_score")
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
        for name in [name for name in sys.modules if name.startswith("pytorch_fid")]:
            del sys.modules[name]
