"""The tables print, say their units, and hold the paper's numbers as published."""

import csv
import io
import re

import pytest

from experiments import compute
from experiments import table as command
from experiments.report import FORMATS, Table

SUPPLEMENT_A2 = """
8   84.5   123.2   68.6%  58.1%
16  186.3  425.7   43.8%  35.2%
32  425.0  1584.9  26.8%  21.5%
"""
SUPPLEMENT_A1 = {  # rows A to F, last column
    "no_anchor": 169.8,
    "fixed_stride": 167.1,
    "aggressive": 145.0,
    "conservative": 233.6,
    "full": 425.7,
    "blockmask_decay": 186.3,
}
TEXT_KEPT = {8: 58.11, 16: 35.23, 32: 21.50}  # percent, of the text below Table A2
UNITS = ("MAC", "FLOP", "%", "frames", "mask", "component", "part")
MAKERS = {
    **{name: getattr(compute, name) for name in ("components", "scaling", "published", "sampling")},
    "decoding": compute.decoding,
    "masks": compute.masks,
}


def columns(table: Table) -> dict[str, list[str]]:
    return dict(zip(table.header, map(list, zip(*table.rows, strict=True)), strict=True))


@pytest.mark.parametrize("name", MAKERS)
def test_every_column_of_a_table_names_its_unit(name: str):
    table = MAKERS[name]()
    assert re.search(r"TMAC \(1e12 multiply-accumulates|PFLOP \(1e15 FLOP", table.title)
    for head in table.header:
        assert any(unit in head for unit in UNITS) or head.startswith("paper: "), head


def test_the_published_columns_of_table_a2_are_the_papers():
    found = columns(compute.scaling())
    paper = [found[head] for head in found if head.startswith("paper: ")]
    kept, sparse, full, ratio = ([float(cell) for cell in column if cell] for column in paper)
    for row, line in enumerate(SUPPLEMENT_A2.split("\n")[1:-1]):
        frames, *numbers = (float(word.rstrip("%")) for word in line.split())
        assert [sparse[row], full[row], ratio[row]] == numbers[:3]
        assert kept[row] == TEXT_KEPT[int(frames)] == pytest.approx(numbers[3], abs=0.0501)
    assert len(kept) == 3


def test_the_mask_keeps_the_published_share_at_every_length():
    found = columns(compute.scaling())
    assert found["frames"] == ["8", "16", "32", "64"]
    assert found["kept pairs (%)"][:3] == found["paper: kept pairs (%)"][:3]


@pytest.mark.parametrize("frames", compute.PUBLISHED)
def test_the_published_numbers_are_tera_multiply_accumulates_of_one_evaluation(frames: int):
    """What the mask saves, to 0.05 %; as PFLOP of anything it would be a thousand times more."""
    paper = compute.PUBLISHED[frames]
    dense = 2 * (frames * 4096) ** 2 * 2048 * 21
    assert compute.evaluation("full", frames).temporal_scores == dense
    saved = (1 - compute.kept("blockmask_decay", frames)) * dense
    assert paper.full - paper.sparse == pytest.approx(saved / 1e12, rel=5e-4)


@pytest.mark.parametrize("frames", compute.PUBLISHED)
def test_the_published_remainder_is_smaller_than_the_architectures(frames: int):
    full = compute.evaluation("full", frames)
    left = compute.PUBLISHED[frames].full - full.temporal_scores / 1e12
    assert 0.3 < left / ((full.total - full.temporal_scores) / 1e12) < 0.4


def test_table_a1_has_every_mask_and_the_published_column():
    found = columns(compute.masks())
    published = dict(zip(found["mask"], found['paper: "PFLOPs"'], strict=True))
    assert set(published) == {path.stem for path in compute.CONF.glob("attention/*.yaml")}
    numbers = {name: float(cell) for name, cell in published.items() if cell}
    assert numbers == {**SUPPLEMENT_A1, "temporal_only": 60.2}  # the last from the ablation table of the paper
    beside = dict(zip(found["mask"], found["paper: less temporal scores"], strict=True))
    left = {name: float(cell) for name, cell in beside.items() if cell}
    assert all(left[name] == pytest.approx(57.5, abs=0.11) for name in list(SUPPLEMENT_A1)[:4])
    assert all(left[name] == pytest.approx(56.2, abs=0.11) for name in ("full", "blockmask_decay"))


def test_components_add_up():
    found = columns(compute.components())
    rows = found.pop("component")
    for column in found.values():
        cells = dict(zip(rows, column, strict=True))
        parts = [float(cell) for name, cell in cells.items() if "total" not in name and " if " not in name]
        assert sum(parts) == pytest.approx(float(cells["total"]), abs=0.5)


@pytest.mark.parametrize(("name", "parts"), [("a1_compute", 1), ("a2_compute", 5)])
def test_the_command_prints_every_part(name: str, parts: int, capsys: pytest.CaptureFixture[str]):
    command.main([name])
    assert capsys.readouterr().out.count("\n| --- |") == parts


def test_csv_reads_back(capsys: pytest.CaptureFixture[str]):
    command.main(["a2_compute", "decoding", "--csv"])
    title, *lines = capsys.readouterr().out.splitlines()
    table = compute.decoding()
    assert title == f"# {table.title}"
    assert [tuple(row) for row in csv.reader(io.StringIO("\n".join(lines)))] == [table.header, *table.rows]


def test_latex_escapes_what_latex_reads():
    table = Table("50 % of a_b", ("x^2", "y & z"), (("1", "{2}"),), ("~\\",))
    text = FORMATS["latex"](table)
    assert r"50 \% of a\_b. \~{}\textbackslash{}" in text
    assert r"x\^{}2 & y \& z \\" in text and r"1 & \{2\} \\" in text


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        Table("t", ("a", "b"), (("1",),))


def test_an_unknown_table_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        command.main(["a2_compute", "scalling"])
    assert "choose among components, scaling, published, sampling, decoding" in capsys.readouterr().err
