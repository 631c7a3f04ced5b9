"""The camera's frame of a clip."""

import numpy as np
import pytest

from sculpt4d.data.cameras import front_camera, world_cameras
from sculpt4d.geometry.facing import facing, turn

CLIP = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 50, 3)).astype(np.float32)


def test_the_camera_stands_in_front_and_gravity_stays() -> None:
    for camera in world_cameras(8, np.random.default_rng(1), CLIP.reshape(-1, 3)):
        place = camera.to_mesh()[:3, 3]
        view = facing(CLIP, place)
        turned = view.directions(place)
        assert turned[0] == pytest.approx(0, abs=1e-5) and turned[2] > 0
        assert turned[1] == pytest.approx(place[1], abs=1e-5)
        right = camera.to_mesh()[:3, 0]  # of the picture
        np.testing.assert_allclose(view.directions(right), [1, 0, 0], atol=1e-5)


def test_the_clip_fills_the_box_and_keeps_its_form() -> None:
    view = facing(CLIP, np.array([1.0, 0.3, -2.0]))
    seen = view.positions(CLIP)
    assert np.ptp(seen, axis=(0, 1)).max() == pytest.approx(0.98, abs=1e-5)
    before, after = (np.linalg.norm(points[:, 1:] - points[:, :-1], axis=2) for points in (CLIP, seen))
    np.testing.assert_allclose(after, before * view.box.scale, rtol=1e-4)


def test_the_front_camera_sees_a_boxed_clip_as_it_is() -> None:
    boxed = facing(CLIP, np.array([0.0, 0.0, 1.0])).positions(CLIP)
    again = facing(boxed, front_camera().to_mesh()[:3, 3])
    np.testing.assert_allclose(again.positions(boxed), boxed, atol=1e-6)


def test_a_quarter_turn_takes_front_to_the_right() -> None:
    np.testing.assert_allclose(turn(np.pi / 2) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
