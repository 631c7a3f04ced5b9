"""The denoiser against golden numbers, its size, and the contract between the 3D and the 4D model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.model.denoiser import Denoiser, is_temporal

KEYS = ("in_channels", "hidden_size", "context_dim", "depth", "num_heads", "qkv_bias", "num_moe_layers", "num_experts")
ATTENTIONS = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "conf" / "attention").glob("*.yaml"))
NANO = {"in_channels": 8, "hidden_size": 32, "context_dim": 16, "depth": 3, "num_heads": 2, "num_moe_layers": 1}


def natural_rows(tensors: dict[str, Tensor], heads: int) -> dict[str, Tensor]:
    """The reference keeps q, k, v of a head side by side across its projections; here every one has its own rows."""
    fixed = dict(tensors)
    for letters, part in (("qkv", "attn1"), ("kv", "attn2")):
        for name in [n for n in tensors if n.endswith(f"{part}.to_k.weight")]:
            names = [name.replace("to_k", f"to_{letter}") for letter in letters]
            packed = torch.cat([tensors[n] for n in names])
            rows = packed.view(heads, len(letters), -1, packed.shape[1])
            for index, n in enumerate(names):
                fixed[n] = rows[:, index].flatten(0, 1)
    return fixed


@pytest.fixture(scope="module")
def model(golden_config: dict[str, Any], golden: Callable[[str], dict[str, Tensor]]) -> Denoiser:
    """The golden denoiser."""
    config = golden_config["dit"]
    denoiser = Denoiser(**{key: config[key] for key in KEYS}, moe_top_k=config["moe_top_k"])
    denoiser.load_state_dict(natural_rows(golden("dit_tiny"), config["num_heads"]))
    return denoiser.eval()


@pytest.fixture(scope="module")
def io(golden: Callable[[str], dict[str, Tensor]]) -> dict[str, Tensor]:
    return golden("dit_tiny_io")


def close(found: Tensor, wanted: Tensor, tolerance: float = 2e-5) -> bool:
    return bool((found - wanted).abs().max() <= tolerance)


@torch.no_grad()
def test_velocity_equals_the_golden_one(model: Denoiser, io: dict[str, Tensor]):
    assert close(model(io["x"][:, None], io["t"], io["context"][:, None])[:, 0], io["out"])
    null = torch.zeros_like(io["context"])
    assert close(model(io["x"][:, None], io["t_edge"], null[:, None])[:, 0], io["out_uncond_edge"])


@torch.no_grad()
def test_every_block_equals_the_golden_one(model: Denoiser, io: dict[str, Tensor]):
    seen: dict[str, Tensor] = {}
    hooks = [
        block.register_forward_hook(lambda _, inputs, out, name=f"mid.block_{index}": seen.update({name: out}))
        for index, block in enumerate(model.blocks)
    ]
    model(io["x"][:, None], io["t"], io["context"][:, None])
    for hook in hooks:
        hook.remove()
    assert len(seen) == model.depth
    assert all(close(found, io[name]) for name, found in seen.items())
    assert close(model.x_embedder(io["x"]), io["mid.x_embed"])
    assert close(model.t_embedder(io["t"]), io["mid.t_token"])


@torch.no_grad()
@pytest.mark.parametrize("index", [0, 4])
def test_the_parts_of_a_block_equal_the_golden_ones(model: Denoiser, io: dict[str, Tensor], index: int):
    block, hidden = model.blocks[index], io["tap.h"]
    assert close(block.attn1(hidden), io[f"tap.{index}.attn1"])
    assert close(block.attn2(hidden, io["context"]), io[f"tap.{index}.attn2"])
    assert close((block.moe if index else block.mlp)(hidden), io[f"tap.{index}.ffn"])
    assert close(block(hidden, io["context"], 1, io.get(f"tap.{index}.skip")), io[f"tap.{index}.block_out"])


def test_training_loss_and_gradients_equal_the_golden_ones(model: Denoiser, io: dict[str, Tensor]):
    heads = model.blocks[0].attn1.heads
    model.train().zero_grad()
    out = model(io["x"][:, None], io["t"], io["context"][:, None])[:, 0]
    loss = (out - io["train.target"]).square().mean()
    loss.backward()
    assert close(out, io["train.out"])
    assert loss.item() == pytest.approx(io["train.loss"].item(), rel=1e-5)
    names = [name.removeprefix("train.grad.") for name in io if name.startswith("train.grad.")]
    assert len(names) == 12
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name in names:
        wanted, gradient = io[f"train.grad.{name}"], found[name]
        if "to_" in name:  # the rows of q, k, v are shared among three (two) tensors in the reference
            letters = "qkv" if "attn1" in name else "kv"
            family = [found[f"{name.rsplit('to_', 1)[0]}to_{letter}.weight"] for letter in letters]
            packed = torch.stack([part.unflatten(0, (heads, -1)) for part in family], dim=1).flatten(0, 2)
            own = letters.index(name.rsplit("to_", 1)[1][0])
            gradient = packed.chunk(len(letters))[own]
        assert (gradient - wanted).abs().max() <= 1e-4 * wanted.abs().max(), name
    total = torch.stack([gradient.norm() for gradient in found.values()]).norm().item()
    assert total == pytest.approx(io["train.grad_norm_total"].item(), rel=1e-4)
    model.eval().zero_grad()


def test_the_full_size_has_exactly_the_published_number_of_parameters(configure: Callable[..., DictConfig]):
    with torch.device("meta"):
        plain = Denoiser()
        configured = instantiate(configure("train", "model=hunyuan3d21").model.denoiser)
    for denoiser in (plain, configured):
        assert sum(parameter.numel() for parameter in denoiser.parameters()) == 3_050_758_720
    assert {n: p.shape for n, p in plain.named_parameters()} == {n: p.shape for n, p in configured.named_parameters()}


def pair(pattern: Any) -> tuple[Denoiser, Denoiser]:
    """A 3D denoiser and a 4D one with the same base weights."""
    torch.manual_seed(0)
    base, grown = Denoiser(**NANO, num_experts=4), Denoiser(**NANO, num_experts=4, pattern=pattern)
    left, unused = grown.load_state_dict(base.state_dict(), strict=False)
    assert left and all(is_temporal(name) for name in left) and not unused
    return base.eval(), grown.eval()


def clip(frames: int = 5, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(batch, frames, 32, 8), torch.rand(batch), torch.randn(batch, frames, 3, 16)


@torch.no_grad()
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_zero_init_leaves_the_3d_model_unchanged_until_the_output_projection_moves(
    attention: str, configure: Callable[..., DictConfig]
):
    base, grown = pair(instantiate(configure("train", "model=nano", f"attention={attention}").attention))
    latents, time, context = clip()
    lone = torch.cat([base(latents[:, [k]], time, context[:, [k]]) for k in range(5)], dim=1)
    assert torch.allclose(grown(latents, time, context), lone, atol=1e-6)
    for block in grown.blocks:
        torch.nn.init.normal_(block.temporal.out_proj.weight)
    other = latents.clone()
    other[:, 0] += 1
    before, after = grown(latents, time, context), grown(other, time, context)
    assert not torch.allclose(before, lone, atol=1e-2)
    assert (before - after)[:, 1:].abs().amax(dim=(0, 2, 3)).min() > 1e-3  # the anchor reaches every frame


@torch.no_grad()
def test_frames_of_different_clips_never_meet():
    _, grown = pair(StridedPattern(block_size=4))
    for block in grown.blocks:
        torch.nn.init.normal_(block.temporal.out_proj.weight)
    latents, time, context = clip()
    other = latents.clone()
    other[1] += 1
    before, after = grown(latents, time, context), grown(other, time, context)
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert not torch.allclose(before[1], after[1], atol=1e-2)


@torch.no_grad()
def test_the_time_token_stays_out_of_temporal_attention():
    _, grown = pair(StridedPattern(block_size=4))
    block = grown.blocks[0]
    torch.nn.init.normal_(block.temporal.out_proj.weight)
    tokens = torch.randn(6, 33, 32)
    mixed = block._across_frames(tokens, 3)
    assert torch.equal(mixed[:, 0], tokens[:, 0])
    assert not torch.allclose(mixed[:, 1:], tokens[:, 1:], atol=1e-2)
    other = tokens.clone()
    other[:, 0] += 1
    assert torch.equal(block._across_frames(other, 3)[:, 1:], mixed[:, 1:])


def test_tokens_that_do_not_split_into_blocks_are_refused():
    _, grown = pair(StridedPattern(block_size=5))
    with pytest.raises(ValueError, match="32 tokens do not split into blocks of 5"):
        grown(*clip())


def test_only_the_names_of_the_4d_layers_count_as_temporal():
    grown = Denoiser(**NANO, num_experts=4, pattern=StridedPattern(block_size=4))
    named = {name for name, _ in grown.named_parameters() if is_temporal(name)}
    base = {name for name, _ in Denoiser(**NANO, num_experts=4).named_parameters()}
    assert named == {name for name, _ in grown.named_parameters()} - base
    assert len(named) == 3 * (2 + 3 + 2 + 2)  # a block: norm, to_q/k/v, q/k norm, projection
