"""The one command that writes every table and picture, and the W&B run that opens without the network."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import tables
from experiments.results import ROOT
from experiments.table import Figure, Table, latex, markdown, separated
from experiments.wandb_run import columns, log_tables

Leave = Callable[..., Path]


def test_every_table_is_written_in_every_form(sweep: Leave, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = sweep("masks", "full")
    tables.main(["--results", str(folder), "--output", str(tmp_path / "out")])
    names = {path.stem for path in (tmp_path / "out").glob("*.md")}
    assert {*tables.COMPARISONS, *tables.COUNTED, "a1_masks_differences"} <= names
    for suffix in ("csv", "tex"):
        assert {path.stem for path in (tmp_path / "out").glob(f"*.{suffix}")} == names
    assert "0.1500" in (tmp_path / "out" / "a1_masks.md").read_text()
    assert "python train.py sweep=masks 'sweep.only=[no_anchor]'" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob(".*"))


def test_every_table_is_in_the_documentation_and_among_those_that_are_written():
    modules = {path.stem for path in (ROOT / "experiments").glob("table_*.py")}
    written = {f"table_{name}" for name in (*tables.COMPARISONS, *tables.COUNTED)}
    told = set(re.findall(r"`(table_\w+)`", (ROOT / "docs" / "tables.md").read_text()))
    assert modules == written == told


def test_a_number_and_its_error_are_two_columns_where_one_number_is_a_cell():
    table = Table("t", ("name", "a", "b"), (("x", Figure(0.5, 0.25, 2), Figure(1.0)), ("y", "-", Figure(math.nan))))
    assert separated(table) == (
        ("name", "a", "a, standard error", "b"),
        [("x", "0.50", "0.25", "1.0000"), ("y", "-", "", "n/a")],
    )
    assert columns(table) == (["name", "a", "a, standard error", "b"], [["x", 0.5, 0.25, 1.0], ["y", None, None, None]])
    words = Table("t", ("name", "frames", "kept"), (("x", "8", "58.11"), ("y", "16", "")))
    assert columns(words)[1] == [["x", 8.0, 58.11], ["y", 16.0, None]]
    assert "| x | 0.50 ± 0.25 | 1.0000 |" in markdown(table)
    assert r"x & $0.50 \pm 0.25$ & $1.0000$ \\" in latex(table) and "y & - & n/a" in latex(table)


def test_a_table_without_rows_keeps_its_header():
    assert separated(Table("t", ("a", "b"), ())) == (("a", "b"), [])


@pytest.mark.slow
def test_the_offline_run_holds_tables_that_open_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    table = Table("t", ("name", "a"), (("x", Figure(0.5, 0.25, 2)), ("y", "-")))
    run = log_tables(tmp_path, {"main": table})
    assert run.name.startswith("offline-run-") and list(run.glob("*.wandb"))
    (file,) = run.glob("files/media/table/main_*.table.json")
    found = json.loads(file.read_text())
    assert (found["columns"], found["data"]) == (
        ["name", "a", "a, standard error"],
        [["x", 0.5, 0.25], ["y", None, None]],
    )
