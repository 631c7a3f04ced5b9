"""Folders of the official release: read finished renders as an animation and add geo_data to them.

A rendered object is FOLDER/render_cond/frame_0000/{000.png.., mesh.ply, transforms.json}. Surface points are made in
one of three modes: `export` (rest pose and frames from the animated file), `hybrid` (rest pose from the file, frames
from the renders) and `render` (rest pose is the first frame's mesh). Correspondence requires one topology in all
frames.
"""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sculpt4d.data import store
from sculpt4d.files import new_draft, remove, replacing_folder
from sculpt4d.geometry.bounds import Box, clip_box
from sculpt4d.types import AnimatedMesh

RENDERS = "render_cond"
REACH = 0.51  # meshes within this distance are already in their cameras' box
GREY = 0.7  # placeholder colour: these meshes are not rendered


def is_rendered(folder: Path) -> bool:
    """Return whether the folder holds the renders of an object."""
    return (folder / RENDERS / store.frame_name(0)).is_dir()


def rendered_folders(root: Path) -> list[Path]:
    """Return `root` itself, or the sorted subfolders that hold renders."""
    if is_rendered(root):
        return [root]
    return sorted(path for path in root.iterdir() if not path.name.startswith(".") and is_rendered(path))


def mesh_digest(folder: Path) -> str:
    """Return the SHA-256 over the meshes of all frames, in order."""
    digest = hashlib.sha256()
    for number in range(store.frame_count(folder)):
        path = folder / RENDERS / store.frame_name(number) / "mesh.ply"
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def read_rendered(folder: Path) -> AnimatedMesh:
    """Read the meshes of finished renders as one animation. The rest pose is frame 0; coordinates are unchanged.

    Raises FileNotFoundError for a missing frame or mesh, and ValueError when a mesh cannot be read or topologies
    differ.
    """
    count = store.frame_count(folder)
    meshes = []
    for number in range(count):
        path = folder / RENDERS / store.frame_name(number) / "mesh.ply"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing, {count} frames were expected: render the object again")
        try:
            meshes.append(store.read_mesh(folder, number))
        # the ply reader raises any of these on a truncated file
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"{path} is no readable mesh ({error!r}): render the object again") from error
        mesh, first = meshes[-1], meshes[0]
        if not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
            fault = "has vertices that are not finite" if len(mesh.faces) else "has no face"
            raise ValueError(f"{path} {fault}: render the object again")
        if len(mesh.vertices) != len(first.vertices) or not np.array_equal(mesh.faces, first.faces):
            raise ValueError(
                f"{path} has another topology ({len(mesh.vertices)} vertices, {len(mesh.faces)} faces) than "
                f"frame_0000 ({len(first.vertices)}, {len(first.faces)}), or the same in another order: points cannot "
                "be carried between them; render the object so that all frames share one mesh, or use mode=export"
            )
    vertices = np.stack([mesh.vertices for mesh in meshes])
    faces = np.asarray(meshes[0].faces, dtype=np.int64)
    colors = np.full((len(faces), 3), GREY, np.float32)
    times = np.arange(count, dtype=np.float64)
    return AnimatedMesh(vertices, faces, vertices[0], colors, times, folder.name, (f"{count} finished renders",))


def with_rest(rendered: AnimatedMesh, source: AnimatedMesh, folder: Path, path: Path) -> AnimatedMesh:
    """Return the rendered frames with the rest pose, times and notes of their source file.

    Raises ValueError when the topologies differ.
    """
    if len(source.rest) != len(rendered.rest) or not np.array_equal(source.faces, rendered.faces):
        raise ValueError(
            f"{path} has {len(source.rest)} vertices and {len(source.faces)} faces, the meshes of {folder / RENDERS} "
            f"{len(rendered.rest)} and {len(rendered.faces)}, or the same in another order: its rest pose does not "
            "belong to these frames; use mode=render (rest pose from the first frame) or mode=export"
        )
    return dataclasses.replace(rendered, rest=source.rest, times=source.times, notes=(*source.notes, *rendered.notes))


def rendered_box(animated: AnimatedMesh) -> Box:
    """Return the box of rendered meshes: the identity if they lie in their cameras' box, else the clip's box."""
    if np.abs(animated.vertices).max() <= REACH:
        return Box(np.zeros(3, np.float32), 1.0)
    return clip_box(animated.vertices)


class BesideWriter(store.ObjectWriter):
    """Writer that adds only geo_data to renders; with `found`, it keeps surface points of another program."""

    def __init__(self, draft: Path, found: bool) -> None:
        super().__init__(draft, (), Box(np.zeros(3, np.float32), 1.0))
        self.found = found

    def add(self, frame: store.FrameData) -> None:
        self.add_geometry(frame._replace(swallowed=None) if self.found else frame)

    def finish(self, record: store.Record) -> None:
        notes = record["notes"]
        if self.found:
            notes = [*notes, "surface points were there and were kept: they are not drawn by these settings"]
        super().finish(record | {"found": self.found, "notes": notes})


@contextmanager
def beside(source: Path, folder: Path) -> Iterator[BesideWriter]:
    """Yield a writer that adds geometry to the renders of `source`: in place, or in a copy that is created atomically.

    Surface points of another program are kept. Raises ValueError when they cannot be read, or when `folder` exists and
    is not such a copy.
    """
    if source.resolve() == folder.resolve():
        with _joining(folder) as writer:
            yield writer
        return
    if folder.exists() and store.read_record(folder)["mode"] != "render":
        raise ValueError(f"{folder} exists and is no copy of finished renders: move it away or choose another output")
    with replacing_folder(folder) as draft:
        shutil.copytree(source, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        with _joining(draft) as writer:
            yield writer


@contextmanager
def _joining(folder: Path) -> Iterator[BesideWriter]:
    """Yield a writer whose files are moved into `folder` if the block succeeds.

    A killed writer leaves the object incomplete. object.json is written before our own surface points; next to existing
    points it is written last.
    """
    surface, record = folder / store.SURFACE, folder / store.RECORD
    found = surface.is_file() and (not record.is_file() or store.read_record(folder)["found"])
    if found:
        store.read_surface(folder, range(store.frame_count(folder)))
    draft = new_draft(folder)
    try:
        yield BesideWriter(draft, found)
        if not found:
            surface.unlink(missing_ok=True)
            os.replace(draft / store.RECORD, record)
        new, place = draft / "geo_data", folder / "geo_data"
        if found:
            (new / store.SURFACE.name).unlink()
        place.mkdir(exist_ok=True)
        for path in sorted(new.iterdir(), key=lambda path: path.name == store.SURFACE.name):
            if (place / path.name).is_dir():
                shutil.rmtree(place / path.name)
            os.replace(path, place / path.name)
        if found:
            os.replace(draft / store.RECORD, record)
    finally:
        remove(draft)
