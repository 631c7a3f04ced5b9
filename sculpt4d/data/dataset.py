"""Clips from a folder of prepared objects.

An item number determines object, frames, view and points. The module also reads the held-out split and its ground-truth
meshes.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from sculpt4d.config.settings import ClipSettings
from sculpt4d.data import images as image_files
from sculpt4d.data import store
from sculpt4d.geometry.fps import farthest_points, split_queries
from sculpt4d.geometry.morton import morton_order
from sculpt4d.types import Clip, Mesh, MeshSequence


class Reader:
    """Arrays of one object's frames: read from the store at each call, or once into memory with `keep`."""

    def __init__(self, folder: Path, labelled: bool, keep: bool) -> None:
        self.folder, self.count, self.views = folder, store.frame_count(folder), store.view_count(folder)
        self._surface: tuple[np.ndarray, np.ndarray] | None = None
        self._swallowed: tuple[np.ndarray, np.ndarray] | None = None
        self._labels: tuple[np.ndarray, np.ndarray] | None = None
        if keep:
            self._surface = store.read_surface(folder, range(self.count))
            self._swallowed = store.read_swallowed(folder, range(self.count))
            self._labels = store.read_distances(folder, range(self.count)) if labelled else None

    def surface(self, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return (uniform (t, n, 6), sharp (t, s, 6)) for the frames."""
        if self._surface is None:
            return store.read_surface(self.folder, frames)
        return self._surface[0][list(frames)], self._surface[1][list(frames)]

    def swallowed(self, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return masks (t, n) and (t, s) of the interior points in `surface`; all False when the store has no masks."""
        if self._surface is not None and self._swallowed is not None:
            return self._swallowed[0][list(frames)], self._swallowed[1][list(frames)]
        found = store.read_swallowed(self.folder, frames) if self._surface is None else None
        if found is not None:
            return found
        random, sharp = (np.zeros(part.shape[:2], dtype=bool) for part in self.surface(frames))
        return random, sharp

    def labels(self, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return (query points (t, m, 3), signed distances (t, m)) for the frames."""
        if self._labels is None:
            return store.read_distances(self.folder, frames)
        return self._labels[0][list(frames)], self._labels[1][list(frames)]


TO_CLIP = 2.0  # stored coordinates are in [-0.5, 0.5], those of a clip in [-1, 1]


@dataclass(frozen=True)
class Choice:
    """Random choices made when reading one clip."""

    first: int  # first stored frame of the clip
    view: int
    seed: int
    query: int | None = None  # stored frame in which queries are chosen; None: the clip's first frame


def read_clip(reader: Reader, settings: ClipSettings, choice: Choice) -> Clip:
    """Read a clip of one prepared object. Raises ValueError when the store holds too few frames or points."""
    stored, folder = reader.count, reader.folder
    if choice.first + settings.frames > stored:
        raise ValueError(
            f"{folder} holds {stored} frames, {settings.frames} were asked for from frame {choice.first}: set frames, "
            "or prepare the object with more"
        )
    frames = range(choice.first, choice.first + settings.frames)
    rng = np.random.default_rng(choice.seed)
    surface, queries = _surface(reader, frames, choice.query, settings, rng)
    points, distance = _distances(reader, frames, settings.distance_points, rng)
    if settings.image_size:
        pictures = store.read_views(folder, frames, choice.view)
        images = image_files.compose(pictures, settings.image_size)
    else:
        images = torch.zeros(settings.frames, 3, 0, 0)
    return Clip(images, surface, queries, points, distance)


def _surface(
    reader: Reader, frames: Sequence[int], query: int | None, settings: ClipSettings, rng: np.random.Generator
) -> tuple[Float[Tensor, "t n 7"], Int[Tensor, " p"]]:
    """Sample surface points, uniform ones first, then sharp ones.

    Queries are chosen by farthest point sampling of each section in one frame. Points that are interior in any frame of
    the clip are used only when the store holds too few others: they slide along a foreign surface.
    """
    asked = frames if query is None else [query, *frames]  # queries are chosen in the first of these frames
    random, sharp = reader.surface(asked)
    first = len(asked) - len(frames)
    swallowed = reader.swallowed(asked)
    sharp_count = settings.sharp_points if settings.sharp and sharp.shape[1] >= settings.sharp_points else 0
    counts = (settings.points + settings.sharp_points - sharp_count, sharp_count)
    shares = split_queries(settings.latents, *counts)
    sections, queries, offset = [], [], 0
    for label, (stored, count) in enumerate(zip((random, sharp), counts, strict=True)):
        if count == 0:
            continue
        if stored.shape[1] < count:
            raise ValueError(
                f"{reader.folder} holds {stored.shape[1]} surface points, {count} were asked for: set model.points, or "
                "prepare the object with more"
            )
        rows = _rows(np.any(swallowed[label][first:], axis=0), count, rng)
        taken = stored[:, rows]
        if not settings.consistent:
            own = [_rows(marked, count, rng) for marked in swallowed[label]]
            taken = np.stack([frame[rows] for frame, rows in zip(stored, own, strict=True)])
        section = torch.from_numpy(taken.astype(np.float32))
        section = torch.cat(
            [TO_CLIP * section[..., :3], section[..., 3:], torch.full_like(section[..., :1], label)], -1
        )
        chosen = farthest_points(section[0, :, :3].numpy(), shares[label])
        if not (settings.aligned and settings.consistent):
            (other,) = rng.spawn(1)  # a separate generator keeps all other draws equal to those with aligned queries
            for frame in section[1:]:
                frame.copy_(frame[_own_queries(frame[:, :3].numpy(), chosen, other)])
        queries.append(offset + chosen)
        sections.append(section)
        offset += count
    surface = torch.cat(sections, dim=1)
    rows = np.concatenate(queries)
    if settings.token_order == "morton":
        rows = rows[morton_order(surface[0, rows, :3].numpy())]
    return surface[first:], torch.from_numpy(rows)


def _own_queries(
    points: Float[np.ndarray, "n 3"], places: Int[np.ndarray, " p"], rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Return an order of a frame's points whose entries at `places` are queries chosen for this frame.

    Farthest point sampling starts at a random point of the frame.
    """
    own = farthest_points(points, len(places), int(rng.integers(len(points))))
    order = np.empty(len(points), dtype=np.int64)
    order[places] = own
    order[np.setdiff1d(np.arange(len(points)), places)] = np.setdiff1d(np.arange(len(points)), own)
    return order


def _rows(swallowed: Bool[np.ndarray, " n"], count: int, rng: np.random.Generator) -> Int[np.ndarray, " {count}"]:
    """Return `count` random indices; interior points come only after all others."""
    order = rng.permutation(len(swallowed))
    return order[np.argsort(swallowed[order], kind="stable")[:count]]


def _distances(
    reader: Reader, frames: Sequence[int], count: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "t m 3"], Float[Tensor, "t m"]]:
    if count == 0:
        return torch.zeros(len(frames), 0, 3), torch.zeros(len(frames), 0)
    points, distance = reader.labels(frames)
    if points.shape[1] < count:
        raise ValueError(
            f"{reader.folder} holds {points.shape[1]} labelled points a frame, {count} were asked for: set "
            "model.distance_points, or prepare the object with more (stage=vae needs them)"
        )
    rows = rng.permutation(points.shape[1])[:count]
    scaled = TO_CLIP * points[:, rows].astype(np.float32), TO_CLIP * distance[:, rows].astype(np.float32)
    return torch.from_numpy(scaled[0]), torch.from_numpy(scaled[1])


def read_truth(folder: Path, settings: ClipSettings, first: int = 0) -> MeshSequence:
    """Return the ground-truth closed meshes of the clip's frames, in the clip's box."""
    frames = range(first, first + settings.frames)
    meshes = [store.read_watertight(folder, frame) for frame in frames]
    return MeshSequence(tuple(Mesh(TO_CLIP * mesh.vertices, mesh.faces) for mesh in meshes))


class ClipDataset(Dataset[Clip]):
    """Prepared objects as clips; item `number` is the same in every process and after every restart.

    `fixed` reads each object deterministically (validation, latent cache): number = variant * objects + object.
    """

    def __init__(
        self, root: Path, names: Sequence[str], settings: ClipSettings, seed: int = 0, fixed: bool = False
    ) -> None:
        if not names:
            raise ValueError(f"no prepared object in {root}: run python prepare.py, or set data.root")
        self.root, self.names, self.settings, self.seed, self.fixed = root, tuple(names), settings, seed, fixed
        self._readers: dict[int, Reader] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Clip:
        if self.fixed:
            variant, index = divmod(number, len(self.names))
            return self.read(index, Choice(0, variant % self._views(index), variant))
        rng = np.random.default_rng((self.seed, number))
        index = int(rng.integers(len(self.names)))
        stored = self._reader(index).count
        first = int(rng.integers(max(stored - self.settings.frames, 0) + 1))
        view, seed = int(rng.integers(self._views(index))), int(rng.integers(2**31))
        # a single frame also gets queries from another frame, as the frames of a clip do
        query = int(rng.integers(stored)) if self.settings.frames == 1 else None
        return self.read(index, Choice(first, view, seed, query))

    def read(self, index: int, choice: Choice) -> Clip:
        """Read the clip of object `index` with the given choices."""
        return read_clip(self._reader(index), self.settings, choice)

    def _reader(self, index: int) -> Reader:
        """Return the cached reader: counting frames and views lists folders, which is too slow to repeat per batch."""
        if index not in self._readers:
            folder = self.root / self.names[index]
            self._readers[index] = Reader(folder, self.settings.distance_points > 0, self.settings.keep)
        return self._readers[index]

    def _views(self, index: int) -> int:
        return max(1, min(self.settings.views, self._reader(index).views))


def split_names(root: Path, split: str) -> tuple[str, ...]:
    """Return the object names of `split` ('train' or 'holdout') from split.json that are complete.

    Raises FileNotFoundError when split.json is missing.
    """
    path = root / "split.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: prepare the data first (python prepare.py), or set data.root")
    listed = json.loads(path.read_text())
    return tuple(name for name in listed[split] if store.complete(root / name))


def choose_held_out(names: Sequence[str], limit: int | None) -> tuple[str, ...]:
    """Return the first `limit` held-out objects, or all as listed without a limit.

    The order mixes the families and does not depend on the size of the set.
    """
    if limit is None:
        return tuple(names)
    return tuple(sorted(names, key=lambda name: zlib.crc32(name.encode())))[:limit]


def read_held_out(folder: Path, settings: ClipSettings) -> tuple[Clip, MeshSequence]:
    """Read the clip and the ground-truth meshes of one held-out object, deterministically."""
    reader = Reader(folder, settings.distance_points > 0, keep=False)
    return read_clip(reader, settings, Choice(0, 0, 0)), read_truth(folder, settings)


def holdout_clips(
    root: Path, settings: ClipSettings, limit: int | None = None
) -> Iterator[tuple[str, str, Clip, MeshSequence]]:
    """Yield (name, family, clip, ground-truth meshes) of the held-out objects in split.json.

    limit: maximum number of objects; None: all.
    """
    for name in choose_held_out(split_names(root, "holdout"), limit):
        yield name, store.read_record(root / name)["family"], *read_held_out(root / name, settings)
