"""Renderers: textures in the default one, and the others measured against it."""

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from sculpt4d.render import blender
from sculpt4d.render import pytorch3d as render_pytorch3d
from sculpt4d.render.cameras import Camera, choose_cameras, front_camera, sphere_cameras
from sculpt4d.render.embree import look_up, render_views
from sculpt4d.render.views import draw_views
from sculpt4d.types import Appearance, Drawable, Mesh

FRONT = Camera(-math.pi / 2, 0.0, 3.0, 2 * math.atan(0.5 / 3.0))  # the square below fills the picture


def square(texcoords: list[list[float]]) -> tuple[Mesh, np.ndarray]:
    """A square facing the camera at z = 0, and texture coordinates of the corners of its two faces.

    `texcoords` belong to the lower left, lower right, upper right and upper left corner.
    """
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(corners, faces), np.array(texcoords, np.float32)[faces]


def textured(texcoords: np.ndarray, texture: np.ndarray, color: float = 1.0) -> Appearance:
    colors = np.full((len(texcoords), 3, 3), color, np.float32)
    return Appearance(colors, texcoords, np.zeros(len(texcoords), np.int64), (texture,))


def ball() -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions=2, radius=0.4)
    bumpy = np.asarray(shape.vertices) * (1, 0.6, 1.1) + (0.05, 0.02, 0)
    return Mesh(bumpy.astype(np.float32), np.asarray(shape.faces))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of the masks."""
    first, second = (picture[..., 3] >= 128 for picture in (one, other))
    return float((first & second).sum() / (first | second).sum())


def test_a_texture_stands_upright_and_is_not_mirrored() -> None:
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4, :4], texture[:4, 4:], texture[4:, :4] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    mesh, places = square([[0, 1], [1, 1], [1, 0], [0, 0]])  # glTF: (0, 0) is the upper left of the picture
    picture = draw_views(
        Drawable(mesh, np.ones((2, 3), np.float32), textured(places, texture), smooth=True), (FRONT,), 32
    )[0]
    quarters = [picture[rows, columns, :3] for rows in (8, 24) for columns in (8, 24)]
    assert [int(part.argmax()) for part in quarters[:3]] == [0, 1, 2] and quarters[3].max() == 0


def test_texture_coordinates_repeat() -> None:
    rng = np.random.default_rng(0)
    texture, places = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), rng.random((50, 2))
    np.testing.assert_allclose(look_up(texture, places), look_up(texture, places + np.array([3, -2])), atol=0.02)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_a_texel_s_middle_shows_that_texel_and_nothing_leaves_its_range(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    row, column = np.mgrid[:height, :width]
    middles = np.stack([(column + 0.5) / width, (row + 0.5) / height], axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(look_up(texture, middles), texture.reshape(-1, 3), atol=1e-3)
    anywhere = look_up(texture, rng.normal(0, 3, (20, 2)))
    assert (anywhere >= texture.min() - 1e-3).all() and (anywhere <= texture.max() + 1e-3).all()


def test_corner_colours_run_into_each_other_and_darken_the_texture() -> None:
    mesh, places = square([[0, 1], [1, 1], [1, 0], [0, 0]])
    white = np.full((2, 2, 3), 255, np.uint8)
    shades = np.array([0.2, 1.0, 1.0, 0.2], np.float32)[mesh.faces]  # dark at the left
    appearance = Appearance(np.repeat(shades[..., None], 3, axis=2), places, np.array([0, 0]), (white,))
    row = draw_views(Drawable(mesh, np.ones((2, 3), np.float32), appearance, smooth=True), (FRONT,), 32)[0][
        16, :, 1
    ].astype(int)
    assert (np.diff(row) >= 0).all() and row[-1] > 4 * row[0]
    half = draw_views(
        Drawable(mesh, np.ones((2, 3), np.float32), textured(places, white, 0.5), smooth=True), (FRONT,), 32
    )[0]
    full = draw_views(Drawable(mesh, np.ones((2, 3), np.float32), textured(places, white), smooth=True), (FRONT,), 32)[
        0
    ]
    np.testing.assert_allclose(half[..., :3].astype(float), full[..., :3] / 2, atol=1)


def test_without_an_appearance_the_face_colours_are_drawn_as_before() -> None:
    mesh, camera = ball(), front_camera()
    colors = np.random.default_rng(1).random((len(mesh.faces), 3)).astype(np.float32)
    alone = render_views(Drawable(mesh, colors), (camera,), 48)[0]
    np.testing.assert_array_equal(draw_views(Drawable(mesh, colors), (camera,), 48)[0], alone)
    same = Appearance(
        np.repeat(colors[:, None], 3, axis=1),
        np.zeros((len(colors), 3, 2), np.float32),
        np.full(len(colors), -1),
    )
    carried = render_views(Drawable(mesh, colors, same), (camera,), 48)[0]
    assert np.abs(carried.astype(int) - alone).max() <= 1


def test_views_drawn_together_are_those_drawn_alone() -> None:
    mesh, cameras = ball(), choose_cameras(3, True, np.random.default_rng(0))
    colors = np.full((len(mesh.faces), 3), 0.7, np.float32)
    together = draw_views(Drawable(mesh, colors), cameras, 32)
    for picture, camera in zip(together, cameras, strict=True):
        np.testing.assert_array_equal(picture, render_views(Drawable(mesh, colors), (camera,), 32)[0])


def test_an_unknown_renderer_is_told_the_choices() -> None:
    with pytest.raises(ValueError, match="renderer=eevee: choose one of embree, blender, pytorch3d"):
        draw_views(Drawable(ball(), np.ones((320, 3), np.float32)), (FRONT,), 8, "eevee")


# PyTorch3D: its documented formulas, written out


def screen(view: render_pytorch3d.Pytorch3dCamera, points: np.ndarray, size: int) -> np.ndarray:
    """Column and row of points by PyTorch3D's formulas: row vectors, +z ahead, +x to the left, +y up."""
    seen = points @ view.rotation + view.translation
    scale = 1 / math.tan(math.radians(view.field) / 2)
    return (1 - scale * seen[:, :2] / seen[:, 2:]) * size / 2


