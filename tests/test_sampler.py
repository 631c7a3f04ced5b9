import pytest
import torch
from torch import Tensor

from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.sampler import Euler, shifted_times

SHAPE = (2, 3, 8, 4)


def test_euler_along_the_true_velocity_reaches_the_data_in_any_number_of_steps():
    data, noise, context = torch.randn(SHAPE), torch.randn(SHAPE), torch.zeros(2, 3, 1, 1)
    for steps, shift in ((1, 1.0), (7, 1.0), (7, 0.3)):
        sampler = Euler(steps, guidance=1.0, shift=shift)
        reached = sampler.sample(lambda latents, time, image: data - noise, noise, context)
        assert torch.allclose(reached, data, atol=1e-5)


def test_the_velocity_of_a_straight_path_is_followed_from_where_the_latents_are():
    data, noise, context = torch.randn(SHAPE), torch.randn(SHAPE), torch.zeros(2, 3, 1, 1)

    def denoise(latents: Tensor, time: Tensor, image: Tensor) -> Tensor:
        return (data - latents) / (1 - time).view(-1, 1, 1, 1)

    assert torch.allclose(Euler(5, guidance=1.0).sample(denoise, noise, context), data, atol=1e-5)


def image_mean(image: Tensor | None, clips: int) -> Tensor:
    """The mean of every clip's image, zero for the clips beyond the context: a stand-in for a network."""
    known = torch.empty(0, 1, 1, 1) if image is None else image.mean(dim=(1, 2, 3), keepdim=True)
    return torch.cat([known, torch.zeros(clips - len(known), 1, 1, 1)])


@pytest.mark.parametrize("guidance, given", [(0.0, 0), (1.0, 2)])
def test_guidance_of_zero_and_one_need_one_half_alone(guidance: float, given: int):
    noise, context, batches = torch.randn(SHAPE), torch.randn(2, 3, 5, 6), []

    def denoise(latents: Tensor, time: Tensor, image: Tensor | None) -> Tensor:
        batches.append((len(latents), len(time), 0 if image is None else len(image)))
        return latents * time.view(-1, 1, 1, 1) + image_mean(image, len(latents))

    plain = Euler(3, guidance).sample(denoise, noise, context)
    assert batches == [(2, 2, given)] * 3
    near = Euler(3, guidance + 1e-7).sample(denoise, noise, context)
    assert batches[3:] == [(4, 4, 2)] * 3
    assert torch.allclose(plain, near, atol=1e-5)


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("guidance", [0.0, 0.5, 2.0, 5.0])
def test_guidance_goes_from_the_null_velocity_through_the_conditional_one(guidance: float, in_turn: bool):
    noise, context = torch.zeros(SHAPE), torch.full((2, 3, 5, 6), 4.0)
    null = 0.5  # velocity without context; with it 4.5
    moved = Euler(1, guidance, halves_in_turn=in_turn).sample(
        lambda x, time, image: x + null + image_mean(image, len(x)), noise, context
    )
    assert torch.allclose(moved, torch.full(SHAPE, null + guidance * 4.0))


@torch.no_grad()
def test_halves_in_turn_give_the_latents_of_both_at_once_in_half_the_batch():
    torch.manual_seed(0)
    denoiser = Denoiser(8, 32, 16, depth=3, num_heads=2, num_moe_layers=1, pattern=StridedPattern(block_size=4)).eval()
    noise, context, batches = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 5, 16), []
    denoiser.register_forward_hook(lambda _, inputs, out: batches.append(len(out)))
    wanted = Euler(3).sample(denoiser, noise, context)
    found = Euler(3, halves_in_turn=True).sample(denoiser, noise, context)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert batches == [4] * 3 + [2] * 6


def test_the_context_reaches_the_network_untouched_whatever_it_is():
    context, seen = object(), []

    def denoise(latents: Tensor, time: Tensor, image: object) -> Tensor:
        seen.append(image)
        return latents

    Euler(2).sample(denoise, torch.zeros(SHAPE), context)
    assert all(image is context for image in seen)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_latents_are_kept_in_32_bits_between_steps(dtype: torch.dtype):
    seen = []

    def denoise(latents: Tensor, time: Tensor, image: None) -> Tensor:
        seen.append(latents.dtype)
        return torch.full_like(latents, 1.0)

    start = torch.full(SHAPE, 100.0).to(dtype)
    moved = Euler(1000, guidance=1.0).sample(denoise, start, None)  # steps too small to be added in 16 bits
    assert set(seen) == {torch.float32} and moved.dtype == torch.float32
    assert torch.allclose(moved, torch.full(SHAPE, 101.0), atol=1e-2)


def test_times_run_from_noise_to_data_in_equal_steps():
    assert Euler(4).times().tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("shift", [0.25, 0.5, 3.0])
def test_shift_moves_every_time_by_its_formula_and_keeps_the_ends(shift: float):
    times, linear = Euler(10, shift=shift).times(), torch.linspace(0, 1, 11)
    assert torch.allclose(times, shift * linear / (1 + (shift - 1) * linear))
    assert times[0] == 0 and times[-1] == 1
    assert (times.diff() > 0).all()
    assert (times[1] < linear[1]) == (shift < 1)  # below one: more steps near the noise


@pytest.mark.parametrize("shift", [0.25, 1.0, 3.0])
def test_shifting_back_gives_equally_spaced_times_again(shift: float):
    times = shifted_times(0.1, 0.9, 7, shift)
    back = times / (shift + (1 - shift) * times)
    assert torch.allclose(back, torch.linspace(0.1, 0.9, 7))


def test_the_network_is_asked_at_the_start_of_every_step():
    asked = []

    def denoise(latents: Tensor, time: Tensor, image: Tensor) -> Tensor:
        asked.append(time[0].item())
        return latents

    Euler(4, guidance=1.0).sample(denoise, torch.zeros(SHAPE), torch.zeros(2, 3, 1, 1))
    assert asked == [0.0, 0.25, 0.5, 0.75]


def test_progress_is_told_after_every_step():
    told = []
    Euler(3).sample(
        lambda latents, time, image: latents, torch.zeros(SHAPE), torch.zeros(2, 3, 1, 1), lambda *now: told.append(now)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": -3}, {"guidance": -0.5}, {"shift": 0.0}, {"share": -0.1}, {"share": 1.5}]
)
def test_a_value_out_of_range_is_refused_by_its_name(wrong: dict[str, float]):
    with pytest.raises(ValueError, match=rf"sampler\.{next(iter(wrong))}="):
        Euler(**wrong)
