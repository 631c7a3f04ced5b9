"""Pictures of meshes."""

import math
import time

import numpy as np
import pytest
import trimesh

from sculpt4d.render.cameras import Camera, front_camera, sphere_cameras
from sculpt4d.render.embree import render, render_mesh
from sculpt4d.types import Mesh


def ball(radius: float = 0.4, subdivisions: int = 3) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces))


def paint(mesh: Mesh, color: tuple[float, float, float]) -> np.ndarray:
    return np.tile(np.array(color, np.float32), (len(mesh.faces), 1))


def test_an_empty_mesh_is_fully_transparent() -> None:
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))
    picture = render_mesh(empty, front_camera(), 16)
    assert picture.shape == (16, 16, 4) and picture.dtype == np.uint8 and not picture.any()


@pytest.mark.parametrize("smooth", [False, True])
def test_the_silhouette_of_a_ball_has_the_area_geometry_says(smooth: bool) -> None:
    camera, mesh = Camera(0.7, 0.3, 3.0, math.radians(30)), ball()
    alpha = render(mesh.vertices, mesh.faces, paint(mesh, (1, 1, 1)), camera, 128, smooth)[..., 3] / 255
    radius = math.tan(math.asin(0.4 / 3.0)) / math.tan(math.radians(15)) * 64  # pixels
    assert alpha.sum() == pytest.approx(math.pi * radius**2, rel=0.01)


def test_borders_are_antialiased() -> None:
    mesh = ball()
    alpha = render(mesh.vertices, mesh.faces, paint(mesh, (1, 1, 1)), front_camera(), 64)[..., 3]
    assert set(np.unique(alpha)) == {0, 64, 128, 191, 255}


def test_a_part_on_the_right_and_top_is_drawn_there_from_every_camera() -> None:
    for camera in (front_camera(), *sphere_cameras(6, np.random.default_rng(2))):
        pose = camera.to_mesh()
        small = ball(0.05, 1)
        moved = small.vertices + (0.3 * pose[:3, 0] + 0.2 * pose[:3, 1]).astype(np.float32)
        rows, columns = np.nonzero(render_mesh(Mesh(moved, small.faces), camera, 64)[..., 3])
        scale = 32 / (math.tan(camera.field / 2) * camera.distance)
        assert columns.mean() + 0.5 == pytest.approx(32 + 0.3 * scale, abs=0.7)
        assert rows.mean() + 0.5 == pytest.approx(32 - 0.2 * scale, abs=0.7)


def test_the_nearer_surface_hides_the_farther_one() -> None:
    front, back = ball(0.2), ball(0.3)
    vertices = np.concatenate([front.vertices + np.float32([0, 0, 0.2]), back.vertices - np.float32([0, 0, 0.2])])
    faces = np.concatenate([front.faces, back.faces + len(front.vertices)])
    colors = np.concatenate([paint(front, (1, 0, 0)), paint(back, (0, 0, 1))])
    red, green, blue, alpha = render(vertices, faces, colors, Camera(-math.pi / 2, 0.0, 3.0, 0.5), 33)[16, 16]
    assert red > 60 and green == 0 and blue == 0 and alpha == 255


def test_a_mesh_around_the_camera_is_seen_in_every_pixel() -> None:
    assert (render_mesh(ball(5.0), front_camera(), 16)[..., 3] == 255).all()


def test_light_is_warm_from_the_right_and_cool_from_the_left() -> None:
    picture = render_mesh(ball(), front_camera(), 64).astype(float)
    rows, columns = np.nonzero(picture[..., 3] == 255)
    warmth = picture[rows, columns, 0] - picture[rows, columns, 2]
    assert warmth[columns > 38].mean() > warmth[columns < 26].mean() + 20
    brightness = picture[rows, columns, :3].mean(axis=1)
    assert brightness[rows < 26].mean() > brightness[rows > 38].mean() + 20


def test_smooth_shading_leaves_the_faces_of_a_box_flat() -> None:
    box = trimesh.creation.box((0.8, 0.8, 0.8))
    mesh = Mesh(np.asarray(box.vertices, np.float32), np.asarray(box.faces))
    front = render_mesh(mesh, Camera(-math.pi / 2, 0.0, 3.0, 0.5), 32)
    assert np.ptp(front[front[..., 3] == 255][:, :3].astype(int), axis=0).max() == 0


def test_inside_out_faces_are_lit_like_others() -> None:
    mesh, camera = ball(), front_camera()
    turned = Mesh(mesh.vertices, mesh.faces[:, ::-1])
    difference = render_mesh(mesh, camera, 32).astype(int) - render_mesh(turned, camera, 32)
    assert np.abs(difference).mean() < 1


def test_a_small_picture_takes_milliseconds() -> None:
    mesh, camera, best = ball(), front_camera(), math.inf
    for _ in range(5):
        start = time.process_time()
        render(mesh.vertices, mesh.faces, paint(mesh, (1, 1, 1)), camera, 128)
        best = min(best, time.process_time() - start)
    assert best < 0.05
