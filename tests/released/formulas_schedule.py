"""Flow matching in numbers: sigma schedules, Euler steps, guidance, training path, learning rate, moving average."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .formulas_denoiser import denoise
from .formulas_layers import Weights

GUIDANCE = 5.0
TABLE = 1000  # training time steps of the scheduler
VELOCITY = "cos(2*pi*t) - 0.5*x  with t in [0,1]"
Numbers = dict[str, Any]


def shifted(sigmas: np.ndarray, shift: float) -> np.ndarray:
    """s * sigma / (1 + (s - 1) * sigma)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def table(shift: float) -> np.ndarray:
    """The scheduler's first state in float32: 1/1000 to 1, shifted."""
    return shifted(np.linspace(1, TABLE, TABLE, dtype=np.float32) / np.float32(TABLE), shift).astype(np.float32)


def closed(sigmas: np.ndarray) -> np.ndarray:
    """float32, with the final 1 appended: one Euler step per entry but the last."""
    return np.append(sigmas, 1.0).astype(np.float32)


def pipeline_sigmas(steps: int, shift: float) -> np.ndarray:
    """0 to 1 inclusive, shifted, closed: (steps + 1,), the last step empty."""
    return closed(shifted(np.linspace(0, 1, steps), shift))


def only(given: Numbers, *names: str) -> Numbers:
    """The inputs of an entry, without any output it may hold already."""
    return {name: given[name] for name in names}


def pipeline_schedule(given: Numbers) -> Numbers:
    """A `pipeline_schedules` entry from its step count and shift."""
    sigmas = pipeline_sigmas(given["num_inference_steps"], given["shift"])
    times = torch.from_numpy(sigmas[:-1]) * TABLE
    halves = (times.half() / TABLE).float()  # cast first, divided in float16
    return only(given, "num_inference_steps", "shift") | {
        "sigmas": sigmas.tolist(),
        "timesteps": times.tolist(),
        "model_t_float32": (times / TABLE).tolist(),
        "model_t_float16": halves.tolist(),
    }


def default_schedule(given: Numbers) -> Numbers:
    """A `default_schedules` entry: between the ends of the table, which a shift reaches twice."""
    ends = table(given["shift"])
    sigmas = closed(shifted(np.linspace(ends[0], ends[-1], given["num_inference_steps"]), given["shift"]))
    times = (sigmas[:-1] * np.float32(TABLE)).tolist()
    return only(given, "num_inference_steps", "shift") | {"sigmas": sigmas.tolist(), "timesteps": times}


def constructor(given: Numbers) -> Numbers:
    """The scheduler as built; its `sigma_min` is the last sigma and so the largest."""
    sigmas = table(given["shift"])
    return only(given, "shift") | {
        "first_sigmas": sigmas[:3].tolist(),
        "last_sigmas": sigmas[-3:].tolist(),
        "n": len(sigmas),
        "sigma_min_attr": float(sigmas[-1]),
        "sigma_max_attr": float(sigmas[0]),
    }


def euler(velocity: Callable[[Tensor, float], Tensor], start: Tensor, sigmas: np.ndarray) -> list[Tensor]:
    """States after every step; `velocity` is asked once a step, the empty last one included."""
    states, x = [], start
    for now, then in pairwise(sigmas):
        x = x + float(then - now) * velocity(x, float(now))
        states.append(x)
    return states


def trajectory(given: Numbers) -> Numbers:
    """A `trajectories` entry from its first state, along its one velocity."""
    start = torch.tensor(given["states"][0])
    sigmas = pipeline_sigmas(given["num_inference_steps"], given["shift"])
    states = euler(lambda x, t: math.cos(2 * math.pi * t) - 0.5 * x, start, sigmas)
    found = {"velocity": VELOCITY, "states": [state.tolist() for state in [start, *states]]}
    return only(given, "num_inference_steps", "shift") | found


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """v_u + g (v_c - v_u)."""
    return unconditional + scale * (conditional - unconditional)


