"""Small random networks, written as the published files are: what reads those is tested without a download."""

import json
from pathlib import Path

import torch
from torch import Tensor

from sculpt4d.evaluation.appearance.i3d import BRANCHES, MIXED

VGG = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's numbers
KERNELS = {"b0": 1, "b1a": 1, "b1b": 3, "b2a": 1, "b2b": 3, "b3b": 1}
HIDDEN = 64


def noise(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    """Repeatable normal numbers."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def vgg_tensors(width: int = 4) -> dict[str, Tensor]:
    """VGG16 with `width` channels everywhere, and a classifier that nothing reads."""
    tensors = {"classifier.0.weight": noise(99, 2, 2)}
    for number in VGG:
        before = 3 if number == 0 else width
        tensors[f"features.{number}.weight"] = noise(number, width, before, 3, 3, scale=(2 / (9 * before)) ** 0.5)
        tensors[f"features.{number}.bias"] = noise(100 + number, width, scale=0.1)
    return tensors


def write_lpips(folder: Path) -> dict[str, str]:
    """VGG16 and heads; the configuration that names them."""
    torch.save(vgg_tensors(), folder / "vgg16.pth")
    heads = {f"lin{stage}.model.1.weight": noise(stage, 1, 4, 1, 1).abs() for stage in range(5)}
    torch.save(heads, folder / "heads.pth")
    return {"weights": str(folder / "vgg16.pth"), "heads": str(folder / "heads.pth")}


def write_clip(folder: Path) -> dict[str, str]:
    """A CLIP as transformers saves one."""
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    text = {**sizes, "vocab_size": 20, "max_position_embeddings": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)).save_pretrained(folder / "clip")
    return {"weights": str(folder / "clip")}


def i3d_tensors(width: int = 2, classes: int = 5) -> dict[str, Tensor]:
    """I3D with `width` channels out of every convolution."""
    shapes = {"Conv3d_1a_7x7": (width, 3, 7), "Conv3d_2b_1x1": (width, width, 1), "Conv3d_2c_3x3": (width, width, 3)}
    for block in MIXED:
        before = width if block == MIXED[0] else 4 * width
        for branch in BRANCHES:
            into = width if branch in ("b1b", "b2b") else before
            shapes[f"{block}.{branch}"] = (width, into, KERNELS[branch])
    tensors = {}
    for seed, (name, (out, into, side)) in enumerate(shapes.items()):
        spread = (2 / (into * side**3)) ** 0.5
        tensors[f"{name}.conv3d.weight"] = noise(seed, out, into, side, side, side, scale=spread)
        tensors[f"{name}.bn.weight"] = 1 + noise(seed + 1, out, scale=0.1)
        tensors[f"{name}.bn.bias"] = noise(seed + 2, out, scale=0.1)
        tensors[f"{name}.bn.running_mean"] = noise(seed + 3, out, scale=0.1)
        tensors[f"{name}.bn.running_var"] = 1 + noise(seed + 4, out, scale=0.1).abs()
        tensors[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)
    tensors["logits.conv3d.weight"] = noise(7, classes, 4 * width, 1, 1, 1)
    tensors["logits.conv3d.bias"] = noise(8, classes)
    return tensors


def write_i3d(folder: Path) -> dict[str, str]:
    """I3D as a state dictionary."""
    torch.save(i3d_tensors(), folder / "i3d.pt")
    return {"weights": str(folder / "i3d.pt")}


def tower_tensors(seed: int, clip: bool, size: int = 32, patch: int = 16, layers: int = 2) -> dict[str, Tensor]:
    """A vision transformer under DINO's names; `clip` adds the norm before the layers and the projection."""
    tokens = (size // patch) ** 2 + 1
    shapes = {
        "cls_token": (1, 1, HIDDEN),
        "pos_embed": (1, tokens, HIDDEN),
        "patch_embed.proj.weight": (HIDDEN, 3, patch, patch),
        "patch_embed.proj.bias": (HIDDEN,),
    }
    for layer in range(layers):
        sizes = {"attn.qkv": 3 * HIDDEN, "attn.proj": HIDDEN, "mlp.fc1": 2 * HIDDEN}
        for name, out in sizes.items():
            shapes |= {f"blocks.{layer}.{name}.weight": (out, HIDDEN), f"blocks.{layer}.{name}.bias": (out,)}
        shapes |= {f"blocks.{layer}.mlp.fc2.weight": (HIDDEN, 2 * HIDDEN), f"blocks.{layer}.mlp.fc2.bias": (HIDDEN,)}
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{layer}.{norm}.{kind}": (HIDDEN,) for kind in ("weight", "bias")}
    norms = ("norm", "pos_drop") if clip else ("norm",)
    shapes |= {f"{norm}.{kind}": (HIDDEN,) for norm in norms for kind in ("weight", "bias")}
    if clip:
        shapes["proj"] = (HIDDEN, 8)
    made = {name: noise(seed + number, *shape, scale=0.3) for number, (name, shape) in enumerate(shapes.items())}
    return {
        name: value + ("norm" in name or "pos_drop" in name) * name.endswith("weight") for name, value in made.items()
    }


def write_dreamsim(folder: Path, rank: int = 2, alpha: float = 0.5) -> dict[str, str]:
    """The unpacked ensemble: three towers and the low-rank changes to their queries, keys and values."""
    place = folder / "dreamsim"
    (place / "ensemble_lora").mkdir(parents=True)
    torch.save(tower_tensors(0, clip=False), place / "dino_vitbase16_pretrain.pth")
    torch.save({"state_dict": tower_tensors(100, clip=True)}, place / "clip_vitb16_pretrain.pth.tar")
    torch.save({"state_dict": tower_tensors(200, clip=True)}, place / "open_clip_vitb16_pretrain.pth.tar")
    (place / "ensemble_lora" / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": alpha}))
    changes = {}
    for tower in range(3):
        for layer in range(2):
            prefix = f"base_model.model.extractor_list.{tower}.model.blocks.{layer}.attn.qkv.lora_"
            changes[f"{prefix}A.weight"] = noise(tower, rank, HIDDEN, scale=0.3)
            changes[f"{prefix}B.weight"] = noise(layer, 3 * HIDDEN, rank, scale=0.3)
    torch.save(changes, place / "ensemble_lora" / "adapter_model.bin")
    return {"weights": str(place)}
