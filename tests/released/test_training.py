"""The release's learning rate over the steps, and its averaged weights (base spec 5.1)."""

import pytest
import torch

from sculpt4d.training.optim import move_average, rate_factor

from .folder import FEATURE, gap, numbers


def test_learning_rate_factors_equal_the_released_ones() -> None:
    for case in numbers("lr_ema")["lr_factor"]:
        top, warmup, total = case["f_max"], case["warm_up_steps"], case["max_decay_steps"]
        shape = {"final": case["f_min"] / top, "start": case["f_start"] / top}  # ours is over the peak
        found = [top * rate_factor(step, warmup, total, **shape) for step in case["step"]]
        assert found == pytest.approx(case["factor"], rel=FEATURE, abs=0)


def test_averaged_weights_follow_the_released_sequence() -> None:
    ema = numbers("lr_ema")["ema"]
    average = [torch.tensor(ema["initial"])]
    for step, (weights, shadow) in enumerate(ema["param_then_shadow"], start=1):
        move_average(average, [torch.tensor(weights)], ema["decay"], step)
        assert gap(average[0], torch.tensor(shadow)) <= FEATURE * max(1.0, max(map(abs, shadow)))
