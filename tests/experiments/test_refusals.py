"""What a table refuses: runs that were not measured alike, seeds that are no repetitions, files that are no results."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import table
from experiments.compare import tables_of
from experiments.papers import COMPARISONS

Leave = Callable[..., Path]
MASKS, MAIN, LENGTH = (COMPARISONS[name] for name in ("a1_masks", "main", "a4_length"))


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


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steps": 4200}, "steps (1500 and 4200)"),
        ({"model": "nano"}, "model (tiny and nano)"),
        ({"trained_frames": 4}, "trained_frames (8 and 4)"),
        (
            {"frozen": {"vae": {"mine": "aa"}, "denoiser": {"mine": "cccccccccc"}}},
            "(denoiser bb and denoiser cccccccc)",
        ),
        ({"frozen": {"vae": None, "denoiser": {"base.safetensors": "bb"}}}, "frozen (vae aa and vae untrained)"),
    ],
)
def test_variants_of_another_budget_or_base_are_refused(sweep: Leave, changes: dict[str, object], told: str):
    sweep("masks", "no_anchor")
    folder = sweep("masks", "full", **changes)
    with pytest.raises(ValueError, match="need not be the variant") as refused:
        tables_of(MASKS, [folder])
    assert told in str(refused.value) and "sweep.folder=DIR" in str(refused.value)
    assert "no_anchor_seed0.json and" in str(refused.value) and "full_seed0.json differ" in str(refused.value)


def overrides(variant: str, *texts: str) -> dict[str, list[str]]:
    return {part: ["model=tiny", f"attention={variant}", *texts] for part in ("train", "evaluate")}


@pytest.mark.parametrize("text", ["model.sampling.steps=10", "model.sampling.guidance=3", "stage.batch_size=8"])
def test_a_setting_of_the_command_line_holds_for_all_rows_or_none(sweep: Leave, text: str):
    sweep("masks", "no_anchor")
    folder = sweep("masks", "full", overrides=overrides("full", text), command=f"python train.py sweep=masks {text}")
    with pytest.raises(ValueError, match=rf"settings \({text.partition('=')[0]} not given and {text}\)"):
        tables_of(MASKS, [folder])
    command = f"python train.py sweep=masks {text}"
    sweep("masks", "no_anchor", overrides=overrides("no_anchor", text), command=command)
    assert tables_of(MASKS, [folder])[""].rows


@pytest.mark.parametrize("text", ["threads=1", "trainer=gpu", "backend=reference", "seed=3"])
def test_settings_that_change_no_number_are_not_compared(sweep: Leave, text: str):
    sweep("masks", "blockmask_decay")
    folder = sweep("masks", "full", overrides=overrides("full", text), command=f"python train.py sweep=masks {text}")
    assert tables_of(MASKS, [folder])[""].rows


def test_what_a_sweep_decides_itself_may_be_new_in_later_files(sweep: Leave):
    """A default that the sweep's own file names since: nobody gave it, and the value is the same."""
    sweep("masks", "blockmask_decay")
    assert tables_of(MASKS, [sweep("masks", "full", overrides=overrides("full", "stage.coupling=frame"))])[""].rows


def test_what_variants_differ_in_is_compared_where_the_command_line_gave_it(sweep: Leave):
    sweep("length", "blockmask_decay_frames4", frames=4, overrides=overrides("full"))
    folder = sweep("length", "blockmask_decay_frames8", overrides=overrides("blockmask_decay"))
    assert tables_of(LENGTH, [folder])[""].rows  # no command says that it was given
    sweep(
        *("length", "blockmask_decay_frames4"),
        frames=4,
        overrides=overrides("full"),
        command="python train.py sweep=length attention=full",
    )
    with pytest.raises(ValueError, match=r"settings \(attention=full and attention=blockmask_decay\)"):
        tables_of(LENGTH, [folder])


def test_a_baseline_that_trains_nothing_stands_beside_trained_rows(sweep: Leave):
    sweep("masks", "blockmask_decay")
    untrained = {"train": [], "evaluate": ["model=tiny", "baseline=per_frame"]}
    folder = sweep("baselines", "per_frame", steps=0, trained_frames=None, overrides=untrained)
    assert tables_of(MAIN, [folder])[""].rows


