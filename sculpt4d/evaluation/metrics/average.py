"""A quantity over objects: its mean and how sure that is."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor


class Average(NamedTuple):
    """Mean over objects and its standard error (NaN where there is one object)."""

    mean: float
    error: float
    objects: int


def summarize(values: Sequence[float] | Float[Tensor, " n"]) -> Average:
    """Mean and standard error over objects; a quantity that no object has is NaN, and so is the error of one object."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return Average(float("nan"), float("nan"), 0)
    error = numbers.std(ddof=1) / len(numbers) ** 0.5 if len(numbers) > 1 else math.nan
    return Average(float(numbers.mean()), float(error), len(numbers))
