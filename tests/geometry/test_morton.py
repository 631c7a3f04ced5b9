import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sculpt4d.geometry.morton import morton_order


def test_the_corners_of_a_cube_come_in_binary_order():
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
    rows = np.random.default_rng(0).permutation(8)
    ordered = corners[rows][morton_order(corners[rows])]
    assert (ordered @ [1, 2, 4] == np.arange(8)).all()


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_every_row_is_there_once_and_neither_shift_nor_scale_matter(count: int, seed: int):
    points = np.random.default_rng(seed).integers(0, 1024, (count, 3)).astype(np.float64)
    order = morton_order(points)
    assert sorted(order) == list(range(count))
    assert (morton_order(8 * points + 16) == order).all()


def test_neighbours_in_the_order_are_near_in_space():
    points = np.random.default_rng(0).random((4096, 3))
    steps = np.linalg.norm(np.diff(points[morton_order(points)], axis=0), axis=1)
    assert steps.mean() < 0.2 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()


def test_points_at_one_place_keep_their_order_and_nan_is_refused():
    assert (morton_order(np.zeros((5, 3))) == np.arange(5)).all()
    assert morton_order(np.zeros((0, 3))).shape == (0,)
    with pytest.raises(ValueError, match="NaN"):
        morton_order(np.full((2, 3), np.nan))
