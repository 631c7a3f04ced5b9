"""Where pictures are taken from."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from sculpt4d.render.cameras import FIELDS, Camera, choose_cameras, front_camera, hammersley, sphere_cameras

SHARED = Path(__file__).resolve().parents[3] / "shared"
CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


def seen_from(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Picture coordinates in [-1, 1] of mesh points: right, up."""
    pose = camera.to_mesh()
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    return local[:, :2] / (-local[:, 2:] * math.tan(camera.field / 2))


def test_every_camera_looks_at_the_origin_and_is_a_rotation() -> None:
    for camera in sphere_cameras(24, np.random.default_rng(0)):
        pose = camera.to_world()
        np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
        np.testing.assert_allclose(pose[:3, 3], camera.distance * pose[:3, 2], atol=1e-12)
        np.testing.assert_allclose(seen_from(camera, np.zeros((1, 3))), 0, atol=1e-12)


def test_fields_of_view_lie_between_10_and_70_degrees_and_hold_the_box() -> None:
    for camera in sphere_cameras(200, np.random.default_rng(1)):
        assert FIELDS[0] <= camera.field <= FIELDS[1]
        assert math.sin(camera.field / 2) * camera.distance == pytest.approx(math.sqrt(3) / 2)
        assert np.abs(seen_from(camera, CORNERS)).max() <= 1 + 1e-9


def test_directions_spread_evenly_over_the_sphere() -> None:
    azimuth, elevation = hammersley(24, (0.3, 0.8)).T
    directions = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    assert np.abs(directions.mean(axis=1)).max() < 0.06
    assert (np.sort(np.sin(elevation)) + 1)[0] < 2 / 24
    cosine = directions.T @ directions - 2 * np.eye(24)
    assert np.degrees(np.arccos(cosine.max(axis=1))).min() > 15  # no two views nearly alike


def test_the_world_of_cameras_is_z_up_and_meshes_are_y_up() -> None:
    above = Camera(azimuth=0.0, elevation=math.pi / 2, distance=2.0, field=0.5)
    np.testing.assert_allclose(above.to_world()[:3, 3], [0, 0, 2], atol=1e-12)
    np.testing.assert_allclose(above.to_mesh()[:3, 3], [0, 2, 0], atol=1e-12)


def test_the_front_camera_stands_on_positive_z_a_little_above_and_holds_the_box() -> None:
    camera = front_camera()
    x, y, z = camera.to_mesh()[:3, 3]
    assert x == pytest.approx(0, abs=1e-12)
    assert 15 <= math.degrees(math.atan2(y, z)) <= 20
    assert 30 <= math.degrees(camera.field) <= 40
    extent = np.abs(seen_from(camera, CORNERS)).max()
    assert 0.9 < extent < 1
    right, up = seen_from(camera, np.array([[0.1, 0, 0], [0, 0.1, 0]]))
    assert right[0] > 0 and up[1] > 0


def test_with_front_the_first_view_is_the_front_camera_and_the_others_differ() -> None:
    cameras = choose_cameras(4, True, np.random.default_rng(0))
    assert cameras[0] == front_camera()
    assert len(set(cameras)) == 4
    assert front_camera() not in choose_cameras(4, False, np.random.default_rng(0))


def test_no_view_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="views=0"):
        choose_cameras(0, True, np.random.default_rng(0))


def test_poses_equal_those_of_the_released_training_set() -> None:
    files = sorted((SHARED / "data/mini_trainset").glob("preprocessed/*/render_cond/transforms.json"))
    if not files:
        pytest.skip("the released training set is not at hand")
    for view in json.loads(files[0].read_text())["frames"]:
        camera = Camera(view["azimuth"], view["elevation"], view["cam_dis"], view["camera_angle_x"])
        np.testing.assert_allclose(camera.to_world(), view["transform_matrix"], atol=2e-6)
        assert 2 * math.asin(math.sqrt(3) / 2 / camera.distance) == pytest.approx(camera.field)
