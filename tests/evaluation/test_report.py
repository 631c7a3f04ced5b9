"""Tables and verdicts from metrics.json files."""

import json
from pathlib import Path

import pytest

from sculpt4d.evaluation.report import COLUMNS, compare, main, read_row, report, table, verdict

SETTINGS = {"protocol": {"points": 10}, "data": {"name": "synthetic"}, "frames": 8}


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
        "settings": SETTINGS,
        "per_object": [
            {"name": name, "samples": {"0": {"values": dict.fromkeys(COLUMNS, value + offset)}}}
            for name, offset in offsets.items()
        ],
    }
    (folder / "metrics.json").write_text(json.dumps(record))
    return folder


def test_rows_floor_and_paper_are_in_the_table(tmp_path: Path) -> None:
    row = read_row(write_run(tmp_path / "tiny", "4d", 0.1))
    text = table([row])
    assert "| tiny | 3 | 0.1000 ± 0.0050 |" in text
    assert "| *truth against itself* | 3 | 0.0010 |" in text
    assert "1 of 24" in text
    assert "*paper, other data: Sculpt4D* | 50 | 0.1052 | 0.3381 | 0.3137 |" in text
    assert "paper" not in table([row], published=False)
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_rows_of_other_objects_have_their_own_floor(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "one", "4d", 0.1), write_run(tmp_path / "two", "4d", 0.1, names="ab")
    assert table([read_row(first)] * 2).count("truth against itself") == 1
    text = table([read_row(first), read_row(second)])
    assert "| *truth against itself (one)* | 3 |" in text and "| *truth against itself (two)* | 2 |" in text


def test_rows_of_other_objects_or_of_another_truth_are_told(tmp_path: Path) -> None:
    rows = [read_row(write_run(tmp_path / name, "4d", 0.1, names=name)) for name in ("abc", "abd")]
    assert "Other objects: abc and abd do not compare (c in one alone and d in one alone)." in table(rows)
    assert "Other objects" not in table([rows[0], rows[0]])
    for name, floor in (("one", 0.02), ("two", 0.02), ("three", 0.03)):
        path = write_run(tmp_path / name, "4d", 0.1) / "metrics.json"
        record = json.loads(path.read_text())
        for entry in record["per_object"]:
            entry["floor"] = {"chamfer": floor}
        record["settings"] = SETTINGS | {"data": {"ground_truth": name}}
        path.write_text(json.dumps(record))
    one, two, three = (read_row(tmp_path / name) for name in ("one", "two", "three"))
    assert "Other objects" not in table([one, two])
    assert "one and three do not compare (another truth of a, b, c: its floor is not the same)" in table([one, three])


def test_runs_on_the_holdout_are_known_by_their_baseline_whatever_their_name(tmp_path: Path) -> None:
    for name, baseline, value in (("mine", None, 0.1), ("theirs", "per_frame", 0.2)):
        path = write_run(tmp_path / name, name, value) / "metrics.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"settings": SETTINGS | {"baseline": baseline}}))
    assert "mine beats theirs" in report([tmp_path / "mine", tmp_path / "theirs"])
    assert "beats" not in report([write_run(tmp_path / "L4GM", "L4GM", 0.1), tmp_path / "theirs"])


@pytest.mark.parametrize("ours, outcome", [(0.10, "beats"), (0.195, "does not beat"), (0.25, "does not beat")])
def test_winning_takes_more_than_the_spread_over_seeds(tmp_path: Path, ours: float, outcome: str) -> None:
    first, second = write_run(tmp_path / "four", "4d", ours), write_run(tmp_path / "base", "per_frame", 0.2)
    text = verdict(read_row(first), read_row(second))
    assert text.startswith(f"four {outcome} base")
    assert (": worse" in text) == (ours == 0.25)
    assert (": undecided" in text) == (ours == 0.195)


