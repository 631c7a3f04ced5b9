"""Many points and many faces: a coarse mesh keeps its solid, and time and memory stay bounded."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

from sculpt4d.evaluation.metrics import geometry as metrics
from sculpt4d.evaluation.metrics.geometry import SampledSurface, chamfer, coarsen, pair_frames
from sculpt4d.evaluation.metrics.motion import open_frames
from sculpt4d.geometry.occupancy import occupancy
from sculpt4d.types import Mesh


@pytest.mark.slow
def test_a_clip_of_16_frames_and_100000_points_takes_seconds(shapes: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    sides = rng.normal(size=(2, 16, 100_000, 3))
    sides /= np.linalg.norm(sides, axis=-1, keepdims=True)
    frames = [tuple(SampledSurface(None, points) for points in side) for side in sides]
    start = time.process_time()
    distances = [chamfer(pair) for pair in pair_frames(*frames)]
    assert time.process_time() - start < 30  # about 4 on an idle core
    assert np.mean(distances) == pytest.approx(2 * 0.5 * (4 * np.pi / 100_000) ** 0.5, rel=0.01)  # Poisson points


def test_a_coarse_closed_mesh_stays_closed_and_keeps_its_solid(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = trimesh.creation.icosphere(6, 0.8)
    mesh = Mesh(np.asarray(ball.vertices, np.float32), np.asarray(ball.faces))
    coarse = coarsen(mesh, 20_000)
    assert 1000 < len(coarse.faces) <= 20_000 < len(mesh.faces)
    assert open_frames([coarse]) == 0
    fine, rough = occupancy(mesh, 32), occupancy(coarse, 32)
    assert (fine & rough).sum() / (fine | rough).sum() > 0.99
    monkeypatch.setattr(metrics, "SOLID_FACES", 20_000)
    assert np.array_equal(SampledSurface(mesh, np.zeros((1, 3))).solid(32), rough)
    assert coarsen(mesh, len(mesh.faces)) is mesh
