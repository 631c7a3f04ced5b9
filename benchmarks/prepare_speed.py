"""Minutes that an object takes at the paper's settings, stage by stage, beside a plain dense pipeline in the same run.

python -m benchmarks.prepare_speed Fox.glb MorphStressTest.glb [--synthetic quadruped] [--frames 32] [--dense-frames 1]
Processor time of one core. Plain: the distance of all 257^3 nodes, one label, one marching cubes, closest points in the
order they come; of a few frames, whose mean stands for all. The other stages are shared.
"""

import argparse
import dataclasses
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import igl
import numpy as np
from rich.progress import track
from scipy import ndimage
from skimage.measure import marching_cubes

from benchmarks.record import BenchmarkRecord, add_record, command_line, record
from experiments.report import Table, markdown
from sculpt4d.data import store
from sculpt4d.geometry.bounds import clip_box, to_box
from sculpt4d.geometry.surface import carry
from sculpt4d.geometry.watertight import GRID_EXTENT, SHELL
from sculpt4d.gltf.read import read_animation
from sculpt4d.preparation.asset import PrepareJob, PrepareSettings, StageClock, prepare_object
from sculpt4d.preparation.sampling import draw
from sculpt4d.types import Mesh

STAGES = ("reading", "sampling", "watertight", "projection", "rendering", "writing")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "IGL_NUM_THREADS")
SEED = 1  # of the synthetic object


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser("python -m benchmarks.prepare_speed", description=__doc__)
    found.formatter_class = argparse.RawDescriptionHelpFormatter
    found.add_argument("files", nargs="*", type=Path)
    found.add_argument("--synthetic", nargs="*", default=["quadruped"], help="families that are made and measured")
    paper = PrepareSettings()
    for name in ("frames", "points", "sharp_points", "views", "image_size", "grid_res"):
        found.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(paper, name))
    found.add_argument("--dense-frames", type=int, default=1, help="0 leaves the dense pipeline out")
    add_record(found)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    given = parser().parse_args(arguments)
    names = {field.name for field in dataclasses.fields(PrepareSettings)}
    settings = PrepareSettings(**{name: value for name, value in vars(given).items() if name in names})
    os.environ.update(dict.fromkeys(THREADS, "1"))  # the child reads them when it loads its libraries
    rows = []
    with tempfile.TemporaryDirectory() as root, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        output = Path(root)
        jobs = [PrepareJob(path.stem, path, output / path.stem, settings) for path in given.files]
        for family in given.synthetic:
            path = output / f"{family}.glb"
            jobs.append(PrepareJob(family, path, output / family, settings, family, made=SEED))
        for job in track(jobs, "measuring"):
            rows.append(row(job, *pool.submit(measure, job, given.dense_frames).result()))
    header = ("object", "faces", *(f"{stage} (s)" for stage in STAGES), "minutes", "surface (s a frame)")
    header += ("plain surface (s a frame)", "ratio, surface", "plain minutes", "ratio, all")
    title = (
        f"Preparing {settings.frames} frames: {settings.views} views of {settings.image_size} px, "
        f"{settings.points} + {settings.sharp_points} points, grid {settings.grid_res}, one core"
    )
    note = f"Plain: {given.dense_frames} of the frames were measured. Surface: watertight and projection together."
    print(markdown(Table(title, header, tuple(rows), (note,))))
    if given.record is not None:
        cells = [dict(zip(header, each, strict=True)) for each in rows]
        ratios = {f"{each['object']}, plain / ours, surface": float(each["ratio, surface"]) for each in cells}
        ratios |= {f"{each['object']}, plain / ours, all": float(each["ratio, all"]) for each in cells}
        figures = {f"{each['object']}, CPU minutes": float(each["minutes"]) for each in cells}
        line = command_line("benchmarks.prepare_speed", arguments)
        ratios = {what: value for what, value in ratios.items() if not math.isnan(value)}  # --dense-frames 0
        print(record(BenchmarkRecord("preparation", line, SEED, ratios, figures), given.record))


def measure(job: PrepareJob, dense_frames: int) -> tuple[dict[str, float], int, float]:
    """Seconds by stage, faces, and seconds that the plain surface of a frame takes (nan: not measured)."""
    record = store.read_record(prepare_object(job))
    plain = [dense_seconds(job, number) for number in np.linspace(0, job.settings.frames - 1, dense_frames + 2)[1:-1]]
    return dict(record["seconds"]), record["counts"]["faces"], float(np.mean(plain)) if plain else float("nan")


def row(job: PrepareJob, seconds: Mapping[str, float], faces: int, plain: float) -> tuple[str, ...]:
    """The cells of one object."""
    frames, total = job.settings.frames, sum(seconds.values())
    surface = seconds["watertight"] + seconds["projection"]
    dense = total - surface + plain * frames
    cells = [job.name, str(faces), *(f"{seconds[stage]:.1f}" for stage in STAGES)]
    cells += [f"{total / 60:.2f}", f"{surface / frames:.2f}", f"{plain:.1f}", f"{plain * frames / surface:.0f}"]
    return (*cells, f"{dense / 60:.1f}", f"{dense / total:.1f}")


def dense_seconds(job: PrepareJob, number: float) -> float:
    """What the surface of one frame costs without any of our shortcuts."""
    settings = job.settings
    animated = read_animation(job.path, settings.frames, job.clip)
    vertices = to_box(animated.vertices, clip_box(animated.vertices))[int(number)]
    drawn = draw(
        animated.rest,
        animated.faces,
        settings.points,
        settings.sharp_points,
        settings.sharp_degrees,
        np.random.default_rng(0),
    )
    points = np.concatenate([carry(part, vertices[None], animated.faces)[0] for part in drawn]).astype(np.float64)
    clock = StageClock()
    closed = dense_watertight(Mesh(vertices, animated.faces), settings.grid_res)
    igl.point_mesh_squared_distance(points, closed.vertices.astype(np.float64), closed.faces.astype(np.int64))
    clock.lap("surface")
    return clock.seconds["surface"]


def dense_watertight(mesh: Mesh, resolution: int) -> Mesh:
    """Unsigned distance of every node, everything the border cannot reach is filled, one offset for all parts."""
    spacing = 2 * GRID_EXTENT / resolution
    axis = np.arange(resolution + 1) * spacing - GRID_EXTENT
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    distance = np.empty((resolution + 1,) * 3)
    for plane, x in enumerate(axis):
        nodes = np.stack(np.meshgrid([x], axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        squared = igl.point_mesh_squared_distance(nodes, vertices, faces)[0]
        distance[plane] = np.sqrt(squared).reshape(len(axis), -1)
    values = SHELL - distance / spacing
    label, _ = ndimage.label(values < 0)
    values = np.where(label == label[0, 0, 0], values, np.abs(values))
    found, triangles, _, _ = marching_cubes(values, 0.0)
    return Mesh((found * spacing - GRID_EXTENT).astype(np.float32), triangles.astype(np.int32))


if __name__ == "__main__":
    main()
