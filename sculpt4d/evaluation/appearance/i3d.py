"""I3D: the video classifier whose answers FVD compares (Carreira and Zisserman 2017, RGB, Kinetics-400).

Names are those of the published PyTorch files (i3d_pretrained_400.pt, rgb_imagenet.pt); sizes are the file's.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sculpt4d.evaluation.appearance.networks import filled, read_tensors

TOO_FEW = "a covariance needs at least two clips on either side"


def frechet_distance(mine: Float[np.ndarray, "n d"], theirs: Float[np.ndarray, "m d"]) -> float:
    """Squared distance of the Gaussians fitted to two sets of features; NaN when a set has fewer than two rows.

    The trace of the root of the product of two covariances A'A and B'B is the sum of the singular values of AB', which
    needs no matrix root and is exact when there are fewer clips than features.
    """
    if min(len(mine), len(theirs)) < 2:
        return float("nan")
    mean, other = (side.astype(np.float64).mean(axis=0) for side in (mine, theirs))
    first, second = _root(mine), _root(theirs)
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    spread = np.square(first).sum() + np.square(second).sum()
    return float(np.square(mean - other).sum() + spread - 2 * shared)


def _root(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "r d"]:
    """A matrix whose product with its own transpose, from the left, is the covariance; at most d rows."""
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    return np.asarray(np.linalg.qr(centred / (len(features) - 1) ** 0.5, mode="r"))


SIDE = 224  # of the pictures, in pixels
SHORTEST = 9  # frames: of fewer, one moment is left where the last pooling takes two
BRANCHES = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
POOLS = {  # kernel and stride, each over (time, height, width)
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
UNITS = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")
MIXED = tuple(f"Mixed_{name}" for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"))
ORDER = (
    *(
        "Conv3d_1a_7x7",
        "MaxPool3d_2a_3x3",
        "Conv3d_2b_1x1",
        "Conv3d_2c_3x3",
        "MaxPool3d_3a_3x3",
        "Mixed_3b",
        "Mixed_3c",
    ),
    *("MaxPool3d_4a_3x3", *MIXED[2:7], "MaxPool3d_5a_2x2", *MIXED[7:]),
)
CONVOLUTIONS = (*UNITS, *(f"{block}.{branch}" for block in MIXED for branch in BRANCHES))
EPSILON = 1e-5  # of batch norm in the code that FVD is published with; that of pytorch-i3d, and of training, has 1e-3
REMEDY = (
    "metrics.networks.fvd.weights takes the PyTorch I3D of Kinetics-400 as a state dictionary (i3d_pretrained_400.pt, "
    "or rgb_imagenet.pt of pytorch-i3d); i3d_torchscript.pt is a program and is not run"
)


class Unit(nn.Module):
    """Convolution padded so that its output is the input over the stride, rounded up; batch norm; rectifier."""

    def __init__(self, shape: Sequence[int], epsilon: float, stride: int = 1) -> None:
        super().__init__()
        self.stride = (stride,) * 3
        out, into, time, height, width = shape
        self.conv3d = nn.Conv3d(into, out, (time, height, width), self.stride, bias=False)
        self.bn = nn.BatchNorm3d(shape[0], eps=epsilon)

    def forward(self, video: Float[Tensor, "b _c _t _h _w"]) -> Float[Tensor, "b _d _u _i _j"]:
        return functional.relu(self.bn(self.conv3d(padded(video, self.conv3d.kernel_size, self.stride))))


class Mixed(nn.Module):
    """Inception block: four branches side by side."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], epsilon: float) -> None:
        super().__init__()
        self.b0, self.b1a, self.b1b, self.b2a, self.b2b, self.b3b = (
            Unit(shapes[branch], epsilon) for branch in BRANCHES
        )

    def forward(self, video: Float[Tensor, "b _c t h w"]) -> Float[Tensor, "b _d t h w"]:
        pooled = pool(video, (3, 3, 3), (1, 1, 1))
        first, second = self.b1b(self.b1a(video)), self.b2b(self.b2a(video))
        branches = [self.b0(video), first, second, self.b3b(pooled)]
        return torch.cat(branches, dim=1)


class I3d(nn.Module):
    """Videos (b, 3, t, 224, 224) in [-1, 1] to the classes' logits (b, c), averaged over time. t is at least nine."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], epsilon: float = EPSILON) -> None:
        super().__init__()
        for name in UNITS:
            self.add_module(name, Unit(shapes[name], epsilon, 2 if name == UNITS[0] else 1))
        for name in MIXED:
            self.add_module(name, Mixed({branch: shapes[f"{name}.{branch}"] for branch in BRANCHES}, epsilon))
        last = shapes["logits"]
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(last[1], last[0], 1)})

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c"]:
        for name in ORDER:
            video = pool(video, *POOLS[name]) if name in POOLS else self.get_submodule(name)(video)
        pooled = functional.avg_pool3d(video, (2, 7, 7), stride=1)
        return self.logits["conv3d"](pooled).mean(dim=(2, 3, 4))


def pool(
    video: Float[Tensor, "b c _t _h _w"], kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> Float[Tensor, "b c _u _i _j"]:
    """Largest value of every window; padding with zeros changes nothing, as all values come out of rectifiers."""
    return functional.max_pool3d(padded(video, kernel, stride), kernel, stride)


def padded(
    video: Float[Tensor, "b c _t _h _w"], kernel: Sequence[int], stride: Sequence[int]
) -> Float[Tensor, "b c _u _i _j"]:
    """Zeros around, the odd one behind, as TensorFlow's `SAME` lays them."""
    sides: list[int] = []
    for length, wide, step in zip(video.shape[2:], kernel, stride, strict=True):
        total = max((-(-length // step) - 1) * step + wide - length, 0)
        sides = [total // 2, total - total // 2, *sides]
    return functional.pad(video, sides)


def load_i3d(weights: Path, epsilon: float = EPSILON) -> I3d:
    """I3D with its classifier. epsilon: of its batch norms, which files do not tell.

    Raises ValueError for another file, a TorchScript program among them.
    """

    def rename(name: str) -> str | None:
        return None if name.endswith("num_batches_tracked") else re.sub(r"^(module|model)\.", "", name)

    tensors = read_tensors(weights, rename)
    shapes = {name: tensors.get(f"{name}.conv3d.weight") for name in (*CONVOLUTIONS, "logits")}
    wrong = [name for name, value in shapes.items() if value is None or value.ndim != 5]
    if wrong:
        raise ValueError(f"{weights} is not an I3D: it has no convolution {', '.join(wrong[:3])}; {REMEDY}")
    module = I3d({name: tuple(value.shape) for name, value in shapes.items() if value is not None}, epsilon)
    counts = {
        name: torch.zeros((), dtype=torch.long) for name in module.state_dict() if name.endswith("batches_tracked")
    }
    filled(module, tensors | counts, weights, "an I3D")
    return module