@given(st.integers(0, 10**6))
def test_pytorch3d_s_camera_puts_every_point_where_ours_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (20, 3))
    for camera in choose_cameras(4, True, rng):
        pose = camera.to_mesh()
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        across, up = local[:, :2].T / (-local[:, 2] * math.tan(camera.field / 2))
        expected = np.stack([(1 + across) * 256, (1 - up) * 256], axis=1)
        view = render_pytorch3d.to_pytorch3d(camera)
        assert np.linalg.det(view.rotation) == pytest.approx(1)
        np.testing.assert_allclose(screen(view, points, 512), expected, atol=1e-6)


def rasterise(vertices: np.ndarray, faces: np.ndarray, lens: SimpleNamespace, size: int) -> SimpleNamespace:
    """Nearest faces and perspective-correct weights of all pixel centres, by brute force."""
    seen = vertices @ lens.R[0].double().numpy() + lens.T[0].double().numpy()
    scale = 1 / math.tan(math.radians(lens.fov) / 2)
    middle = 1 - (np.arange(size) + 0.5) * 2 / size  # +1 at the left and at the top
    rays = np.stack([*np.meshgrid(middle / scale, middle / scale), np.ones((size, size))], axis=-1).reshape(-1, 3)
    corners = np.linalg.inv(seen[faces].transpose(0, 2, 1))
    weights = np.einsum("fij,rj->rfi", corners, rays)  # of the corners, up to the depth along the ray
    depth = 1 / weights.sum(axis=2)
    depth = np.where((weights >= 0).all(axis=2), depth, np.inf)
    face = depth.argmin(axis=1)
    row = np.arange(len(face))
    met = np.isfinite(depth[row, face])
    found = np.where(met, face, -1).reshape(1, size, size, 1)
    shares = (weights * depth[..., None])[row, face].reshape(1, size, size, 1, 3)
    return SimpleNamespace(pix_to_face=torch.from_numpy(found), bary_coords=torch.from_numpy(shares))


