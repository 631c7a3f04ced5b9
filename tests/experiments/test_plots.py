"""Plots: points are where their figures are, bars do not overlap, masks keep their colour, empty panels say so."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from experiments import plots, tables
from experiments.compare import choose
from experiments.papers import COMPARISONS
from experiments.plots import Panel, Point, Series, draw
from experiments.results import read_runs
from sculpt4d import optional

Leave = Callable[..., Path]
RED, BLUE = ("#ff0000", "o"), ("#0000ff", "o")


def places(path: Path, colour: str) -> np.ndarray:
    """(row, column) of every pixel of a colour."""
    return np.argwhere((np.asarray(Image.open(path).convert("RGB")) == ImageColor.getrgb(colour)).all(-1))


def test_points_lie_where_their_figures_are(tmp_path: Path):
    """Measured against the axes through two corner points of another colour."""
    corners = [Series(f"{x}", (Point(x, x),), (colour, "o")) for x, colour in ((0.0, "#00ff00"), (1.0, "#ffff00"))]
    draw(tmp_path / "p.png", "t", [Panel("p", "x", "y", (*corners, Series("s", (Point(0.5, 0.25),), RED)))])
    low, high, found = (
        np.median(axes[axes[:, 1] < 0.88 * Image.open(tmp_path / "p.png").width], axis=0)  # without the legend
        for axes in (places(tmp_path / "p.png", colour) for colour in ("#00ff00", "#ffff00", "#ff0000"))
    )
    assert (found - low) / (high - low) == pytest.approx((0.25, 0.5), abs=0.01)


@pytest.mark.parametrize("apart", [0.0, 9.0])
def test_bars_of_one_x_stand_side_by_side_where_asked(tmp_path: Path, apart: float):
    both = (Series("a", (Point(1.0, 1.0, 0.5),), RED), Series("b", (Point(1.0, 1.0, 0.5),), BLUE))
    draw(tmp_path / "p.png", "t", [Panel("p", "x", "y", both, apart=apart)])
    width = Image.open(tmp_path / "p.png").width
    red, blue = (places(tmp_path / "p.png", colour)[:, 1] for colour in ("#ff0000", "#0000ff"))
    drawn = red[red < 0.88 * width]
    assert (len(drawn) > 0 and drawn.max() < blue[blue < 0.88 * width].min()) == (apart > 0)


def test_octaves_are_evenly_spaced(tmp_path: Path):
    colours = {0.5: "#ff0000", 1.0: "#00ff00", 4.0: "#0000ff"}
    series = tuple(Series(f"{x}", (Point(x, 1.0),), (colour, "o")) for x, colour in colours.items())
    draw(tmp_path / "p.png", "t", [Panel("p", "x", "y", series, octaves=True)])
    width = Image.open(tmp_path / "p.png").width
    columns = [places(tmp_path / "p.png", colour)[:, 1] for colour in colours.values()]
    low, middle, high = (float(np.median(column[column < 0.88 * width])) for column in columns)
    assert (middle - low) / (high - low) == pytest.approx(1 / 3, abs=0.01)


def test_an_empty_panel_and_one_without_figures_are_drawn(tmp_path: Path):
    nothing = Series("n", (Point(1.0, math.nan),), RED, joined=True)
    draw(tmp_path / "p.png", "t", [Panel("p", "x", "y", ()), Panel("p", "x", "y", (nothing,))])
    assert len(places(tmp_path / "p.png", "#ff0000")) == 0 and Image.open(tmp_path / "p.png").width > 1000


def test_every_mask_has_its_own_colour_and_marker_in_all_plots():
    masks = [entry.variant for entry in COMPARISONS["a1_masks"].entries]
    styles = [plots.style_of(mask) for mask in masks if mask]
    assert set(masks) == set(plots.STYLES)
    assert len({colour for colour, _ in styles}) == len({marker for _, marker in styles}) == len(masks)


@pytest.mark.parametrize("command", [plots.main, lambda given: tables.main(["--output", given[-1]])])
def test_without_matplotlib_the_command_ends_with_the_line_that_installs_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[list[str]], None],
):
    monkeypatch.setattr(optional, "probe", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        command(["--output", str(tmp_path / "out")])
    assert ended.value.code == 2 and "pip install -e '.[plots]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_all_plots_are_drawn_from_results_and_from_none(sweep: Leave, tmp_path: Path):
    for seed in range(2):
        sweep("masks", "full", seed)
        folder = sweep("length", "blockmask_decay_frames4", seed, frames=4)
    drawn = plots.draw_all(tmp_path / "out", [folder])
    assert set(drawn) == {"compute_chamfer", "length", "loss_time"}
    assert all(Image.open(path).width > 1000 for path in drawn.values())
    assert not list((tmp_path / "out").glob("*.partial"))


def test_loss_panels_take_the_middles_of_the_bins_and_pair_by_seed(sweep: Leave):
    for seed, (mine, theirs) in enumerate([(0.5, 0.25), (1.5, 1.25)]):
        sweep("masks", "full", seed, loss={"val/loss": 9.0, "val/loss_time_0.00": mine, "val/loss_time_0.50": 1.0})
        folder = sweep("masks", "blockmask_decay", seed, loss={"val/loss_time_0.00": theirs, "val/loss_time_0.50": 2.0})
    comparison = plots.MASKS
    whole, less = plots.loss_panels(comparison, choose(comparison, read_runs([folder])))
    full = next(series for series in whole.series if series.name == "full")
    assert full.points == (Point(0.25, 1.0, 0.5), Point(0.75, 1.0, 0.0))
    gaps = next(series for series in less.series if series.name == "full")
    assert gaps.points == (Point(0.25, 0.25, 0.0), Point(0.75, -1.0, 0.0))


def test_lengths_are_multiples_of_those_of_training(sweep: Leave):
    folder = sweep("length", "blockmask_decay_frames32", 0, 0.2, frames=32)
    comparison = plots.LENGTH
    chamfer = plots.length_panels(comparison, choose(comparison, read_runs([folder])))[0]
    published, measured = chamfer.series
    assert [point.x for point in published.points] == [0.5, 1, 2, 4]
    assert [(point.x, point.y) for point in measured.points] == [(4.0, 0.2)]


def test_one_seed_has_no_error_bar(sweep: Leave):
    comparison = plots.MASKS
    rows = choose(comparison, read_runs([sweep("masks", "full")]))
    measured = plots.compute_panels(comparison, rows)[1]
    (series,) = measured.series
    assert [math.isnan(point.error) for point in series.points] == [True]
    assert plots.size_of(rows) == "; tiny, 1500 steps"
