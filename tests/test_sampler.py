import pytest
import torch
from torch import Tensor

from sculpt4d.sampler import Euler

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


def test_guidance_of_one_needs_no_null_pass_and_equals_the_condition():
    noise, context = torch.randn(SHAPE), torch.randn(2, 3, 5, 6)
    batches = []

    def denoise(latents: Tensor, time: Tensor, image: Tensor) -> Tensor:
        batches.append(len(latents))
        return latents * time.view(-1, 1, 1, 1) + image.mean(dim=(2, 3), keepdim=True)

    plain = Euler(3, guidance=1.0).sample(denoise, noise, context)
    assert batches == [2, 2, 2]
    near = Euler(3, guidance=1.0 + 1e-7).sample(denoise, noise, context)
    assert batches[3:] == [4, 4, 4]
    assert torch.allclose(plain, near, atol=1e-5)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 2.0, 5.0])
def test_guidance_goes_from_the_null_velocity_through_the_conditional_one(guidance: float):
    noise, context = torch.zeros(SHAPE), torch.full((2, 3, 5, 6), 4.0)
    null = 0.5  # velocity without context; with it 4.5
    moved = Euler(1, guidance).sample(
        lambda x, time, image: x + null + image.mean(dim=(2, 3), keepdim=True), noise, context
    )
    assert torch.allclose(moved, torch.full(SHAPE, null + guidance * 4.0))


def test_times_run_from_noise_to_data_in_equal_steps():
    assert Euler(4).times().tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("shift", [0.25, 0.5, 3.0])
def test_shift_moves_every_time_by_its_formula_and_keeps_the_ends(shift: float):
    times, linear = Euler(10, shift=shift).times(), torch.linspace(0, 1, 11)
    assert torch.allclose(times, shift * linear / (1 + (shift - 1) * linear))
    assert times[0] == 0 and times[-1] == 1
    assert (times.diff() > 0).all()
    assert (times[1] < linear[1]) == (shift < 1)  # below one: more steps near the noise


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
