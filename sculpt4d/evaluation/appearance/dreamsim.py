"""DreamSim: one minus the cosine of three networks' centred embeddings, tuned to human judgement (Fu et al. 2023).

The package of that name needs torchvision; this reads its files, so that a CPU without it can measure the same.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sculpt4d.evaluation.appearance.clip import DEVIATION as CLIP_DEVIATION
from sculpt4d.evaluation.appearance.clip import MEAN as CLIP_MEAN
from sculpt4d.evaluation.appearance.networks import filled, read_tensors
from sculpt4d.model.condition import DEVIATION as DINO_DEVIATION
from sculpt4d.model.condition import MEAN as DINO_MEAN

HEAD = 64  # channels of an attention head, in all of these networks
DINO_EPSILON, CLIP_EPSILON = 1e-6, 1e-5  # of their layer norms


class ViTBlock(nn.Module):
    """A pre-norm transformer layer with exact GELU, or the sigmoid one that OpenAI's CLIP was trained with."""

    def __init__(self, width: int, hidden: int, quick: bool, epsilon: float) -> None:
        super().__init__()
        self.quick = quick
        self.norm1, self.norm2 = (nn.LayerNorm(width, epsilon) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        packed = self.attn["qkv"](self.norm1(tokens))
        query, key, value = rearrange(packed, "b n (three h c) -> three b h n c", three=3, c=HEAD)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.attn["proj"](rearrange(mixed, "b h n c -> b n (h c)"))
        hidden = self.mlp["fc1"](self.norm2(tokens))
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick else functional.gelu(hidden)
        return tokens + self.mlp["fc2"](hidden)


class VisionTransformer(nn.Module):
    """Normalised pictures (b, 3, s, s) to a vector each; sizes are those of the tensors it is built for.

    A tower with `pos_drop` (a CLIP: there its norm before the layers has this name) answers with the normalised class
    token times `proj`; one without (DINO) with the class token as the last layer leaves it.
    """

    def __init__(self, tensors: Mapping[str, Tensor], quick: bool = False) -> None:
        super().__init__()
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        clip = "pos_drop.weight" in tensors
        epsilon = CLIP_EPSILON if clip else DINO_EPSILON
        layers = {int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}
        hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        self.patch = patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(tensors["pos_embed"].shape))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.pos_drop = nn.LayerNorm(width, epsilon) if clip else nn.Identity()
        self.blocks = nn.ModuleList([ViTBlock(width, hidden, quick, epsilon) for _ in layers])
        self.norm = nn.LayerNorm(width, epsilon)
        self.proj = nn.Parameter(torch.zeros(tensors["proj"].shape)) if clip else None

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return round((self.pos_embed.shape[1] - 1) ** 0.5) * self.patch

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        patches = rearrange(self.patch_embed["proj"](pictures), "b d h w -> b (h w) d")
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        tokens = self.pos_drop(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 0] if self.proj is None else self.norm(tokens)[:, 0] @ self.proj


ADAPTER = "ensemble_lora"  # folder of the low-rank changes to all three towers
ADAPTED = re.compile(r"base_model\.model\.extractor_list\.(\d)\.model\.blocks\.(\d+)\.attn\.qkv\.lora_([AB])\.weight")
REMEDY = (
    "metrics.networks.dreamsim.weights takes the unpacked dreamsim_ensemble_checkpoint.zip of DreamSim's release "
    "v0.2.0-checkpoints, with DINO's dino_vitbase16_pretrain.pth laid into it; a folder that the package has used "
    "holds both"
)


class Tower(NamedTuple):
    """One of the three networks: its file (the first that is there), its activation, how pictures are normalised."""

    files: tuple[str, ...]
    quick: bool
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


