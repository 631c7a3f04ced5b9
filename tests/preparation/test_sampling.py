"""Points of the material: carried, placed on the closed surface, marked where it swallowed them; and the ablations."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig
from torch import Tensor

from sculpt4d.data import store
from sculpt4d.data.dataset import Choice, ClipDataset, ClipSettings, Reader, read_clip
from sculpt4d.geometry.projection import project
from sculpt4d.geometry.watertight import GRID_EXTENT, watertight
from sculpt4d.jobs.executor import Serial
from sculpt4d.preparation import run as prepare
from sculpt4d.preparation import sampling
from sculpt4d.preparation.asset import PrepareJob, PrepareSettings, is_prepared, prepare_animation
from sculpt4d.preparation.run import refuse_other_sampling
from sculpt4d.types import AnimatedMesh, Mesh

SETTINGS = PrepareSettings(frames=3, points=400, sharp_points=100, views=1, image_size=16, grid_res=40)
CELL = 2 * GRID_EXTENT / SETTINGS.grid_res


def box_with_a_box_inside() -> Mesh:
    """A cube of side 0.6 that holds a cube of side 0.3, both with sharp edges: a fifth of the area is hidden."""
    outer, inner = trimesh.creation.box((0.6,) * 3), trimesh.creation.box((0.3,) * 3)
    both = trimesh.util.concatenate([outer, inner])
    return Mesh(np.asarray(both.vertices, np.float32), np.asarray(both.faces, np.int32))


def moving(mesh: Mesh) -> AnimatedMesh:
    """The mesh sliding along x, in three frames."""
    steps = np.float32([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]])
    vertices = mesh.vertices[None] + steps[:, None]
    colors = np.full((len(mesh.faces), 3), 0.5, np.float32)
    return AnimatedMesh(vertices, mesh.faces, mesh.vertices, colors, np.arange(3.0), "slide")


def prepared(folder: Path, settings: PrepareSettings = SETTINGS) -> Path:
    folder.parent.mkdir(exist_ok=True)
    source = folder.parent / "slide.glb"
    source.write_bytes(b"slide")
    return prepare_animation(moving(box_with_a_box_inside()), PrepareJob("slide", source, folder, settings))


def test_the_points_of_an_inner_part_are_swallowed_and_no_others() -> None:
    mesh, rng = box_with_a_box_inside(), np.random.default_rng(0)
    drawn = sampling.draw(mesh.vertices, mesh.faces, 1000, 200, 30.0, rng)
    placed = sampling.place(drawn, mesh, watertight(mesh, 40), "closest_point", 40)
    for points, marked, rows in zip(drawn, placed[2:], placed[:2], strict=True):
        assert np.array_equal(marked, points.face >= 12)  # the faces of the inner box
        assert 0.1 < marked.mean() < 0.5
        assert (
            np.abs(np.abs(rows[:, :3]).max(axis=1) - 0.3).max() < 0.8 * CELL
        )  # all on the outer one, whose edges the grid rounds


@pytest.mark.parametrize("projection", ["closest_point", "nearest_center"])
def test_places_are_near_the_carried_points_and_normals_are_those_of_the_surface(projection: str) -> None:
    shape = trimesh.creation.icosphere(4, radius=0.4)
    mesh = Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces, np.int32))
    drawn = sampling.draw(mesh.vertices, mesh.faces, 500, 0, 30.0, np.random.default_rng(0))
    closed = watertight(mesh, 40)
    rows = sampling.place(drawn, mesh, closed, projection, 40).random
    still = sampling.place(drawn, mesh, closed, "none", 40).random
    assert (
        np.linalg.norm(rows[:, :3] - still[:, :3], axis=1).max() < (0.1 if projection == "closest_point" else 1) * CELL
    )
    assert np.einsum("ni,ni->n", rows[:, 3:], rows[:, :3] / 0.4).min() > 0.97
    corners = mesh.vertices[mesh.faces[drawn.random.face]]
    away = np.einsum("nki,ni->nk", corners - still[:, None, :3], still[:, 3:])
    assert np.abs(away).max() < 1e-6  # unprojected points lie on their own faces, with the normals of these


def test_what_is_stored_says_what_was_swallowed(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "out")
    marks = store.read_swallowed(folder, range(3))
    assert marks is not None and [part.shape for part in marks] == [(3, 400), (3, 100)]
    counts = json.loads((folder / store.RECORD).read_text())["counts"]
    assert (counts["random_swallowed"], counts["sharp_swallowed"]) == tuple(part.sum() for part in marks)
    assert 0.1 < marks[0].mean() < 0.4
    with np.load(folder / store.SURFACE) as arrays:
        assert sorted({key.split("/")[1] for key in arrays.files}) == ["random_surface", "sharp_surface"]


def test_a_clip_takes_swallowed_points_only_when_it_must(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "out")
    marks = store.read_swallowed(folder, range(3))
    assert marks is not None
    free = int((~marks[0].any(axis=0)).sum())
    stored = store.read_surface(folder, range(3))[0][0].astype(np.float32)
    hidden = {row.tobytes() for row in 2 * stored[marks[0].any(axis=0), :3]}
    for keep in (False, True):
        for count, expected in ((free, 0), (free + 7, 7)):
            clip = read_clip(Reader(folder, False, keep), ClipSettings(3, 8, count, image_size=0), Choice(0, 0, 0))
            taken = [row.tobytes() in hidden for row in clip.surface[0, :, :3].numpy()]
            assert sum(taken) == expected


def test_consistent_rows_slide_with_the_object_and_inconsistent_ones_do_not(tmp_path: Path) -> None:
    step = 0.1 * 0.98 / 0.8  # the clip is 0.8 long and fills 0.98 of the box
    for consistent in (True, False):
        folder = prepared(tmp_path / str(consistent), replace(SETTINGS, consistent=consistent, projection="none"))
        random, sharp = (part[..., :3].astype(np.float32) for part in store.read_surface(folder, range(3)))
        for part in (random, sharp):
            moved = part[1:] - part[:-1] - np.float32([step, 0, 0])
            assert (np.abs(moved).max() < 2e-3) == consistent


def test_without_sharp_points_there_are_none(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "out", replace(SETTINGS, sharp_points=0))
    assert store.read_surface(folder, range(3))[1].shape == (3, 0, 6)


def test_the_angle_decides_what_is_sharp(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "out", replace(SETTINGS, sharp_degrees=91.0))
    assert store.read_surface(folder, range(3))[1].shape == (3, 0, 6)
    assert any("no sharp edge" in note for note in store.read_record(folder)["notes"])


def test_the_record_says_where_the_time_went(tmp_path: Path) -> None:
    seconds = store.read_record(prepared(tmp_path / "out"))["seconds"]
    assert {"watertight", "projection", "sampling", "rendering", "writing"} <= seconds.keys()
    assert all(value >= 0 for value in seconds.values()) and seconds["watertight"] > 0


@pytest.mark.parametrize("change", [{"consistent": False}, {"projection": "none"}, {"sharp_points": 0}], ids=str)
def test_a_folder_prepared_in_another_way_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = prepared(tmp_path / "set" / "slide")
    other = replace(SETTINGS, **change)
    refuse_other_sampling([folder], SETTINGS)
    refuse_other_sampling([folder], replace(SETTINGS, grid_res=64, points=5, sharp_points=7))
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"asked for is {name}={value}"):
        prepare.prepare_folder(tmp_path / "set", None, other, 0.1)
    before = (folder / store.RECORD).read_text()
    with pytest.raises(ValueError, match="folder of its own"):
        prepare.prepare_files([tmp_path / "set" / "slide.glb"], tmp_path / "set", other, Serial())
    assert (folder / store.RECORD).read_text() == before


def test_records_of_earlier_versions_mean_the_defaults(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "out")
    job = PrepareJob("slide", tmp_path / "slide.glb", folder, SETTINGS)
    record = json.loads((folder / store.RECORD).read_text())
    for name in ("consistent", "projection", "sharp_degrees"):
        del record["settings"][name]
    (folder / store.RECORD).write_text(json.dumps(record))
    assert is_prepared(job)
    assert not is_prepared(replace(job, settings=replace(SETTINGS, projection="none")))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"projection": "knn"}, "projection=knn: must be one of closest_point, nearest_center, none"),
        ({"sharp_degrees": 0.0}, "sharp_degrees=0.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


@pytest.mark.parametrize("name", ["without_consistent_sampling", "without_sharp_edges", "without_projection"])
def test_an_ablation_reads_what_it_is_named_after_and_leaves_the_other_data_alone(
    name: str, configure: Callable[..., DictConfig], nano: list[str], nano_data: Path
) -> None:
    records = {path: path.read_text() for path in (nano_data / "synthetic").glob(f"*/{store.RECORD}")}
    cfg = configure("train", *nano, f"experiment={name}", "data.settings.image_size=0")
    module = instantiate(cfg.data.module)
    module.prepare_data()
    module.setup("fit")
    clip = module.train.read(0, Choice(0, 0, 0))
    plain = ClipDataset(nano_data / "synthetic", module.train.names, cfg_settings(configure, nano)).read(
        0, Choice(0, 0, 0)
    )
    assert {path: path.read_text() for path in records} == records
    moved = torch.linalg.vector_norm(clip.surface[1:, :, :3] - clip.surface[:-1, :, :3], dim=-1).median()
    usual = torch.linalg.vector_norm(plain.surface[1:, :, :3] - plain.surface[:-1, :, :3], dim=-1).median()
    assert (moved > 2 * usual) == (name == "without_consistent_sampling")
    assert bool(clip.surface[..., 6].any()) == (name != "without_sharp_edges")
    assert clip.surface.shape == plain.surface.shape and clip.queries.shape == plain.queries.shape
    spread = [_spacing(found.surface[-1, found.queries, :3]) for found in (clip, plain)]
    assert spread[0] > 0.75 * spread[1]  # the queries of every frame are far apart, its own ones as well
    assert (module.root.name == "synthetic_without_projection") == (name == "without_projection")
    meshes = [store.read_mesh(module.root / module.train.names[0], frame) for frame in range(clip.surface.shape[0])]
    on_mesh = [project(rows[:, :3].numpy() / 2, mesh)[0] for rows, mesh in zip(clip.surface, meshes, strict=True)]
    off = np.linalg.norm(np.stack(on_mesh) - clip.surface[..., :3].numpy() / 2, axis=2)
    assert (off.max() < 1e-3) == (name == "without_projection")


def _spacing(points: Float[Tensor, "p 3"]) -> float:
    return float((torch.cdist(points, points) + 9 * torch.eye(len(points))).min(1).values.mean())


def cfg_settings(configure: Callable[..., DictConfig], nano: list[str]) -> ClipSettings:
    return instantiate(configure("train", *nano, "data.settings.image_size=0").data.module.settings)