def test_differences_are_paired_by_object(tmp_path: Path) -> None:
    first = read_row(write_run(tmp_path / "four", "4d", 0.1))
    second = read_row(write_run(tmp_path / "base", "per_frame", 0.2, spread=0.03))
    entry = compare(first, second)[0]
    assert (entry.gain, entry.error, entry.spread) == (pytest.approx(0.1), pytest.approx(0, abs=1e-9), 0.03)


def test_a_single_seed_decides_nothing(tmp_path: Path) -> None:
    first = read_row(write_run(tmp_path / "four", "4d", 0.1, spread=None))
    second = read_row(write_run(tmp_path / "base", "per_frame", 0.2))
    assert not any(entry.better for entry in compare(first, second))


def test_a_quantity_that_some_objects_lack_is_compared_on_those_that_have_it(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "four", "4d", 0.1), write_run(tmp_path / "base", "per_frame", 0.2)]
    record = json.loads((folders[0] / "metrics.json").read_text())
    record["per_object"][0]["samples"]["0"]["values"]["volume_jitter_error"] = None
    record["measured"] = dict.fromkeys(COLUMNS, 3) | {"volume_jitter_error": 2}
    (folders[0] / "metrics.json").write_text(json.dumps(record))
    chamfer, volume, _ = compare(*map(read_row, folders))
    assert (chamfer.objects, volume.objects, volume.gain) == (3, 2, pytest.approx(0.1))
    text = report(folders)
    assert "0.1000 ± 0.0050 (of 2)" in text and "of 2 objects that both have it of" in text


def test_other_objects_or_rules_are_not_compared(tmp_path: Path) -> None:
    first = read_row(write_run(tmp_path / "four", "4d", 0.1))
    with pytest.raises(ValueError, match="not the same"):
        compare(first, read_row(write_run(tmp_path / "fewer", "per_frame", 0.2, names="ab")))
    path = write_run(tmp_path / "other", "per_frame", 0.2) / "metrics.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"settings": SETTINGS | {"protocol": {"points": 99}}}))
    with pytest.raises(ValueError, match="differ in protocol"):
        compare(first, read_row(path))


def test_the_command_prints_table_and_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [
        write_run(tmp_path / "four", "4d", 0.1),
        write_run(tmp_path / "shared", "per_frame_shared_noise", 0.2),
        write_run(tmp_path / "vae", "reconstruction", 0.05),
    ]
    main([str(folder) for folder in folders])
    printed = capsys.readouterr().out
    assert "four beats shared" in printed
    assert "beats vae" not in printed
    assert printed.strip() == report(folders)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nothing")])
    assert "nothing" in capsys.readouterr().err
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ValueError, match="not the result of an evaluation"):
        read_row(tmp_path)


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
        ({"settings": {"protocol": None}}, "protocol is None"),
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
        main([str(tmp_path / "four")])
    assert ended.value.code == 2
    assert f"{path} is not the result of an evaluation" in (printed := capsys.readouterr().err) and told in printed


def test_every_field_that_is_missing_is_told_or_not_needed(tmp_path: Path) -> None:
    other = write_run(tmp_path / "base", "per_frame", 0.2)
    path = write_run(tmp_path / "four", "4d", 0.1) / "metrics.json"
    record = json.loads(path.read_text())
    for name in record:
        path.write_text(json.dumps({key: value for key, value in record.items() if key != name}))
        with pytest.raises(ValueError, match=rf"metrics\.json is not the result of an evaluation \(KeyError: '{name}'"):
            report([path, other])
    for name in ("mean", "error", "spread", "floor"):
        fewer = {key: value for key, value in record[name].items() if key != "chamfer"}
        path.write_text(json.dumps(record | {name: fewer}))
        assert "| four |" in report([path, other])


def test_a_bar_in_a_folder_breaks_no_table(tmp_path: Path) -> None:
    assert r"| a\|b | 3 |" in report([write_run(tmp_path / "a|b", "4d", 0.1)])
