"""Small checkpoints in the layouts that others publish, made of our own networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.checkpoints.released import reference_tensors
from sculpt4d.model.condition import DinoConditioner
from sculpt4d.model.denoiser import Denoiser, is_temporal
from sculpt4d.model.vae import ShapeVAE

SIZES = {"in_channels": 8, "hidden_size": 32, "context_dim": 16, "depth": 3, "num_heads": 4, "num_moe_layers": 1}
VAE = {"num_latents": 8, "embed_dim": 8, "width": 16, "heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1}
DINO = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14}
NAMES = {"temporal.": "temporal_attn.", "norm_temporal.": "norm4.", ".out_proj.": ".out_proj."}


def networks(seed: int = 0) -> dict[str, nn.Module]:
    """A denoiser with temporal layers off zero, an autoencoder and an image encoder."""
    torch.manual_seed(seed)
    parts: dict[str, nn.Module] = {
        "denoiser": Denoiser(**SIZES, num_experts=2, pattern=StridedPattern(block_size=4)),
        "vae": ShapeVAE(**VAE),
        "conditioner": DinoConditioner(28, **DINO),
    }
    for network in parts.values():
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
    return parts


def tensors(parts: dict[str, nn.Module], temporal: bool = False) -> dict[str, Tensor]:
    """All of them under the reference's names, prefixes model., vae. and conditioner. included."""
    found: dict[str, Tensor] = {}
    for part, module in parts.items():
        state = {name: value for name, value in module.state_dict().items() if temporal or not is_temporal(name)}
        found |= reference_tensors(state, part, module)
    return found


def three_parts(path: Path, found: dict[str, Tensor]) -> Path:
    """The published single file: a dictionary of three state dictionaries, float16."""
    split: dict[str, dict[str, Tensor]] = {"model": {}, "vae": {}, "conditioner": {}}
    for name, value in found.items():
        part, _, rest = name.partition(".")
        split[part][rest] = value.half()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(split, path)
    return path


def sharded(folder: Path, found: dict[str, Tensor], rename: Callable[[str], str] = str, shards: int = 3) -> Path:
    """The layout of the Sculpt4D release: pytorch_model-*.bin and their index, bfloat16."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    names = list(found)
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = {rename(name): found[name].bfloat16() for name in names[number::shards]}
        index["weight_map"] |= dict.fromkeys(part, file)
        torch.save(part, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def flat(path: Path, found: dict[str, Tensor]) -> Path:
    """One safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in found.items()}, path)
    return path
