"""Appearance of a glTF file: base colours, vertex colours and base colour textures at every face corner.

Also holds the texture images and the conversion between sRGB and linear colours.
"""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped, UInt8
from PIL import Image, UnidentifiedImageError

from sculpt4d.gltf.document import GltfError, GltfFile
from sculpt4d.gltf.primitives import MeshPart
from sculpt4d.types import Appearance

SIDE = 1024  # pixels; objects are rendered at 512, so more detail is not visible
MOST_PIXELS = 2**26  # maximum pixels of an image that is opened
CLAMP, MIRROR = 33071, 33648  # wrap modes of samplers; the third, 10497, repeats
SOURCES = ("EXT_texture_webp", "EXT_texture_avif")  # extensions that name an image Pillow may be able to read


class TextureImages:
    """Texture images, loaded on request.

    found: images in the order of their first use. notes: images that could not be used.
    """

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.found: list[UInt8[np.ndarray, "_ _ 3"]] = []
        self.notes: list[str] = []
        self._rows: dict[tuple[int, bool, bool], int] = {}

    def row(self, texture: int) -> tuple[int, tuple[int, int]]:
        """Return a texture's index in `found` (-1: unusable) and its horizontal and vertical wrap modes."""
        described = self.file.item("textures", texture)
        sampler = self.file.item("samplers", described["sampler"]) if "sampler" in described else {}
        wraps = (sampler.get("wrapS", 0), sampler.get("wrapT", 0))
        extensions = described.get("extensions", {})
        sources = [extensions[name]["source"] for name in SOURCES if "source" in extensions.get(name, {})]
        sources.extend([described["source"]] if "source" in described else [])
        for source in sources:
            key = (source, wraps[0] == MIRROR, wraps[1] == MIRROR)
            if key not in self._rows:
                self._rows[key] = self._add(*key)
            if self._rows[key] >= 0:
                return self._rows[key], wraps
        if not sources:
            self._note(f"texture {texture} left out: it names no picture that is read ({', '.join(extensions)})")
        return -1, wraps

    def _add(self, source: int, sideways: bool, upright: bool) -> int:
        picture = self._picture(source)
        if picture is None:
            return -1
        picture = np.concatenate([picture, picture[:, ::-1]], axis=1) if sideways else picture
        self.found.append(np.concatenate([picture, picture[::-1]], axis=0) if upright else picture)
        return len(self.found) - 1

    def _picture(self, source: int) -> UInt8[np.ndarray, "_ _ 3"] | None:
        """Return the RGB image, or None when it is missing, damaged, or in a format that Pillow cannot read."""
        try:
            with Image.open(io.BytesIO(self._content(self.file.item("images", source)))) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are too many")
                image.draft("RGB", (SIDE, SIDE))
                image.thumbnail((SIDE, SIDE), reducing_gap=2.0)
                return np.asarray(image.convert("RGB"))
        except GltfError as error:
            self._note(f"picture {source} left out: {str(error).removeprefix(f'{self.file.path} ')}")
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
            self._note(f"picture {source} left out: {error}")
        return None

    def _content(self, image: dict[str, Any]) -> bytes | memoryview:
        return self.file.view_bytes(image["bufferView"]) if "bufferView" in image else self.file.beside(image["uri"])

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


GREY = 0.35  # linear; used where the file has no material
WHITE = (1.0, 1.0, 1.0, 1.0)
GLOSS = "KHR_materials_pbrSpecularGlossiness"  # older material model; its diffuse colour is the base colour


