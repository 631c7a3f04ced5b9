"""One colour per face from glTF materials: base colour, its texture at the face's middle, vertex colours."""

import io
from typing import Any
from urllib.parse import unquote

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError

from sculpt4d.data.gltf_file import GltfFile

GREY = 0.35  # linear; shown where the file names no material


def srgb_to_linear(color: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Colours of pictures and of this project are sRGB, glTF factors are linear light."""
    color = np.asarray(color, np.float64)
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(color: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """The inverse of `srgb_to_linear`, after clipping to [0, 1]."""
    color = np.clip(np.asarray(color, np.float64), 0.0, 1.0)
    return np.where(color <= 0.0031308, 12.92 * color, 1.055 * color ** (1 / 2.4) - 0.055)


def face_colors(file: GltfFile, primitive: dict[str, Any], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    """sRGB in [0, 1]. A texture that cannot be decoded here counts as white."""
    linear = np.ones((len(faces), 3))
    attributes = primitive["attributes"]
    if "COLOR_0" in attributes:
        linear *= file.array(attributes["COLOR_0"])[:, :3].astype(np.float64)[faces].mean(1)
    if "material" not in primitive:
        return linear_to_srgb(linear if "COLOR_0" in attributes else GREY * linear)
    material = file.items("materials")[primitive["material"]]
    surface = material.get("pbrMetallicRoughness", {})
    linear *= surface.get("baseColorFactor", (1.0, 1.0, 1.0, 1.0))[:3]
    texture = surface.get("baseColorTexture")
    if texture is not None:
        coordinates = f"TEXCOORD_{texture.get('texCoord', 0)}"
        picture = _picture(file, texture["index"])
        if picture is not None and coordinates in attributes:
            place = file.array(attributes[coordinates]).astype(np.float64)[faces].mean(1) % 1.0
            height, width = picture.shape[:2]
            column = np.minimum((place[:, 0] * width).astype(int), width - 1)
            row = np.minimum((place[:, 1] * height).astype(int), height - 1)
            linear *= srgb_to_linear(picture[row, column] / 255.0)
    return linear_to_srgb(linear)


def _picture(file: GltfFile, texture: int) -> np.ndarray | None:
    """The RGB pixels of a texture (h, w, 3), or None when they are in a format that cannot be decoded."""
    source = file.items("textures")[texture].get("source")
    if source is None:
        return None
    image = file.items("images")[source]
    try:
        if "bufferView" in image:
            content = file.view_bytes(image["bufferView"])
        elif image["uri"].startswith("data:"):
            content = file.data_uri(image["uri"])
        else:
            content = (file.path.parent / unquote(image["uri"])).read_bytes()
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except (UnidentifiedImageError, FileNotFoundError):
        return None
