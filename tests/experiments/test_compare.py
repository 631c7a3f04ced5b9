"""Rows of tables: where figures come from, what stands for what is missing, and what is refused."""

import csv
import io
import math
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from experiments.compare import SEEDS, beside, tables_of
from experiments.papers import COMPARISONS
from experiments.report import Figure, Table, comma_separated
from experiments.results import ROOT, default_sources

Leave = Callable[..., Path]
MASKS, LENGTH, MAIN = (COMPARISONS[name] for name in ("a1_masks", "a4_length", "main"))
APPEARANCE, SHAPEGEN4D = COMPARISONS["a3_appearance"], COMPARISONS["shapegen4d"]


def row(table: Table, here: str, figures: str = "measured") -> dict[str, str | Figure]:
    """The one row of a variant."""
    found = [dict(zip(table.header, cells, strict=True)) for cells in table.rows]
    (one,) = [entry for entry in found if entry["here"] == here and entry["figures"] == figures]
    return one


@pytest.mark.parametrize("name", COMPARISONS)
def test_without_runs_every_published_row_is_there_and_every_other_names_its_command(name: str):
    comparison = COMPARISONS[name]
    table = beside(comparison, {})
    published = {cells[0]: cells for cells in table.rows if cells[2] == "published"}
    assert published.keys() == comparison.published.rows.keys()
    for label, cells in published.items():
        figures = [cell for cell in cells if isinstance(cell, Figure)]
        shown = {q: v for q, v in comparison.published.rows[label].items() if q in comparison.quantities}
        assert sorted(figure.value for figure in figures) == sorted(shown.values())
    wanted = {entry.variant for entry in comparison.entries if entry.variant}
    assert {cells[1] for cells in table.rows if cells[2] == "not measured"} == wanted
    assert len(table.missing) == len(wanted)


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_row_of_a_paper_has_an_entry(name: str):
    labels = [entry.label for entry in COMPARISONS[name].entries]
    assert set(COMPARISONS[name].published.rows) <= set(labels)
    assert len(labels) == len(set(labels))
    assert COMPARISONS[name].reference in {None, *COMPARISONS[name].published.rows}


def test_a_figure_is_the_mean_over_seeds_with_its_standard_error(sweep: Leave):
    values = [0.15, 0.18, 0.16]
    for seed, value in enumerate(values):
        folder = sweep("masks", "full", seed, value)
    found = row(tables_of(MASKS, [folder])[""], "full")
    error = np.std(values, ddof=1) / np.sqrt(3)
    chamfer = found["Chamfer ↓"]
    assert isinstance(chamfer, Figure) and chamfer.text() == f"{np.mean(values):.4f} ± {error:.4f}"
    assert (found["seeds"], found["size"], found["objects"]) == ("3", "tiny, 1500 steps", "24")
    compute = found["compute (TMAC)"]
    assert isinstance(compute, Figure) and compute.text() == "0.00125"


def test_the_truth_against_itself_stands_below(sweep: Leave):
    table = tables_of(MASKS, [sweep("masks", "full")])[""]
    assert (
        table.rows[-1][0] == "truth against itself" and table.rows[-1][table.header.index("Chamfer ↓")].value == 0.025
    )


def test_a_single_run_has_the_error_over_objects(evaluation: Leave):
    table = tables_of(MAIN, [evaluation("V2M4", {"chamfer": 0.2, "iou": None, "fscore": 0.1})])[""]
    found = row(table, "V2M4")
    assert found["Chamfer ↓"] == Figure(0.2, 0.01) and found["seeds"] == "-"
    iou = found["IoU ↑"]
    assert isinstance(iou, Figure) and iou.text() == "n/a"


def test_a_missing_seed_is_named_with_the_command_that_makes_it_alone(sweep: Leave):
    for seed in (0, 2):
        folder = sweep("masks", "full", seed)
    missing = dict(tables_of(MASKS, [folder])[""].missing)
    name = "E: Full attention (full), seed 1"
    assert missing[name] == "python train.py sweep=masks 'sweep.only=[full]' 'sweep.seeds=[1]'"


def test_objects_that_failed_are_counted_and_listed(evaluation: Leave):
    folder = evaluation("GVFD", {"chamfer": 0.4}, objects=23, failed_objects={"fox": "two frames are missing"})
    table = tables_of(MAIN, [folder])[""]
    assert row(table, "GVFD")["objects"] == "23 of 24"
    assert "Not measured in GVFD: fox: two frames are missing" in table.notes


def test_objects_that_failed_in_a_sweep_are_counted_where_the_file_names_them(sweep: Leave):
    sweep("masks", "full", objects=1, names=["a"], failed_objects={"b": "no surface at all"})
    table = tables_of(MASKS, [sweep("masks", "no_anchor", objects=2, names=["a", "b"], failed_objects=2)])[""]
    assert (row(table, "full")["objects"], row(table, "no_anchor")["objects"]) == ("1 of 2", "2")


