"""Pictures to context; the released encoder's numbers are in tests/released."""

import pytest
import torch
from torch import nn

from sculpt4d.model.condition import DEVIATION, MEAN, DinoConditioner, PatchConditioner, drop_context

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14}


def normalised(images: torch.Tensor) -> torch.Tensor:
    """By the statistics of the encoder's training pictures."""
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def test_dino_is_frozen_unless_asked_otherwise():
    assert not any(parameter.requires_grad for parameter in DinoConditioner(28, **SMALL).parameters())
    assert all(parameter.requires_grad for parameter in DinoConditioner(28, trainable=True, **SMALL).parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [(28, 28), (20, 50), (61, 30)])
def test_pictures_of_any_size_become_tokens_in_the_precision_of_the_weights(dtype: torch.dtype, size: tuple[int, int]):
    conditioner = DinoConditioner(28, **SMALL).to(dtype)
    tokens = conditioner(torch.rand(2, 3, *size))
    assert tokens.shape == (2, 1 + 4, 16) and tokens.dtype == dtype


def test_a_picture_of_the_native_size_is_only_normalised():
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(DinoConditioner(28, **SMALL).pixel_values(images), normalised(images))


@pytest.mark.parametrize("extra, offset", [(1, 0), (3, 2), (5, 2), (6, 3), (7, 4)])
def test_the_middle_of_a_long_picture_is_taken_with_halves_to_even(extra: int, offset: int):
    wide = torch.rand(1, 3, 28, 28 + extra)
    conditioner = DinoConditioner(28, **SMALL)
    middle = normalised(wide[..., offset : offset + 28])
    assert torch.equal(conditioner.pixel_values(wide), middle)
    assert torch.equal(conditioner.pixel_values(wide.mT.contiguous()), middle.mT)


def test_a_resized_picture_keeps_its_proportions():
    columns = torch.linspace(0, 1, 80).expand(1, 3, 40, 80)  # a ramp along the longer side
    shown = DinoConditioner(28, **SMALL).pixel_values(columns)[0] * torch.tensor(DEVIATION)[:, None, None]
    ramp = (shown + torch.tensor(MEAN)[:, None, None])[0, 14]
    assert ramp[0].item() == pytest.approx(0.25, abs=0.02) and ramp[-1].item() == pytest.approx(0.75, abs=0.02)


def test_a_large_picture_is_averaged_not_sampled():
    checkers = (torch.arange(112)[:, None] + torch.arange(112)).remainder(2).float().expand(1, 3, 112, 112)
    shown = DinoConditioner(28, **SMALL).pixel_values(checkers)
    assert torch.allclose(shown[..., 2:-2, 2:-2], normalised(torch.full((1, 3, 24, 24), 0.5)), atol=1e-5)


@pytest.mark.parametrize(
    "conditioner", [DinoConditioner(28, **SMALL), PatchConditioner(size=16, width=16, layers=1, heads=2)]
)
def test_all_that_a_conditioner_holds_is_in_its_weights(conditioner: nn.Module):
    """So that it can be built without memory and filled from a file."""
    held = {name for name, _ in [*conditioner.named_parameters(), *conditioner.named_buffers()]}
    assert held == set(conditioner.state_dict())


def test_patches_become_tokens_and_any_size_is_resized():
    conditioner = PatchConditioner(size=16, width=16, layers=1, heads=2).eval()
    assert conditioner(torch.rand(2, 3, 16, 16)).shape == (2, 4, 16)
    assert conditioner(torch.rand(2, 3, 40, 40)).shape == (2, 4, 16)


@pytest.mark.parametrize("probability, kept", [(0.0, 1.0), (1.0, 0.0), (0.3, 0.7)])
def test_context_is_dropped_by_whole_clips_at_the_given_rate(probability: float, kept: float):
    context = torch.ones(4000, 2, 3, 1)
    left = drop_context(context, probability, torch.Generator().manual_seed(0)).flatten(1)
    assert ((left == 1).all(1) | (left == 0).all(1)).all()
    assert left[:, 0].mean().item() == pytest.approx(kept, abs=0.03)