def sample_outputs(weights: Weights, config: Mapping[str, Any], io: Weights) -> dict[str, Tensor]:
    """Everything a `sample_*_io` file holds, from its context and its `nN.noise`."""
    context = torch.cat([io["context"], torch.zeros_like(io["context"])])
    found: dict[str, Tensor] = {}
    for name in (name for name in io if name.endswith(".noise")):
        key = name.removesuffix(".noise")
        asked: list[Tensor] = []

        def velocity(x: Tensor, t: float, asked: list[Tensor] = asked) -> Tensor:
            asked.append(torch.full((2 * len(x),), t, dtype=x.dtype))
            both = denoise(weights, config, torch.cat([x, x]), asked[-1], context).out
            return guided(both[: len(x)], both[len(x) :], GUIDANCE)

        states = euler(velocity, io[name], pipeline_sigmas(int(key[1:]), 1.0))
        found |= {f"{key}.model_t": torch.stack(asked), f"{key}.trajectory": torch.stack(states)}
        found[f"{key}.final"] = states[-1]
    return found


def training_path(given: Numbers) -> Numbers:
    """x_t = t data + (1 - t) noise and its velocity data - noise, over the whole of [0, 1]."""
    t, data, noise = (torch.tensor(given[name]) for name in ("t", "data", "noise"))
    mixed = t[:, None, None] * data + (1 - t[:, None, None]) * noise
    margins = {"train_eps": 0, "sample_eps": 0, "interval": [0, 1]}
    found = {"x_t": mixed.tolist(), "velocity_target": (data - noise).tolist()}
    return only(given, "t", "data", "noise") | found | margins


def logit_normal(given: Numbers) -> Numbers:
    """t = sigmoid(mean + std z), then shifted by the square root of the scale."""
    drawn = torch.tensor(given["standard_normal_draws"])
    t = torch.sigmoid(given["mean"] + given["std"] * drawn)
    root = math.sqrt(given["shift_scale"])
    return only(given, "mean", "std", "shift_scale", "standard_normal_draws") | {
        "t": (root * t / (1 + (root - 1) * t)).tolist()
    }


def scheduler_numbers(given: Numbers) -> Numbers:
    """The whole of `scheduler.json` from the inputs in it."""
    path, cfg = training_path(given["training_path"]), given["cfg"]
    prediction = given["training_loss"]["prediction"]
    error = torch.tensor(prediction) - torch.tensor(path["velocity_target"])
    combined = guided(torch.tensor(cfg["cond"]), torch.tensor(cfg["uncond"]), cfg["guidance_scale"])
    return {
        "pipeline_schedules": [pipeline_schedule(entry) for entry in given["pipeline_schedules"]],
        "default_schedules": [default_schedule(entry) for entry in given["default_schedules"]],
        "trajectories": [trajectory(entry) for entry in given["trajectories"]],
        "constructor": [constructor(entry) for entry in given["constructor"]],
        "cfg": only(cfg, "cond", "uncond", "guidance_scale") | {"combined": combined.tolist()},
        "training_path": path,
        "training_loss": {"prediction": prediction, "loss_per_sample": error.square().mean((1, 2)).tolist()},
        "logit_normal_option": logit_normal(given["logit_normal_option"]),
    }


def learning_rate(given: Numbers) -> Numbers:
    """A `lr_factor` entry: linear warm-up, then half a cosine."""
    low, high, warm = given["f_min"], given["f_max"], given["warm_up_steps"]

    def factor(step: int) -> float:
        if step < warm:
            return given["f_start"] + (high - given["f_start"]) * step / warm
        part = min(1.0, (step - warm) / (given["max_decay_steps"] - warm))
        return low + (high - low) / 2 * (1 + math.cos(math.pi * part))

    names = ("warm_up_steps", "f_min", "f_max", "f_start", "max_decay_steps", "step")
    return only(given, *names) | {"factor": [factor(step) for step in given["step"]]}


def lr_ema_numbers(given: Numbers) -> Numbers:
    """The whole of `lr_ema.json`: factors, and the average whose decay grows with its step count from 1."""
    average, pairs = torch.tensor(given["ema"]["initial"]), []
    for count, (parameter, _) in enumerate(given["ema"]["param_then_shadow"], start=1):
        decay = min(given["ema"]["decay"], (1 + count) / (10 + count))
        average = decay * average + (1 - decay) * torch.tensor(parameter)
        pairs.append([parameter, average.tolist()])
    return {
        "lr_factor": [learning_rate(entry) for entry in given["lr_factor"]],
        "ema": only(given["ema"], "decay", "initial") | {"param_then_shadow": pairs},
    }
