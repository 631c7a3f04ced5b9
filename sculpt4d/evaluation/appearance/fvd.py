"""FVD: the Fréchet distance between what a video network sees in two sets of clips (Unterthiner et al. 2018)."""

import numpy as np
from jaxtyping import Float

TOO_FEW = "a covariance needs at least two clips on either side"


def frechet_distance(mine: Float[np.ndarray, "n d"], theirs: Float[np.ndarray, "m d"]) -> float:
    """Squared distance of the Gaussians fitted to two sets of features; NaN when a set has fewer than two rows.

    The trace of the root of the product of two covariances A'A and B'B is the sum of the singular values of AB', which
    needs no matrix root and is exact when there are fewer clips than features.
    """
    if min(len(mine), len(theirs)) < 2:
        return float("nan")
    mean, other = (side.astype(np.float64).mean(axis=0) for side in (mine, theirs))
    first, second = _root(mine), _root(theirs)
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    spread = np.square(first).sum() + np.square(second).sum()
    return float(np.square(mean - other).sum() + spread - 2 * shared)


def _root(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "r d"]:
    """A matrix whose product with its own transpose, from the left, is the covariance; at most d rows."""
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    return np.asarray(np.linalg.qr(centred / (len(features) - 1) ** 0.5, mode="r"))
