"""The closed surface: closed, outward, of the right size, whatever came in."""

import igl
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sculpt4d.geometry.distance import signed_distance
from sculpt4d.geometry.marching import march
from sculpt4d.geometry.parts import split_parts
from sculpt4d.geometry.projection import project
from sculpt4d.geometry.rays import BESIDE
from sculpt4d.geometry.surface import carry, sample_surface
from sculpt4d.geometry.watertight import GRID_EXTENT, SHELL, THIN, check_closed, watertight
from sculpt4d.types import Mesh

from .shapes import SPHERE_RADIUS, assert_closed, cube, flip, join, sphere, split_seams, volume

RESOLUTION = 48
CELL = 2 * GRID_EXTENT / RESOLUTION


def bodies(mesh: Mesh) -> int:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).body_count


@pytest.mark.parametrize("mesh", [sphere(), cube(), cube(side=0.98)], ids=["sphere", "cube", "box-filling cube"])
def test_a_closed_shape_keeps_its_volume_and_place(mesh):
    closed = watertight(mesh, RESOLUTION)
    assert_closed(closed)
    assert volume(closed) == pytest.approx(volume(mesh), rel=0.02)
    distance, _ = project(closed.vertices, mesh)
    error = np.linalg.norm(distance - closed.vertices, axis=1)
    assert np.quantile(error, 0.9) < 0.02 * CELL + 1e-4 and error.max() < CELL


@pytest.mark.parametrize("change", [flip, split_seams], ids=["inside out", "split at every edge"])
def test_orientation_and_seams_of_the_input_do_not_matter(change):
    plain, changed = watertight(sphere(), RESOLUTION), watertight(change(sphere()), RESOLUTION)
    assert np.array_equal(plain.faces, changed.faces)
    assert plain.vertices == pytest.approx(changed.vertices, abs=1e-5)


def test_faces_that_disagree_are_turned():
    mesh = sphere(detail=2)
    faces = mesh.faces.copy()
    faces[::3] = faces[::3, ::-1]
    assert volume(watertight(Mesh(mesh.vertices, faces), RESOLUTION)) == pytest.approx(volume(mesh), rel=0.02)


def test_overlapping_parts_become_one_solid_without_inner_walls():
    offset, radius = 0.15, 0.25
    mesh = join(sphere(radius, (-offset, 0, 0)), flip(sphere(radius, (offset, 0, 0))))
    closed = watertight(mesh, RESOLUTION)
    assert_closed(closed)
    assert bodies(closed) == 1
    lens = np.pi * (2 * radius - 2 * offset) ** 2 * (4 * offset**2 + 8 * offset * radius) / (24 * offset)
    assert volume(closed) == pytest.approx(2 * 4 / 3 * np.pi * radius**3 - lens, rel=0.02)
    inner = np.abs(closed.vertices[:, 0]) < 0.05
    assert (np.linalg.norm(closed.vertices[inner, 1:], axis=1) > 0.15).all()


def test_cavities_are_filled():
    hollow = join(sphere(0.4), flip(sphere(0.25)))
    closed = watertight(hollow, RESOLUTION)
    assert bodies(closed) == 1
    assert volume(closed) == pytest.approx(volume(sphere(0.4)), rel=0.02)


def test_parts_apart_stay_apart():
    closed = watertight(join(cube(0.2, (-0.3, 0, 0)), sphere(0.15, (0.3, 0, 0))), RESOLUTION)
    assert_closed(closed)
    assert bodies(closed) == 2


def test_an_open_shell_becomes_a_wall_of_the_stated_thickness():
    mesh = sphere(SPHERE_RADIUS, detail=4)
    bowl = Mesh(mesh.vertices, mesh.faces[mesh.vertices[mesh.faces].mean(axis=1)[:, 1] < 0])
    closed = watertight(bowl, RESOLUTION)
    assert_closed(closed)
    low = closed.vertices[closed.vertices[:, 1] < -0.1]
    radius = np.linalg.norm(low, axis=1)
    assert np.abs(np.abs(radius - SPHERE_RADIUS) - SHELL * CELL).max() < 0.3 * CELL
    assert volume(closed) == pytest.approx(2 * np.pi * SPHERE_RADIUS**2 * 2 * SHELL * CELL, rel=0.1)


