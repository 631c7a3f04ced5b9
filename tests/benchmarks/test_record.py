"""Records of benchmarks: added to one file a day, replaced by the same command, and printed as one table."""

import json
from pathlib import Path

import pytest

from benchmarks import training_step
from benchmarks.record import FOLDER, BenchmarkRecord, command_line, read, record, table
from experiments import table as command


def test_a_measurement_is_added_and_replaced_by_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.record.FOLDER", tmp_path)
    for name, ratio in (("a", 0.5), ("b", 0.25), ("a", 0.75)):
        path = record(BenchmarkRecord(name, f"python -m {name}", 0, {"x / y": ratio}), "idle")
    found = read(path)
    assert {each.benchmark: each.ratios for each in found.measurements} == {"b": {"x / y": 0.25}, "a": {"x / y": 0.75}}
    assert path.name.startswith(found.date) and {"torch", "python"} <= found.versions.keys()
    assert found.hardware["cpu"] and found.hardware["threads"] and found.note == "idle"


def test_the_table_has_a_row_for_every_ratio_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.record.FOLDER", tmp_path)
    record(BenchmarkRecord("a", "python -m a", None, {"x / y": 1 / 3}, {"peak (MB)": 12.5}), "busy")
    found = table([tmp_path])
    assert [row[:3] for row in found.rows] == [("a", "x / y", "0.3333"), ("a", "peak (MB)", "12.5")]
    assert {row[6:] for row in found.rows} == {("-", "`python -m a`")}
    assert any(note.endswith(": busy") for note in found.notes)


def test_committed_records_are_printed(capsys: pytest.CaptureFixture[str]):
    command.main(["benchmarks"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    numbers = [
        len(each.ratios) + len(each.figures) for file in FOLDER.glob("*.json") for each in read(file).measurements
    ]
    assert len(lines) == sum(numbers) + 2


def test_a_file_that_is_no_record_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        command.main(["benchmarks", str(tmp_path)])
    assert "holds no record of benchmarks" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text('{"measurements": [{"benchmark": "a"}]}')
    with pytest.raises(ValueError, match=r"broken\.json is not a record of benchmarks"):
        table([tmp_path])


def test_the_recorded_command_leaves_its_note_out():
    assert (
        command_line("m", ["--frames", "8", "--record", "two jobs", "model=nano"])
        == "python -m m --frames 8 model=nano"
    )
    assert command_line("m", ["--frames", "8", "--record"]) == "python -m m --frames 8"


def test_a_training_step_is_recorded_as_ratios_to_the_first_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.record.FOLDER", tmp_path)
    given = ["--frames", "2", "--batch", "1", "--steps", "2", "model=nano", "--record", "a test"]
    training_step.main(given)
    (file,) = tmp_path.glob("*.json")
    (found,) = json.loads(file.read_text())["measurements"]
    assert list(found["ratios"]) == ["merged / reference, seconds at 2 frames"]
    assert found["command"] == "python -m benchmarks.training_step --frames 2 --batch 1 --steps 2 model=nano"
