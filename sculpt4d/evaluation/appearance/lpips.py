"""LPIPS: the distance of two pictures in the features of a classifier (Zhang et al. 2018; VGG16, version 0.1)."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torchmetrics
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sculpt4d.evaluation.appearance.networks import filled, read_tensors

STAGES = (
    (0, 2),
    (5, 7),
    (10, 12, 14),
    (17, 19, 21),
    (24, 26, 28),
)  # convolutions by their number in torchvision's VGG16
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1]
TINY = 1e-10
NAMES = ("model.safetensors", "vgg16-397923af.pth")
REMEDY = (
    "metrics.networks.lpips.weights takes torchvision's VGG16 (vgg16-397923af.pth) or hf://timm/vgg16.tv_in1k, which "
    "metrics.download=true fetches"
)


class Lpips(nn.Module):
    """Pictures (b, 3, h, w) in [0, 1] to a distance each. The five layers' weights (`heads`) are those LPIPS learned.

    channels: of every convolution and its input, by its number in torchvision's network.
    """

    def __init__(self, channels: Mapping[int, tuple[int, int]]) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {str(number): nn.Conv2d(before, after, 3, padding=1) for number, (after, before) in channels.items()}
        )
        widths = [channels[stage[-1]][0] for stage in STAGES]
        self.heads = nn.ParameterList([torch.zeros(1, width, 1, 1) for width in widths])

    def forward(self, predicted: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        total = predicted.new_zeros(len(predicted))
        for head, mine, theirs in zip(self.heads, self.stages(predicted), self.stages(truth), strict=True):
            difference = (_unit(mine) - _unit(theirs)).square()
            total = total + (head * difference).sum(dim=1).mean(dim=(1, 2))
        return total

    def stages(self, pictures: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Features after the last rectifier of each of the five stages."""
        shift, scale = (pictures.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        hidden = (2 * pictures - 1 - shift) / scale
        found: list[Tensor] = []
        for stage in STAGES:
            if found:
                hidden = functional.max_pool2d(hidden, 2)
            for number in stage:
                hidden = functional.relu(self.features[str(number)](hidden))
            found.append(hidden)
        return found


def shipped_heads() -> Path:
    """The learned weights of the layers, 7 kB, which torchmetrics ships; the network itself it does not."""
    return Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / "vgg.pth"


def load_lpips(weights: Path, heads: Path) -> Lpips:
    """VGG16 of torchvision and the heads of LPIPS. Raises ValueError for other files."""
    numbers = {number for stage in STAGES for number in stage}
    network = read_tensors(weights, lambda name: name if name.startswith("features.") else None)
    network = {name: value for name, value in network.items() if name.split(".")[1] in map(str, numbers)}
    learned = read_tensors(heads, _head_name)
    shapes = {int(name.split(".")[1]): value.shape for name, value in network.items() if name.endswith("weight")}
    if shapes.keys() != numbers or any(len(shape) != 4 for shape in shapes.values()):
        raise ValueError(f"{weights} is not torchvision's VGG16 without batch norm: {REMEDY}")
    module = Lpips({number: (shape[0], shape[1]) for number, shape in shapes.items()})
    filled(module, network | learned, weights, f"a VGG16 that fits the heads in {heads}")
    return module


def _head_name(name: str) -> str | None:
    match = re.fullmatch(r"lin(\d)\.model\.1\.weight", name)
    return f"heads.{match[1]}" if match else None


def _unit(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Every pixel's features on the unit sphere."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + TINY)