def test_files_that_say_less_are_read(sweep: Leave):
    sweep("masks", "blockmask_decay")
    folder = sweep("masks", "full", frozen={}, overrides={}, command="")
    assert tables_of(MASKS, [folder])[""].rows


def test_a_holdout_run_of_evaluate_under_the_name_of_a_variant_has_the_base_of_the_sweeps(
    sweep: Leave, evaluation: Leave
):
    settings = {"data": {"name": "synthetic"}, "frames": 8, "model": {"name": "nano"}}
    same = sweep("masks", "blockmask_decay", floor={})
    protocol = json.loads(next(same.rglob("*.json")).read_text())["protocol"]
    chosen = {"settings": settings, "protocol": protocol}
    with pytest.raises(ValueError, match=r"model \(nano and tiny\)"):
        tables_of(MASKS, [same, evaluation("full", {"chamfer": 0.1}, **chosen)])
    assert tables_of(MASKS, [same, evaluation("somebody's", {"chamfer": 0.1}, **chosen)])[""].rows


def objects(*names: str, floor: float = 0.02) -> list[dict[str, object]]:
    samples = {"0": {"values": {"chamfer": 0.1}}}
    return [{"name": name, "floor": {"chamfer": floor, "iou": None}, "samples": samples} for name in names]


def test_rows_over_other_objects_are_refused_and_named(evaluation: Leave):
    first = evaluation("L4GM", {"chamfer": 0.1}, objects=2, per_object=objects("a", "b"))
    other = evaluation("V2M4", {"chamfer": 0.1}, objects=2, per_object=objects("c", "d"))
    with pytest.raises(ValueError, match=r"different objects \(a, b in one alone and c, d in one alone\)"):
        tables_of(MAIN, [first, other])
    failed = evaluation("V2M4", {"chamfer": 0.1}, objects=1, per_object=objects("a"), failed_objects={"b": "broken"})
    assert tables_of(MAIN, [first, failed])[""].rows


def test_one_truth_under_two_paths_is_one_and_two_of_one_name_are_two(evaluation: Leave):
    def leave(method: str, truth: str, floor: float) -> Path:
        settings = {"data": {"ground_truth": truth}, "frames": None}
        entries = objects("a", "b", floor=floor)
        return evaluation(method, {"chamfer": 0.1}, objects=2, per_object=entries, settings=settings)

    first = leave("L4GM", "data/synthetic", 0.02)
    assert tables_of(MAIN, [first, leave("V2M4", "/home/me/data/synthetic", 0.02)])[""].rows
    with pytest.raises(ValueError, match=r"different objects \(another truth of a, b: its floor is not the same\)"):
        tables_of(MAIN, [first, leave("V2M4", "data/synthetic", 0.021)])


def test_sweeps_that_name_their_objects_are_compared_by_them(sweep: Leave):
    sweep("masks", "full", objects=2, names=["a", "b"])
    older = sweep("masks", "no_anchor", objects=2)
    assert tables_of(MASKS, [older])[""].rows
    with pytest.raises(ValueError, match="different objects"):
        tables_of(MASKS, [sweep("masks", "no_anchor", objects=2, names=["a", "c"])])


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
        table.main(["main", str(folder)])
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


def test_seeds_above_another_base_or_with_other_settings_are_refused(sweep: Leave):
    sweep("masks", "full", 0)
    with pytest.raises(ValueError, match="are seeds of full but differ in frozen"):
        tables_of(MASKS, [sweep("masks", "full", 1, frozen={"vae": {"v": "zz"}, "denoiser": {"b": "bb"}})])
    other = overrides("full", "stage.batch_size=8")
    with pytest.raises(ValueError, match="differ in settings"):
        tables_of(
            MASKS,
            [sweep("masks", "full", 1, overrides=other, command="python train.py sweep=masks stage.batch_size=8")],
        )


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
        table.main(["a1_masks", str(tmp_path / "nothing")])
    assert "nothing holds no result file" in capsys.readouterr().err
