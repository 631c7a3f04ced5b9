"""A folder of prepared objects to clips: which object, frames, view and points is decided by a number alone."""

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

from sculpt4d.data import images as image_files
from sculpt4d.data import store
from sculpt4d.data.reader import Reader
from sculpt4d.geometry.facing import Facing
from sculpt4d.geometry.fps import farthest_points, split_queries
from sculpt4d.geometry.morton import morton_order
from sculpt4d.types import Clip, Mesh, MeshSequence

TO_CLIP = 2.0  # stored coordinates lie in [-0.5, 0.5], a clip's in [-1, 1]


@dataclass(frozen=True)
class ClipSettings:
    """What is read of an object.

    frames: of the clip, consecutive in the store. latents: query points. points, sharp_points: surface points the
    encoder sees. distance_points: places with known distance (0: none). image_size: side of the pictures (0: none).
    views: how many of the stored views may be drawn; an object with fewer has all of its own drawn.
    """

    frames: int
    latents: int
    points: int
    sharp_points: int = 0
    distance_points: int = 0
    image_size: int = 64
    views: int = 1
    keep: bool = False  # arrays of every object read stay in memory: for small sets
    consistent: bool = True  # False draws points and queries of every frame: the ablation without consistent sampling
    aligned: bool = True  # False chooses the queries of every frame anew: the ablation without aligned latents
    sharp: bool = True  # False puts uniform points in the place of sharp ones: the ablation without sharp edges
    token_order: str = (
        "fps"  # of the query points, hence of latents: as chosen, or morton, for masks that want neighbours
    )
    frame: str = "box"  # what the shape is given in: the clip's box as stored, or that of the view's camera (`Facing`)
    mirror: bool = False  # training sees left and right exchanged as often as not, pictures included

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames={self.frames}: a clip needs at least one frame")
        if self.token_order not in ("fps", "morton"):
            raise ValueError(f"data.settings.token_order={self.token_order}: choose fps or morton")
        if self.frame not in ("box", "camera"):
            raise ValueError(f"data.settings.frame={self.frame}: choose box or camera")


@dataclass(frozen=True)
class Choice:
    """The random part of reading one clip."""

    first: int  # stored frame that the clip starts with
    view: int
    seed: int
    query: int | None = None  # stored frame in which the queries are chosen; None: the clip's first
    mirror: bool = False


def read_clip(reader: Reader, settings: ClipSettings, choice: Choice) -> Clip:
    """The clip of one prepared object. Raises ValueError when the store holds too few frames or points."""
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
    clip = Clip(images, surface, queries, points, distance)
    if settings.frame == "camera":
        clip = _faced(clip, reader.facing(choice.view))
    return mirrored(clip) if choice.mirror else clip


def _faced(clip: Clip, view: Facing) -> Clip:
    """The clip in the frame of a view's camera."""
    surface = clip.surface.clone()
    surface[..., :3] = _turned(clip.surface[..., :3], view)
    surface[..., 3:6] = torch.from_numpy(view.directions(clip.surface[..., 3:6].numpy()))
    return clip._replace(
        surface=surface, points=_turned(clip.points, view), distance=clip.distance * float(view.box.scale)
    )


def _turned(points: Float[Tensor, "*n 3"], view: Facing) -> Float[Tensor, "*n 3"]:
    return TO_CLIP * torch.from_numpy(view.positions(points.numpy() / TO_CLIP))


def mirrored(clip: Clip) -> Clip:
    """Left and right exchanged, in space and in the pictures: as good an object, where the camera is in front."""
    surface, points = clip.surface.clone(), clip.points.clone()
    surface[..., [0, 3]] *= -1
    points[..., 0] *= -1
    return clip._replace(images=clip.images.flip(-1), surface=surface, points=points)


