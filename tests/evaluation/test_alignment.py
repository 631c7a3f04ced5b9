"""Alignment: a moved copy comes back to the floor from every orientation, and the closed forms are inverses."""

from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sculpt4d.evaluation.metrics.motion import Motion
from sculpt4d.evaluation.protocols.affine import axis_rotations
from sculpt4d.evaluation.protocols.alignment import Placement, Rigid, Similarity, best_placement
from sculpt4d.evaluation.protocols.protocol import Protocol, evaluate_sequence, sampling_floor
from sculpt4d.types import Mesh

ALIGNED = Protocol(
    name="sculpt4d", points=1500, resolution=24, alignment=Similarity(points=1500, coarse_points=300, kept=3)
)


def creature(bend: float = 0.0) -> Mesh:
    """A body with a head and one leg: no rotation maps it to itself."""
    body = trimesh.creation.icosphere(3, 1.0)
    body.apply_scale([1.0, 0.5, 0.35])
    head = trimesh.creation.icosphere(2, 0.3)
    head.apply_translation([1.1, 0.4 + bend, 0.1])
    leg = trimesh.creation.box((0.2, 0.9, 0.15))
    leg.apply_translation([-0.5, -0.7, 0.2 + bend])
    whole = trimesh.util.concatenate([body, head, leg])
    return Mesh(np.asarray(whole.vertices, np.float32), np.asarray(whole.faces))


TRUTH = Motion((creature(), creature(0.1), creature(0.2)))
FLOOR = sampling_floor(TRUTH, ALIGNED)


def moved_by(place: Placement) -> Motion:
    return Motion(
        tuple(Mesh(place(mesh.vertices.astype(float)).astype(np.float32), mesh.faces) for mesh in TRUTH.frames)
    )


@pytest.mark.parametrize("start", range(24))
def test_a_rotated_and_scaled_copy_aligns_to_the_floor(start: int) -> None:
    scale, shift = 0.3 * 1.15**start, np.array([3.0, -2.0, 0.5 * start])
    scores = evaluate_sequence(moved_by(Placement(scale, axis_rotations()[start], shift)), TRUTH, ALIGNED)
    assert scores["chamfer"] == pytest.approx(FLOOR["chamfer"], rel=0.03)
    assert scores["iou"] > 0.95


@pytest.mark.parametrize("unit", [1e-3, 1e3, 1e18])
def test_so_does_a_copy_in_any_unit(unit: float) -> None:
    scores = evaluate_sequence(moved_by(Placement(unit, axis_rotations()[7], np.zeros(3))), TRUTH, ALIGNED)
    assert scores["chamfer"] == pytest.approx(FLOOR["chamfer"], rel=0.03) and scores["iou"] > 0.95


def test_a_single_point_is_refused() -> None:
    with pytest.raises(ValueError, match="single point"):
        Similarity().fit(np.ones((5, 3)), np.random.default_rng(0).normal(size=(9, 3)), 0)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**31))
def test_so_does_a_copy_turned_in_any_way(seed: int) -> None:
    turn = Rotation.random(random_state=seed).as_matrix()
    scores = evaluate_sequence(moved_by(Placement(1.7, turn, np.array([0.2, 0.1, -4]))), TRUTH, ALIGNED)
    assert scores["chamfer"] == pytest.approx(FLOOR["chamfer"], rel=0.05)


def test_frame_0_alone_decides_where_the_clip_lies() -> None:
    """A prediction that is right in frame 0 and then wanders off is not brought back."""
    wandering = Motion(
        tuple(
            Mesh(mesh.vertices + np.float32([0.2 * number, 0, 0]), mesh.faces)
            for number, mesh in enumerate(TRUTH.frames)
        )
    )
    assert evaluate_sequence(wandering, TRUTH, ALIGNED)["chamfer"] > 1.5 * FLOOR["chamfer"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_the_best_placement_undoes_any_similarity(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(20, 3))
    place = Placement(scale, Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3))
    found = best_placement(points, place(points), np.full(20, 1 / 20))
    assert found.scale == pytest.approx(scale)
    assert np.allclose(found.rotation, place.rotation) and np.allclose(found.shift, place.shift)
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_a_mirrored_copy_is_not_turned_inside_out() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    found = best_placement(points, points * [-1, 1, 1], np.full(50, 1 / 50))
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_the_rigid_alignment_corrects_small_turns_and_little_scale() -> None:
    rng = np.random.default_rng(0)
    points = np.asarray(trimesh.sample.sample_surface(trimesh.Trimesh(*_arrays(creature())), 2000, seed=1)[0])
    turn = Rotation.from_euler("z", 8, degrees=True).as_matrix()
    place = Rigid(points=2000).fit(points @ turn / 1.02, points[rng.permutation(2000)], 0)
    assert np.linalg.norm(place(points @ turn / 1.02) - points, axis=1).max() < 0.05
    assert Rigid(points=500).fit(points, 3 * points, 0).scale == 1.05
    upside = axis_rotations()[5]
    assert not np.allclose(Rigid(points=500).fit(points @ upside, points, 0).rotation, upside.T, atol=0.1)


def test_motion324_boxes_each_side_by_its_first_frame(shapes: SimpleNamespace) -> None:
    rigid = Rigid(points=2500)
    protocol = Protocol(name="motion324", points=2500, resolution=None, box="first_frame", alignment=rigid)
    truth = Motion((shapes.sphere(1.0, (5, 0, 0)), shapes.sphere(1.0, (6, 0, 0))))
    small = Motion((shapes.sphere(0.05, (0, 1, 0)), shapes.sphere(0.05, (0.05, 1, 0))))
    scores = evaluate_sequence(small, truth, protocol)
    assert "iou" not in scores.values
    assert scores["chamfer"] == pytest.approx(sampling_floor(truth, protocol)["chamfer"], rel=0.1)


def _arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices, mesh.faces
