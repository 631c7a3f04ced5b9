"""The denoiser: velocity, every block, parts of blocks, one training step, the names of the full size (base spec 1)."""

import hashlib
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sculpt4d.checkpoints.released import conditioner_arguments, denoiser_arguments, old_dino_name, vae_arguments
from sculpt4d.model.condition import DinoConditioner
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.model.moe import balance_term
from sculpt4d.model.vae import ShapeVAE

from .folder import GRADIENT, MODULE, gap, instances, numbers, tensors
from .networks import denoiser, released

# base spec 1.1, 2.1 and 3.2: the released values
DIT = {
    **{"input_size": 4096, "in_channels": 64, "hidden_size": 2048, "context_dim": 1024, "depth": 21, "num_heads": 16},
    **{"qk_norm": True, "text_len": 1370, "with_decoupled_ca": False, "use_attention_pooling": False},
    **{"qk_norm_type": "rms", "qkv_bias": False, "use_pos_emb": False, "num_moe_layers": 6, "num_experts": 8},
    **{"moe_top_k": 2},
}
VAE = {
    **{"num_latents": 4096, "embed_dim": 64, "width": 1024, "heads": 16, "num_encoder_layers": 8},
    **{"num_decoder_layers": 16, "pc_size": 81920, "pc_sharpedge_size": 0, "point_feats": 4, "num_freqs": 8},
    **{"include_pi": False, "qkv_bias": False, "qk_norm": True, "scale_factor": 1.0039506158752403},
}
DINO = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14, "image_size": 518}


@pytest.mark.parametrize("name", instances("dit"))
@torch.no_grad()
def test_velocity_equals_the_released_one(name: str):
    model, io = denoiser(name), tensors(f"{name}_io")
    latents, context = io["x"][:, None], io["context"][:, None]
    assert gap(model(latents, io["t"], context)[:, 0], io["out"]) <= MODULE
    for null in (torch.zeros_like(context), None):
        assert gap(model(latents, io["t_edge"], null)[:, 0], io["out_uncond_edge"]) <= MODULE


@pytest.mark.parametrize("name", instances("dit"))
@torch.no_grad()
def test_every_block_equals_the_released_one(name: str):
    model, io = denoiser(name), tensors(f"{name}_io")
    seen: dict[str, Tensor] = {"x_embed": model.x_embedder(io["x"]), "t_token": model.t_embedder(io["t"])}
    for index, block in enumerate(model.blocks):
        block.register_forward_hook(lambda _, inputs, out, stage=f"block_{index}": seen.update({stage: out}))
    model(io["x"][:, None], io["t"], io["context"][:, None])
    stored = {key.removeprefix("mid."): value for key, value in io.items() if key.startswith("mid.")}
    assert stored
    assert not {stage: found for stage in stored if (found := gap(seen[stage], stored[stage])) > MODULE}


@pytest.mark.parametrize("name", instances("dit"))
@torch.no_grad()
def test_the_parts_of_a_block_equal_the_released_ones(name: str):
    model, io = denoiser(name), tensors(f"{name}_io")
    hidden, context = io["tap.h"], io["context"]
    indices = sorted({int(key.split(".")[1]) for key in io if key.startswith("tap.") and key != "tap.h"})
    assert indices
    for index in indices:
        block, skip = model.blocks[index], io.get(f"tap.{index}.skip")
        assert (skip is not None) == hasattr(block, "skip_linear")
        found = {
            "attn1": block.attn1(hidden),
            "attn2": block.attn2(hidden, block.attn2.project(context)),
            "ffn": (block.moe if hasattr(block, "moe") else block.mlp)(hidden),
            "block_out": block(hidden, context, 1, skip),
        }
        for part, value in found.items():
            assert gap(value, io[f"tap.{index}.{part}"]) <= MODULE, f"tap.{index}.{part}"


@pytest.mark.parametrize("name", instances("dit"))
def test_a_training_step_equals_the_released_one(name: str):
    model, io = denoiser(name).train(), tensors(f"{name}_io")
    balance: dict[str, Tensor] = {}
    for index, block in enumerate(model.blocks):
        if hasattr(block, "moe"):
            block.moe.gate.register_forward_hook(
                lambda _, inputs, out, key=f"train.aux_loss.{index}", top=block.moe.top: balance.update(
                    {key: balance_term(out.detach(), out.topk(top).indices)}
                )
            )
    out = model(io["x"][:, None], io["t"], io["context"][:, None])[:, 0]
    loss = (out - io["train.target"]).square().mean()
    loss.backward()
    assert gap(out.detach(), io["train.out"]) <= MODULE
    assert loss.item() == pytest.approx(io["train.loss"].item(), rel=GRADIENT)
    assert balance.keys() == {key for key in io if key.startswith("train.aux_loss.")}
    for key, term in balance.items():
        assert term.item() == pytest.approx(io[key].item(), rel=GRADIENT), key
    ours = {key: parameter.grad for key, parameter in model.named_parameters()}
    found = released(ours, model.blocks[0].attn1.heads)
    wanted = {key.removeprefix("train.grad."): value for key, value in io.items() if key.startswith("train.grad.")}
    assert wanted
    for key, gradient in wanted.items():
        assert gap(found[key], gradient) <= GRADIENT * gradient.abs().max() + 1e-8, key
    total = torch.stack([gradient.norm() for gradient in found.values()]).norm().item()
    assert total == pytest.approx(io["train.grad_norm_total"].item(), rel=GRADIENT)


def full_size(part: str) -> nn.Module:
    """One of the three released networks, without values."""
    with torch.device("meta"):
        if part == "model":
            return Denoiser(**denoiser_arguments(DIT))
        return ShapeVAE(**vae_arguments(VAE)) if part == "vae" else DinoConditioner(**conditioner_arguments(DINO))


def listed_shapes(entries: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of patterns such as blocks.{i}.moe.experts.{j}.net.2.bias with their lists of indices."""
    shapes: dict[str, tuple[int, ...]] = {}
    for held in entries:
        names = [held["pattern"]]
        for letter in held.keys() - {"pattern", "shape"}:
            names = [name.replace(f"{{{letter}}}", str(index)) for name in names for index in held[letter]]
        shapes |= dict.fromkeys(names, tuple(held["shape"]))
    return shapes


@pytest.mark.parametrize("part", ["model", "vae", "conditioner"])
def test_names_and_shapes_of_the_full_size_are_the_published_ones(part: str):
    held = numbers("full_keys")[part]
    shapes = {name: tuple(value.shape) for name, value in full_size(part).state_dict().items()}
    if part == "conditioner":
        shapes = {f"main_image_encoder.{old_dino_name(name)}": shape for name, shape in shapes.items()}
    assert shapes == listed_shapes(held["entries"])
    assert (len(shapes), sum(map(prod, shapes.values()))) == (held["tensors"], held["elements"])
    lines = sorted(f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == held["sha256_of_sorted_name_shape_lines"]
