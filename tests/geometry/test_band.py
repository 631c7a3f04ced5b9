"""The band holds every node whose distance marching cubes reads."""

import igl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.geometry.band import near_surface


@pytest.mark.parametrize("reach", [1, 2])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(0.05, 60))
def test_every_node_within_reach_of_a_triangle_is_in_the_band(reach, seed, size):
    rng = np.random.default_rng(seed)
    triangles = rng.uniform(2, 13, size=(4, 1, 3)) + rng.normal(size=(4, 3, 3)) * size * rng.uniform(0.01, 1, (4, 3, 1))
    nodes = np.stack(np.meshgrid(*[np.arange(16.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    squared, _, closest = igl.point_mesh_squared_distance(nodes, triangles.reshape(-1, 3), np.arange(12).reshape(4, 3))
    near = np.abs(closest - nodes).max(axis=1) <= reach - 1e-3
    band = near_surface(triangles, (16,) * 3, reach).reshape(-1)
    assert band[near].all()
    assert squared[band].max(initial=0) <= 3 * (reach + 1.01) ** 2
