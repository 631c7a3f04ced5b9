"""Chamfer, F-score and IoU against brute force and against shapes whose answer is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sculpt4d.evaluation.metrics.geometry import (
    FAILED_CHAMFER,
    Chamfer,
    FScore,
    Pair,
    SampledSurface,
    SolidIoU,
    chamfer,
    draw_points,
    fscore,
    geometry_metrics,
    pair_frames,
    solid_iou,
    summarize,
)
from sculpt4d.types import Mesh, MeshSequence


def pairs(predicted: MeshSequence, truth: MeshSequence, count: int = 1000) -> tuple[Pair, ...]:
    return pair_frames(draw_points(predicted, count, (0, 1)), draw_points(truth, count, (0, 0)))


def test_nearest_distances_equal_brute_force(shapes: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    here, there = rng.normal(size=(70, 3)).astype(np.float32), rng.normal(size=(50, 3)).astype(np.float32)
    pair = Pair(SampledSurface(shapes.EMPTY, here), SampledSurface(shapes.EMPTY, there))
    brute = np.linalg.norm(here[:, None].astype(float) - there[None], axis=-1)
    to_truth, to_predicted = brute.min(axis=1), brute.min(axis=0)
    assert chamfer(pair) == pytest.approx(to_truth.mean() + to_predicted.mean(), rel=1e-6)
    precision, recall = (to_truth < 0.5).mean(), (to_predicted < 0.5).mean()
    assert fscore(pair, 0.5) == pytest.approx(2 * precision * recall / (precision + recall))
    assert fscore(pair, 1e-6) == 0


def test_chamfer_of_concentric_spheres_is_twice_the_gap(shapes: SimpleNamespace) -> None:
    (pair,) = pairs(shapes.sequence(shapes.sphere(0.8)), shapes.sequence(shapes.sphere(0.5)), 10_000)
    assert chamfer(pair) == pytest.approx(0.6, abs=0.01)
    assert fscore(pair, 0.25) == 0
    assert fscore(pair, 0.35) == 1


@pytest.mark.parametrize("apart", [0.05, 0.2, 0.4])
def test_two_spheres_of_known_offset_have_known_chamfer_fscore_and_iou(shapes: SimpleNamespace, apart: float) -> None:
    """On a sphere the distance to the centre of its shifted twin is spread so that |distance - radius| has the mean
    offset / 2 and the share radius / offset below a radius; the solids share a lens.
    """
    radius, near = 0.5, 0.03
    here, there = (shapes.sphere(radius, (side * apart / 2, 0, 0), 5) for side in (-1, 1))
    (pair,) = pairs(shapes.sequence(here), shapes.sequence(there), 40_000)
    (floor,) = pairs(shapes.sequence(here), shapes.sequence(here), 40_000)
    assert apart <= chamfer(pair) + 0.002 and chamfer(pair) == pytest.approx(apart, abs=chamfer(floor))
    if apart > near:
        # the other surface is met at its points, which lie a little beside: the radius shrinks to the plane by that
        spacing = chamfer(floor) / 2
        assert (near**2 - spacing**2) ** 0.5 / apart - 0.01 < fscore(pair, near) < near / apart + 0.01
    lens = np.pi * (4 * radius + apart) * (2 * radius - apart) ** 2 / 12
    assert solid_iou(pair, 128) == pytest.approx(lens / (8 / 3 * np.pi * radius**3 - lens), abs=0.01)


def test_iou_of_shifted_cubes_is_exact(shapes: SimpleNamespace) -> None:
    truth = shapes.sequence(shapes.cube(1.0, (0.25, 0, 0)))
    (half,) = pairs(shapes.sequence(shapes.cube(1.0, (-0.25, 0, 0))), truth)
    (apart,) = pairs(shapes.sequence(shapes.cube(0.5, (-0.75, 0, 0))), truth)
    (inside,) = pairs(shapes.sequence(shapes.cube(0.5, (0.25, 0, 0))), truth)
    assert solid_iou(half, 64) == pytest.approx(1 / 3)
    assert solid_iou(apart, 64) == 0
    assert solid_iou(inside, 64) == pytest.approx(1 / 8)


def test_identical_meshes_give_the_floor(shapes: SimpleNamespace) -> None:
    same = shapes.sequence(shapes.sphere(0.3), shapes.cube(0.4))
    frames = pairs(same, same, 10_000)
    assert all(solid_iou(pair, 64) == 1 for pair in frames)
    assert all(fscore(pair, 0.05) == 1 for pair in frames)
    assert all(0 < chamfer(pair) < 0.03 for pair in frames)


def test_points_are_uniform_by_area_and_repeat(shapes: SimpleNamespace) -> None:
    large, small = shapes.cube(1.0, (-0.5, 0, 0)), shapes.cube(0.5, (0.75, 0, 0))
    faces = np.concatenate([large.faces, small.faces + len(large.vertices)])
    both = shapes.sequence(Mesh(np.concatenate([large.vertices, small.vertices]), faces))
    (first,), (again,), (other,) = (draw_points(both, 20_000, seed) for seed in ((3, 0), (3, 0), (3, 1)))
    assert np.array_equal(first.points, again.points)
    assert not np.array_equal(first.points, other.points)
    assert (first.points[:, 0] > 0.25).mean() == pytest.approx(0.2, abs=0.015)  # areas 6 and 1.5


@pytest.mark.parametrize("kind", ["empty", "not finite", "flat"])
def test_a_frame_without_surface_is_a_failure_with_the_stated_cost(shapes: SimpleNamespace, kind: str) -> None:
    box = shapes.cube()
    broken = {
        "empty": shapes.EMPTY,
        "not finite": Mesh(np.full_like(box.vertices, np.nan), box.faces),
        "flat": Mesh(np.zeros_like(box.vertices), box.faces),
    }[kind]
    frames = pairs(shapes.sequence(broken), shapes.sequence(box))
    assert frames[0].predicted.failed
    assert float(Chamfer()(frames).mean) == FAILED_CHAMFER
    assert float(FScore()(frames).mean) == 0
    assert float(SolidIoU()(frames).mean) == 0


@pytest.mark.parametrize("radius", [1.5, 3.0, 40.0, 5000.0, 1e20])
@pytest.mark.parametrize("holed", [False, True])
def test_a_prediction_that_is_too_large_costs_what_it_holds(
    shapes: SimpleNamespace, radius: float, holed: bool
) -> None:
    """Beyond the box too, of a mesh of any size."""
    if holed and radius > 5000:
        pytest.skip("generalised winding numbers of such sizes take minutes")
    truth, large = shapes.sphere(1.0, detail=3), shapes.sphere(radius, detail=3)
    large = Mesh(large.vertices, large.faces[1:] if holed else large.faces)
    (pair,) = pairs(shapes.sequence(large), shapes.sequence(truth), 10)
    assert solid_iou(pair, 24) == pytest.approx(radius**-3, rel=0.02)


@pytest.mark.parametrize("apart", [0.5, 1.0, 1.5, 1000.0])
def test_what_lies_outside_of_the_box_counts_as_wherever_it_lies(shapes: SimpleNamespace, apart: float) -> None:
    here, there = shapes.sphere(1.0), shapes.sphere(1.0, (apart, 0, 0))
    (pair,) = pairs(shapes.sequence(there), shapes.sequence(here), 10)
    lens = np.pi * (4 + apart) * max(2 - apart, 0) ** 2 / 12
    assert solid_iou(pair, 64) == pytest.approx(lens / (8 / 3 * np.pi - lens), abs=0.001)
    both, either = (shapes.cube(1.0, (x, 0, 0)) for x in (0.75, 1.25))
    (pair,) = pairs(shapes.sequence(both), shapes.sequence(either), 10)
    assert solid_iou(pair, 32) == pytest.approx(1 / 3)


def test_frames_whose_truth_holds_no_cell_have_no_iou(shapes: SimpleNamespace) -> None:
    sheet, box = Mesh(shapes.cube().vertices[:3], np.array([[0, 1, 2]])), shapes.cube()
    metric = SolidIoU(16)
    metric.update(pairs(shapes.sequence(box, box), shapes.sequence(sheet, box)))
    metric.update(pairs(shapes.sequence(box), shapes.sequence(sheet)))
    assert (metric.compute().mean, metric.compute().objects) == (1.0, 1)


def test_frames_are_averaged_before_objects(shapes: SimpleNamespace) -> None:
    truth = shapes.sequence(shapes.cube(), shapes.cube())
    metric = SolidIoU(32)
    metric.update(pairs(shapes.sequence(shapes.cube(), shapes.EMPTY), truth))
    metric.update(pairs(truth, truth))
    summary = metric.compute()
    assert (summary.mean, summary.objects) == (0.75, 2)
    assert summary.error == pytest.approx(0.25)  # of 0.5 and 1


def test_states_of_two_processes_gather_to_the_whole(shapes: SimpleNamespace) -> None:
    truth = shapes.sequence(shapes.sphere(0.5))
    frames = [pairs(shapes.sequence(shapes.sphere(radius)), truth) for radius in (0.3, 0.4, 0.6)]
    whole, first, second = Chamfer(), Chamfer(), Chamfer()
    for entry in frames:
        whole.update(entry)
    first.update(frames[0])
    for entry in frames[1:]:
        second.update(entry)
    first.merge_state(second)
    assert first.compute() == pytest.approx(whole.compute())
    whole.reset()
    assert whole.values == []
    whole.update(frames[0])
    assert whole.compute().objects == 1


def test_one_call_gives_this_object_and_the_state_keeps_all(shapes: SimpleNamespace) -> None:
    metric, truth = Chamfer(), shapes.sequence(shapes.sphere(0.5))
    near, far = (float(metric(pairs(shapes.sequence(shapes.sphere(r)), truth)).mean) for r in (0.5, 0.9))
    assert near < 0.2 < far
    assert metric.compute().mean == pytest.approx((near + far) / 2)


def test_geometry_metrics_are_named_by_radius(shapes: SimpleNamespace) -> None:
    metrics = geometry_metrics(0.02, (0.01, 0.1), 32)
    assert list(metrics) == ["chamfer", "fscore", "iou", "fscore_0.01", "fscore_0.1"]
    frames = pairs(shapes.sequence(shapes.sphere(0.51)), shapes.sequence(shapes.sphere(0.5)))
    scores = [float(metrics[name](frames).mean) for name in ("fscore_0.01", "fscore", "fscore_0.1")]
    assert scores == sorted(scores)


def test_unequal_frame_counts_and_empty_truth_are_refused(shapes: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="1 predicted frames cannot be compared with 2"):
        pairs(shapes.sequence(shapes.cube()), shapes.sequence(shapes.cube(), shapes.cube()))
    with pytest.raises(ValueError, match="frame 1 has no surface"):
        pairs(shapes.sequence(shapes.cube(), shapes.cube()), shapes.sequence(shapes.cube(), shapes.EMPTY))


def test_standard_error_is_that_of_the_mean(shapes: SimpleNamespace) -> None:
    summary = summarize(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert_close(torch.tensor(summary.error), torch.tensor([1.0, 2.0, 3.0, 6.0]).std() / 2)
    one = summarize([4.0])
    assert (one.mean, one.objects) == (4.0, 1) and math.isnan(one.error)
    assert np.isnan(summarize([float("nan")]).mean)
