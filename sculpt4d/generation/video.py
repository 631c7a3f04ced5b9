"""Video input: RGBA frames of one object from an image folder, a video or an animated image, background removed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from sculpt4d.generation.background import remove_background

STILLS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
ANIMATED = (".gif", ".webp", ".png", ".apng")
VISIBLE = 8  # alpha of 255 below which a pixel is invisible

Named = tuple[str, UInt8[np.ndarray, "_h _w 4"]]  # sizes may differ


@dataclass(frozen=True)
class Video:
    """Frames in order, one size. `fps` is None for a folder. `background` describes the source of the mask."""

    frames: tuple[UInt8[np.ndarray, "h w 4"], ...]
    fps: float | None
    names: tuple[str, ...]
    background: str


def read_frames(path: Path | str, frames: int | None = None, stride: int = 1, background: str = "auto") -> Video:
    """Read the first `frames` images of `path` (all if None), taking every `stride`-th image.

    `background` is a method of `background.remove_background`. Raises FileNotFoundError or ValueError, naming the file
    and the remedy, if there are no frames, too few frames, or a frame in which nothing is visible.
    """
    path = Path(path)
    for name, value in (("frames", frames), ("stride", stride)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: at least 1 is needed")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: input= takes a folder of images, a video, a GIF or a WebP")
    source, fps = _folder(path) if path.is_dir() else _file(path)
    end = None if frames is None else (frames - 1) * stride + 1
    kept: list[Named] = []
    seen = 0
    for seen, item in enumerate(islice(source, end), start=1):
        if (seen - 1) % stride == 0:
            kept.append(item)
    if seen == 0:
        raise ValueError(f"{path} holds no picture: give a video with at least one frame")
    if frames is not None and len(kept) < frames:
        reason = f"frames={frames}" + (f" at stride={stride} needs {end}" if stride > 1 else "")
        raise ValueError(f"{path} has {seen} frames, but {reason}: set frames={len(kept)}, or give a longer clip")
    names = tuple(name for name, _ in kept)
    _check_sizes(path, kept)
    pictures, described = remove_background([picture for _, picture in kept], background, str(path))
    for name, picture in zip(names, pictures, strict=True):
        if picture[..., 3].max() < VISIBLE:
            raise ValueError(
                f"{path}: nothing is visible in frame {name} (alpha is 0): leave the frame out, or give its mask"
            )
    return Video(tuple(pictures), fps / stride if fps else None, names, described)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key for natural order: 2.png before 10.png, independent of zero padding."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _check_sizes(path: Path, pictures: list[Named]) -> None:
    first_name, first = pictures[0]
    for name, picture in pictures:
        if picture.shape != first.shape:
            raise ValueError(
                f"{path}: {first_name} is {first.shape[1]}x{first.shape[0]} but {name} is "
                f"{picture.shape[1]}x{picture.shape[0]}: give all frames one size"
            )


def _folder(path: Path) -> tuple[Iterator[Named], None]:
    prepared = sorted(path.glob("render_cond/frame_*/000.png"))  # an object of a data folder: its first view
    if prepared:
        return ((file.parent.name, _rgba(_open(file), file)) for file in prepared), None
    files = [file for file in path.iterdir() if file.suffix.lower() in STILLS and not file.name.startswith(".")]
    if not files:
        raise FileNotFoundError(f"{path} holds no image: frames are files ending in {', '.join(STILLS)}")
    files.sort(key=lambda file: natural_key(file.name))
    return ((file.name, _rgba(_open(file), file)) for file in files), None


def _file(path: Path) -> tuple[Iterator[Named], float | None]:
    suffix = path.suffix.lower()
    if suffix in ANIMATED or suffix in STILLS:
        image = _open(path)
        return _pictures(image, path), _image_rate(image)
    return _movie(path)


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a readable image ({error}): write the file again, or remove it") from error


def _rgba(image: Image.Image, path: Path) -> UInt8[np.ndarray, "h w 4"]:
    try:
        if image.mode.startswith("I"):  # 16 bits: Pillow would clip them at 255
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        return np.array(ImageOps.exif_transpose(image).convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is not a readable image ({error}): write the file again, or remove it") from error


def _pictures(image: Image.Image, path: Path) -> Iterator[Named]:
    """Every frame as displayed. Pillow composites the partial frames of a GIF, WebP or APNG."""
    pictures = iter(ImageSequence.Iterator(image))
    index = 0
    while True:
        try:
            picture = next(pictures, None)
        except (OSError, SyntaxError, EOFError) as error:
            raise ValueError(f"{path}: frame {index} is not readable ({error}): write the file again") from error
        if picture is None:
            return
        yield f"{path.name}[{index}]", _rgba(picture, path)
        index += 1


def _image_rate(image: Image.Image) -> float | None:
    """Frames per second of an animated image, from the duration of its first frame; None for a still image."""
    if getattr(image, "n_frames", 1) < 2:
        return None
    image.load()
    milliseconds = float(image.info.get("duration", 0))
    return 1000 / milliseconds if milliseconds > 0 else 10.0  # browsers show a frame without a duration for 0.1 s


def _movie(path: Path) -> tuple[Iterator[Named], float | None]:
    remedy = "give a folder of images, an mp4, mov or webm, a GIF or a WebP"
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{path} is not a video that can be read ({error}): {remedy}") from error
    if not container.streams.video:
        container.close()
        raise ValueError(f"{path} has no video stream: {remedy}")
    rate = container.streams.video[0].average_rate
    return _decoded(container, path), float(rate) if rate else None


def _decoded(container: av.container.InputContainer, path: Path) -> Iterator[Named]:
    index = 0
    with container:
        try:
            for frame in container.decode(video=0):
                # Phones store unrotated frames and a rotation in degrees counter-clockwise, the direction of rot90.
                picture = np.rot90(frame.to_ndarray(format="rgba"), round(frame.rotation / 90))
                yield f"{path.name}[{index}]", np.ascontiguousarray(picture)
                index += 1
        except av.error.FFmpegError as error:
            raise ValueError(
                f"{path} breaks off after {index} frames ({error}): set frames={index}, or write it again"
            ) from error
