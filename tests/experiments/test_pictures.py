"""Charts: ticks cover the data, points are where their figures are, an empty panel says so."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor, ImageDraw

from experiments import plots, table_a1_masks, table_a4_length
from experiments.chart import COLOURS, LEFT, SIDE, TOP, Panel, Point, Series, _Axes, draw, ticks
from experiments.comparison import choose
from experiments.results import read_runs

Leave = Callable[..., Path]


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3), st.integers(3, 8))
def test_ticks_cover_the_data_in_equal_round_steps(low: float, span: float, count: int):
    found = ticks(low, low + span, count)
    steps = np.diff(found)
    slack = 1e-6 * span + 1e-9
    assert found[0] <= low + slack and found[-1] >= low + span - slack
    assert np.allclose(steps, steps[0], rtol=1e-3) and 2 <= len(found) <= count + 3
    digit = steps[0] / 10.0 ** np.floor(np.log10(steps[0] * 1.0001))
    assert min(abs(digit - one) for one in (1, 2, 5)) < 1e-2


def test_a_single_value_still_has_an_axis():
    assert len(ticks(0.25, 0.25)) > 1 and len(ticks(0.0, 0.0)) > 1


def test_points_lie_where_their_figures_are(tmp_path: Path):
    file = tmp_path / "chart.png"
    corners = Series((Point(0.0, 0.0), Point(1.0, 1.0)))
    draw(file, "t", [Panel("p", "x", "y", (corners, Series((Point(0.5, 0.25),))))])
    pixels = np.asarray(Image.open(file).convert("RGB"))
    second = np.argwhere((pixels == ImageColor.getrgb(COLOURS[1])).all(-1)).mean(0)
    assert second == pytest.approx((TOP + 0.75 * SIDE, LEFT + 0.5 * SIDE), abs=2)
    assert not list(tmp_path.glob(".*"))


def test_names_of_close_points_overlap_neither_each_other_nor_a_bar():
    """Six masks as they were measured: their bars reach far beyond the distance between them."""
    names = ("no_anchor", "fixed_stride", "aggressive", "conservative", "full", "blockmask_decay")
    computes, distances = (1.334, 1.27, 1.296, 1.396, 1.534, 1.366), (0.1578, 0.1612, 0.1587, 0.1583, 0.1597, 0.1584)
    points = (Point(x, y, 0.003, name) for x, y, name in zip(computes, distances, names, strict=True))
    axes = _Axes(ImageDraw.Draw(Image.new("RGB", (2000, 2000))), Panel("p", "x", "y", (Series(tuple(points)),)), LEFT)
    axes.draw()
    assert len(axes.taken) == 12
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(axes.taken, 2):
        bars = c - a == g - e == 20  # of two masks of nearly the same compute
        assert bars or c <= e or g <= a or d <= f or h <= b


def test_octaves_are_evenly_spaced(tmp_path: Path):
    draw(
        tmp_path / "c.png",
        "t",
        [Panel("p", "x", "y", (Series((Point(0.5, 1.0), Point(4.0, 0.0))), Series((Point(1.0, 0.5),))), octaves=True)],
    )
    pixels = np.asarray(Image.open(tmp_path / "c.png").convert("RGB"))
    at = np.argwhere((pixels == ImageColor.getrgb(COLOURS[1])).all(-1)).mean(0)[1]
    assert at == pytest.approx(LEFT + 40 + (SIDE - 80) / 3, abs=2)


def test_an_empty_panel_and_one_without_figures_are_drawn(tmp_path: Path):
    nothing = Series((Point(1.0, math.nan, name="full"),), "n", joined=True)
    draw(tmp_path / "c.png", "t", [Panel("p", "x", "y", ()), Panel("p", "x", "y", (nothing,))])
    assert Image.open(tmp_path / "c.png").size[1] > SIDE


def test_all_pictures_are_drawn_from_results_and_from_none(sweep: Leave, tmp_path: Path):
    for seed in range(2):
        sweep("masks", "full", seed)
        folder = sweep("length", "blockmask_decay_frames4", seed, frames=4)
    drawn = plots.draw_all(tmp_path / "out", [folder])
    assert set(drawn) == {"compute_chamfer", "length", "loss_time"}
    assert all(Image.open(path).width > SIDE for path in drawn.values())


def test_loss_panels_take_the_middles_of_the_bins_and_pair_by_seed(sweep: Leave):
    for seed, (mine, theirs) in enumerate([(0.5, 0.25), (1.5, 1.25)]):
        sweep("masks", "full", seed, loss={"val/loss": 9.0, "val/loss_time_0.00": mine, "val/loss_time_0.50": 1.0})
        folder = sweep("masks", "blockmask_decay", seed, loss={"val/loss_time_0.00": theirs, "val/loss_time_0.50": 2.0})
    comparison = table_a1_masks.COMPARISON
    whole, less = plots.loss_panels(comparison, choose(comparison, read_runs([folder])))
    full = next(series for series in whole.series if series.name == "full")
    assert full.points == (Point(0.25, 1.0, 0.5), Point(0.75, 1.0, 0.0))
    gaps = next(series for series in less.series if series.name == "full")
    assert gaps.points == (Point(0.25, 0.25, 0.0), Point(0.75, -1.0, 0.0))


def test_lengths_are_multiples_of_those_of_training(sweep: Leave):
    folder = sweep("length", "blockmask_decay_frames32", 0, 0.2, frames=32)
    comparison = table_a4_length.COMPARISON
    chamfer = plots.length_panels(comparison, choose(comparison, read_runs([folder])))[0]
    published, measured = chamfer.series
    assert [point.x for point in published.points] == [0.5, 1, 2, 4]
    assert [(point.x, point.y) for point in measured.points] == [(4.0, 0.2)]


def test_one_seed_has_no_error_bar(sweep: Leave):
    comparison = table_a1_masks.COMPARISON
    rows = choose(comparison, read_runs([sweep("masks", "full")]))
    measured = plots.compute_panels(comparison, rows)[1]
    (series,) = measured.series
    assert [math.isnan(point.error) for point in series.points] == [True]
    assert plots.size_of(rows) == "; tiny, 1500 steps"
