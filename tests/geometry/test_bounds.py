"""One box holds the whole animation and keeps its proportions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.geometry.bounds import HALF_EXTENT, clip_box, to_box


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_the_longest_side_of_all_frames_together_fills_the_box(seed, size, shift):
    vertices = (np.random.default_rng(seed).normal(size=(4, 9, 3)) * size + shift * size).astype(np.float32)
    boxed = to_box(vertices, clip_box(vertices))
    low, high = boxed.min(axis=(0, 1)), boxed.max(axis=(0, 1))
    assert (high - low).max() == pytest.approx(2 * HALF_EXTENT, rel=1e-3)
    assert (low + high) / 2 == pytest.approx(np.zeros(3), abs=1e-3)
    assert boxed.dtype == np.float32


def test_motion_through_the_clip_is_kept():
    vertices = np.zeros((2, 2, 3), np.float32)
    vertices[:, 1] = 1
    vertices[1, :, 0] += 3
    boxed = to_box(vertices, clip_box(vertices))
    assert boxed[1] - boxed[0] == pytest.approx(np.tile([3 * 2 * HALF_EXTENT / 4, 0, 0], (2, 1)), abs=1e-6)


@pytest.mark.parametrize(
    "vertices, message",
    [
        (np.full((2, 3, 3), np.nan, np.float32), "NaN"),
        (np.ones((2, 3, 3), np.float32), "coincide"),
        (np.ones((0, 3, 3), np.float32), "no vertices"),
    ],
)
def test_a_clip_without_extent_is_refused(vertices, message):
    with pytest.raises(ValueError, match=message):
        clip_box(vertices)