def _surface(
    reader: Reader, frames: Sequence[int], query: int | None, settings: ClipSettings, rng: np.random.Generator
) -> tuple[Float[Tensor, "t n 7"], Int[Tensor, " p"]]:
    """Uniform rows first, then sharp ones; queries by farthest point sampling of each section in one frame.

    Points that the closed surface swallowed in one of the clip's frames are taken last: they slide along a surface that
    is not theirs, so a clip has them only where the store holds too few others.
    """
    asked = frames if query is None else [query, *frames]  # the first of them chooses the queries
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
            (other,) = rng.spawn(1)  # so that all other draws are those of aligned queries
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
    """An order of a frame's points in which `places` hold its own queries, chosen from a start of its own."""
    own = farthest_points(points, len(places), int(rng.integers(len(points))))
    order = np.empty(len(points), dtype=np.int64)
    order[places] = own
    order[np.setdiff1d(np.arange(len(points)), places)] = np.setdiff1d(np.arange(len(points)), own)
    return order


def _rows(swallowed: Bool[np.ndarray, " n"], count: int, rng: np.random.Generator) -> Int[np.ndarray, " {count}"]:
    """`count` rows at random, swallowed ones only after all others."""
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
    """The closed meshes of the clip's frames, in the clip's box, or as the camera of view 0 has it."""
    frames = range(first, first + settings.frames)
    meshes = [store.read_watertight(folder, frame) for frame in frames]
    if settings.frame == "camera":
        view = store.read_facings(folder)[0]
        meshes = [Mesh(view.positions(mesh.vertices), mesh.faces) for mesh in meshes]
    return MeshSequence(tuple(Mesh(TO_CLIP * mesh.vertices, mesh.faces) for mesh in meshes))


class ClipDataset(Dataset[Clip]):
    """Prepared objects as clips; item `number` is the same in every process and after every restart.

    `fixed` reads each object the same way always (validation, the latent cache): number = variant * objects + object.
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
            view = variant % self.settings.views % self._views(index)
            mirror = self.settings.mirror and variant // self.settings.views % 2 == 1
            return self.read(index, Choice(0, view, variant, mirror=mirror))
        rng = np.random.default_rng((self.seed, number))
        index = int(rng.integers(len(self.names)))
        stored = self._reader(index).count
        first = int(rng.integers(max(stored - self.settings.frames, 0) + 1))
        view, seed = int(rng.integers(self._views(index))), int(rng.integers(2**31))
        # a lone frame meets queries carried from another, as the frames of a clip do
        query = int(rng.integers(stored)) if self.settings.frames == 1 else None
        mirror = self.settings.mirror and bool(rng.integers(2))
        return self.read(index, Choice(first, view, seed, query, mirror))

    def read(self, index: int, choice: Choice) -> Clip:
        """The clip of object `index`, read as `choice` says."""
        return read_clip(self._reader(index), self.settings, choice)

    def _reader(self, index: int) -> Reader:
        """Made once an object: counting its frames and views lists folders, which no batch should wait for again."""
        if index not in self._readers:
            folder = self.root / self.names[index]
            self._readers[index] = Reader(folder, self.settings.distance_points > 0, self.settings.keep)
        return self._readers[index]

    def _views(self, index: int) -> int:
        return max(1, min(self.settings.views, self._reader(index).views))


def split_names(root: Path, split: str) -> tuple[str, ...]:
    """Object names of `split` ('train' or 'holdout') as split.json lists them. Raises FileNotFoundError."""
    path = root / "split.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: prepare the data first (python prepare.py), or set data.root")
    listed = json.loads(path.read_text())
    return tuple(name for name in listed[split] if store.complete(root / name))


def holdout_clips(
    root: Path, settings: ClipSettings, limit: int | None = None, names: Sequence[str] | None = None
) -> Iterator[tuple[str, str, Clip, MeshSequence]]:
    """(name, family, clip, true meshes) of every held-out object, always read the same way. names: of these objects
    where they are known, else as split.json lists them.

    With `limit`, the first objects of an order that mixes the families and does not change with the set's size.
    """
    names = split_names(root, "holdout") if names is None else names
    if limit is not None:
        names = tuple(sorted(names, key=lambda name: zlib.crc32(name.encode())))[:limit]
    for name in names:
        family = store.read_record(root / name)["family"]
        reader = Reader(root / name, settings.distance_points > 0, keep=False)
        yield name, family, read_clip(reader, settings, Choice(0, 0, 0)), read_truth(root / name, settings)
