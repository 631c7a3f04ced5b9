"""Every engine of nearest neighbours finds what brute force finds, alone and in a whole measurement."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from sculpt4d import optional
from sculpt4d.evaluation.metrics import nearest
from sculpt4d.evaluation.metrics.nearest import ENGINES, choose, plant
from sculpt4d.evaluation.protocols.actionbench import ActionBench
from sculpt4d.evaluation.protocols.protocol import Protocol


def knn_points(points: torch.Tensor, among: torch.Tensor, K: int) -> SimpleNamespace:
    """What pytorch3d documents of its function: squared distances and rows of the K nearest."""
    squared = (points[:, :, None] - among[:, None]).square().sum(-1)
    found = squared.topk(K, dim=-1, largest=False)
    return SimpleNamespace(dists=found.values, idx=found.indices)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each engine; pytorch3d is stood in for where it is not installed."""
    name: str = request.param
    if name == "pytorch3d" and optional.probe(name) is None:
        ops = ModuleType("pytorch3d.ops")
        ops.__dict__["knn_points"] = knn_points
        monkeypatch.setitem(sys.modules, "pytorch3d", ModuleType("pytorch3d"))
        monkeypatch.setitem(sys.modules, "pytorch3d.ops", ops)
    elif name == "open3d" and optional.probe(name) is None:
        pytest.skip("open3d is not installed")
    return name


@pytest.mark.parametrize("count", [1, 2, 33, 700])
def test_distances_and_rows_are_those_of_brute_force(count: int, engine: str) -> None:
    rng = np.random.default_rng(count)
    points, among = rng.normal(size=(250, 3)), rng.normal(size=(count, 3))
    dense = np.linalg.norm(points[:, None] - among[None], axis=-1)
    distance, rows = plant(among, engine)(points)
    assert np.array_equal(rows, dense.argmin(1)) and distance == pytest.approx(dense.min(1), rel=1e-12)


def test_near_points_far_from_the_origin_keep_their_distance(engine: str) -> None:
    """The usual product form of squared distances would lose these."""
    points = np.array([[1000.0, 0, 0], [1000.0, 1e-4, 0]])
    distance, rows = plant(points, engine)(points + np.array([0, 4e-5, 0]))
    assert rows.tolist() == [0, 1] and distance == pytest.approx([4e-5, 4e-5], rel=1e-6)


def test_moved_copies_are_paired_with_their_target_both_ways(engine: str) -> None:
    copies, target = torch.randn(4, 300, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).split(3)
    forth, back = ENGINES[engine].match(target[0])(copies)
    dense = torch.cdist(copies, target.expand(3, -1, -1))
    assert torch.equal(forth, dense.argmin(2)) and torch.equal(back, dense.argmin(1))


@pytest.mark.parametrize("protocol", ["sculpt4d", "actionbench"])
def test_a_measurement_does_not_depend_on_the_engine(protocol: str, engine: str, shapes: SimpleNamespace) -> None:
    chosen = Protocol(points=500, resolution=8)
    bench = ActionBench(points=400, alignment_points=60, steps=5, queries=100)
    truth, guess = shapes.sequence(*[shapes.sphere(1.0, detail=2)] * 2), shapes.sequence(*[shapes.cube(1.2)] * 2)
    judges = [{"sculpt4d": chosen, "actionbench": bench}[protocol].judge(truth, name) for name in (engine, "scipy")]
    ours, default = (dict(judge.score(guess).values) for judge in judges)
    assert ours == pytest.approx(default, abs=1e-12, nan_ok=True)


def test_the_fastest_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    there: set[str] = set()
    monkeypatch.setattr(nearest, "probe", lambda name: ModuleType(name) if name in there else None)

    def chosen(cuda: bool) -> str:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        return choose()

    assert (chosen(False), chosen(True)) == ("scipy", "torch")
    there |= {"open3d", "pytorch3d"}
    assert (chosen(False), chosen(True)) == ("open3d", "pytorch3d")


def test_an_engine_that_is_unknown_or_not_installed_is_refused_with_the_others() -> None:
    with pytest.raises(ValueError, match="scipy, open3d, pytorch3d, torch"):
        choose("faiss")
    if optional.probe("pytorch3d") is None:
        with pytest.raises(ImportError, match="leave the default"):
            choose("pytorch3d")
