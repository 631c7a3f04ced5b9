"""Drift and flicker: true motion costs nothing, a frozen or a fading prediction does."""

from types import SimpleNamespace

import numpy as np
import pytest

from sculpt4d.evaluation.metrics import draw_points
from sculpt4d.evaluation.temporal import constancy


def test_equal_motion_costs_nothing_and_a_frozen_prediction_what_the_truth_moves(shapes: SimpleNamespace) -> None:
    radii = (0.5, 0.6, 0.7, 0.8)
    truth = draw_points(shapes.sequence(*[shapes.sphere(radius) for radius in radii]), 3000, (0, 0))
    frozen = draw_points(shapes.sequence(*[shapes.sphere(0.5)] * 4), 3000, (0, 0))
    assert constancy(truth, truth)["identity_drift"] == 0 == constancy(truth, truth)["flicker_error"]
    still, moving = constancy(frozen, frozen), constancy(truth, truth)
    # concentric spheres lie twice their gap apart; points drawn anew lie `still` apart even where nothing moves
    assert moving["flicker"] == pytest.approx(2 * 0.1, abs=0.02)
    assert constancy(frozen, truth)["flicker_error"] == pytest.approx(0.2 - still["flicker"], abs=0.02)
    assert constancy(frozen, truth)["identity_drift"] == pytest.approx(
        np.mean([0.2, 0.4, 0.6]) - still["flicker"], abs=0.02
    )


def test_an_oscillation_flickers_more_than_it_drifts(shapes: SimpleNamespace) -> None:
    truth = draw_points(shapes.sequence(*[shapes.sphere(0.5)] * 5), 3000, (0, 0))
    radii = (0.5, 0.6, 0.5, 0.6, 0.5)
    shaking = draw_points(shapes.sequence(*[shapes.sphere(radius) for radius in radii]), 3000, (0, 1))
    values = constancy(shaking, truth)
    assert values["flicker_error"] == pytest.approx(2 * values["identity_drift"], rel=0.1)


def test_frames_without_a_surface_are_left_out_and_one_frame_has_neither(shapes: SimpleNamespace) -> None:
    truth = draw_points(shapes.sequence(*[shapes.sphere(0.5)] * 3), 500, (0, 0))
    holed = draw_points(shapes.sequence(shapes.sphere(0.5), shapes.EMPTY, shapes.sphere(0.5)), 500, (0, 0))
    assert np.isfinite(constancy(holed, truth)["identity_drift"])
    assert np.isnan(constancy(holed, truth)["flicker"])  # each pair of neighbours has an empty one
    assert np.isnan(constancy(truth[:1], truth[:1])["identity_drift"])
