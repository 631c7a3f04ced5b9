"""Own runs against committed ones: equal ones agree, shifted ones differ, others are refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.reproduced import BASES, agreement, main

Leave = Callable[..., Path]


@pytest.fixture
def two(sweep: Leave, tmp_path: Path) -> Callable[[float], tuple[Path, Path]]:
    """Folders of three seeds whose Chamfer distances differ by a shift; their standard errors are 0.00577."""

    def left(shift: float) -> tuple[Path, Path]:
        for seed, value in enumerate((0.15, 0.16, 0.17)):
            folder = sweep("masks", "full", seed, value)
        shutil.copytree(folder / "masks", tmp_path / "committed")
        for seed, value in enumerate((0.15, 0.16, 0.17)):
            sweep("masks", "full", seed, value + shift)
        return folder / "masks", tmp_path / "committed"

    return left


# the interval of both: 2.776 x 0.00577 x sqrt 2 = 0.0227
@pytest.mark.parametrize(
    ("shift", "word"), [(0.0, "agrees"), (0.022, "agrees"), (-0.022, "agrees"), (0.024, "differs")]
)
def test_a_shift_beyond_both_errors_differs(two: Callable[[float], tuple[Path, Path]], shift: float, word: str):
    table = agreement(*two(shift))
    assert table.rows[0][:2] == ("full", "Chamfer ↓") and table.rows[0][-1] == word
    assert {row[-1] for row in table.rows[1:]} == {"agrees"}


def test_the_command_ends_with_status_1_when_something_differs(
    two: Callable[[float], tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
):
    own, other = two(0.1)
    with pytest.raises(SystemExit) as ended:
        main([str(own), str(other)])
    assert ended.value.code == 1 and "| differs |" in capsys.readouterr().out
    main([str(other), str(other)])


def test_runs_of_different_protocols_or_without_a_common_variant_are_refused(sweep: Leave, tmp_path: Path):
    folder = sweep("masks", "full")
    shutil.copytree(folder / "masks", tmp_path / "other")
    sweep("masks", "full", protocol={"name": "none"})
    with pytest.raises(ValueError, match="different protocols"):
        agreement(folder, tmp_path / "other")
    (tmp_path / "other" / "full_seed0.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no result file"):
        agreement(folder, tmp_path / "other")
    with pytest.raises(ValueError, match="no variant is in both"):
        shutil.copy(
            sweep("length", "blockmask_decay_frames4") / "length" / "blockmask_decay_frames4_seed0.json",
            tmp_path / "other",
        )
        agreement(folder / "masks", tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "told"), [({"steps": 100}, "steps"), ({"model": "nano"}, "model"), ({"trained_frames": 4}, "frames")]
)
def test_runs_of_another_budget_are_refused(sweep: Leave, tmp_path: Path, changes: dict[str, object], told: str):
    shutil.copytree(sweep("masks", "full") / "masks", tmp_path / "committed")
    with pytest.raises(ValueError, match=f"differ in .*{told}"):
        agreement(sweep("masks", "full", **changes) / "masks", tmp_path / "committed")


def test_runs_above_another_base_are_shown_and_not_compared(
    two: Callable[[float], tuple[Path, Path]], sweep: Leave, capsys: pytest.CaptureFixture[str]
):
    own, other = two(0.0)
    for seed in range(3):
        sweep("masks", "full", seed, frozen={"vae": {"mine": "cc"}, "denoiser": {"mine": "dd"}})
    table = agreement(own, other)
    assert {row[-1] for row in table.rows} == {"not compared: another base"} and BASES in table.notes
    with pytest.raises(SystemExit):
        main([str(own), str(other)])
    assert BASES not in agreement(other, other).notes