def srgb_to_linear(color: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Convert sRGB (images and colours of this project) to linear light (glTF factors)."""
    color = np.asarray(color, np.float64)
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(color: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Convert linear light to sRGB after clipping to [0, 1]: the inverse of `srgb_to_linear`."""
    color = np.clip(np.asarray(color, np.float64), 0.0, 1.0)
    return np.where(color <= 0.0031308, 12.92 * color, 1.055 * color ** (1 / 2.4) - 0.055)


class Paint(NamedTuple):
    """Base colour of a material. factor: linear. texture: the glTF entry of its texture."""

    factor: tuple[float, ...]
    texture: dict[str, Any] | None


def read_appearance(
    file: GltfFile, parts: Sequence[MeshPart]
) -> tuple[Appearance, Float32[np.ndarray, "f 3"], tuple[str, ...]]:
    """Return the appearance of all parts, concatenated, the mean colour of each face, and notes on missing images.

    Texture coordinates are adapted to repeating images: clamped ones are pulled inside, mirrored images are doubled.
    """
    pictures = TextureImages(file)
    colors, places, rows, means = [], [], [], []
    for part in parts:
        with file.reading(f"material {part.material}"):
            paint = _paint(file, part.material)
            linear = _corner_colors(part, paint)
            row, place = _textured(file, part, paint, pictures)
        colors.append(linear_to_srgb(linear).astype(np.float32))
        places.append(place.astype(np.float32))
        rows.append(np.full(len(part.faces), row))
        mean = linear.mean(axis=1)
        if row >= 0:
            mean *= srgb_to_linear(_texels(pictures.found[row], place.mean(axis=1)) / 255.0)
        means.append(linear_to_srgb(mean).astype(np.float32))
    appearance = Appearance(np.concatenate(colors), np.concatenate(places), np.concatenate(rows), tuple(pictures.found))
    return appearance, np.concatenate(means), tuple(pictures.notes)


def _paint(file: GltfFile, material: int | None) -> Paint:
    if material is None:
        return Paint(WHITE, None)
    described = file.item("materials", material)
    surface = described.get("pbrMetallicRoughness", {})
    gloss = described.get("extensions", {}).get(GLOSS)
    if gloss is not None:
        return Paint(gloss.get("diffuseFactor", WHITE), gloss.get("diffuseTexture"))
    return Paint(surface.get("baseColorFactor", WHITE), surface.get("baseColorTexture"))


def _corner_colors(part: MeshPart, paint: Paint) -> Float[np.ndarray, "f 3 3"]:
    """Return corner colours in linear light."""
    factor = np.nan_to_num(np.array(paint.factor[:3], np.float64).reshape(3))
    painted = part.attributes.get("COLOR_0")
    if painted is None:
        return np.tile(factor if part.material is not None else GREY * factor, (len(part.faces), 3, 1))
    if painted.shape[1] not in (3, 4):
        raise ValueError(f"vertex colours have {painted.shape[1]} channels, not 3 or 4")
    # integers that are not marked as normalised
    scale = np.iinfo(painted.dtype.name).max if painted.dtype.kind in "iu" else 1.0
    return np.nan_to_num(painted[:, :3] / scale)[part.faces] * factor


def _textured(
    file: GltfFile, part: MeshPart, paint: Paint, pictures: TextureImages
) -> tuple[int, Float[np.ndarray, "f 3 2"]]:
    """Return the index of the image (-1: none) and the texture coordinates at every corner."""
    nothing = np.zeros((len(part.faces), 3, 2))
    if paint.texture is None:
        return -1, nothing
    transform = paint.texture.get("extensions", {}).get("KHR_texture_transform", {})
    number = transform.get("texCoord", paint.texture.get("texCoord", 0))
    coordinates = part.attributes.get(f"TEXCOORD_{number}")
    if coordinates is None:
        return -1, nothing
    if coordinates.shape[1] != 2:
        raise ValueError(f"texture coordinates have {coordinates.shape[1]} columns, not 2")
    row, wraps = pictures.row(paint.texture["index"])
    if row < 0:
        return -1, nothing
    place = np.nan_to_num(_transformed(coordinates.astype(np.float64), transform))[part.faces]
    height, width = pictures.found[row].shape[:2]
    for axis, (wrap, size) in enumerate(zip(wraps, (width, height), strict=True)):
        if wrap == CLAMP:  # half a pixel inside, so that interpolation does not cross the border
            place[..., axis] = place[..., axis].clip(0.5 / size, 1 - 0.5 / size)
        elif wrap == MIRROR:
            place[..., axis] /= 2
    return row, place


def _transformed(coordinates: Float[np.ndarray, "v 2"], transform: dict[str, Any]) -> Float[np.ndarray, "v 2"]:
    """Apply KHR_texture_transform: scale, then rotation, then offset.

    Rotation is counter-clockwise as seen on the image (v points down).
    """
    if not transform:
        return coordinates
    u, v = (coordinates * np.array(transform.get("scale", (1.0, 1.0)), np.float64).reshape(2)).T
    angle = float(transform.get("rotation", 0.0))
    turned = np.stack([np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u], axis=1)
    return turned + np.array(transform.get("offset", (0.0, 0.0)), np.float64).reshape(2)


def _texels(picture: Shaped[np.ndarray, "h w 3"], place: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 3"]:
    height, width = picture.shape[:2]
    column = np.minimum((place[:, 0] % 1.0 * width).astype(int), width - 1)
    row = np.minimum((place[:, 1] % 1.0 * height).astype(int), height - 1)
    return picture[row, column].astype(int)
