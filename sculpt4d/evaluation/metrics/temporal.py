"""Whether a surface stays itself over time: drift of the shape from its first frame, and flicker between frames.

Both compare how far the prediction departs from itself with how far the truth does, so that true motion costs nothing
and a frozen prediction does. A pair of predicted frames of which one has no surface costs what such a frame costs in
the Chamfer distance, in all three quantities: leaving it out would reward failing where the surface flickers. Distances
are Chamfer distances (sum of the two mean un-squared ones, in box units) of the points drawn for the other metrics.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from sculpt4d.evaluation.metrics.geometry import FAILED_CHAMFER, Surface, nearest


def departures(surfaces: Sequence[Surface]) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """Chamfer distance of every later frame (t - 1,) to the first one, and to the frame before it.

    NaN where one of the two has no surface.
    """
    pairs = [(surfaces[0], later) for later in surfaces[1:]], list(pairwise(surfaces))
    first, previous = (np.array([_chamfer(*pair) for pair in side], dtype=np.float64) for side in pairs)
    return first, previous


def constancy(predicted: Sequence[Surface], truth: Sequence[Surface]) -> dict[str, float]:
    """`identity_drift`: mean |departure from frame 0, prediction minus truth|; `flicker`: mean departure from the frame
    before; `flicker_error`: mean |the same, prediction minus truth|; a failed pair of the prediction counts as
    `FAILED_CHAMFER` in each. NaN for a single frame.
    """
    return compare_departures(departures(predicted), departures(truth))


def compare_departures(
    predicted: tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]],
    truth: tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]],
) -> dict[str, float]:
    """The quantities of `constancy` from departures that are known."""
    failed = [np.isnan(side) for side in predicted]
    return {
        "identity_drift": _mean(np.where(failed[0], FAILED_CHAMFER, np.abs(predicted[0] - truth[0]))),
        "flicker": _mean(np.where(failed[1], FAILED_CHAMFER, predicted[1])),
        "flicker_error": _mean(np.where(failed[1], FAILED_CHAMFER, np.abs(predicted[1] - truth[1]))),
    }


def _chamfer(first: Surface, second: Surface) -> float:
    if first.failed or second.failed:
        return float("nan")
    return float(nearest(first, second).mean() + nearest(second, first).mean())


def _mean(values: Float[np.ndarray, " s"]) -> float:
    """NaN where there is no pair."""
    return float(values.mean()) if len(values) else float("nan")