def test_a_shell_with_a_pinhole_is_filled_like_a_solid():
    mesh = sphere(detail=4)
    closed = watertight(Mesh(mesh.vertices, mesh.faces[1:]), RESOLUTION)
    assert_closed(closed)
    assert bodies(closed) == 1
    assert volume(closed) == pytest.approx(4 / 3 * np.pi * (SPHERE_RADIUS + SHELL * CELL) ** 3, rel=0.02)


def test_an_open_part_does_not_inflate_the_closed_ones():
    sheet = Mesh(
        np.array([[-0.4, 0, 0.3], [-0.2, 0, 0.3], [-0.3, 0.2, 0.3]], np.float32), np.array([[0, 1, 2]], np.int32)
    )
    body = sphere(0.2, (0.2, 0, 0))
    closed = watertight(join(body, sheet), RESOLUTION)
    assert_closed(closed)
    right = closed.vertices[closed.vertices[:, 0] > 0]
    assert np.linalg.norm(right - (0.2, 0, 0), axis=1) == pytest.approx(0.2, abs=0.2 * CELL)
    assert bodies(closed) == 2


def test_a_closed_part_thinner_than_a_cell_is_not_lost():
    plate = cube(0.6)
    thin = Mesh((plate.vertices * np.float32([1, 0.003, 1]) + np.float32([0, 0.004, 0])), plate.faces)
    assert_closed(watertight(thin, RESOLUTION))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), resolution=st.integers(5, 40))
def test_any_soup_of_triangles_gives_a_closed_surface_around_it(seed, resolution):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-0.49, 0.49, size=(30, 3)).astype(np.float32)
    mesh = Mesh(vertices, rng.integers(0, 30, size=(12, 3)).astype(np.int32))
    closed = watertight(mesh, resolution)
    assert_closed(closed)
    whole = mesh.faces[[len(set(face)) == 3 for face in mesh.faces.tolist()]]
    inside = signed_distance(vertices[whole].mean(axis=1), closed)
    assert (inside > -0.25 * 2 * GRID_EXTENT / resolution).all()


def test_faces_that_are_degenerate_or_not_finite_are_left_out():
    mesh = sphere(detail=2)
    vertices = np.concatenate([mesh.vertices, np.full((1, 3), np.nan, np.float32)])
    faces = np.concatenate([mesh.faces, [[0, 0, 1], [0, 1, len(mesh.vertices)]]]).astype(np.int32)
    assert np.array_equal(watertight(Mesh(vertices, faces), 24).faces, watertight(mesh, 24).faces)


