"""The mask on grounds whose truth is known."""

import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d import optional
from sculpt4d.generation.background import clean, remove_background

SIZE = 96
Y, X = np.mgrid[:SIZE, :SIZE]
DISC = np.hypot(X - 50, Y - 45) < 25


def picture(
    ground: np.ndarray | tuple[int, int, int], color: tuple[int, int, int], mask: np.ndarray = DISC
) -> np.ndarray:
    rgb = np.broadcast_to(np.asarray(ground), (SIZE, SIZE, 3)).copy()
    rgb[mask] = color
    return np.dstack([rgb, np.full((SIZE, SIZE), 255)]).astype(np.uint8)


def overlap(frame: np.ndarray, mask: np.ndarray) -> float:
    found = frame[..., 3] > 127
    return (found & mask).sum() / (found | mask).sum()


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 2**31))
def test_any_plain_ground_is_removed_despite_noise(ground, seed):
    color = tuple(255 - value if abs(255 - 2 * value) > 90 else (value + 128) % 256 for value in ground)
    clear = picture(ground, color)
    noise = np.random.default_rng(seed).normal(0, 1.5, (SIZE, SIZE, 3))
    clear[..., :3] = np.clip(clear[..., :3] + noise, 0, 255)
    frames, said = remove_background([clear], "plain")
    assert overlap(frames[0], DISC) > 0.95
    assert "plain ground" in said


def test_a_soft_gradient_is_a_plain_ground():
    ground = 120 + np.stack([80 * X / SIZE, 60 * Y / SIZE, 30 * (X / SIZE) ** 2], axis=-1)
    frames, _ = remove_background([picture(ground, (30, 40, 160))])
    assert overlap(frames[0], DISC) > 0.95


def test_an_object_that_leaves_the_picture_is_kept_whole():
    arm = DISC | ((Y > 40) & (Y < 56) & (X > 50))
    frames, _ = remove_background([picture((250, 250, 250), (90, 60, 30), arm)])
    assert overlap(frames[0], arm) > 0.95


def test_specks_go_pinholes_close_and_openings_stay():
    mask = DISC.copy()
    mask[2:5, 2:5] = True
    mask[40:42, 50:52] = False
    mask[50:58, 46:56] = False
    cleaned = clean(mask)
    assert not cleaned[3, 3]
    assert cleaned[41, 51]
    assert not cleaned[54, 51]


def test_edges_are_soft_and_carry_no_colour_of_the_ground():
    frame = remove_background([picture((0, 255, 0), (200, 30, 30))])[0][0]
    soft = (frame[..., 3] > 0) & (frame[..., 3] < 255)
    assert soft.any()
    assert (frame[soft][:, 1] < 60).all()


def test_a_lively_ground_is_refused_with_the_way_out():
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3))
    with pytest.raises(ValueError, match=r"clip.mp4 .*RGBA frames.*background=rembg"):
        remove_background([picture(noise, (0, 0, 0))], source="clip.mp4")


def test_auto_prefers_the_alpha_channel():
    frame = picture((255, 255, 255), (0, 0, 0))
    frame[..., 3] = np.where(X < 40, 255, 0)
    assert (remove_background([frame])[0][0] == frame).all()
    assert overlap(remove_background([frame], "plain")[0][0], DISC & (X < 40)) > 0.9


def test_alpha_asked_for_but_absent_is_refused():
    with pytest.raises(ValueError, match="no alpha channel"):
        remove_background([picture((0, 0, 0), (9, 9, 9))], "alpha")


def test_none_keeps_everything():
    assert (remove_background([picture((1, 2, 3), (4, 5, 6))], "none")[0][0][..., 3] == 255).all()


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(ValueError, match="auto, alpha, plain, rembg, none"):
        remove_background([picture((0, 0, 0), (9, 9, 9))], "magic")


def test_rembg_is_asked_when_chosen_and_named_when_missing(monkeypatch):
    frame = picture((255, 255, 255), (0, 0, 0))
    optional.probe.cache_clear()
    monkeypatch.setitem(sys.modules, "rembg", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="rembg"):
        remove_background([frame], "rembg")
    monkeypatch.undo()
    fake = ModuleType("rembg")
    fake.new_session = lambda: "session"
    fake.remove = lambda rgb, session: np.dstack([rgb, np.where(DISC, 255, 0)])
    monkeypatch.setattr("sculpt4d.generation.background.require", lambda name: fake)
    frames, said = remove_background([frame], "rembg")
    optional.probe.cache_clear()
    assert said == "rembg"
    assert overlap(frames[0], DISC) == 1
