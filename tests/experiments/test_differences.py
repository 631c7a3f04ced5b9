"""Whether the paper's order holds: signs, intervals and what stays undecided."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from experiments.compare import order, paired, tables_of, verdict
from experiments.papers import COMPARISONS
from experiments.report import Figure
from experiments.rows import standard_error

Leave = Callable[..., Path]
MIRRORED = {"holds": "reversed", "reversed": "holds"}
numbers = st.floats(-1, 1).filter(lambda value: abs(value) > 1e-3)
samples = st.lists(st.floats(-1, 1), min_size=2, max_size=5)


def word(published: float, measured: list[float]) -> str:
    return verdict(paired(measured), order(published))


@given(numbers, samples)
def test_turning_the_measured_side_around_turns_the_verdict_around(published: float, measured: list[float]):
    found = word(published, measured)
    assert word(published, [-value for value in measured]) == MIRRORED.get(found, found)
    assert word(-published, [-value for value in measured]) == found


@given(numbers, samples, st.sampled_from([0.125, 2.0, 64.0]))
def test_the_unit_does_not_matter(published: float, measured: list[float], unit: float):
    assume(all(value == 0 or abs(value) > 1e-6 for value in measured))
    assert word(unit * published, [unit * value for value in measured]) == word(published, measured)


@pytest.mark.parametrize(
    ("published", "measured", "told"),
    [
        (0.01, [1.0, 1.1, 0.9], "holds"),  # 1 +- 0.058, interval 0.25
        (-0.01, [1.0, 1.1, 0.9], "reversed"),
        (0.01, [1.0, 2.0, 0.0], "undecided"),  # 1 +- 0.577, interval 2.5
        (0.01, [0.25 - 0.1, 0.25, 0.25 + 0.1], "holds"),  # 4.303 x 0.0577 = 0.2484 is below the mean
        (0.01, [0.24 - 0.1, 0.24, 0.24 + 0.1], "undecided"),
        (0.0, [1.0, 1.0], "differs, the paper has none"),
        (math.nan, [1.0, 1.0], "differs, the paper has none"),
        (0.01, [0.0, 0.0], "undecided"),
        (0.01, [1.0], "undecided (one seed)"),
        (0.01, [], "not measured"),
    ],
)
def test_verdicts(published: float, measured: list[float], told: str):
    assert word(published, measured) == told


def test_a_verdict_by_hand():
    """Mean 0.013, s 0.004583, so 0.002646 of the mean; 4.303 times that, Student's factor for three values: 0.01138."""
    gaps = [0.012, 0.018, 0.009]
    assert (sum(gaps) / 3, standard_error(gaps)) == (pytest.approx(0.013), pytest.approx(0.0026458, rel=1e-4))
    assert word(0.01, [gap - 0.013 + 0.01139 for gap in gaps]) == "holds"
    assert word(0.01, [gap - 0.013 + 0.01138 for gap in gaps]) == "undecided"


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_a_verdict_is_that_of_students_paired_test(measured: list[float]):
    assume(np.std(measured) > 1e-3)
    p = float(ttest_1samp(measured, 0).pvalue)
    assume(abs(p - 0.05) > 1e-6)
    assert (word(1.0, measured) == "undecided") == (p > 0.05)


def test_differences_are_taken_seed_by_seed(sweep: Leave):
    for seed, (ours, full) in enumerate([(0.15, 0.16), (0.25, 0.26), (0.35, 0.36)]):
        sweep("masks", "blockmask_decay", seed, ours)
        folder = sweep("masks", "full", seed, full)
    folder = sweep("masks", "full", 3, 0.99)  # a seed the other does not have
    table = tables_of(COMPARISONS["a1_masks"], [folder])["differences"]
    line = next(cells for cells in table.rows if cells[:2] == ("E: Full attention", "Chamfer ↓"))
    published, measured = line[2:4]
    assert isinstance(published, Figure) and published.text() == "-0.0014"
    assert isinstance(measured, Figure) and measured.text() == "+0.0100 ± 0.0000"
    assert line[4:] == ("3", "reversed")


def test_what_only_we_measured_is_compared_too(sweep: Leave):
    for seed in range(3):
        sweep("masks", "blockmask_decay", seed)
        folder = sweep("masks", "full", seed, loss={"val/loss": 1.0 + 0.01 * (seed + 9)})
    lines = {cells[:2]: cells[2:] for cells in tables_of(COMPARISONS["a1_masks"], [folder])["differences"].rows}
    published, measured, seeds, told = lines["E: Full attention", "held-out loss ↓"]
    assert isinstance(measured, Figure) and measured.text() == "+0.1000 ± 0.0058"
    assert (published, seeds, told) == ("-", "3", "differs, the paper has none")
    assert lines["E: Full attention", "identity drift ↓"][-1] == "undecided"
    assert ("A: w/o attention sink", "held-out loss ↓") not in lines  # neither the paper nor we have it


def test_clips_of_other_lengths_are_not_compared_in_jitter(sweep: Leave):
    sweep("length", "blockmask_decay_frames8")
    table = tables_of(COMPARISONS["a4_length"], [sweep("length", "blockmask_decay_frames4", frames=4)])["differences"]
    assert {cells[1] for cells in table.rows} == {"Chamfer ↓", "IoU ↑", "F-score ↑"}


def test_a_difference_that_the_paper_prints_as_none_is_none(sweep: Leave):
    table = tables_of(COMPARISONS["a4_length"], [sweep("length", "blockmask_decay_frames8")])["differences"]
    line = next(cells for cells in table.rows if cells[:2] == ("8 frames", "F-score ↑"))
    assert isinstance(line[2], Figure) and line[2].value == 0
