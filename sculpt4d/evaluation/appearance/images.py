"""Sequences of pictures on white: found in folders as others render them, read, and brought to one size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, UnidentifiedImageError

from sculpt4d.data.images import compose
from sculpt4d.evaluation.inputs.layouts import natural
from sculpt4d.generation.background import remove_background
from sculpt4d.generation.video import read_frames

STILLS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MOVIES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif")

Rgba = UInt8[np.ndarray, "_h _w 4"]


@dataclass(frozen=True)
class Pictures:
    """One object as pictures. views: by name, each a folder of stills or a video file."""

    path: Path
    views: dict[str, Path]

    @property
    def files(self) -> list[Path]:
        """Everything that is read, in order."""
        return [file for view in self.views.values() for file in _files(view)]

    @property
    def counts(self) -> list[int]:
        """Files of every view."""
        return [len(_files(view)) for view in self.views.values()]


def find_pictures(root: Path) -> dict[str, Pictures]:
    """Objects by name: `root`/object/view/0.png, object/view.mp4, object/0.png or object.mp4; or `root` is one.

    Empty when there is none.
    """
    if not root.is_dir():
        return {root.stem: Pictures(root, {"0": root})} if _is_movie(root) else {}
    if _stills(root):
        return {root.resolve().name: Pictures(root, {"0": root})}
    entries = _entries(root)
    found = {entry.name: Pictures(entry, _views(entry)) for entry in entries if entry.is_dir()}
    found |= {entry.stem: Pictures(entry, {"0": entry}) for entry in entries if _is_movie(entry)}
    return {name: pictures for name, pictures in found.items() if pictures.views}


def read_view(view: Path) -> list[Rgba]:
    """The frames as they are stored; without an alpha channel they are opaque. Raises ValueError, naming the file."""
    if not view.is_dir():
        return list(read_frames(view, background="none").frames)
    frames = []
    for file in _stills(view):
        try:
            with Image.open(file) as image:
                frames.append(np.array(image.convert("RGBA")))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f"{file} is not a readable image ({error}): write the file again") from error
    return frames


def on_white(frames: Sequence[Rgba], size: int, where: str) -> UInt8[np.ndarray, "t {size} {size} 3"]:
    """Composed over white and resized, bicubic. Raises ValueError for pictures that are not square."""
    made = []
    for frame in frames:
        if frame.shape[0] != frame.shape[1]:
            raise ValueError(
                f"{where} has pictures of {frame.shape[1]}x{frame.shape[0]} pixels: square ones are compared; render "
                "them so, or set metrics.crop=true"
            )
        alpha = frame[..., 3:] / 255
        made.append(np.rint(frame[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8))
    if not made:
        raise ValueError(f"{where} has no picture")
    return resized(made, size)


def cropped(frames: Sequence[Rgba], size: int, where: str) -> UInt8[np.ndarray, "t {size} {size} 3"]:
    """The object of all frames in one crop, as the generator takes it; frames that show nothing stay white.

    The object is what alpha says, or what differs from a ground of one colour.
    """
    made = np.full((len(frames), size, size, 3), 255, np.uint8)
    masked, _ = remove_background(frames, "auto", where)
    seen = [index for index, frame in enumerate(masked) if frame[..., 3].any()]
    if seen:
        pictures = compose([masked[index] for index in seen], size).numpy().transpose(0, 2, 3, 1)
        made[seen] = np.rint(255 * pictures).astype(np.uint8)
    return made


def resized(pictures: Sequence[UInt8[np.ndarray, "h w 3"]], size: int) -> UInt8[np.ndarray, "t {size} {size} 3"]:
    """Bicubic and antialiased, rounded to bytes, as the image processors of the published scripts do it."""
    if all(picture.shape[:2] == (size, size) for picture in pictures):
        return np.stack(pictures)
    images = [Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC) for picture in pictures]
    return np.stack([np.asarray(image) for image in images])


def resized_exactly(pictures: UInt8[np.ndarray, "t h w 3"], size: int) -> Float32[np.ndarray, "t {size} {size} 3"]:
    """The same without rounding, in [0, 255] up to overshoot: what FVD's public scripts feed their network."""
    made = np.empty((len(pictures), size, size, 3), np.float32)
    for index, picture in enumerate(pictures):
        for channel in range(3):
            plane = Image.fromarray(picture[..., channel].astype(np.float32))
            made[index, ..., channel] = np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC))
    return made


def _views(folder: Path) -> dict[str, Path]:
    if _stills(folder):
        return {"0": folder}
    entries = _entries(folder)
    views = {entry.name: entry for entry in entries if entry.is_dir() and _stills(entry)}
    return views | {entry.stem: entry for entry in entries if _is_movie(entry)}


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir(), key=natural) if not entry.name.startswith(".")]


def _stills(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.suffix.lower() in STILLS and entry.is_file()]


def _files(view: Path) -> list[Path]:
    return _stills(view) if view.is_dir() else [view]


def _is_movie(path: Path) -> bool:
    return path.suffix.lower() in MOVIES and path.is_file()
