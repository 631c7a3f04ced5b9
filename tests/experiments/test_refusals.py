"""What a table refuses: runs that were not measured alike, seeds that are no repetitions, files that are no results."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import table_a1_masks, table_main
from experiments.present import present, tables_of

Leave = Callable[..., Path]
MASKS, MAIN = table_a1_masks.COMPARISON, table_main.COMPARISON


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"protocol": {"name": "holdout", "radius": 0.01, "points": 10000}}, "protocols (radius 0.02 and 0.01)"),
        ({"data": {"name": "objaverse4d"}}, "data (name synthetic and objaverse4d)"),
        ({"frames": 16}, "numbers of frames (8 and 16)"),
        ({"objects": 12}, "numbers of objects (24 and 12)"),
    ],
)
def test_runs_that_were_not_measured_alike_are_refused(sweep: Leave, changes: dict[str, object], told: str):
    sweep("masks", "no_anchor")
    folder = sweep("masks", "full", **changes)
    with pytest.raises(ValueError, match="do not belong in one table") as refused:
        tables_of(MASKS, [folder])
    assert told in str(refused.value) and "no_anchor_seed0.json" in str(refused.value)


def test_a_constant_is_named_wherever_it_stands(sweep: Leave):
    sweep("masks", "no_anchor", protocol={"name": "sculpt4d", "alignment": {"steps": 100, "points": 10}})
    folder = sweep("masks", "full", protocol={"name": "sculpt4d", "alignment": {"steps": 50, "points": 10}})
    with pytest.raises(ValueError, match=r"protocols \(alignment\.steps 100 and 50\)"):
        tables_of(MASKS, [folder])


def test_runs_are_compared_with_each_other_also_when_the_first_says_less(evaluation: Leave):
    folders = [evaluation("ActionMesh", {"chamfer": 0.1})]
    for method, frames in (("V2M4", 8), ("GVFD", 16)):
        settings = {"data": {"ground_truth": "truth"}, "frames": frames}
        folders.append(evaluation(method, {"chamfer": 0.1}, settings=settings))
    with pytest.raises(ValueError, match=r"numbers of frames \(8 and 16\)"):
        tables_of(MAIN, folders)


def test_files_that_have_nothing_for_a_table_are_refused(evaluation: Leave, capsys: pytest.CaptureFixture[str]):
    folder = evaluation("V2M4", {"cd_3d": 0.1})
    with pytest.raises(SystemExit):
        present("t", MAIN, [str(folder)])
    assert "V2M4 belongs in this table, which shows chamfer, iou" in capsys.readouterr().err


def test_a_sweep_and_foreign_output_under_another_protocol_are_refused(sweep: Leave, evaluation: Leave):
    with pytest.raises(ValueError, match="different protocols"):
        tables_of(MAIN, [sweep("masks", "blockmask_decay"), evaluation("L4GM", {"chamfer": 0.2})])


def test_what_a_model_reads_of_the_same_objects_is_no_other_data(sweep: Leave):
    sweep("masks", "full", data={"name": "synthetic", "seed": 0, "settings": {"token_order": "fps"}})
    data = {"name": "synthetic", "seed": 0, "settings": {"token_order": "morton"}}
    assert tables_of(MASKS, [sweep("masks", "no_anchor", data=data)])[""].rows
    with pytest.raises(ValueError, match=r"data \(seed 0 and 1\)"):
        tables_of(MASKS, [sweep("masks", "no_anchor", 1, data=data | {"seed": 1})])


def test_other_points_of_the_same_surfaces_are_no_other_protocol(sweep: Leave):
    sweep("masks", "full")
    folder = sweep("masks", "no_anchor", protocol={"name": "holdout", "radius": 0.02, "points": 10000, "seed": 5})
    assert tables_of(MASKS, [folder])[""].rows


def test_seeds_that_are_no_repetitions_are_refused(sweep: Leave):
    sweep("masks", "full", 0)
    with pytest.raises(ValueError, match="differ in steps \\(1500 and 300\\)"):
        tables_of(MASKS, [sweep("masks", "full", 1, steps=300)])


def test_a_variant_of_a_sweep_and_of_evaluate_is_refused(sweep: Leave, evaluation: Leave):
    with pytest.raises(ValueError, match="are both full, one of them without training seed"):
        tables_of(MASKS, [sweep("masks", "full"), evaluation("full", {"chamfer": 0.2})])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sweep": "masks", "variant": "full"}'])
def test_a_file_that_is_no_result_is_named(tmp_path: Path, text: str):
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(ValueError, match=r"broken\.json is not a result file"):
        tables_of(MASKS, [tmp_path])


def test_a_folder_without_results_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        present("t", MASKS, [str(tmp_path / "nothing")])
    assert "nothing holds no result file" in capsys.readouterr().err
