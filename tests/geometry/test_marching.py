"""Marching cubes gives a closed mesh for any grid of numbers, exact zeros included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.geometry.marching import march

from .shapes import assert_closed


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 12))
def test_noise_with_exact_zeros_gives_a_closed_mesh(seed, size):
    values = np.random.default_rng(seed).integers(-2, 3, size=(size,) * 3).astype(np.float32)
    values[0, 0, 0] = 1
    assert_closed(march(values, 0.0, 1.0))


def test_vertices_lie_where_the_value_crosses_zero():
    x = np.linspace(-1, 1, 11)
    values = np.broadcast_to(0.33 - np.abs(x)[:, None, None], (11, 11, 11)).copy()
    values[:, [0, -1]] = values[:, :, [0, -1]] = -1
    mesh = march(values, -1.0, 0.2)
    middle = (np.abs(mesh.vertices[:, 1:]) < 0.7).all(axis=1)
    assert np.abs(mesh.vertices[middle, 0]) == pytest.approx(0.33, abs=1e-5)
