"""Frames as a network sees them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.data.images import compose


def frame(top: int, bottom: int, left: int, right: int, color: int = 0, size: int = 64) -> np.ndarray:
    """A filled rectangle on nothing."""
    picture = np.zeros((size, size, 4), np.uint8)
    picture[top:bottom, left:right] = (color, color, color, 255)
    return picture


@given(st.integers(0, 40), st.integers(0, 40), st.integers(8, 20), st.integers(8, 20), st.integers(8, 48))
@settings(max_examples=30, deadline=None)
def test_the_object_is_centred_with_a_margin_of_15_percent(
    top: int, left: int, height: int, width: int, size: int
) -> None:
    dark = 1 - compose([frame(top, top + height, left, left + width)], size)[0, 0].numpy()
    side = int(1.15 * max(height, width))
    assert dark.sum() == pytest.approx(height * width * (size / side) ** 2, rel=0.08)
    down, across = (np.arange(size) + 0.5) @ dark.sum(axis=1), (np.arange(size) + 0.5) @ dark.sum(axis=0)
    assert down / dark.sum() == pytest.approx(size / 2, abs=size / side)
    assert across / dark.sum() == pytest.approx(size / 2, abs=size / side)


def test_one_crop_serves_all_frames_so_movement_stays_visible() -> None:
    clip = compose([frame(20, 30, 5, 15), frame(20, 30, 45, 55)], 46)
    dark = 1 - clip[:, 0].numpy()
    centers = dark.sum(axis=1) @ np.arange(46) / dark.sum(axis=(1, 2))
    assert centers[1] - centers[0] == pytest.approx(40 * 46 / int(1.15 * 50), abs=0.5)
    assert dark[0].sum() == pytest.approx(dark[1].sum(), rel=0.02)


def test_colours_are_composited_on_white_by_alpha() -> None:
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[..., 0], picture[..., 3] = 200, 51
    center = compose([picture], 32)[0, :, 16, 16].numpy()
    np.testing.assert_allclose(center, [1 - 0.2 * (55 / 255), 0.8, 0.8], atol=1e-5)
    assert compose([picture], 32)[0, :, 0, 0].tolist() == [1, 1, 1]


def test_values_stay_between_0_and_1_and_shapes_are_those_asked_for() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 4), dtype=np.uint8)
    clip = compose(list(noise), 37)
    assert clip.shape == (3, 3, 37, 37) and clip.dtype.is_floating_point
    assert clip.min() >= 0 and clip.max() <= 1


def test_a_fully_transparent_frame_is_named() -> None:
    with pytest.raises(ValueError, match="frame 1 of 2 is fully transparent"):
        compose([frame(1, 5, 1, 5), frame(0, 0, 0, 0)], 16)


def test_frames_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="frame 1 is 32x32 pixels but frame 0 is 64x64"):
        compose([frame(1, 5, 1, 5), frame(1, 5, 1, 5, size=32)], 16)


def test_pictures_without_alpha_and_empty_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="expected \\(height, width, 4\\)"):
        compose([np.zeros((8, 8, 3), np.uint8)], 16)
    with pytest.raises(ValueError, match="without frames"):
        compose([], 16)