def test_outputs_that_no_paper_has_get_a_row_of_their_own(evaluation: Leave):
    assert row(tables_of(MAIN, [evaluation("mine", {"chamfer": 0.1})])[""], "mine")["method"] == "mine"


def test_appearance_and_geometry_of_one_folder_do_not_meet(evaluation: Leave):
    geometry = evaluation("V2M4", {"chamfer": 0.1})
    looks = evaluation("full", {"lpips": 0.1, "clip": 0.9, "fvd": 500.0}, protocol={"name": "appearance"})
    appearance = tables_of(APPEARANCE, [geometry, looks])[""]
    assert row(appearance, "full")["LPIPS ↓"] == Figure(0.1, 0.01)
    assert row(appearance, "V2M4", "not measured")
    assert row(tables_of(MAIN, [geometry, looks])[""], "V2M4")


def test_a_quantity_that_a_protocol_does_not_have_is_not_applicable_and_not_compared(evaluation: Leave):
    folders = [evaluation("V2M4", {"chamfer": 0.2}), evaluation("blockmask_decay", {"chamfer": 0.1, "iou": None})]
    tables = tables_of(MAIN, folders)
    iou = row(tables[""], "V2M4")["IoU ↑"]
    assert isinstance(iou, Figure) and iou.text() == "n/a"
    verdicts = {cells[1]: cells[-1] for cells in tables["differences"].rows if cells[0] == "V2M4"}
    assert verdicts == {"Chamfer ↓": "undecided (one seed)", "IoU ↑": "not measured", "F-score ↑": "not measured"}


def test_the_length_table_takes_runs_of_different_lengths_but_of_one_protocol(sweep: Leave):
    for frames in (4, 8, 16, 32):
        folder = sweep("length", f"blockmask_decay_frames{frames}", frames=frames, data={"frames": frames})
    table = tables_of(LENGTH, [folder])[""]
    assert [cells[0] for cells in table.rows if "truth" in str(cells[0])] == [
        f"truth against itself, {frames} frames" for frames in (4, 8, 16, 32)
    ]
    with pytest.raises(ValueError, match="different protocols"):
        tables_of(LENGTH, [sweep("length", "blockmask_decay_frames4", frames=4, protocol={"name": "none"})])


def test_a_run_that_two_sweeps_share_counts_once_and_never_with_two_values(sweep: Leave, tmp_path: Path):
    sweep("adaptive", "full", 0, 0.14)  # of another sweep: not asked, also where there is no other
    assert row(tables_of(MASKS, [sweep("masks", "no_anchor")])[""], "full", "not measured")
    folder = sweep("masks", "full", 0, 0.15)
    table = tables_of(MASKS, [folder])[""]
    assert row(table, "full")["Chamfer ↓"] == Figure(0.15)  # one seed has no error, neither has its 0.25 over objects
    again = tmp_path / "again" / "full_seed0.json"
    again.parent.mkdir()
    file = folder / "masks" / "full_seed0.json"
    again.write_text(file.read_text())
    assert tables_of(MASKS, [folder, again])[""].rows == table.rows
    again.write_text(file.read_text().replace("0.15", "0.16"))
    with pytest.raises(ValueError, match="with other numbers"):
        tables_of(MASKS, [folder, again])


