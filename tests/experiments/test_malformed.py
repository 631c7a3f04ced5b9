"""Result files that are broken, or say what no run can: refused by name, and never a verdict."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import plots, table
from experiments.results import read_runs

Leave = Callable[..., Path]
NUMBERS = {"chamfer": 0.1}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": None}, "seed is None"),
        ({"seed": "abc"}, "seed is 'abc'"),
        ({"mean": {"chamfer": "abc"}}, "chamfer is 'abc'"),
        ({"mean": {"chamfer": float("inf")}}, "chamfer is not finite"),
        ({"error": {"chamfer": float("-inf")}}, "chamfer is not finite"),
        ({"loss": {"val/loss": 10**400}}, "int too large to convert"),
        ({"mean": [0.1]}, r"mean is \[0\.1\]"),
        ({"protocol": ["holdout"]}, "protocol is"),
        ({"protocol": None}, "protocol is None"),
        ({"loss": None}, "loss is None"),
        ({"overrides": None}, "overrides is None"),
        ({"overrides": {"train": "seed=0"}}, "train is 'seed=0'"),
        ({"failures": "none"}, "failures is 'none'"),
        ({"frozen": None}, "frozen is None"),
    ],
)
def test_a_sweep_result_of_wrong_types_is_named(sweep: Leave, changes: dict[str, object], told: str):
    folder = sweep("masks", "full", **changes)
    with pytest.raises(ValueError, match=rf"full_seed\w+\.json is not a result file .*{told}"):
        read_runs([folder])


@pytest.mark.parametrize(
    "changes", [{"settings": None}, {"seconds_per_clip": "fast"}, {"protocol": None}, {"settings": {"data": []}}]
)
def test_a_metrics_file_of_wrong_types_is_named(evaluation: Leave, changes: dict[str, object]):
    with pytest.raises(ValueError, match=r"V2M4/metrics\.json is not a result file"):
        read_runs([evaluation("V2M4", NUMBERS, **changes)])


def test_a_picture_under_the_name_of_a_result_is_named(tmp_path: Path):
    (tmp_path / "picture.json").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"picture\.json is not a result file .*UnicodeDecodeError"):
        read_runs([tmp_path])


@pytest.mark.parametrize("command", [plots.main, lambda given: table.main(["a1_masks", *given])])
def test_commands_end_with_the_name_of_the_file(
    sweep: Leave, tmp_path: Path, command: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
):
    folder = sweep("masks", "full", chamfer=float("inf"))
    with pytest.raises(SystemExit) as ended:
        command([str(folder)] if command is not plots.main else [str(folder), "--output", str(tmp_path / "out")])
    assert ended.value.code == 2 and "full_seed0.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_not_applicable_stays_so(sweep: Leave, evaluation: Leave):
    file = sweep("masks", "full", mean={"chamfer": None}) / "masks" / "full_seed0.json"
    (swept,) = read_runs([file])
    assert str(dict(swept.mean)) == "{'chamfer': nan, 'compute': 0.00125, 'loss': 1.0}"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mean": {"chamfer": float("nan")}}))
    assert str(read_runs([file])[0].mean) == str(swept.mean)
    assert str(dict(read_runs([evaluation("V2M4", NUMBERS)])[0].mean)) == "{'chamfer': 0.1, 'minutes': nan}"


def test_records_of_benchmarks_beside_results_are_no_runs(sweep: Leave):
    folder = sweep("masks", "full")
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "today.json").write_text('{"measurements": []}')
    assert [run.variant for run in read_runs([folder])] == ["full"]
