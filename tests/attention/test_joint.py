"""ShapeGen4D's temporal layer: image tokens among the keys, whoever computes it, and nothing of it in other models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from sculpt4d.attention.backends import attend
from sculpt4d.attention.patterns import JointPattern, StridedPattern
from sculpt4d.model.denoiser import Denoiser, is_temporal, reset_temporal
from sculpt4d.sampler import Euler

SIZES: dict[str, Any] = {"in_channels": 8, "hidden_size": 32, "context_dim": 16, "depth": 3, "num_heads": 2}


def denoiser(pattern: Any = JointPattern()) -> Denoiser:  # noqa: B008
    """One whose every weight matters."""
    torch.manual_seed(0)
    model = Denoiser(**SIZES, num_moe_layers=0, pattern=pattern)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def clip(batch: int = 2, frames: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = (batch, frames, 6, 8), (batch,), (batch, frames, 5, 16)
    latents, time, context = (torch.randn(shape, generator=generator) for shape in shapes)
    return latents, time.sigmoid(), context


def test_joined_attention_is_softmax_over_latents_and_image_tokens():
    q, (k, v) = torch.randn(2, 3, 8, 4), torch.randn(2, 2, 3, 18, 4)
    weights = torch.softmax(q @ k.mT / 2, dim=-1)
    assert torch.allclose(attend(q, k, v, JointPattern(), frames=2), weights @ v, atol=1e-6)
    alone = torch.softmax(q @ k[:, :, :8].mT / 2, dim=-1) @ v[:, :, :8]
    assert torch.allclose(attend(q, k, v, JointPattern().blind, frames=2), alone, atol=1e-6)


@pytest.mark.parametrize("backend", ["merged", "flex", "block_sparse"])
def test_backends_that_know_no_image_tokens_refuse_by_name(backend: str):
    q, k = torch.randn(1, 1, 8, 4), torch.randn(1, 1, 12, 4)
    with pytest.raises(ValueError, match=f"backend={backend} knows no image tokens.*auto or reference"):
        attend(q, k, k, JointPattern(), 2, backend)


def test_other_patterns_still_refuse_more_keys_than_queries():
    q, k = torch.randn(1, 1, 8, 4), torch.randn(1, 1, 12, 4)
    with pytest.raises(ValueError, match="share one shape"):
        attend(q, k, k, StridedPattern(block_size=2), 2)


@torch.no_grad()
def test_the_picture_of_every_frame_reaches_every_frame_through_the_temporal_layers_alone():
    """In the 3D base, and under a mask, a frame's picture is first met in that frame."""
    model = denoiser()
    for block in model.blocks:
        for parameter in (*block.attn2.parameters(), *block.norm2.parameters()):
            nn.init.zeros_(parameter)
    latents, time, context = clip()
    for changed in range(3):
        other = context.clone()
        other[:, changed] += 1
        moved = (model(latents, time, other) - model(latents, time, context)).abs().amax(dim=(0, 2, 3))
        assert moved.min() > 1e-4


@torch.no_grad()
def test_image_tokens_are_ordered_by_frame():
    model = denoiser().blocks[0].temporal
    tokens, _, images = torch.randn(1, 3, 6, 32), 0, clip(1)[2]
    swapped = model(tokens, JointPattern().for_clips(images.flip(1)))
    assert not torch.allclose(model(tokens, JointPattern().for_clips(images)), swapped, atol=1e-3)


@torch.no_grad()
def test_a_clip_without_a_picture_is_one_whose_picture_was_dropped_in_training():
    model, (latents, time, context) = denoiser(), clip()
    dropped = context.clone()
    dropped[1] = 0
    assert torch.allclose(model(latents, time, dropped), model(latents, time, context[:1]), atol=1e-5)
    assert torch.allclose(model(latents, time, 0 * context), model(latents, time, None), atol=1e-5)


@torch.no_grad()
def test_a_projected_context_and_both_ways_of_guidance_give_the_same_numbers():
    model, (latents, time, context) = denoiser(), clip()
    assert torch.allclose(model(latents, time, model.project(context)), model(latents, time, context), atol=1e-5)
    both, turns = (Euler(2, 2.0, halves_in_turn=turn) for turn in (False, True))
    wanted = both.sample(model, latents, context)
    assert torch.allclose(both.sample(model, latents, model.project(context)), wanted, atol=1e-4)
    assert torch.allclose(turns.sample(model, latents, context), wanted, atol=1e-4)


def test_image_projections_are_temporal_layers_and_train():
    model, (latents, time, context) = denoiser(), clip()
    names = [name for name, _ in model.named_parameters() if "image_" in name]
    assert len(names) == 3 * 4 and all(map(is_temporal, names))
    model(latents, time, context).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    reset_temporal(model)
    base = {name: value for name, value in model.state_dict().items() if not is_temporal(name)}
    plain = Denoiser(**SIZES, num_moe_layers=0)
    plain.load_state_dict(base)
    assert torch.allclose(model(latents, time, context), plain(latents, time, context), atol=1e-5)


def test_models_under_a_mask_have_no_part_of_it(configure: Callable[..., DictConfig]):
    for attention in ("blockmask_decay", "full", "motion_adaptive"):
        pattern = instantiate(configure("train", f"attention={attention}").attention)
        names = [name for name, _ in Denoiser(**SIZES, num_moe_layers=0, pattern=pattern).named_parameters()]
        assert not [name for name in names if "image" in name]
