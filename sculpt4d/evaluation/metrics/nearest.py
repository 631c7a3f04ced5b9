"""Exact nearest neighbours among many points: scipy's trees, or open3d, pytorch3d and CUDA where they are there.

All engines count in float64 and give the same distances; of two points that are equally far, either row may come.
"""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from sculpt4d.geometry.morton import morton_order
from sculpt4d.optional import probe, require

# Measured at 100,000 points of a surface: leaves of 32 without tightened boxes answer five times faster than the
# defaults, and Morton order of tree and queries halves that again (the walk stays in the cache).
LEAF = 32
PAIRS = 1 << 26  # distances held at once on an accelerator

Index = Callable[[Float[np.ndarray, "n 3"]], tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]]
Rows = Callable[[Float[Tensor, "k n 3"], Float[Tensor, "k m 3"]], Int[Tensor, "k n"]]
Match = Callable[[Float[Tensor, "k n 3"]], tuple[Int[Tensor, "k n"], Int[Tensor, "k m"]]]


class Engine(NamedTuple):
    """plant: points to what answers queries among them; match: a target to what pairs moved copies with it, both ways.
    cuda: whether it computes there when there is a device.
    """

    plant: Callable[[Float[np.ndarray, "n 3"]], Index]
    match: Callable[[Float[Tensor, "m 3"]], Match]
    cuda: bool = False

    @property
    def device(self) -> str:
        return "cuda" if self.cuda and torch.cuda.is_available() else "cpu"


def choose(name: str = "auto") -> str:
    """A name of `ENGINES`; `auto` is the fastest that can run here. ValueError or ImportError say the remedy."""
    if name == "auto":
        if torch.cuda.is_available():
            return "pytorch3d" if probe("pytorch3d") else "torch"
        return "open3d" if probe("open3d") else "scipy"
    if name not in ENGINES:
        raise ValueError(f"neighbours={name}: must be auto or one of {', '.join(ENGINES)}")
    if name in ("open3d", "pytorch3d"):
        require(name)
    return name


def plant(points: Float[np.ndarray, "n 3"], engine: str = "scipy") -> Index:
    """Of finite points, at least one, a function of other points: distance to the nearest (n,), and its row (n,)."""
    return ENGINES[engine].plant(points)


def lean_tree(points: Float[np.ndarray, "n 3"]) -> cKDTree:
    """A tree over points that lie in Morton order already: for loops that move the same points again and again."""
    return cKDTree(points, LEAF, compact_nodes=False, balanced_tree=False)


def _scipy_index(points: Float[np.ndarray, "n 3"]) -> Index:
    order = morton_order(points)
    tree = lean_tree(points[order])

    def nearest(others: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        walk = morton_order(others)
        found = tree.query(others[walk], workers=torch.get_num_threads())
        distance, row = np.empty(len(others)), np.empty(len(others), np.int64)
        distance[walk], row[walk] = found[0], order[found[1]]
        return distance, row

    return nearest


def _open3d_index(points: Float[np.ndarray, "n 3"]) -> Index:
    core = require("open3d").core
    search = core.nns.NearestNeighborSearch(core.Tensor(np.ascontiguousarray(points, np.float64)))
    search.knn_index()

    def nearest(others: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        rows, squared = search.knn_search(core.Tensor(np.ascontiguousarray(others, np.float64)), 1)
        return np.sqrt(squared.numpy().reshape(-1)), rows.numpy().reshape(-1).astype(np.int64)

    return nearest


def _index_by(rows_of: Rows) -> Callable[[Float[np.ndarray, "n 3"]], Index]:
    """Queries of numpy points on an accelerator."""

    def index(points: Float[np.ndarray, "n 3"]) -> Index:
        among = torch.tensor(points, dtype=torch.float64, device=ENGINES["torch"].device)[None]

        def nearest(others: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
            asked = torch.tensor(others, dtype=torch.float64, device=among.device)[None]
            rows = rows_of(asked, among)[0]
            return (asked[0] - among[0, rows]).norm(dim=-1).cpu().numpy(), rows.cpu().numpy()

        return nearest

    return index


def _match_by(rows_of: Rows) -> Callable[[Float[Tensor, "m 3"]], Match]:
    def match(target: Float[Tensor, "m 3"]) -> Match:
        def both(moved: Float[Tensor, "k n 3"]) -> tuple[Int[Tensor, "k n"], Int[Tensor, "k m"]]:
            theirs = target.expand(len(moved), -1, -1)
            return rows_of(moved, theirs), rows_of(theirs, moved)

        return both

    return match


def tree_match(target: Float[Tensor, "m 3"]) -> Match:
    """By trees, for CPUs; target and copies should be in Morton order."""
    theirs = target.numpy()
    tree = lean_tree(theirs)

    def both(moved: Float[Tensor, "k n 3"]) -> tuple[Int[Tensor, "k n"], Int[Tensor, "k m"]]:
        threads, copies = torch.get_num_threads(), moved.numpy()
        forth = tree.query(copies, workers=threads)[1]
        back = np.stack([lean_tree(copy).query(theirs, workers=threads)[1] for copy in copies])
        return torch.from_numpy(forth), torch.from_numpy(back)

    return both


def brute_rows(points: Float[Tensor, "k n 3"], among: Float[Tensor, "k m 3"]) -> Int[Tensor, "k n"]:
    """Rows of the nearest of `among`, by all distances in blocks, without the products that lose near ones."""
    step = max(1, PAIRS // (len(points) * among.shape[1]))
    blocks = points.split(step, dim=1)
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cat([torch.cdist(block, among, compute_mode=exact).argmin(-1) for block in blocks], dim=1)


def _pytorch3d_rows(points: Float[Tensor, "k n 3"], among: Float[Tensor, "k m 3"]) -> Int[Tensor, "k n"]:
    ops = importlib.import_module("pytorch3d.ops")
    return ops.knn_points(points.contiguous(), among.contiguous(), K=1).idx[..., 0]


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "scipy": Engine(_scipy_index, tree_match),
        "open3d": Engine(_open3d_index, tree_match),
        "pytorch3d": Engine(_index_by(_pytorch3d_rows), _match_by(_pytorch3d_rows), cuda=True),
        "torch": Engine(_index_by(brute_rows), _match_by(brute_rows), cuda=True),
    }
)
