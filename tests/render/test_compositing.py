"""RGBA over white: exact at the ends, rounded to the nearest byte between them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sculpt4d.render.compositing import bytes_on_white, on_white


def test_opaque_pixels_keep_their_colour_and_transparent_ones_are_white():
    rgba = np.array([[[1, 2, 3, 255], [1, 2, 3, 0]]], np.uint8)
    assert on_white(rgba).tolist() == [[[1, 2, 3], [255, 255, 255]]]


@given(st.integers(0, 255), st.integers(0, 255))
def test_bytes_are_the_nearest_to_the_exact_value(colour: int, alpha: int):
    rgba = np.array([[colour] * 3 + [alpha]], np.uint8)
    exact = (colour * alpha + 255 * (255 - alpha)) / 255
    assert bytes_on_white(rgba).tolist() == [[round(exact)] * 3]