@pytest.mark.parametrize(
    "vertices, faces, message",
    [
        (np.full((3, 3), np.nan), [[0, 1, 2]], "no usable face"),
        (np.eye(3), [[0, 0, 1], [2, 2, 2]], "no usable face"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no usable face"),
        (np.eye(3), [[0, 1, 2]], "to_box"),
    ],
    ids=["not finite", "degenerate", "empty", "outside the box"],
)
def test_what_cannot_be_closed_is_refused(vertices, faces, message):
    with pytest.raises(ValueError, match=message):
        watertight(Mesh(np.asarray(vertices, np.float32), np.asarray(faces, np.int32)), 16)


def dense(mesh: Mesh, resolution: int) -> Mesh:
    """`watertight` without a band: distance and winding number of every node, then the rules in a few lines."""
    parts, spacing = split_parts(mesh.vertices, mesh.faces), 2 * GRID_EXTENT / resolution
    axis = np.arange(resolution + 1) * spacing - GRID_EXTENT
    nodes = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)

    def distance(faces: np.ndarray) -> np.ndarray:
        if len(faces) == 0:
            return np.full((resolution + 1,) * 3, np.inf)
        squared = igl.point_mesh_squared_distance(nodes, parts.vertices, faces)[0]
        return np.sqrt(squared).reshape((resolution + 1,) * 3) / spacing

    beside = nodes + np.array([*BESIDE, 0]) * spacing
    winding = igl.winding_number(parts.vertices, parts.solid, beside) if len(parts.solid) else np.zeros(len(nodes))
    to_solid, to_shell = distance(parts.solid), distance(parts.shell)
    inside = np.abs(winding.reshape(to_solid.shape)) > 0.5
    values = np.maximum(np.where(inside, to_solid, -to_solid), SHELL - to_shell).clip(-9, 9)
    near = np.minimum(to_solid, to_shell)
    lost = (near < THIN) & ~ndimage.binary_dilation(values > 0, np.ones((3, 3, 3)))
    around = ndimage.binary_dilation(lost, np.ones((5, 5, 5)))
    values = np.where(around, np.maximum(values, THIN - near), values)
    label, _ = ndimage.label(np.pad(values < 0, 1, constant_values=True))
    outside = (label == label[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return march(np.where(outside, -np.abs(values), np.abs(values)), -GRID_EXTENT, spacing)


def plate(thickness: float, center: tuple[float, float, float]) -> Mesh:
    flat = cube(0.3)
    return Mesh(flat.vertices * np.float32([1, thickness / 0.3, 1]) + np.float32(center), flat.faces)


SHAPES = {
    "sphere": sphere(0.31, (0.011, 0.002, -0.007)),
    "open": Mesh(sphere(0.3).vertices, sphere(0.3).faces[200:]),
    "overlap": join(sphere(0.2, (-0.1, 0, 0)), cube(0.25, (0.08, 0.01, 0.02))),
    "cavity": join(sphere(0.4), flip(sphere(0.25))),
    "plate and body": join(sphere(0.15, (-0.25, 0, 0)), plate(0.004, (0.25, 0.004, 0.003))),
    "sheet and body": join(sphere(0.15, (-0.25, 0, 0)), Mesh(cube(0.3, (0.2, 0, 0)).vertices, cube(0.3).faces[:2])),
}


@pytest.mark.parametrize("name", SHAPES)
def test_it_equals_the_dense_computation(name):
    fast, plain = watertight(SHAPES[name], 30), dense(SHAPES[name], 30)
    assert len(fast.faces) == len(plain.faces)
    assert np.array_equal(fast.faces, plain.faces)
    assert fast.vertices == pytest.approx(plain.vertices, abs=0.02 * 2 * GRID_EXTENT / 30)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    thickness=st.floats(0.002, 0.9),
    width=st.sampled_from([0.01, 0.3]),
    angle=st.floats(0, 1),
)
def test_nothing_thin_is_lost_beside_a_body(seed, thickness, width, angle):
    """Closed plates and needles thinner than a cell, anywhere and turned anyhow, next to a thick sphere."""
    rng = np.random.default_rng(seed)
    thin = cube(1)
    size = np.float32([0.3, thickness * CELL, width])
    turn = trimesh.transformations.rotation_matrix(angle, rng.normal(size=3))[:3, :3]
    place = np.array([0.25, 0, 0]) + rng.uniform(-0.03, 0.03, 3)
    needle = Mesh(((thin.vertices * size) @ turn.T + place).astype(np.float32), thin.faces)
    closed = watertight(join(sphere(0.12, (-0.35, 0, 0)), needle), RESOLUTION)
    assert_closed(closed)
    points = carry(sample_surface(needle.vertices, needle.faces, 300, rng), needle.vertices[None], needle.faces)[0]
    nearest, _ = project(points, closed)
    assert np.linalg.norm(nearest - points, axis=1).max() < 3 * CELL


def test_thin_parts_do_not_thicken_the_rest():
    body = sphere(0.2, (-0.25, 0, 0))
    closed = watertight(join(body, plate(0.004, (0.25, 0, 0))), RESOLUTION)
    left = closed.vertices[closed.vertices[:, 0] < 0]
    assert np.linalg.norm(left - (-0.25, 0, 0), axis=1) == pytest.approx(0.2, abs=0.2 * CELL)
    right = closed.vertices[closed.vertices[:, 0] > 0.12]
    middle = right[np.abs(right[:, [0, 2]] - (0.25, 0)).max(axis=1) < 0.1]
    assert np.abs(middle[:, 1]).max() < (THIN + 0.2) * CELL + 0.002


def test_a_part_that_runs_through_itself_keeps_both_lobes():
    """A tube that a pinch turns inside out: winding numbers are 1 on one side of it and -1 on the other."""
    tube = trimesh.creation.cylinder(radius=0.2, height=0.9, sections=24).subdivide().subdivide()
    vertices = np.asarray(tube.vertices, dtype=np.float32)
    vertices[:, 0] *= np.sign(vertices[:, 2] - 0.1) * np.abs(vertices[:, 2] - 0.1).clip(0.05)
    vertices[:, 0] *= 1.5
    closed = watertight(Mesh(vertices, np.asarray(tube.faces, dtype=np.int32)), RESOLUTION)
    assert_closed(closed)
    assert closed.vertices[:, 2].min() < -0.42 and closed.vertices[:, 2].max() > 0.42
    widths = [np.ptp(closed.vertices[np.abs(closed.vertices[:, 2] - z) < 0.03, 1]) for z in (-0.4, 0.4)]
    assert widths == pytest.approx([0.4, 0.4], abs=0.5 * CELL)  # neither lost nor walled from outside


def test_hundreds_of_components_stay_apart():
    place = np.stack(np.meshgrid(*[np.linspace(-0.4, 0.4, 6)] * 3), axis=-1).reshape(-1, 3)
    many = join(*[sphere(0.05, tuple(center), detail=1) for center in place])
    assert bodies(watertight(many, RESOLUTION)) == len(place)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda mesh: Mesh(mesh.vertices, mesh.faces[1:]), "NotManifold"),
        (lambda mesh: Mesh(mesh.vertices, np.concatenate([mesh.faces[1:], mesh.faces[:1, ::-1]])), "NotManifold"),
        (lambda mesh: Mesh(mesh.vertices * np.float32(np.nan), mesh.faces), "NonFiniteVertex"),
        (flip, "inside out"),
        (lambda mesh: Mesh(mesh.vertices[:0], mesh.faces[:0]), "nothing of the frame"),
    ],
    ids=["hole", "face turned", "not finite", "inside out", "empty"],
)
def test_a_surface_that_is_not_closed_is_refused(change, message):
    check_closed(sphere())
    with pytest.raises(ValueError, match=message):
        check_closed(change(sphere()))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), resolution=st.integers(8, 22), open_too=st.booleans())
def test_it_equals_the_dense_computation_of_any_boxes(seed, resolution, open_too):
    """Boxes of any proportions, thin ones too, turned anyhow and overlapping; with a loose triangle or without."""
    rng = np.random.default_rng(seed)
    boxes = []
    for _ in range(3):
        turn = trimesh.transformations.random_rotation_matrix(rng.random(3))[:3, :3]
        size = np.exp(rng.uniform(np.log(0.004), np.log(0.5), 3))
        vertices = (cube(1).vertices * size) @ turn.T + rng.uniform(-0.1, 0.1, 3)
        boxes.append(Mesh(vertices.clip(-0.54, 0.54).astype(np.float32), cube(1).faces))
    if open_too:
        boxes.append(Mesh(rng.uniform(-0.4, 0.4, (3, 3)).astype(np.float32), np.array([[0, 1, 2]], np.int32)))
    fast, plain = watertight(join(*boxes), resolution), dense(join(*boxes), resolution)
    assert np.array_equal(fast.faces, plain.faces)
    assert fast.vertices == pytest.approx(plain.vertices, abs=0.02 * 2 * GRID_EXTENT / resolution)
