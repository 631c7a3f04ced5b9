"""A .gltf or .glb file opened: its JSON, and its accessors as arrays."""

import base64
import binascii
import json
import struct
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from jaxtyping import Shaped

COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
HARMLESS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "KHR_mesh_quantization", "KHR_xmp")
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942


class GltfFile:
    """`json` is the document as glTF 2.0 defines it. Raises ValueError, naming the file, for what cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        content = self.path.read_bytes()
        text, self._binary = self._chunks(content) if content[:4] == b"glTF" else (content, b"")
        try:
            self.json: dict[str, Any] = json.loads(text)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise self.error("is not glTF: neither a GLB header nor JSON was found", "export it again") from error
        if not isinstance(self.json, dict) or "asset" not in self.json:
            raise self.error("is JSON but not glTF (no 'asset')", "give a .glb or .gltf file")
        version = str(self.json["asset"].get("version", ""))
        if not version.startswith("2"):
            raise self.error(f"is glTF {version}, and 2.0 is read", "convert it with a current exporter")
        self._refuse_extensions()

    def error(self, fault: str, remedy: str) -> ValueError:
        """The error to raise: file, what is wrong with it, what to do."""
        return ValueError(f"{self.path} {fault}: {remedy}")

    def items(self, key: str) -> list[dict[str, Any]]:
        """A top-level array of the document, empty when absent."""
        return self.json.get(key, [])

    def array(self, row: int) -> Shaped[np.ndarray, "count width"]:
        """An accessor's values: normalised integers become float64 in [-1, 1], others keep their type."""
        try:
            accessor = self.items("accessors")[row]
            width, kind = WIDTHS[accessor["type"]], np.dtype(COMPONENTS[accessor["componentType"]]).newbyteorder("<")
            count = accessor["count"]
            values = np.zeros((count, width), kind)
            if "bufferView" in accessor:
                values = self._view(accessor["bufferView"], accessor.get("byteOffset", 0), count, width, kind)
            if "sparse" in accessor:
                values = self._replaced(values, accessor["sparse"])
        except (KeyError, IndexError, TypeError) as error:
            raise self.error(f"is damaged: accessor {row} cannot be resolved ({error!r})", "export it again") from error
        if accessor.get("normalized") and kind.kind in "iu":
            return np.maximum(values.astype(np.float64) / np.iinfo(kind.name).max, -1.0)
        return values

    def view_bytes(self, row: int) -> bytes:
        """The bytes of a buffer view."""
        view = self.items("bufferViews")[row]
        start = view.get("byteOffset", 0)
        return self.buffers[view["buffer"]][start : start + view["byteLength"]]

    def data_uri(self, uri: str) -> bytes:
        """The bytes that a data URI carries."""
        try:
            return base64.b64decode(uri.split(",", 1)[-1])
        except binascii.Error as error:
            raise self.error("is damaged: a data URI is no base64", "export it again") from error

    @cached_property
    def buffers(self) -> list[bytes]:
        """The bytes of every buffer: the file's own, data URIs, or files beside it."""
        return [self._buffer(row, buffer) for row, buffer in enumerate(self.items("buffers"))]

    def _buffer(self, row: int, buffer: dict[str, Any]) -> bytes:
        uri = buffer.get("uri")
        if uri is None:
            content = self._binary
        elif uri.startswith("data:"):
            content = self.data_uri(uri)
        else:
            beside = self.path.parent / unquote(uri)
            if not beside.is_file():
                raise self.error(f"needs {uri}, which is not beside it", "put it there, or export one .glb")
            content = beside.read_bytes()
        if len(content) < buffer["byteLength"]:
            fault = f"is truncated: buffer {row} has {len(content)} of {buffer['byteLength']} bytes"
            raise self.error(fault, "copy or download it again")
        return content

    def _chunks(self, content: bytes) -> tuple[bytes, bytes]:
        """JSON and binary chunk of a GLB."""
        if len(content) < 20:
            raise self.error(f"is truncated: {len(content)} bytes hold no GLB header", "copy or download it again")
        _, version, length = struct.unpack_from("<4sII", content)
        if version != 2:
            raise self.error(f"is GLB version {version}, and 2 is read", "convert it with a current exporter")
        if len(content) < length:
            fault = f"is truncated: {len(content)} of {length} bytes"
            raise self.error(fault, "copy or download it again")
        chunks: dict[int, bytes] = {}
        start = 12
        while start + 8 <= length:
            size, kind = struct.unpack_from("<II", content, start)
            chunks.setdefault(kind, content[start + 8 : start + 8 + size])
            start += 8 + size + -size % 4
        return chunks.get(JSON_CHUNK, b""), chunks.get(BINARY_CHUNK, b"")

    def _view(self, row: int, offset: int, count: int, width: int, kind: np.dtype) -> np.ndarray:
        """`count` rows out of a buffer view, which may interleave them with others."""
        view = self.items("bufferViews")[row]
        start = view.get("byteOffset", 0) + offset
        stride = view.get("byteStride") or width * kind.itemsize
        content = self.buffers[view["buffer"]]
        needed = start + stride * (count - 1) + width * kind.itemsize if count else start
        if needed > len(content):
            fault = f"is damaged: buffer view {row} ends at byte {needed} of {len(content)}"
            raise self.error(fault, "export it again")
        return np.ndarray((count, width), kind, content, start, (stride, kind.itemsize))

    def _replaced(self, values: np.ndarray, sparse: dict[str, Any]) -> np.ndarray:
        """A copy in which the rows that a sparse accessor lists have its values."""
        values, count = values.copy(), sparse["count"]
        where, what = sparse["indices"], sparse["values"]
        kind = np.dtype(COMPONENTS[where["componentType"]]).newbyteorder("<")
        rows = self._view(where["bufferView"], where.get("byteOffset", 0), count, 1, kind)[:, 0]
        values[rows] = self._view(what["bufferView"], what.get("byteOffset", 0), count, values.shape[1], values.dtype)
        return values

    def _refuse_extensions(self) -> None:
        unknown = [name for name in self.json.get("extensionsRequired", []) if not name.startswith(HARMLESS)]
        if unknown:
            remedy = "decode it first (gltf-transform copy in.glb out.glb), or export it without compression"
            raise self.error(f"requires {', '.join(unknown)}, which is not supported", remedy)