def test_the_pytorch3d_renderer_draws_what_the_default_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    def rasteriser(cameras: SimpleNamespace, raster_settings: SimpleNamespace) -> Callable[..., SimpleNamespace]:
        return lambda mesh: rasterise(mesh[0][0].numpy(), mesh[1][0].numpy(), cameras, raster_settings.image_size)

    stand_in = SimpleNamespace(
        RasterizationSettings=SimpleNamespace, FoVPerspectiveCameras=SimpleNamespace, MeshRasterizer=rasteriser
    )
    monkeypatch.setattr(render_pytorch3d, "require", lambda name: None)
    monkeypatch.setitem(sys.modules, "pytorch3d", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer", stand_in)
    monkeypatch.setitem(sys.modules, "pytorch3d.structures", SimpleNamespace(Meshes=lambda v, f: (v, f)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    mesh = ball()
    colors = np.random.default_rng(1).random((len(mesh.faces), 3)).astype(np.float32)
    cameras = choose_cameras(3, True, np.random.default_rng(5))
    ours, theirs = (draw_views(Drawable(mesh, colors), cameras, 24, name) for name in ("embree", "pytorch3d"))
    for one, other in zip(ours, theirs, strict=True):
        assert overlap(one, other) >= 0.98
        assert np.abs(one.astype(int) - other).mean() < 0.5


# Blender


def test_without_blender_the_error_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(blender.VARIABLE, raising=False)
    assert blender.find_blender() is None
    with pytest.raises(ImportError, match=r"SCULPT4D_BLENDER is not set.*bpy"):
        draw_views(Drawable(ball(), np.ones((320, 3), np.float32)), (FRONT,), 8, "blender")
    monkeypatch.setenv(blender.VARIABLE, "no-such-program")
    with pytest.raises(FileNotFoundError, match=r"SCULPT4D_BLENDER=no-such-program cannot be run"):
        blender.find_blender()


def test_a_blender_executable_is_told_to_run_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "blender-4.2"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv(blender.VARIABLE, str(program))
    command = blender.find_blender()
    assert command is not None and command[0] == str(program)
    assert command[-1] == "--python" and "--background" in command
    monkeypatch.setenv(blender.VARIABLE, sys.executable)
    assert blender.find_blender() == [sys.executable]


def test_a_blender_that_fails_is_quoted_and_one_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(blender.VARIABLE, sys.executable)
    script = tmp_path / "script.py"
    script.write_text("import sys; print('no kernel for', sys.argv[-1]); sys.exit(3)")
    with pytest.raises(ChildProcessError, match=r"script.py with status 3: no kernel for cake"):
        blender.run_script(script, ["cake"], 60.0)
    script.write_text("import time; time.sleep(60)")
    with pytest.raises(TimeoutError, match=r"did not finish script.py within 1 s"):
        blender.run_script(script, [], 1.0)


@pytest.mark.blender
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get(blender.VARIABLE), reason=f"{blender.VARIABLE} names no Blender")
def test_blender_s_silhouettes_are_those_of_the_default_renderer() -> None:
    mesh = ball()
    colors = np.full((len(mesh.faces), 3), (0.9, 0.2, 0.1), np.float32)
    cameras = (front_camera(), *sphere_cameras(3, np.random.default_rng(0)))
    ours, theirs = (draw_views(Drawable(mesh, colors), cameras, 256, name) for name in ("embree", "blender"))
    for one, other in zip(ours, theirs, strict=True):
        assert overlap(one, other) >= 0.98
        seen = (one[..., 3] == 255) & (other[..., 3] == 255)
        assert (other[seen][:, :3].mean(axis=0).argmax()) == 0  # red stays red
        assert np.abs(one[seen].astype(float).mean(axis=0) - other[seen].mean(axis=0))[:3].max() < 40
