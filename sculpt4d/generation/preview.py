"""Previews: input and mesh next to each other, as a contact sheet and as a short video."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from sculpt4d.render.cameras import front_camera
from sculpt4d.render.embree import plain, render_views
from sculpt4d.types import Mesh, MeshSequence

COLUMNS = 8
MARGIN, GAP, LABEL = 20, 10, 20  # pixels
INK, LINE = (95, 99, 106), (226, 224, 219)
OVERSIZE = 1.4  # oversampling of the meshes, since cropping enlarges them
SECONDS = 8.0  # the preview loops until it lasts this long
FASTEST = 30  # maximum number of loops, for a clip of a single frame

Rgb = UInt8[np.ndarray, "_h _w 3"]  # sizes may differ


def crop_inputs(inputs: Sequence[UInt8[np.ndarray, "_h _w 4"]], size: int) -> list[Rgb]:
    """Composite RGBA frames on white, with the same crop as the network input."""
    from sculpt4d.data.images import compose  # imports torch, which generate.py defers until the inputs are read

    pixels = np.rint(compose(inputs, size).numpy().transpose(0, 2, 3, 1) * 255)
    return list(pixels.astype(np.uint8))


def render_sequence(sequence: MeshSequence, size: int) -> list[Rgb]:
    """Render the meshes from the front on white, with one crop for all. Frames without a mesh stay white."""
    camera, drawn = front_camera(), round(OVERSIZE * size)
    renders = []
    for mesh in sequence.frames:
        half = Mesh(mesh.vertices * np.float32(0.5), mesh.faces)  # the camera is set up for the box [-0.5, 0.5]^3
        renders += render_views(plain(half), (camera,), drawn)
    seen = [index for index, picture in enumerate(renders) if picture[..., 3].any()]
    pictures = [np.full((size, size, 3), 255, np.uint8) for _ in renders]
    if seen:
        for index, picture in zip(seen, crop_inputs([renders[index] for index in seen], size), strict=True):
            pictures[index] = picture
    return pictures


def contact_sheet(inputs: Sequence[Rgb], meshes: Sequence[Rgb], cell: int = 184) -> Rgb:
    """All frames in rows of at most eight: frame number and input above, mesh below."""
    columns = min(COLUMNS, len(meshes))
    bands = -(-len(meshes) // columns)
    band = LABEL + 2 * cell
    width = 2 * MARGIN + columns * cell + (columns - 1) * GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + bands * band + (bands - 1) * GAP * 2), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for index, pair in enumerate(zip(inputs, meshes, strict=True)):
        left = MARGIN + index % columns * (cell + GAP)
        top = MARGIN + index // columns * (band + GAP * 2)
        draw.text((left, top), str(index), fill=INK, font=font)
        draw.line([(left, top + LABEL - 3), (left + cell - 1, top + LABEL - 3)], fill=LINE)
        for row, picture in enumerate(pair):
            sheet.paste(_fitted(picture, cell), (left, top + LABEL + row * cell))
    return np.asarray(sheet)


def preview_frames(inputs: Sequence[Rgb], meshes: Sequence[Rgb], size: int = 480) -> Iterator[Rgb]:
    """Video frames: input left, mesh right, frame number below. Height and width are even, as h264 requires."""
    size += size % 2
    font = ImageFont.load_default(size=15)
    for index, (picture, mesh) in enumerate(zip(inputs, meshes, strict=True)):
        frame = Image.new("RGB", (2 * size, size + 36), "white")
        frame.paste(_fitted(picture, size), (0, 0))
        frame.paste(_fitted(mesh, size), (size, 0))
        draw = ImageDraw.Draw(frame)
        draw.line([(size, 24), (size, size - 24)], fill=LINE)
        for left, text in ((0, f"input {index}"), (size, "mesh")):
            draw.text((left + size / 2, size + 14), text, fill=INK, font=font, anchor="mm")
        yield np.asarray(frame)


def write_video(path: Path, frames: Sequence[Rgb], fps: float, seconds: float = SECONDS) -> int:
    """Write an h264 mp4, looped to last `seconds`. Returns the number of frames written."""
    loops = min(FASTEST, max(1, round(seconds * fps / len(frames))))
    rate = Fraction(fps).limit_denominator(1000)
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for _ in range(loops):
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return loops * len(frames)


def _fitted(picture: Rgb, size: int) -> Image.Image:
    """Fit the whole image into a white square of `size` pixels."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = size / max(image.size)
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )
    square = Image.new("RGB", (size, size), "white")
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square
