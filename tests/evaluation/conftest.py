"""Closed shapes whose volume, centroid and overlap are known."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import trimesh

from sculpt4d.types import Mesh, MeshSequence

EMPTY = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))


def cube(side: float = 1.0, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    """An axis-aligned cube."""
    box = trimesh.creation.box((side, side, side))
    return Mesh(np.asarray(box.vertices + center).astype(np.float32), np.asarray(box.faces))


def sphere(radius: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0), detail: int = 4) -> Mesh:
    """An icosphere."""
    ball = trimesh.creation.icosphere(detail, radius)
    return Mesh(np.asarray(ball.vertices + center).astype(np.float32), np.asarray(ball.faces))


def sequence(*meshes: Mesh) -> MeshSequence:
    """The meshes as frames."""
    return MeshSequence(meshes)


@pytest.fixture
def shapes() -> SimpleNamespace:
    """`EMPTY`, `cube`, `sphere` and `sequence` of this file."""
    return SimpleNamespace(EMPTY=EMPTY, cube=cube, sphere=sphere, sequence=sequence)


@pytest.fixture(scope="session")
def written() -> ModuleType:
    """The module beside this one: motions in the layouts of the field."""
    spec = spec_from_file_location("written", Path(__file__).with_name("written.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
