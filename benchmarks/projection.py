"""What projection does to carried points: error against the animated surface, motion that is not there, and time.

python -m benchmarks.projection Fox.glb MorphStressTest.glb [--synthetic quadruped] [--frames 4] [--grid-res 256]
The animated mesh itself is the truth; points on inner parts, which no projection can place, are left out. Lengths in
cells of the grid, angles in degrees, processor seconds of one core.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.progress import track

from benchmarks.prepare_speed import SEED, THREADS
from benchmarks.record import BenchmarkRecord, add_record, command_line, record
from experiments.report import Table, markdown
from sculpt4d.geometry.bounds import clip_box, to_box
from sculpt4d.geometry.projection import PROJECTIONS
from sculpt4d.geometry.watertight import GRID_EXTENT, watertight
from sculpt4d.gltf.read import read_animation
from sculpt4d.preparation.asset import StageClock
from sculpt4d.preparation.sampling import ProjectedSamples, draw, place
from sculpt4d.preparation.synthetic.families import write_object
from sculpt4d.types import Mesh

FRAMES = 32  # of the clip; neighbouring ones are compared
HEADER = (
    *("object", "projection", "from the surface, mean", "99 %", "along the surface, mean", "99 %", "normal, mean"),
    *("normal > 15° (%)", "false motion, mean", "99 %", "places per 100 points", "swallowed (%)", "seconds a frame"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    found = argparse.ArgumentParser("python -m benchmarks.projection", description=__doc__)
    found.formatter_class = argparse.RawDescriptionHelpFormatter
    found.add_argument("files", nargs="*", type=Path)
    found.add_argument("--synthetic", nargs="*", default=["quadruped"], help="families that are made and measured")
    found.add_argument("--frames", type=int, default=4, help="neighbouring frames from the middle of the clip")
    found.add_argument("--points", type=int, default=124928, help="uniform ones; sharp ones have no one normal")
    found.add_argument("--grid-res", type=int, default=256)
    add_record(found)
    given = found.parse_args(arguments)
    os.environ.update(dict.fromkeys(THREADS, "1"))  # the child reads them when it loads its libraries
    with tempfile.TemporaryDirectory() as root, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        paths = list(given.files)
        for family in given.synthetic:
            paths.append(Path(root) / f"{family}.glb")
            write_object(family, family, SEED, paths[-1])
        sizes = given.frames, given.points, given.grid_res
        rows = [row for path in track(paths, "measuring") for row in pool.submit(measure, path, *sizes).result()]
    title = f"Projection of {given.points} uniform points onto closed surfaces of grid {given.grid_res}, in cells"
    print(markdown(Table(title, HEADER, tuple(rows))))
    if given.record is not None:
        along = HEADER.index("along the surface, mean")
        seconds = {name: {row[0]: float(row[-1]) for row in rows if row[1] == name} for name in PROJECTIONS}
        exact, centre = seconds["closest_point"], seconds["nearest_center"]
        ratios = {f"{name}, closest_point / nearest_center, seconds": exact[name] / centre[name] for name in exact}
        figures = {f"{row[0]}, {row[1]}, along the surface (cells)": float(row[along]) for row in rows}
        line = command_line("benchmarks.projection", arguments)
        print(record(BenchmarkRecord("projection", line, SEED, ratios, figures), given.record))


def measure(path: Path, frames: int, points: int, grid_res: int) -> list[tuple[str, ...]]:
    """A row for every projection."""
    animated = read_animation(path, FRAMES, None)
    vertices = to_box(animated.vertices, clip_box(animated.vertices))
    drawn = draw(animated.rest, animated.faces, points, 0, 30.0, np.random.default_rng(0))
    middle = max((FRAMES - frames) // 2, 0)
    poses = [Mesh(pose, animated.faces) for pose in vertices[middle : middle + frames]]
    closed = [watertight(pose, grid_res) for pose in poses]
    true = [place(drawn, pose, surface, "none", grid_res).random for pose, surface in zip(poses, closed, strict=True)]
    rows = []
    for name in PROJECTIONS:
        clock = StageClock()
        placed = [place(drawn, pose, surface, name, grid_res) for pose, surface in zip(poses, closed, strict=True)]
        clock.lap(name)
        cells = errors(placed, np.stack(true), 2 * GRID_EXTENT / grid_res)
        rows.append((path.stem, name, *cells, f"{clock.seconds[name] / frames:.2f}"))
    return rows


def errors(placed: Sequence[ProjectedSamples], true: np.ndarray, cell: float) -> list[str]:
    """The cells between `projection` and `seconds`, over all frames and the points that no frame swallowed."""
    swallowed = np.stack([frame.random_swallowed for frame in placed])
    rows = np.stack([frame.random for frame in placed])
    kept = ~swallowed.any(axis=0)
    off = (rows[:, kept, :3] - true[:, kept, :3]) / cell
    across = np.abs((off * true[:, kept, 3:]).sum(axis=2))
    along = np.sqrt(np.maximum((off**2).sum(axis=2) - across**2, 0))
    # files may turn their faces inward: the direction of a normal counts, its sense is that of the closed surface
    cosine = np.abs((rows[:, kept, 3:] * true[:, kept, 3:]).sum(axis=2))
    angle = np.degrees(np.arccos(np.minimum(cosine, 1)))
    motion = np.linalg.norm(np.diff(off, axis=0), axis=2)
    places = np.mean([len(np.unique(frame[:, :3], axis=0)) for frame in rows[:, kept]])
    cells = [value for part in (across, along) for value in (part.mean(), np.quantile(part, 0.99))]
    cells += [angle.mean(), 100 * (angle > 15).mean(), motion.mean(), np.quantile(motion, 0.99)]
    return [*(f"{value:.3f}" for value in cells), f"{100 * places / kept.sum():.0f}", f"{100 * swallowed.mean():.1f}"]


if __name__ == "__main__":
    main()
