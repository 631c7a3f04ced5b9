"""Single pictures as the base release prepares them; the released numbers themselves are in tests/released."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.data.images import compose
from sculpt4d.generation.recentre import inference_view, recentre, recentre_clip, training_crop, training_view


def picture(top: int, left: int, height: int, width: int, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """A black rectangle on nothing."""
    rgba = np.zeros((*size, 4), np.uint8)
    rgba[top : top + height, left : left + width, 3] = 255
    return rgba


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Free rows above and below, free columns left and right."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], len(mask) - 1 - rows[-1], columns[0], len(mask) - 1 - columns[-1]


@given(st.integers(0, 30), st.integers(0, 60), st.integers(6, 34), st.integers(6, 40), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_object_fills_85_percent_of_the_square_and_lies_in_its_middle(
    top: int, left: int, height: int, width: int, turned: bool
) -> None:
    pytest.importorskip("cv2")
    rgba = picture(top, left, height, width, (64, 100))
    rgb, mask = recentre(np.swapaxes(rgba, 0, 1) if turned else rgba)
    above, below, before, after = extent(mask)
    assert rgb.shape == (100, 100, 3) and abs(above - below) <= 1 and abs(before - after) <= 1
    rows, columns = 100 - above - below, 100 - before - after
    assert max(rows, columns) in (84, 85)
    shape = (width - 1, height - 1) if turned else (height - 1, width - 1)  # without the last row and column
    assert rows / max(rows, columns) == pytest.approx(shape[0] / max(shape), abs=0.015)
    assert columns / max(rows, columns) == pytest.approx(shape[1] / max(shape), abs=0.015)


def test_the_last_row_and_column_of_the_object_are_left_out() -> None:
    pytest.importorskip("cv2")
    rgba = picture(10, 20, 30, 20)
    rgba[39, 20:40, 0] = rgba[10:40, 39, 0] = 255
    assert recentre(rgba).rgb.tolist() == recentre(picture(10, 20, 30, 20)).rgb.tolist()
    rgba[38, 20:40, 0] = 255
    assert recentre(rgba).rgb.tolist() != recentre(picture(10, 20, 30, 20)).rgb.tolist()


def test_colours_are_composited_on_white_and_truncated() -> None:
    pytest.importorskip("cv2")
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[4:28, 4:28] = (200, 0, 0, 100)
    rgb, mask = recentre(rgba)
    assert rgb[16, 16].tolist() == [233, 155, 155] and mask[16, 16] == 100  # 233.43
    assert rgb[0, 0].tolist() == [255, 255, 255] and mask[0, 0] == 0


def test_views_reach_from_minus_1_to_1_at_the_size_asked_for() -> None:
    pytest.importorskip("cv2")
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    for view in (inference_view(recentre(noise), 23), training_view(training_crop(noise), 23)):
        assert view.image.shape == (3, 23, 23) and view.mask.shape == (1, 23, 23)
        ends = [view.image.max(), view.image.abs().max(), -view.mask.min()]
        assert torch.tensor(ends) == pytest.approx(torch.ones(3), abs=1e-6)


def test_recentring_hides_movement_and_growth_that_the_common_crop_shows() -> None:
    pytest.importorskip("cv2")
    moved = recentre_clip([picture(5, 5, 21, 21), picture(30, 40, 21, 21)], 48)
    grown = recentre_clip([picture(5, 5, 21, 21), picture(5, 5, 41, 41)], 48)
    assert torch.equal(moved[0], moved[1]) and torch.equal(grown[0], grown[1])
    kept = compose([picture(5, 5, 21, 21), picture(5, 5, 41, 41)], 48)
    assert (1 - kept[1]).sum() > 3 * (1 - kept[0]).sum()


def test_a_recentred_clip_stands_in_for_a_composed_one() -> None:
    pytest.importorskip("cv2")
    frames = [picture(5, 5, 21, 31), picture(6, 9, 30, 11)]
    one, other = recentre_clip(frames, 40), compose(frames, 40)
    assert one.shape == other.shape and one.dtype == other.dtype
    assert one.min() == 0 and one.max() == 1


def test_a_training_crop_keeps_a_few_pixels_around_the_object_but_ends_with_the_picture() -> None:
    inside = training_crop(picture(20, 20, 10, 30))
    assert inside.mask.shape == (44, 44)  # 1.15 times 5 + 30 + 4
    assert extent(inside.mask) == (5 + 12, 4 + 13, 5 + 2, 4 + 3)
    corner = training_crop(picture(0, 34, 30, 30))
    assert corner.mask.shape == (40, 40)  # 1.15 times 5 + 30
    assert extent(corner.mask) == (3, 7, 5 + 2, 3)
    assert training_crop(picture(30, 30, 1, 1)).mask.sum() == 255


@pytest.mark.parametrize(
    "rgba, told",
    [
        (picture(0, 0, 0, 0), "fully transparent"),
        (picture(9, 9, 1, 1), "covers 1x1 pixels"),
        (picture(9, 9, 1, 20), "covers 20x1 pixels"),
        (picture(9, 0, 2, 64), "leaves 54x0"),
        (np.zeros((8, 8, 3), np.uint8), r"expected \(height, width, 4\)"),
        (np.zeros((8, 8, 4), np.float32), "type float32"),
    ],
)
def test_a_picture_that_cannot_be_recentred_is_refused_and_its_frame_named(rgba: np.ndarray, told: str) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(ValueError, match=told):
        recentre(rgba)
    with pytest.raises(ValueError, match=f"frame 1 of 2: .*{told}"):
        recentre_clip([picture(5, 5, 20, 20), rgba], 16)


def test_an_empty_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="without frames"):
        recentre_clip([], 16)


def test_without_opencv_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sculpt4d.optional.probe", lambda name: None)
    with pytest.raises(ImportError, match=r"cv2 is not usable here: pip install -e '\.\[opencv\]'"):
        recentre(picture(5, 5, 20, 20))
