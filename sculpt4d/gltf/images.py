"""The pictures that a glTF file's textures show, small enough to be held together."""

import io
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from sculpt4d.gltf.document import GltfError, GltfFile

SIDE = 1024  # pixels; objects are seen at 512, so more is not seen
MOST_PIXELS = 2**26  # of a picture that is opened at all
CLAMP, MIRROR = 33071, 33648  # wrap modes of samplers; the third, 10497, repeats
SOURCES = ("EXT_texture_webp", "EXT_texture_avif")  # extensions that name a picture Pillow may read


class Pictures:
    """`found`: pictures in the order in which textures asked for them; `notes`: those that could not be shown."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.found: list[UInt8[np.ndarray, "_ _ 3"]] = []
        self.notes: list[str] = []
        self._rows: dict[tuple[int, bool, bool], int] = {}

    def row(self, texture: int) -> tuple[int, tuple[int, int]]:
        """A texture's row in `found` (-1: cannot be shown), and how it goes on to the sides and up and down."""
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
        """RGB, or None when it is not there, damaged, or in a format that Pillow does not read."""
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
