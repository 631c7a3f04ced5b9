"""Motion told by image tokens, and a denoiser whose mask follows it: the same in training and in sampling."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from sculpt4d.attention.adaptive import MotionPattern, PairwisePattern, token_change
from sculpt4d.attention.patterns import Pattern, StridedPattern
from sculpt4d.model.condition import drop_context
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.sampler import Euler

MOTION = MotionPattern(block_size=2)
FRAMES, LATENTS = 8, 16


def denoiser(pattern: Pattern, recompute: bool = False) -> Denoiser:
    """One whose every parameter matters, the same for every pattern."""
    torch.manual_seed(1)
    sizes = {"in_channels": 4, "hidden_size": 16, "context_dim": 12, "depth": 3, "num_heads": 2, "num_moe_layers": 0}
    built = Denoiser(**sizes, pattern=pattern, recompute=recompute)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


def moving(*speeds: float) -> Tensor:
    """A clip's image tokens, all of them on their way along one line at these speeds."""
    way = torch.cumsum(torch.tensor([0.0, *speeds]), 0)
    start, direction = (torch.randn(5, 12, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    return start + way[:, None, None] * torch.nn.functional.normalize(direction, dim=-1)


EVEN, LATE = moving(*[0.5] * 7), moving(0.1, 0.1, 0.1, 0.1, 1, 1, 1)


def clips(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, FRAMES, LATENTS, 4, generator=generator), torch.rand(count, generator=generator)


def test_the_change_of_tokens_is_the_way_they_go_over_their_size():
    found = token_change(torch.stack([LATE, EVEN]))
    sizes = torch.stack([LATE, EVEN]).norm(dim=-1).mean((1, 2))
    torch.testing.assert_close(found[0] * sizes[0], torch.tensor([0.1] * 4 + [1.0] * 3))
    torch.testing.assert_close(found[1] * sizes[1], torch.full((7,), 0.5))
    torch.testing.assert_close(token_change(7 * LATE[None]), found[:1])


def test_what_does_not_move_has_no_change_and_neither_has_a_clip_without_images():
    assert not token_change(LATE[:1].expand(1, 6, 5, 12)).any()
    assert torch.equal(token_change(torch.zeros(2, 6, 5, 12)), torch.zeros(2, 5))
    assert token_change(LATE[None, :1]).shape == (1, 0)


@torch.no_grad()
def test_an_even_clip_is_denoised_as_by_the_schedule_and_a_moving_one_otherwise():
    latents, time = clips(2)
    adaptive, fixed = (
        denoiser(pattern)(latents, time, torch.stack([EVEN, LATE])) for pattern in (MOTION, MOTION.schedule)
    )
    torch.testing.assert_close(adaptive[0], fixed[0], atol=1e-5, rtol=0)
    assert (adaptive[1] - fixed[1]).abs().max() > 0.01


@torch.no_grad()
def test_every_clip_of_a_batch_has_the_mask_of_its_own_motion():
    (latents, time), contexts = clips(3), torch.stack([LATE, EVEN, LATE.flip(0)])
    model = denoiser(MOTION)
    together = model(latents, time, contexts)
    for n in range(3):
        alone = model(latents[[n]], time[[n]], contexts[[n]])
        torch.testing.assert_close(together[[n]], alone, atol=1e-5, rtol=0)
        pattern = MOTION.for_clips(contexts[[n]]).known[0]
        fixed = denoiser(pattern)(latents[[n]], time[[n]], contexts[[n]])  # the clip's mask as if it were anyone's
        torch.testing.assert_close(alone, fixed, atol=1e-5, rtol=0)


@torch.no_grad()
def test_clips_without_images_have_the_schedule_whether_dropped_in_training_or_unconditional_in_sampling():
    (latents, time), contexts = clips(2), torch.stack([LATE, LATE])
    fixed, model = denoiser(MOTION.schedule), denoiser(MOTION)
    dropped = drop_context(contexts, 1.0, torch.Generator().manual_seed(0))
    for seen in (None, dropped, contexts[:0]):
        assert torch.equal(model(latents, time, seen), fixed(latents, time, seen))
    both = torch.cat([latents, latents]), torch.cat([time, time])
    assert torch.equal(model(*both, contexts)[2:], model(*both, model.project(contexts))[2:])
    torch.testing.assert_close(model(*both, contexts)[2:], fixed(latents, time, None), atol=1e-5, rtol=0)


@torch.no_grad()
def test_sampling_asks_for_the_motion_once_a_clip_and_with_a_projected_context_the_numbers_are_the_same():
    model, (noise, _) = denoiser(MOTION), clips(1)
    with patch.object(MotionPattern, "for_clips", autospec=True, side_effect=MotionPattern.for_clips) as asked:
        known = Euler(steps=3, guidance=2.0).sample(model, noise, model.project(LATE[None]))
    assert asked.call_count == 1
    assert torch.equal(known, Euler(steps=3, guidance=2.0).sample(model, noise, LATE[None]))
    halves = Euler(steps=3, guidance=2.0, halves_in_turn=True).sample(model, noise, LATE[None])
    torch.testing.assert_close(halves, known, atol=1e-4, rtol=1e-4)


def test_motion_is_that_of_the_images_whatever_the_latents_and_the_time_are():
    model = denoiser(MOTION)
    seen = []
    for block in model.blocks:
        block.temporal.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    for seed in range(2):
        torch.manual_seed(seed)
        model(torch.randn(1, FRAMES, LATENTS, 4), torch.rand(1), LATE[None])
    (pattern,) = seen[0].known
    assert isinstance(pattern, PairwisePattern) and len(seen) == 6
    assert {patterns.known for patterns in seen} == {(pattern,)}


def test_recomputed_blocks_give_the_same_gradients():
    (latents, time), found = clips(2), []
    for recompute in (False, True):
        model = denoiser(MOTION, recompute).train()
        model(latents, time, torch.stack([LATE, EVEN])).square().mean().backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(plain, again) for plain, again in zip(*found, strict=True))


def test_motion_gets_no_gradient():
    context = LATE[None].clone().requires_grad_()
    assert not token_change(context).requires_grad


def test_a_layer_alone_asks_for_the_clips_pattern():
    model = denoiser(MOTION)
    with pytest.raises(ValueError, match="depends on the clip"):
        model.blocks[0].temporal(torch.randn(1, FRAMES, LATENTS, 16))


def test_a_model_of_one_mask_has_it_for_all_clips():
    model, seen = denoiser(StridedPattern(block_size=2)), []
    model.blocks[0].temporal.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    model(*clips(1), LATE[None])
    assert [patterns.pattern for patterns in seen] == [model.pattern] and seen[0].images is None
    assert model.project(LATE[None]).patterns.pattern == model.pattern
