"""What was named and is not shown is said, in one line with its reason."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import plots, table, tables
from experiments.compare import tables_of, unshown
from experiments.papers import COMPARISONS
from experiments.reproduced import agreement
from experiments.results import read_runs

Leave = Callable[..., Path]
MASKS, MAIN = COMPARISONS["a1_masks"], COMPARISONS["main"]


def test_a_file_of_other_quantities_is_told_and_no_source_of_the_figures(
    evaluation: Leave, capsys: pytest.CaptureFixture[str]
):
    folders = [evaluation("obj", {"cd_3d": 0.1}), evaluation("ours", {"chamfer": 0.1})]
    table.main(["main", *map(str, folders)])
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"Not shown: {folders[0]}/metrics.json (has none of chamfer, iou")
    (source,) = [line for line in printed.out.splitlines() if line.startswith("Measured figures")]
    assert source.endswith("/ours.")
    table.main(["main", str(folders[1])])
    assert not capsys.readouterr().err


def test_runs_of_unknown_variants_and_sweeps_are_told_once_for_all_seeds(sweep: Leave):
    sweep("masks", "full")
    for seed in range(3):
        sweep("masks", "mine", seed)
    folder = sweep("mine", "full")
    told = unshown([MASKS], read_runs([folder]))
    assert "masks/mine_seed0.json and 2 more (no row is of mine of sweep=masks); " in told
    assert told.endswith("mine/full_seed0.json (no row is of full of sweep=mine)")
    for number in range(5):
        sweep("other", f"variant{number}")
    assert unshown([MASKS], read_runs([folder])).endswith("; and 3 other files") and "\n" not in told


def test_of_all_tables_only_what_stands_in_none_is_told(
    sweep: Leave, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sweep("masks", "full")
    folder = sweep("length", "blockmask_decay_frames4", frames=4)
    assert not unshown(COMPARISONS.values(), read_runs([folder]))
    sweep("masks", "mine")
    tables.main(["--results", str(folder), "--output", str(tmp_path / "out")])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Not shown")]
    assert "mine_seed0.json" in line and "length" not in line


def test_pictures_tell_what_they_leave_out(sweep: Leave, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweep("masks", "full")
    folder = sweep("components", "without_shared_noise")
    plots.main([str(folder), "--output", str(tmp_path / "out")])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Not shown: ") and "without_shared_noise" in line and "full" not in line
    plots.main([str(folder / "masks"), "--output", str(tmp_path / "out")])
    assert not capsys.readouterr().err


def test_variants_that_one_side_alone_has_are_told(sweep: Leave, tmp_path: Path):
    own = sweep("masks", "full") / "masks"
    sweep("masks", "no_anchor")
    other = tmp_path / "other"
    other.mkdir()
    for variant in ("full", "aggressive"):
        sweep("masks", variant)
        (own / f"{variant}_seed0.json").rename(other / f"{variant}_seed0.json")
    sweep("masks", "full")
    lines = {row[0]: row[-1] for row in agreement(own, other).rows}
    assert lines["no_anchor"] == f"not compared: in {own} alone"
    assert lines["aggressive"] == f"not compared: in {other} alone" and lines["full"] == "agrees"


def test_a_bar_in_a_method_breaks_no_table(evaluation: Leave, capsys: pytest.CaptureFixture[str]):
    table.main(["main", str(evaluation("a|b", {"chamfer": 0.1}))])
    rows = [line.replace(r"\|", "") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert any("| ab |" in line for line in rows)
    assert len({line.count("|") for line in rows if line.count("|") > 7}) == 1


def test_two_runs_of_one_method_may_be_named_apart(sweep: Leave, evaluation: Leave, tmp_path: Path):
    first = evaluation("obj", {"chamfer": 0.1}).rename(tmp_path / "first")
    with pytest.raises(ValueError, match=r"are both obj, with other numbers: .* or name them apart \(method=NAME\)"):
        tables_of(MAIN, [first, evaluation("obj", {"chamfer": 0.2})])


@pytest.mark.parametrize("option", ["--wandb", "--output"])
@pytest.mark.parametrize("below", ["", "/folder"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_is_written(
    sweep: Leave, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, below: str
):
    (tmp_path / "file").write_text("")
    given = ["--results", str(sweep("masks", "full")), "--output", str(tmp_path / "out"), option]
    with pytest.raises(SystemExit) as ended:
        tables.main([*given, f"{tmp_path}/file{below}"])
    assert ended.value.code == 2 and "file is a file: name a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
