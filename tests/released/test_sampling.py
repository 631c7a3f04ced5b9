"""Schedules, paths, loss and whole sampled trajectories (base spec 4)."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sculpt4d.flow import LogitNormalTime, flow_loss
from sculpt4d.sampler import Euler, shifted_times

from .folder import FOLDER, SERIES, gap, listed, numbers, tensors
from .networks import denoiser

GUIDANCE = 5.0  # of the recorded samples
RELATIVE = 1e-6  # suggested for all scheduler numbers
SAMPLES = sorted(path.stem for path in FOLDER.glob("sample_*_io.safetensors"))


def close(found: Tensor, wanted: Any) -> bool:
    """Equal numbers, one by one."""
    wanted = torch.as_tensor(wanted)
    return found.shape == wanted.shape and torch.allclose(found.float(), wanted.float(), rtol=RELATIVE, atol=0)


def near(found: Tensor, wanted: Any) -> bool:
    """Equal in view of the largest number: for sums, which may cancel."""
    wanted = torch.as_tensor(wanted)
    return gap(found, wanted) <= RELATIVE * max(1.0, wanted.abs().max().item())


def euler(points: int, shift: float = 1.0, guidance: float = 1.0, **options: Any) -> Euler:
    """The sampler whose path has the release's `points`: its last step is empty, unless it is the only one."""
    return Euler(max(points - 1, 1), guidance, shift, **options)


def walk(sampler: Euler, velocity: Callable[..., Tensor], start: Tensor, context: Any) -> tuple[Tensor, Tensor]:
    """Latents at the start and after every step, (steps + 1, ...), and the times of the evaluations, (steps, ...)."""
    states, times = [], []

    def denoise(latents: Tensor, time: Tensor, seen: Any) -> Tensor:
        states.append(latents[: len(start)])
        times.append(time)
        return velocity(latents, time, seen)

    end = sampler.sample(denoise, start, context)
    return torch.stack([*states, end]), torch.stack(times)


def test_schedules_are_those_of_the_released_pipeline():
    for held in numbers("scheduler")["pipeline_schedules"]:
        points, times = held["num_inference_steps"], euler(held["num_inference_steps"], held["shift"]).times()
        path = times if points == 1 else torch.cat([times, torch.ones(1)])
        assert close(path, held["sigmas"]), held
        asked = path[:-1]  # every call of the release, the useless last one included
        assert close(asked, held["model_t_float32"])
        assert close(1000 * asked, held["timesteps"])
        halves = (1000 * asked).half() / 1000
        assert torch.equal(halves, torch.tensor(held["model_t_float16"]).half())


def test_schedules_by_step_count_alone_lie_between_the_ends_of_the_scheduler_s_own_table():
    """It is shifted when it is made, and what lies between its ends is shifted again."""
    for held in numbers("scheduler")["default_schedules"]:
        table = shifted_times(1 / 1000, 1.0, 1000, held["shift"])
        times = shifted_times(table[0].item(), table[-1].item(), held["num_inference_steps"], held["shift"])
        assert close(torch.cat([times, torch.ones(1)]), held["sigmas"]), held
        assert close(1000 * times, held["timesteps"]), held


def test_the_scheduler_s_own_table_is_a_thousand_shifted_times():
    for held in numbers("scheduler")["constructor"]:
        table = shifted_times(1 / held["n"], 1.0, held["n"], held["shift"])
        first, last = held["first_sigmas"], held["last_sigmas"]
        assert close(table[: len(first)], first) and close(table[-len(last) :], last), held
        assert close(table[-1], held["sigma_min_attr"]) and close(table[0], held["sigma_max_attr"])  # so named there


def test_euler_steps_along_a_known_velocity_reach_the_recorded_states():
    for held in numbers("scheduler")["trajectories"]:
        assert held["velocity"].startswith("cos(2*pi*t) - 0.5*x"), held["velocity"]
        points, wanted = held["num_inference_steps"], torch.tensor(held["states"])
        states, _ = walk(
            euler(points, held["shift"]),
            lambda x, time, _: torch.cos(2 * torch.pi * time).view(-1, 1, 1, 1) - 0.5 * x,
            wanted[0].view(1, 1, 1, -1),
            None,
        )
        found = states.flatten(1)
        assert near(found if points == 1 else torch.cat([found, found[-1:]]), wanted), held


def test_guidance_combines_the_halves_as_the_release():
    held = numbers("scheduler")["cfg"]
    halves = torch.tensor([held["cond"], held["uncond"]])[:, None, None]
    start = torch.zeros_like(halves[:1])
    sampler = Euler(1, held["guidance_scale"])
    assert near(sampler.sample(lambda *_: halves, start, None).flatten(), held["combined"])


def test_path_target_and_loss_are_those_of_the_released_training():
    path, held = numbers("scheduler")["training_path"], numbers("scheduler")["training_loss"]
    assert (path["train_eps"], path["sample_eps"], path["interval"]) == (0, 0, [0, 1])
    data, noise, x_t, target = (torch.tensor(path[key])[:, None] for key in ("data", "noise", "x_t", "velocity_target"))
    prediction, time, seen = torch.tensor(held["prediction"])[:, None], torch.tensor(path["t"]), []

    def predict(noised: Tensor, now: Tensor) -> Tensor:
        seen.append(noised)
        return prediction

    assert near(flow_loss(predict, data, noise, time), held["loss_per_sample"])
    assert near(seen[0], x_t)
    assert flow_loss(lambda *_: target, data, noise, time).max() < 1e-12


def test_logit_normal_times_are_those_of_the_released_option():
    held = numbers("scheduler")["logit_normal_option"]
    distribution = LogitNormalTime(held["mean"], held["std"], held["shift_scale"])
    assert close(distribution.times(torch.tensor(held["standard_normal_draws"])), held["t"])


@pytest.mark.parametrize("variant", ["plain", "projected", "halves_in_turn"])
@pytest.mark.parametrize("name", listed(SAMPLES, "sample_*_io"))
@torch.no_grad()
def test_sampled_trajectories_equal_the_released_ones(name: str, variant: str):
    """With N - 1 evaluations for N: the last one's velocity is multiplied by zero."""
    io, model = tensors(name), denoiser(name.removesuffix("_io").replace("sample", "dit", 1))
    context: Any = model.project(io["context"][:, None]) if variant == "projected" else io["context"][:, None]
    counts = [int(match[1]) for match in map(re.compile(r"n(\d+)\.noise").fullmatch, io) if match]
    assert counts
    for points in counts:
        held = {key.removeprefix(f"n{points}."): value for key, value in io.items() if key.startswith(f"n{points}.")}
        sampler = euler(points, guidance=GUIDANCE, halves_in_turn=variant == "halves_in_turn")
        states, times = walk(sampler, model, held["noise"][:, None], context)
        if variant == "halves_in_turn":
            states, times = torch.cat([states[:-1:2], states[-1:]]), times.unflatten(0, (-1, 2)).flatten(1)
        assert close(times, held["model_t"][: sampler.steps])
        assert points == 1 or close(held["model_t"][-1], torch.ones(2 * len(held["noise"])))
        found = states[1:, :, 0] if points == 1 else torch.cat([states[1:, :, 0], states[-1:, :, 0]])
        assert gap(found, held["trajectory"]) <= SERIES
        assert gap(found[-1], held["final"]) <= SERIES
