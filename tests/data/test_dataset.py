"""Prepared objects as clips and batches: repeatable, aligned through time, and clear about what is missing."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sculpt4d.data import store
from sculpt4d.data.datamodule import ClipDataModule, StepBatches
from sculpt4d.data.dataset import Choice, ClipDataset, ClipSettings, holdout_clips, split_names
from sculpt4d.geometry.distance import signed_distance
from sculpt4d.types import Clip, Mesh

SETTINGS = ClipSettings(
    frames=3, latents=16, points=48, sharp_points=16, distance_points=32, image_size=16, views=1, keep=True
)


@pytest.fixture(scope="module")
def prepared(nano_data: Path) -> Path:
    return nano_data / "synthetic"


@pytest.fixture(scope="module")
def names(prepared: Path) -> tuple[str, ...]:
    return split_names(prepared, "train")


def equal(first: Clip, second: Clip) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_clip_has_the_shapes_and_ranges_it_promises(prepared: Path, names: tuple[str, ...]):
    clip = ClipDataset(prepared, names, SETTINGS)[5]
    assert clip.images.shape == (3, 3, 16, 16) and clip.images.min() >= 0 and clip.images.max() <= 1
    assert clip.surface.shape == (3, 64, 7) and clip.surface[..., :3].abs().max() <= 1
    assert torch.allclose(clip.surface[..., 3:6].norm(dim=-1), torch.ones(3, 64), atol=0.01)
    assert set(clip.surface[..., 6].unique().tolist()) <= {0.0, 1.0}
    assert clip.queries.shape == (16,) and len(clip.queries.unique()) == 16
    assert clip.points.shape == (3, 32, 3) and clip.distance.shape == (3, 32)


def test_an_item_is_the_same_in_every_process_and_numbers_differ(prepared: Path, names: tuple[str, ...]):
    first, second = ClipDataset(prepared, names, SETTINGS), ClipDataset(prepared, names, replace(SETTINGS, keep=False))
    assert all(equal(first[number], second[number]) for number in (0, 7, 10**6))
    assert not equal(first[0], first[1])
    assert not equal(first[0], ClipDataset(prepared, names, SETTINGS, seed=1)[0])


def test_all_objects_and_first_frames_are_drawn(
    prepared: Path, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    dataset, seen = ClipDataset(prepared, names, SETTINGS), set()
    some = dataset[0]
    monkeypatch.setattr(dataset, "read", lambda index, choice: (seen.add((index, choice.first)), some)[1])
    for number in range(200):
        dataset[number]
    assert seen == {
        (index, first) for index in range(len(names)) for first in (0, 1)
    }  # four frames stored, three asked


def test_a_row_of_the_surface_is_one_material_point_through_time(prepared: Path, names: tuple[str, ...]):
    clip = ClipDataset(prepared, names, SETTINGS).read(0, Choice(0, 0, 3))
    uniform, sharp = store.read_surface(prepared / names[0], range(3))
    stored = np.concatenate([uniform, sharp], axis=1).astype(np.float32)
    rows = [np.flatnonzero((2 * stored[0, :, :3] == point).all(1)) for point in clip.surface[0, :, :3].numpy()]
    assert all(len(row) for row in rows)
    picked = stored[:, [row[0] for row in rows]]
    assert np.array_equal(2 * picked[..., :3], clip.surface[..., :3].numpy())


def test_without_consistent_sampling_rows_follow_no_point(prepared: Path, names: tuple[str, ...]):
    steps = []
    for consistent in (True, False):
        dataset = ClipDataset(prepared, names, replace(SETTINGS, consistent=consistent))
        clip = dataset.read(0, Choice(0, 0, 3))
        steps.append(clip.surface[..., :3].diff(dim=0).norm(dim=-1).mean().item())
    assert steps[0] < 0.5 * steps[1]


def test_unaligned_queries_are_spread_in_every_frame_and_follow_no_point(prepared: Path, names: tuple[str, ...]):
    aligned, unaligned = (
        ClipDataset(prepared, names, replace(SETTINGS, aligned=choice), fixed=True)[0] for choice in (True, False)
    )
    assert torch.equal(aligned.surface[0], unaligned.surface[0]) and torch.equal(aligned.queries, unaligned.queries)
    for frame in (1, 2):
        first, second = (clip.surface[frame].numpy() for clip in (aligned, unaligned))
        assert np.array_equal(np.unique(first, axis=0), np.unique(second, axis=0)), "a frame's points stay its own"
        before, after = first[aligned.queries], second[unaligned.queries]
        assert (before != after).any(axis=1).mean() > 0.5
        nearest = np.linalg.norm(after[:, None, :3] - after[None, :, :3], axis=-1) + 9 * np.eye(len(after))
        drawn = second[:: len(second) // len(after)][: len(after), :3]
        others = np.linalg.norm(drawn[:, None] - drawn[None], axis=-1) + 9 * np.eye(len(drawn))
        assert nearest.min(axis=1).mean() > others.min(axis=1).mean()


def test_queries_of_a_lone_frame_come_from_another_frame(prepared: Path, names: tuple[str, ...]):
    dataset = ClipDataset(prepared, names, replace(SETTINGS, frames=1))
    pairs = [[dataset.read(row, Choice(0, 0, 3, query)) for query in (0, 3)] for row in range(len(names))]
    assert all(torch.equal(own.surface, other.surface) for own, other in pairs)
    assert not all(torch.equal(own.queries, other.queries) for own, other in pairs)


def test_morton_order_sorts_the_same_queries_by_place(prepared: Path, names: tuple[str, ...]):
    plain, sorted_ = (
        ClipDataset(prepared, names, replace(SETTINGS, token_order=order)).read(0, Choice(0, 0, 3))
        for order in ("fps", "morton")
    )
    assert torch.equal(plain.surface, sorted_.surface)
    assert torch.equal(plain.queries.sort().values, sorted_.queries.sort().values)
    steps = [clip.surface[0, clip.queries, :3].diff(dim=0).norm(dim=1).mean() for clip in (plain, sorted_)]
    assert steps[1] < 0.8 * steps[0]
    with pytest.raises(ValueError, match="token_order=random"):
        replace(SETTINGS, token_order="random")


def test_a_fixed_dataset_reads_every_object_alike_and_variants_differ(prepared: Path, names: tuple[str, ...]):
    dataset = ClipDataset(prepared, names, SETTINGS, fixed=True)
    assert equal(dataset[0], ClipDataset(prepared, names, SETTINGS, seed=9, fixed=True)[0])
    again = dataset[len(names)]
    assert not torch.equal(dataset[0].surface, again.surface)
    assert torch.equal(dataset[0].images, again.images)


def test_labels_are_distances_to_the_closed_mesh_positive_inside(prepared: Path, names: tuple[str, ...]):
    clip = ClipDataset(prepared, names, SETTINGS).read(1, Choice(0, 0, 0))
    mesh = store.read_watertight(prepared / names[1], 0)
    doubled = Mesh((2 * mesh.vertices).astype(np.float32), mesh.faces)
    assert np.allclose(signed_distance(clip.points[0].numpy(), doubled), clip.distance[0].numpy(), atol=5e-3)


def test_the_holdout_shares_no_object_with_training_and_comes_with_true_meshes(prepared: Path, names: tuple[str, ...]):
    found = list(holdout_clips(prepared, SETTINGS, limit=2))
    assert len(found) == 2 and not {name for name, *_ in found} & set(names)
    for _, family, clip, truth in found:
        assert family and len(truth.frames) == clip.images.shape[0] == 3
        assert max(np.abs(mesh.vertices).max() for mesh in truth.frames) <= 1.05


@pytest.mark.parametrize(
    "wrong, word",
    [
        ({"frames": 9}, "set frames"),
        ({"points": 4000}, "model.points"),
        ({"distance_points": 900}, "model.distance_points"),
    ],
)
def test_asking_for_more_than_is_stored_is_refused_with_the_remedy(
    wrong: dict[str, int], word: str, prepared: Path, names: tuple[str, ...]
):
    with pytest.raises(ValueError, match=word) as problem:
        ClipDataset(prepared, names, replace(SETTINGS, **wrong))[0]
    assert any(str(prepared / name) in str(problem.value) for name in names)


def test_no_frames_no_objects_and_no_folder_are_refused(prepared: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="frames=0"):
        replace(SETTINGS, frames=0)
    with pytest.raises(ValueError, match="no prepared object"):
        ClipDataset(prepared, (), SETTINGS)
    with pytest.raises(FileNotFoundError, match=r"split\.json is missing"):
        split_names(tmp_path, "train")


def test_batches_start_where_training_stands_and_ranks_share_them_out():
    whole = list(StepBatches(2, 5, lambda: 0))
    assert whole == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert list(StepBatches(2, 5, lambda: 3)) == whole[3:]
    ranks = [list(StepBatches(2, 3, lambda: 1, rank, 2)) for rank in (0, 1)]
    assert ranks == [[[4, 5], [8, 9]], [[6, 7], [10, 11]]]
    assert len(StepBatches(2, 5, lambda: 3)) == 5


def test_the_data_module_builds_what_is_missing_and_collates_clips(prepared: Path):
    built: list[Path] = []
    module = ClipDataModule(prepared, SETTINGS, batch_size=2, build=built.append)
    module.trainer = SimpleNamespace(accumulate_grad_batches=1, max_steps=2, global_step=0, global_rank=0, world_size=1)  # type: ignore[assignment]
    module.prepare_data()
    module.setup("fit")
    batches = list(module.train_dataloader())
    assert set(built) == {prepared} and len(batches) == 2
    assert isinstance(batches[0], Clip) and batches[0].surface.shape == (2, 3, 64, 7)
    assert sum(len(batch.images) for batch in module.val_dataloader()) == len(split_names(prepared, "holdout"))


def test_a_run_trains_on_what_it_asked_for_though_another_asks_for_less(prepared: Path, tmp_path: Path):
    """Both make their set in one folder, and each build leaves the split that it was asked for."""
    root = tmp_path / "set"
    shutil.copytree(prepared, root)
    listed = json.loads((root / "split.json").read_text())

    def asked(count: int, folder: Path) -> None:
        (folder / "split.json").write_text(json.dumps(listed | {"train": listed["train"][:count]}))

    module = ClipDataModule(root, SETTINGS, batch_size=2, build=partial(asked, len(listed["train"])))
    module.prepare_data()
    asked(1, root)  # another process, as soon as it may
    module.setup("fit")
    assert isinstance(module.train, ClipDataset) and module.train.names == tuple(listed["train"])
    assert len(listed["train"]) > 1


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(size: int, prepared: Path):
    with pytest.raises(ValueError, match="batch_size"):
        ClipDataModule(prepared, SETTINGS, batch_size=size)


def test_every_field_of_a_clip_fits_its_annotation(prepared: Path, names: tuple[str, ...]):
    clip = ClipDataset(prepared, names, replace(SETTINGS, distance_points=0, image_size=0))[0]
    assert clip.images.shape == (3, 3, 0, 0)
    assert clip.points.shape == (3, 0, 3) and clip.distance.shape == (3, 0)
