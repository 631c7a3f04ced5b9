"""Paint, lamps and mask edges of the training pictures."""

import numpy as np
import pytest

from sculpt4d.data.cameras import world_cameras
from sculpt4d.data.looks import KINDS, Look, has_colors, random_looks, random_paint, random_studio, roughen
from sculpt4d.data.render import STUDIO, render_views
from sculpt4d.types import AnimatedMesh, Appearance

SQUARE = np.zeros((32, 32, 4), np.uint8)
SQUARE[8:24, 8:24] = (200, 40, 40, 255)


def plain(faces: int, color: float = 1.0) -> Appearance:
    return Appearance(
        np.full((faces, 3, 3), color, np.float32), np.zeros((faces, 3, 2), np.float32), np.full(faces, -1), ()
    )


def tetrahedra(count: int = 2) -> AnimatedMesh:
    """Some tetrahedra side by side, in two frames."""
    corners = np.array([[0, 0, 0], [0.2, 0, 0], [0, 0.2, 0], [0, 0, 0.2]], np.float32)
    rest = np.concatenate([corners + np.array([0.3 * number - 0.3, 0, 0]) for number in range(count)]).astype(
        np.float32
    )
    one = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    faces = np.concatenate([one + 4 * number for number in range(count)])
    moving = np.stack([rest, rest + np.float32(0.01)])
    return AnimatedMesh(
        moving, faces, rest, np.ones((len(faces), 3), np.float32), np.arange(2.0), "t", (), plain(len(faces))
    )


def test_a_white_file_has_no_colours_and_is_painted_in_every_view() -> None:
    animated = tetrahedra()
    assert animated.appearance is not None and not has_colors(animated.appearance)
    looks = random_looks(animated, 6, np.random.default_rng(0))
    assert all(look.appearance is not animated.appearance for look in looks)
    assert len({look.appearance.colors.tobytes() for look in looks}) == 6


def test_a_coloured_file_keeps_its_colours_in_most_views() -> None:
    animated = tetrahedra()
    colors = animated.appearance.colors.copy()  # type: ignore[union-attr]
    colors[::2] = 0.1
    own = Appearance(colors, *(getattr(animated.appearance, name) for name in ("texcoords", "texture", "textures")))
    assert has_colors(own)
    looks = random_looks(AnimatedMesh(**{**animated.__dict__, "appearance": own}), 200, np.random.default_rng(0))
    kept = sum(look.appearance is own for look in looks)
    assert 110 < kept < 170  # of 200, 70 %


def test_every_kind_of_paint_is_drawn_and_is_a_colour() -> None:
    animated = tetrahedra(3)
    seen = set()
    for seed in range(60):
        paint = random_paint(animated.rest, animated.faces, np.random.default_rng(seed))
        assert paint.colors.shape == (12, 3, 3) and paint.colors.min() >= 0 and paint.colors.max() <= 1
        seen.add(len(np.unique(paint.colors.reshape(-1, 3), axis=0)) > 1)
    assert seen == {True, False} and len(KINDS) == 5


def test_lamps_change_the_shading_and_not_the_outline() -> None:
    animated = tetrahedra()
    camera = world_cameras(1, np.random.default_rng(0), animated.rest)
    arguments = (animated.rest, animated.faces, animated.colors, camera, 32, True, animated.appearance)
    studio = render_views(*arguments, STUDIO)[0]
    other = render_views(*arguments, random_studio(np.random.default_rng(0)))[0]
    assert (studio[..., 3] == other[..., 3]).all()
    assert np.abs(studio[..., :3].astype(int) - other[..., :3]).max() > 20


def test_a_rough_edge_moves_by_a_pixel_or_two_and_shows_the_ground() -> None:
    look = Look(plain(1), STUDIO, np.array([0, 250, 0], np.float32), 1.5, 0.3)
    rough = roughen(SQUARE, look, np.random.default_rng(0))
    changed = np.argwhere(rough[..., 3] != SQUARE[..., 3])
    assert len(changed) > 10
    outward = np.maximum(np.maximum(8 - changed, changed - 23), 0).max()
    assert outward <= 2
    added = (SQUARE[..., 3] == 0) & (rough[..., 3] > 100)
    assert added.any() and rough[added][:, 1].mean() > 180  # the ground's green
    assert (rough[12:20, 12:20, 3] == 255).all()


def test_a_clean_view_stays_as_it_is() -> None:
    look = Look(plain(1), STUDIO, np.zeros(3, np.float32), 0.0, 0.0)
    assert roughen(SQUARE, look, np.random.default_rng(0)) is SQUARE


@pytest.mark.parametrize("seed", range(3))
def test_filmed_points_are_just_inside_the_picture(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (60, 3)) * [1, 0.2, 0.4]
    for camera in world_cameras(6, np.random.default_rng(seed), points):
        pose = camera.to_mesh()
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        seen = np.abs(local[:, :2] / (-local[:, 2:] * np.tan(camera.field / 2))).max()
        assert 0.9 < seen <= 1
        assert np.radians(-5) <= camera.elevation <= np.radians(40)
