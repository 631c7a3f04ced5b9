"""Volume, centroid and jitter against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest

from sculpt4d.evaluation.metrics.stability import OF_SOLIDS, follow, jitter, measure, stability
from sculpt4d.types import Mesh


@pytest.mark.parametrize("center", [(0.0, 0.0, 0.0), (0.3, -0.7, 0.1), (40.0, 0.0, 0.0)])
def test_volume_area_and_centroid_of_a_cube(shapes: SimpleNamespace, center: tuple[float, float, float]) -> None:
    volume, area, centroid = measure(shapes.cube(0.5, center))
    assert (volume, area) == (pytest.approx(0.125, rel=1e-4), pytest.approx(1.5, rel=1e-4))
    assert centroid == pytest.approx(np.array(center), abs=1e-5)


def test_centroid_is_that_of_the_solid_not_of_its_triangles(shapes: SimpleNamespace) -> None:
    box = shapes.cube(1.0)
    vertices = box.vertices.copy()
    vertices[vertices[:, 1] > 0] *= np.array([0, 1, 0], np.float32)  # the top collapsed to a point: a pyramid
    volume, _, centroid = measure(Mesh(vertices, box.faces))
    assert volume == pytest.approx(1 / 3, rel=1e-5)
    assert centroid == pytest.approx([0, -0.25, 0], abs=1e-6)  # a quarter of the height above the base


def test_an_open_sheet_has_the_centroid_of_its_surface(shapes: SimpleNamespace) -> None:
    sheet = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32), np.array([[0, 1, 2]]))
    volume, area, centroid = measure(sheet)
    assert (volume, area) == (pytest.approx(0, abs=1e-12), pytest.approx(0.5))
    assert centroid == pytest.approx([1 / 3, 1 / 3, 0], abs=1e-6)


def test_a_constant_sequence_and_steady_motion_have_no_jitter(shapes: SimpleNamespace) -> None:
    still = follow(shapes.sequence(*[shapes.sphere(0.4)] * 4))
    steady = follow(shapes.sequence(*[shapes.cube(0.5, (0.125 * step, 0, 0)) for step in range(4)]))
    assert all(value == pytest.approx(0, abs=1e-9) for value in stability(still, still).values())
    assert all(value == pytest.approx(0, abs=1e-6) for value in stability(steady, steady).values())


def test_jitter_of_an_oscillation_is_exact(shapes: SimpleNamespace) -> None:
    truth = follow(shapes.sequence(*[shapes.cube(1.0)] * 5))
    height = [0.0, 0.1, 0.0, 0.1, 0.0]
    moving = follow(shapes.sequence(*[shapes.cube(1.0, (0, y, 0)) for y in height]))
    sides = [1.0, 1.2, 1.0, 1.2, 1.0]
    breathing = follow(shapes.sequence(*[shapes.cube(side) for side in sides]))
    moved, breathed = stability(moving, truth), stability(breathing, truth)
    assert moved["centroid_jitter"] == pytest.approx(0.2, abs=1e-6)
    assert moved["volume_jitter"] == pytest.approx(0, abs=1e-5)
    assert breathed["volume_jitter"] == pytest.approx(2 * (1.2**3 - 1), rel=1e-5)
    assert breathed["area_jitter"] == pytest.approx(2 * (1.2**2 - 1), rel=1e-5)


def test_true_motion_costs_nothing_and_a_frozen_prediction_does(shapes: SimpleNamespace) -> None:
    moving = follow(shapes.sequence(*[shapes.cube(1.0, (0, y, 0)) for y in (0.0, 0.1, 0.0, 0.1)]))
    frozen = follow(shapes.sequence(*[shapes.cube(1.0)] * 4))
    assert stability(moving, moving)["centroid_jitter_error"] == 0
    assert stability(moving, moving)["centroid_jitter"] == pytest.approx(0.2, abs=1e-6)
    assert stability(frozen, moving)["centroid_jitter_error"] == pytest.approx(0.2, abs=1e-6)
    assert stability(frozen, moving)["centroid_jitter"] == 0


def test_an_empty_frame_is_a_jump_to_nothing(shapes: SimpleNamespace) -> None:
    truth = follow(shapes.sequence(*[shapes.cube(1.0)] * 3))
    blinking = follow(shapes.sequence(shapes.cube(1.0), shapes.EMPTY, shapes.cube(1.0)))
    assert stability(blinking, truth)["volume_jitter"] == pytest.approx(2)


def test_fewer_than_three_frames_have_no_second_difference(shapes: SimpleNamespace) -> None:
    assert np.isnan(jitter(np.array([1.0, 2.0])))
    assert jitter(np.array([1.0, 2.0, 3.0])) == 0


def test_a_mesh_that_is_inside_out_is_turned(shapes: SimpleNamespace) -> None:
    growing = [shapes.sphere(radius, (0.1, 0, 0)) for radius in (0.5, 0.6, 0.5, 0.7)]
    turned = [Mesh(mesh.vertices, mesh.faces[:, ::-1].copy()) for mesh in growing]
    truth = follow(shapes.sequence(*growing))
    assert stability(follow(shapes.sequence(*turned)), truth) == pytest.approx(stability(truth, truth), abs=1e-9)
    assert stability(truth, truth)["volume_jitter_error"] == 0


def test_volume_and_centroid_are_those_of_closed_meshes(shapes: SimpleNamespace) -> None:
    whole, holed = shapes.sphere(0.5), Mesh(shapes.sphere(0.5).vertices, shapes.sphere(0.5).faces[1:])
    loose = Mesh(whole.vertices[whole.faces].reshape(-1, 3), np.arange(3 * len(whole.faces)).reshape(-1, 3))
    truth, empty = follow(shapes.sequence(*[whole] * 3)), shapes.EMPTY
    # vertices that files split at seams of texture are joined, and a frame without a surface is a failure of its own
    for frames, closed in (([loose] * 3, True), ([whole, empty, whole], True), ([whole, holed, whole], False)):
        course = follow(shapes.sequence(*frames))
        assert course.closed == closed
        for sides in ((course, truth), (truth, course)):
            absent = {name for name, value in stability(*sides).items() if np.isnan(value)}
            assert absent == (set() if closed else set(OF_SOLIDS))
