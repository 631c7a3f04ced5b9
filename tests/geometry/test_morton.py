"""The Z curve."""

import numpy as np
import pytest

from sculpt4d.geometry.morton import morton_order


def test_the_corners_of_a_cube_are_visited_as_binary_numbers():
    corners = np.array([[(number >> 2) & 1, (number >> 1) & 1, number & 1] for number in range(8)], dtype=np.float32)
    shuffled = np.random.default_rng(0).permutation(8)
    assert shuffled[morton_order(corners[shuffled])].tolist() == list(range(8))


def test_every_octant_is_a_run_at_every_depth():
    points = np.random.default_rng(0).random((500, 3))
    points = np.concatenate([points, [[0, 0, 0], [1, 1, 1]]])  # the bounding cube
    for depth in (1, 2, 3):
        cells = (points[morton_order(points)] * (1 - 1e-9) * 2**depth).astype(int) @ (1, 100, 10000)
        assert (np.diff(cells) != 0).sum() + 1 == len(np.unique(cells))


def test_neighbours_in_the_list_are_near_and_the_order_is_a_permutation():
    points = np.random.default_rng(1).normal(size=(2000, 3))
    order = morton_order(points)
    assert sorted(order) == list(range(2000))
    steps = np.linalg.norm(np.diff(points[order], axis=0), axis=1).mean()
    assert steps < 0.25 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()


def test_equal_points_keep_their_order_and_few_points_are_fine():
    assert morton_order(np.ones((4, 3))).tolist() == [0, 1, 2, 3]
    assert morton_order(np.zeros((0, 3))).tolist() == []


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        morton_order(np.array([[0.0, np.nan, 0.0]]))