def test_ones_own_runs_come_before_the_committed_ones(sweep: Leave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCULPT4D_RUNS", str(tmp_path))
    monkeypatch.setattr("experiments.results.ROOT", tmp_path)
    assert default_sources(["masks"]) == []
    committed = sweep("masks", "full")
    assert default_sources(["masks"]) == [committed / "masks"]
    fresh = tmp_path / "sweep" / "masks" / "results"
    fresh.mkdir(parents=True)
    assert default_sources(["masks"]) == [committed / "masks"]
    (fresh / "full_seed0.json").write_text("{}")
    assert default_sources(["masks"]) == [fresh]


def test_csv_has_the_errors_and_commands_of_the_table(sweep: Leave):
    for seed in SEEDS:
        folder = sweep("masks", "full", seed, 0.15 + seed / 100)
    text = comma_separated(tables_of(MASKS, [folder])[""])
    header, *rows = csv.reader(io.StringIO("\n".join(line for line in text.splitlines() if not line.startswith("#"))))
    (found,) = [dict(zip(header, cells, strict=True)) for cells in rows if cells[1:3] == ["full", "measured"]]
    assert float(found["Chamfer ↓"]) == 0.16
    assert float(found["Chamfer ↓, standard error"]) == round(0.01 / math.sqrt(3), 4)
    assert text.count("\n# not measured: ") == len(MASKS.entries) - 1


SWEEPS = [(entry.sweep, entry.variant) for table in COMPARISONS.values() for entry in table.entries if entry.sweep]


@pytest.mark.parametrize(("sweep_name", "variant"), sorted(set(SWEEPS)))
def test_a_command_of_a_missing_run_names_a_variant_of_that_sweep(sweep_name: str, variant: str):
    assert variant in OmegaConf.load(ROOT / "conf" / "sweep" / f"{sweep_name}.yaml").variants


@pytest.mark.parametrize("options", sorted((ROOT / "conf" / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_run_of_every_sweep_has_a_row(options: Path):
    assert set(OmegaConf.load(options).variants) <= {variant for _, variant in SWEEPS}


@pytest.mark.parametrize("options", sorted((ROOT / "conf" / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_tables_expect_seeds_and_folders_of_the_sweeps(
    options: Path, configure: Callable[..., DictConfig], tmp_path: Path
):
    sweep = configure("train", f"sweep={options.stem}", f"paths.runs={tmp_path}", "output=.").sweep
    assert tuple(sweep.seeds) == SEEDS
    assert Path(sweep.results) == tmp_path / "sweep" / options.stem / "results"  # default_sources
    python, _, module, name = sweep.table.split()
    assert (python, module) == ("python", "experiments.table") and name in COMPARISONS


def test_the_time_of_clips_is_told_in_minutes(evaluation: Leave):
    table = tables_of(APPEARANCE, [evaluation("full", {"lpips": 0.1}, seconds_per_clip=90.0)])[""]
    found = row(table, "full")["minutes a clip ↓"]
    assert isinstance(found, Figure) and found.text() == "1.5000"


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_command_for_outputs_composes_whatever_makes_them(name: str):
    for _, line in beside(COMPARISONS[name], {}).missing:
        if " sweep=" in line:
            continue
        for script, given in re.findall(r"python (train|generate|evaluate)\.py ([^;&]*)", line):
            with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
                overrides = [text.replace("$", "").replace("{clip##*/}", "fox") for text in shlex.split(given)]
                cfg = compose(script, [f"paths.root={ROOT}", *overrides])
            assert script != "evaluate" or cfg.method


def test_rows_of_ours_that_are_measured_as_folders_are_made_by_their_command():
    missing = dict(beside(APPEARANCE, {}).missing)
    full = missing["Ours-full (full)"]
    assert subprocess.run(["bash", "-n", "-c", full]).returncode == 0
    assert re.findall(r"python (\w+)\.py", full) == ["train", "generate", "evaluate"]
    assert "attention=full checkpoint=runs/train/full" in full and "output=runs/train/full" in full
    assert "predictions=out/full ground_truth=data/synthetic objects=holdout" in full and "output=out/full/" in full
    assert " baseline=per_frame;" in missing["Hunyuan3D (per_frame)"]
    assert missing["V2M4 (V2M4)"].startswith("python evaluate.py predictions=DIR")


def test_sweeps_time_no_clips(sweep: Leave, evaluation: Leave):
    """What they hold is the wall time of generating and measuring, of several processes on one machine."""
    table = tables_of(SHAPEGEN4D, [sweep("masks", "blockmask_decay")])[""]
    assert row(table, "blockmask_decay")["minutes a clip ↓"] == "-"
    timed = evaluation("blockmask_decay", {"chamfer": 0.1}, seconds_per_clip=90.0)
    found = row(tables_of(SHAPEGEN4D, [timed])[""], "blockmask_decay")["minutes a clip ↓"]
    assert isinstance(found, Figure) and found.value == 1.5


def test_errors_of_jitter_are_headed_as_errors(sweep: Leave):
    header = tables_of(MASKS, [sweep("masks", "full")])[""].header
    assert "volume jitter error ↓" in header and "centroid jitter error ↓" in header


def test_the_floor_of_every_set_of_objects_has_a_row(evaluation: Leave):
    folders = [
        evaluation("L4GM", {"chamfer": 0.1}, objects=23, failed_objects={"fox": "?"}, floor={"chamfer": 0.01}),
        evaluation("V2M4", {"chamfer": 0.1}, floor={"chamfer": 0.03}),
        evaluation("GVFD", {"chamfer": 0.2}, floor={"chamfer": 0.03}),
    ]
    table = tables_of(MAIN, folders)[""]
    floors = {cells[0]: (cells[4], cells[7]) for cells in table.rows if "truth" in str(cells[0])}
    assert floors == {
        "truth against itself (L4GM)": ("23", Figure(0.01)),
        "truth against itself (V2M4, GVFD)": ("24", Figure(0.03)),
    }


def test_predictions_without_ground_truth_are_no_failures(evaluation: Leave):
    """Older files list them among the failed ones."""
    newer = evaluation("L4GM", {"chamfer": 0.1}, without_ground_truth=["extra"])
    older = evaluation("V2M4", {"chamfer": 0.1}, failed_objects={"extra": "no ground truth"})
    table = tables_of(MAIN, [newer, older])[""]
    assert row(table, "L4GM")["objects"] == row(table, "V2M4")["objects"] == "24"
    assert not [note for note in table.notes if "extra" in note]


def test_tables_of_sweeps_tell_the_budget_of_their_rows(sweep: Leave):
    sweep("baselines", "per_frame", steps=0, trained_frames=None)
    for table in tables_of(MAIN, [sweep("masks", "blockmask_decay")]).values():
        told = "Budget of all measured rows of sweeps: model tiny, 1500 training steps at 8 frames."
        assert told in table.notes
