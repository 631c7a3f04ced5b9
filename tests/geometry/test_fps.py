"""Farthest point sampling follows its definition, repeats itself, and covers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.geometry.fps import farthest_points


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), start=st.integers(0, 10**6))
def test_every_row_is_the_farthest_from_those_before_it(seed, n, start):
    points = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    rows = farthest_points(points, n // 2 + 1, start % n)
    assert rows[0] == start % n and rows.dtype == np.int64
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    for k in range(1, len(rows)):
        nearest = distance[:, rows[:k]].min(axis=1)
        assert nearest[rows[k]] == pytest.approx(nearest.max(), rel=1e-4)


def test_it_is_deterministic_and_takes_each_row_once():
    points = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    rows = farthest_points(points, 200)
    assert np.array_equal(rows, farthest_points(points.copy(), 200))
    assert len(set(rows.tolist())) == 200
    assert sorted(farthest_points(points[:50], 50).tolist()) == list(range(50))


def test_it_covers_a_sphere_far_better_than_chance():
    points = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)

    def cover(rows: np.ndarray) -> float:
        return float(np.linalg.norm(points[:, None] - points[rows], axis=2).min(axis=1).max())

    assert cover(farthest_points(points, 100)) < 0.6 * cover(np.arange(100))


@pytest.mark.parametrize("count, start", [(6, 0), (0, 0), (3, 5), (3, -1)])
def test_impossible_requests_are_refused(count, start):
    with pytest.raises(ValueError):
        farthest_points(np.eye(5, 3, dtype=np.float32), count, start)


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        farthest_points(np.array([[0, 0, 0], [np.nan, 0, 0]], np.float32), 1)
