"""Tables and verdicts from metrics.json files."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import table as command
from experiments.compare import GEOMETRY, JITTER, verdict
from experiments.evaluations import GAIN, against, evaluations, gain
from experiments.report import markdown
from experiments.results import Run, read_runs

COLUMNS = tuple(GEOMETRY | JITTER)
PROTOCOL = {"points": 10}
SETTINGS = {"protocol": PROTOCOL, "data": {"name": "synthetic"}, "frames": 8}


def write_run(folder: Path, method: str, value: float, spread: float | None = 0.01, names: str = "abc") -> Path:
    """An evaluation whose objects have `value` and a little more or less in every quantity."""
    folder.mkdir()
    offsets = {name: 0.02 * (number - 1) for number, name in enumerate(names)}
    record = {
        "method": method,
        "objects": len(names),
        "seeds": [0, 1, 2] if spread is not None else [0],
        "failures": 1,
        "frames": 24,
        "mean": dict.fromkeys(COLUMNS, value),
        "error": dict.fromkeys(COLUMNS, 0.005),
        "spread": dict.fromkeys(COLUMNS, spread),
        "floor": dict.fromkeys(COLUMNS, 0.001),
        "protocol": PROTOCOL,
        "settings": SETTINGS,
        "per_object": [
            {"name": name, "samples": {"0": {"values": dict.fromkeys(COLUMNS, value + offset)}}}
            for name, offset in offsets.items()
        ],
    }
    (folder / "metrics.json").write_text(json.dumps(record))
    return folder


def change(folder: Path, **changes: Any) -> Path:
    """Replaces fields of a metrics.json."""
    file = folder / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def read(folder: Path) -> Run:
    (run,) = read_runs([folder])
    return run


def printed(*folders: Path, published: bool = True) -> str:
    return markdown(evaluations(folders, published))


def test_rows_floor_and_paper_are_in_the_table(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "tiny", "4d", 0.1)
    text = printed(folder)
    assert "| tiny | 3 | 0.1000 ± 0.0050 |" in text
    assert "| *truth against itself* | 3 | 0.0010 |" in text
    assert "1 of 24" in text
    assert "*paper, other data: Sculpt4D* | 50 | 0.1052 | 0.3381 | 0.3137 |" in text
    assert "paper" not in printed(folder, published=False)
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_actionbench_shows_its_own_columns_and_rows(tmp_path: Path) -> None:
    values = dict.fromkeys(("cd_3d", "cd_4d", "cd_m"), 0.1)
    folder = change(write_run(tmp_path / "a", "ours", 0.1), mean=values, protocol={"name": "actionbench"})
    text = printed(folder)
    assert "| method | objects | CD-3D ↓ | CD-4D ↓ | CD-M ↓ | failed frames |" in text
    assert "| *paper, ActionBench: Helix4D* | 128 | 0.051 | 0.093 | - |" in text


def test_rows_of_other_objects_have_their_own_floor(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "one", "4d", 0.1), write_run(tmp_path / "two", "4d", 0.1, names="ab")
    assert printed(first, first).count("truth against itself") == 1
    text = printed(first, second)
    assert "| *truth against itself (one)* | 3 |" in text and "| *truth against itself (two)* | 2 |" in text


def test_rows_of_other_objects_or_of_another_truth_are_told(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, "4d", 0.1, names=name) for name in ("abc", "abd")]
    assert "Other objects: abc and abd do not compare (c in one alone and d in one alone)." in printed(*folders)
    assert "Other objects" not in printed(folders[0], folders[0])
    for name, floor in (("one", 0.02), ("two", 0.02), ("three", 0.03)):
        folder = write_run(tmp_path / name, "4d", 0.1)
        entries = json.loads((folder / "metrics.json").read_text())["per_object"]
        entries = [entry | {"floor": {"chamfer": floor}} for entry in entries]
        change(folder, per_object=entries, settings=SETTINGS | {"data": {"ground_truth": name}})
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    assert "Other objects" not in printed(one, two)
    assert "one and three do not compare (another truth of a, b, c: its floor is not the same)" in printed(one, three)


def test_runs_on_the_holdout_are_known_by_their_baseline_whatever_their_name(tmp_path: Path) -> None:
    for name, baseline, value in (("mine", None, 0.1), ("theirs", "per_frame", 0.2)):
        change(write_run(tmp_path / name, name, value), settings=SETTINGS | {"baseline": baseline})
    assert "mine beats theirs" in printed(tmp_path / "mine", tmp_path / "theirs")
    assert "beats" not in printed(write_run(tmp_path / "L4GM", "L4GM", 0.1), tmp_path / "theirs")


@pytest.mark.parametrize("ours, outcome", [(0.10, "beats"), (0.195, "does not beat"), (0.25, "does not beat")])
def test_winning_takes_more_than_the_spread_over_seeds(tmp_path: Path, ours: float, outcome: str) -> None:
    first, second = write_run(tmp_path / "four", "4d", ours), write_run(tmp_path / "base", "per_frame", 0.2)
    text = against(read(first), read(second))
    assert text.startswith(f"four {outcome} base")
    assert (": worse" in text) == (ours == 0.25)
    assert (": undecided" in text) == (ours == 0.195)


def test_differences_are_paired_by_object(tmp_path: Path) -> None:
    first = read(write_run(tmp_path / "four", "4d", 0.1))
    second = read(write_run(tmp_path / "base", "per_frame", 0.2, spread=0.03))
    found = gain(first, second, "chamfer")
    assert (found.mean, found.error, found.reach) == (pytest.approx(0.1), pytest.approx(0, abs=1e-9), 0.03)


def test_a_single_seed_decides_nothing(tmp_path: Path) -> None:
    first = read(write_run(tmp_path / "four", "4d", 0.1, spread=None))
    second = read(write_run(tmp_path / "base", "per_frame", 0.2))
    assert verdict(gain(first, second, "chamfer"), GAIN) == "undecided"
    assert "does not beat" in against(first, second)


def test_a_quantity_that_some_objects_lack_is_compared_on_those_that_have_it(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "four", "4d", 0.1), write_run(tmp_path / "base", "per_frame", 0.2)]
    entries = json.loads((folders[0] / "metrics.json").read_text())["per_object"]
    entries[0]["samples"]["0"]["values"]["volume_jitter_error"] = None
    change(folders[0], per_object=entries, measured=dict.fromkeys(COLUMNS, 3) | {"volume_jitter_error": 2})
    chamfer, volume = (gain(*map(read, folders), quantity) for quantity in ("chamfer", "volume_jitter_error"))
    assert (chamfer.pairs, volume.pairs, volume.mean) == (3, 2, pytest.approx(0.1))
    text = printed(*folders)
    assert "0.1000 ± 0.0050 (of 2)" in text and "of 2 objects that both have it of" in text


def test_an_object_that_failed_in_one_run_is_left_out_of_the_gain(tmp_path: Path) -> None:
    ours = write_run(tmp_path / "four", "4d", 0.1)
    theirs = change(write_run(tmp_path / "base", "per_frame", 0.2, names="ab"), failed_objects={"c": "no surface"})
    assert gain(read(ours), read(theirs), "chamfer").pairs == 2
    text = printed(ours, theirs)
    assert "| base | 2 of 3 |" in text and "Not measured in base: c: no surface" in text
    assert "of 2 objects that both have it of" in text


def test_other_objects_or_rules_are_not_compared(tmp_path: Path) -> None:
    first = write_run(tmp_path / "four", "4d", 0.1)
    with pytest.raises(ValueError, match=r"different objects \(c in one alone\)"):
        printed(first, write_run(tmp_path / "fewer", "per_frame", 0.2, names="ab"))
    other = change(write_run(tmp_path / "other", "per_frame", 0.2), protocol={"points": 99})
    with pytest.raises(ValueError, match=r"different protocols \(points 10 and 99\)"):
        printed(first, other)
    data = change(write_run(tmp_path / "data", "per_frame", 0.2), settings=SETTINGS | {"data": {"name": "objaverse4d"}})
    with pytest.raises(ValueError, match=r"different data \(name synthetic and objaverse4d\)"):
        printed(first, data)


def test_the_command_prints_table_and_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [
        write_run(tmp_path / "four", "4d", 0.1),
        write_run(tmp_path / "shared", "per_frame_shared_noise", 0.2),
        write_run(tmp_path / "vae", "reconstruction", 0.05),
    ]
    command.main(["evaluations", *map(str, folders)])
    text = capsys.readouterr().out
    assert "four beats shared" in text
    assert "beats vae" not in text
    assert text.strip() == printed(*folders)
    command.main(["evaluations", "--without-paper", *map(str, folders)])
    assert capsys.readouterr().out.strip() == printed(*folders, published=False)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["evaluations", str(tmp_path / "nothing")])
    assert "nothing" in capsys.readouterr().err
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ValueError, match="not a result file"):
        printed(tmp_path)


def test_results_of_sweeps_are_refused_by_name() -> None:
    file = next((Path(__file__).parents[2] / "results" / "masks").glob("*.json"))
    with pytest.raises(ValueError, match=rf"{file.name} is the result of a sweep"):
        printed(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"method": "4d"', "JSONDecodeError"),
        ("[]", "record is []"),
        (b"\x89PNG", "UnicodeDecodeError"),
        ({"spread": None}, "spread is None"),
        ({"error": "small"}, "error is 'small'"),
        ({"mean": {"chamfer": float("inf")}}, "chamfer is not finite"),
        ({"objects": "three"}, "objects is 'three'"),
        ({"protocol": None}, "protocol is None"),
        ({"per_object": [{"name": "a", "samples": {}}]}, "IndexError"),
    ],
)
def test_a_malformed_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | bytes | dict[str, object], told: str
) -> None:
    path = write_run(tmp_path / "four", "4d", 0.1) / "metrics.json"
    if isinstance(text, dict):
        text = json.dumps(json.loads(path.read_text()) | text)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit) as ended:
        command.main(["evaluations", str(tmp_path / "four")])
    assert ended.value.code == 2
    assert f"{path} is not a result file" in (printed := capsys.readouterr().err) and told in printed


def test_every_field_that_is_missing_is_told_or_not_needed(tmp_path: Path) -> None:
    other = write_run(tmp_path / "base", "per_frame", 0.2)
    path = write_run(tmp_path / "four", "4d", 0.1) / "metrics.json"
    record = json.loads(path.read_text())
    for name in record:
        path.write_text(json.dumps({key: value for key, value in record.items() if key != name}))
        with pytest.raises(ValueError, match=rf"metrics\.json is not a result file .*\(KeyError: '{name}'"):
            printed(path, other)
    for name in ("mean", "error", "spread", "floor"):
        fewer = {key: value for key, value in record[name].items() if key != "chamfer"}
        path.write_text(json.dumps(record | {name: fewer}))
        assert "| four |" in printed(path, other)


def test_a_bar_in_a_folder_breaks_no_table(tmp_path: Path) -> None:
    assert r"| a\|b | 3 |" in printed(write_run(tmp_path / "a|b", "4d", 0.1))
