"""Lists of ids."""

from pathlib import Path

import pytest

from sculpt4d.preparation.exclusions import BENCHMARKS, UID, excluded_ids, read_lines


def test_the_benchmarks_are_whole():
    """7 test objects of Consistent4D and 20 of SV4D, as their authors list them."""
    assert {name: len(ids) for name, ids in BENCHMARKS.items()} == {"consistent4d": 7, "sv4d": 20}
    assert all(UID.fullmatch(uid) for ids in BENCHMARKS.values() for uid in ids)


def test_damaged_and_repeated_lines_are_told_and_the_others_read(tmp_path: Path):
    path = tmp_path / "uids.txt"
    path.write_text(
        f"# the list\n{'a' * 32}\n\n{'B' * 32}.glb # Windows\n{'b' * 32}\n{'c' * 31}\n000-023/{'d' * 32}\n", "utf-8-sig"
    )
    listed = read_lines(path, uids=True)
    assert listed.lines == ("a" * 32, "b" * 32)
    assert list(listed.faults) == ["uids.txt line 5", "uids.txt line 6", "uids.txt line 7"]
    assert listed.faults["uids.txt line 5"].startswith("repeated line") and "line 4" in listed.faults["uids.txt line 5"]
    assert all(listed.faults[f"uids.txt line {number}"].startswith("damaged line") for number in (6, 7))


def test_paths_may_hold_spaces_and_number_signs(tmp_path: Path):
    (tmp_path / "list.txt").write_text("a b/c#1.glb\n  d.glb # the second\n")
    assert read_lines(tmp_path / "list.txt").lines == ("a b/c#1.glb", "d.glb")


def test_a_list_that_is_no_text_or_a_benchmark_unknown_is_named(tmp_path: Path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00glTF")
    with pytest.raises(ValueError, match=r"list.txt is no list"):
        read_lines(tmp_path / "list.txt")
    with pytest.raises(ValueError, match=r"filter.benchmarks holds sv5d: choose among consistent4d, sv4d"):
        excluded_ids(["sv5d"], [])
