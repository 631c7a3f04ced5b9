"""Listed files to a prepared set: split, credits, what is missing, resuming."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sculpt4d.data import store
from sculpt4d.data.asset import PrepareSettings
from sculpt4d.data.dataset import ClipDataset, ClipSettings, split_names
from sculpt4d.data.synthetic import write_object
from sculpt4d.preparation.assets.listing import ListedAsset
from sculpt4d.preparation.assets.prepare import object_name, prepare_assets

SETTINGS = PrepareSettings(
    frames=4, points=128, sharp_points=32, distance_points=64, views=2, image_size=32, grid_res=24, world=True
)
ASSETS = [
    ListedAsset(name, pack, "Ann", "CC0-1.0", "ann/models", "0" * 40, f"{name}.glb", "f" * 64, split)
    for name, pack, split in (("cow", "farm", "train"), ("bird", "sky", "holdout"), ("absent", "farm", "train"))
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of three assets, two of which lie in the folder."""
    folder = tmp_path_factory.mktemp("source")
    write_object("walk", "quadruped", 1, folder / "cow.glb")
    write_object("fly", "bird", 2, folder / "bird.glb")
    rows = [",".join(ListedAsset._fields), *(",".join(asset) for asset in ASSETS)]
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder


def prepare(source: Path, root: Path, **changed: object):
    arguments = {
        "settings": SETTINGS, "lists": [str(source / "list.csv")], "folder": str(source), "cache": str(root / "cache"),
        "fetch": False, "clips": 4, "min_fill": 0.5, "min_motion": 0.001, "workers": 1,
    }  # fmt: skip
    return prepare_assets(root, **(arguments | changed))  # type: ignore[arg-type]


def test_the_set_is_split_by_pack_credited_and_tells_what_is_missing(source: Path, tmp_path: Path) -> None:
    report = prepare(source, tmp_path)
    assert sorted(report.prepared) == ["bird__fly", "cow__walk"]
    assert "data.assets.fetch" in report.skipped["absent"]
    assert split_names(tmp_path, "train") == ("cow__walk",)
    assert split_names(tmp_path, "holdout") == ("bird__fly",)
    credits = (tmp_path / "CREDITS.md").read_text()
    assert "| cow | Ann |" in credits and "absent" not in credits
    assert json.loads((tmp_path / "split.json").read_text())["families"]["bird__fly"] == "sky"


def test_a_second_run_does_nothing_again(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path)
    written = (tmp_path / "cow__walk" / "object.json").stat().st_mtime_ns
    report = prepare(source, tmp_path)
    assert report.prepared == [] and len(report.present) == 2
    assert (tmp_path / "cow__walk" / "object.json").stat().st_mtime_ns == written


def test_clips_that_do_not_fill_their_box_leave_the_file_out_by_name(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of 3 listed assets could be prepared"):
        prepare(source, tmp_path, min_fill=1.01)


def test_without_any_file_the_two_ways_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.assets\.fetch=true downloads them, or data\.assets\.folder="):
        prepare(source, tmp_path, folder=None)


def test_a_view_and_its_shape_share_the_cameras_frame(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path)
    settings = ClipSettings(
        frames=4, latents=8, points=64, sharp_points=0, distance_points=32, views=2, frame="camera", image_size=32
    )
    mirrored = ClipDataset(tmp_path, ["cow__walk"], replace(settings, mirror=True), fixed=True)
    views = [mirrored[number] for number in range(4)]
    assert len(store.read_facings(tmp_path / "cow__walk")) == 2
    for clip in views:
        assert float(clip.surface[..., :3].abs().max()) <= 1
    assert not (views[0].surface == views[1].surface).all()  # another camera, another frame
    plain = ClipDataset(tmp_path, ["cow__walk"], settings, fixed=True)
    assert (views[2].images == plain[2].images.flip(-1)).all()
    assert (views[2].surface[..., 0] == -plain[2].surface[..., 0]).all()


def test_names_of_objects_are_safe_for_folders() -> None:
    assert object_name("cow", "Armature|Walk Cycle") == "cow__armature-walk-cycle"
    assert object_name("cow", "|||") == "cow__clip"