TOWERS = (
    Tower(("dino_vitbase16_pretrain.pth", "checkpoints/dino_vitbase16_pretrain.pth"), False, DINO_MEAN, DINO_DEVIATION),
    Tower(("clip_vitb16_pretrain.pth.tar",), True, CLIP_MEAN, CLIP_DEVIATION),
    Tower(("open_clip_vitb16_pretrain.pth.tar",), False, CLIP_MEAN, CLIP_DEVIATION),
)


class DreamSim(nn.Module):
    """Pictures (b, 3, size, size) in [0, 1] to the towers' embeddings (b, c), side by side."""

    def __init__(self, towers: Sequence[VisionTransformer]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(towers)
        self.size = towers[0].size

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        found = []
        for tower, told in zip(self.towers, TOWERS, strict=True):
            mean, deviation = (pictures.new_tensor(values)[:, None, None] for values in (told.mean, told.deviation))
            found.append(tower((pictures - mean) / deviation))
        return torch.cat(found, dim=1)


def distance(mine: Float[Tensor, "b c"], theirs: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """One minus the cosine of embeddings from which their own mean was taken: 0 for equal ones, at most 2."""
    first, second = (side - side.mean(dim=1, keepdim=True) for side in (mine, theirs))
    return 1 - functional.cosine_similarity(first, second)


def dreamsim_files(folder: Path) -> list[Path]:
    """The files that are read, in a fixed order. Raises FileNotFoundError for what is not in the folder."""
    wanted = [tower.files for tower in TOWERS]
    wanted += [
        (f"{ADAPTER}/adapter_config.json",),
        (f"{ADAPTER}/adapter_model.safetensors", f"{ADAPTER}/adapter_model.bin"),
    ]
    found = [next((folder / name for name in names if (folder / name).is_file()), None) for names in wanted]
    missing = [names[0] for names, path in zip(wanted, found, strict=True) if path is None]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: {REMEDY}")
    return [path for path in found if path is not None]


def load_dreamsim(files: Sequence[Path]) -> DreamSim:
    """The ensemble from `dreamsim_files`. Raises ValueError for files that are not DreamSim's."""
    *bases, settings, adapter = files
    strength = _strength(settings)
    changes = read_tensors(adapter, lambda name: name)
    odd = [name for name in changes if not ADAPTED.fullmatch(name)]
    if odd or not changes:
        raise ValueError(f"{adapter} is not DreamSim's ensemble: it has {', '.join(odd[:3]) or 'no tensor'}; {REMEDY}")
    towers = []
    for number, (path, tower) in enumerate(zip(bases, TOWERS, strict=True)):
        tensors = read_tensors(path, lambda name: name.removeprefix("state_dict."))
        needed = {"patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight", *(("proj",) if number else ())}
        if not needed <= tensors.keys() or ("pos_drop.weight" in tensors) != bool(number):
            raise ValueError(f"{path} is not the vision transformer that DreamSim is made of: {REMEDY}")
        for layer in {match[2] for name in changes if (match := ADAPTED.fullmatch(name)) and match[1] == str(number)}:
            prefix = f"base_model.model.extractor_list.{number}.model.blocks.{layer}.attn.qkv.lora_"
            name = f"blocks.{layer}.attn.qkv.weight"
            down, up = (changes.get(f"{prefix}{letter}.weight") for letter in "AB")
            if name not in tensors or down is None or up is None or (up @ down).shape != tensors[name].shape:
                raise ValueError(f"{adapter} does not fit {path} at {name}: {REMEDY}")
            tensors[name] = tensors[name] + strength * (up @ down)
        towers.append(VisionTransformer(tensors, tower.quick))
        filled(towers[-1], tensors, path, "the vision transformer that DreamSim is made of")
    if len({tower.size for tower in towers}) > 1:
        raise ValueError(f"the towers in {files[0].parent} take pictures of different sizes: {REMEDY}")
    return DreamSim(towers)


def _strength(path: Path) -> float:
    """Factor of the low-rank product."""
    try:
        settings = json.loads(path.read_text())
        return float(settings["lora_alpha"]) / int(settings["r"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): {REMEDY}") from error
