"""Opened .gltf or .glb file: its JSON document and the bytes of its buffer views."""

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from sculpt4d.gltf import compressed
from sculpt4d.gltf.compressed import DRACO, MESHOPT, PACKAGES

HARMLESS = (
    *("KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_lights_", "KHR_mesh_quantization"),
    *("KHR_xmp", "KHR_animation_pointer"),
)
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
MOST_BYTES = 2**30  # maximum size of a file with its buffers: the resulting arrays must stay below 2 GB


class GltfError(ValueError):
    """A file that cannot be read. The message names the file, the fault and the remedy."""


class GltfFile:
    """An opened glTF file; `json` is the document as defined by glTF 2.0. Raises GltfError for unreadable files."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._size = 0
        self._buffers: dict[int, memoryview] = {}
        self._unpacked: dict[int, memoryview] = {}
        content = self._read(self.path)
        text, self.binary = self._chunks(content) if content[:4] == b"glTF" else (content, b"")
        try:
            self.json: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            fault = f"is not glTF: neither a GLB header nor JSON was found ({error})"
            raise self.error(fault, "export it again") from error
        if not isinstance(self.json, dict) or not isinstance(self.json.get("asset"), dict):
            raise self.error("is JSON but not glTF (no 'asset')", "give a .glb or .gltf file")
        version = str(self.json["asset"].get("version", ""))
        if not version.startswith("2"):
            raise self.error(f"is glTF {version}, and 2.0 is read", "convert it with a current exporter")
        self._refuse_extensions()

    def error(self, fault: str, remedy: str) -> GltfError:
        """Return the error to raise, with file, fault and remedy."""
        return GltfError(f"{self.path} {fault}: {remedy}")

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Turn errors from missing or malformed entries into a GltfError that names the file and `what`."""
        try:
            yield
        except GltfError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError, struct.error) as error:
            raise self.error(f"is damaged: {what} cannot be resolved ({error!r})", "export it again") from error

    def items(self, key: str) -> list[dict[str, Any]]:
        """Return a top-level array of the document; empty when absent."""
        found = self.json.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self.error(f"is damaged: {key!r} is no list of objects", "export it again")
        return found

    def item(self, key: str, row: int) -> dict[str, Any]:
        """Return one entry of a top-level array."""
        found = self.json.get(key, [])
        if not isinstance(found, list) or not isinstance(row, int) or not 0 <= row < len(found):
            count = len(found) if isinstance(found, list) else "no"
            raise self.error(f"is damaged: it refers to number {row!r} of {count} {key}", "export it again")
        if not isinstance(found[row], dict):
            raise self.error(f"is damaged: number {row} of its {key} is no object", "export it again")
        return found[row]

    def view_bytes(self, row: int) -> memoryview:
        """Return the bytes of a buffer view, decompressed if necessary."""
        with self.reading(f"buffer view {row}"):
            view = self.item("bufferViews", row)
            packed = compressed.meshopt_of(view)
            if packed is not None and self._needs_unpacking(view):
                if row not in self._unpacked:
                    self._unpacked[row] = memoryview(compressed.unpack(bytes(self.slice(packed)), packed, self.error))
                return self._unpacked[row]
            return self.slice(view)

    def slice(self, view: dict[str, Any]) -> memoryview:
        """Return the part of a buffer that `view` defines by buffer, byteOffset and byteLength."""
        start, length, content = natural(view, "byteOffset", 0), natural(view, "byteLength"), self._buffer(view)
        if start + length > len(content):
            fault = f"is damaged: a buffer view ends at byte {start + length} of {len(content)}"
            raise self.error(fault, "export it again")
        return content[start : start + length]

    def beside(self, uri: str) -> bytes:
        """Return the content of a URI: a data URI, or a file in the same folder."""
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            try:
                return base64.b64decode(body) if head.endswith(";base64") else unquote_to_bytes(body)
            except binascii.Error as error:
                raise self.error("is damaged: a data URI is no base64", "export it again") from error
        place = self.path.parent / unquote(uri)
        if "://" in uri or "\0" in unquote(uri) or not place.is_file():
            raise self.error(f"needs {uri}, which is not beside it", "put it there, or export one .glb")
        return self._read(place)

    def _buffer(self, view: dict[str, Any]) -> memoryview:
        row = view["buffer"]
        if row not in self._buffers:
            buffer = self.item("buffers", row)
            length = natural(buffer, "byteLength")
            content = self.beside(buffer["uri"]) if "uri" in buffer else self.binary
            if len(content) < length:
                fault = f"is truncated: buffer {row} has {len(content)} of {length} bytes"
                raise self.error(fault, "copy or download it again")
            self._buffers[row] = memoryview(content)
        return self._buffers[row]

    def _needs_unpacking(self, view: dict[str, Any]) -> bool:
        """Return False if the file also holds the uncompressed bytes, as a fallback for readers without a decoder."""
        buffer = self.item("buffers", view["buffer"])
        return "uri" not in buffer and (view["buffer"] != 0 or len(self.binary) < natural(buffer, "byteLength"))

    def _read(self, path: Path) -> bytes:
        self._size += path.stat().st_size
        if self._size > MOST_BYTES:
            fault = f"is too large: {self._size / 2**30:.1f} GiB with its buffers, and {MOST_BYTES >> 30} are read"
            raise self.error(fault, "reduce its textures and meshes")
        return path.read_bytes()

    def _chunks(self, content: bytes) -> tuple[bytes, bytes]:
        """Return the JSON chunk and the binary chunk of a GLB."""
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
            if start + 8 + size > len(content):
                fault = f"is damaged: a chunk ends at byte {start + 8 + size} of {len(content)}"
                raise self.error(fault, "copy or download it again")
            chunks.setdefault(kind, content[start + 8 : start + 8 + size])
            start += 8 + size + -size % 4
        return chunks.get(JSON_CHUNK, b"").rstrip(b"\0 "), chunks.get(BINARY_CHUNK, b"")

    def _refuse_extensions(self) -> None:
        required = self.json.get("extensionsRequired", [])
        with self.reading("its list of extensions"):
            readable = (*HARMLESS, *(name for name in (DRACO, *MESHOPT) if compressed.decoder(name)))
            unknown = [name for name in required if not name.startswith(readable)]
        if unknown:
            packages = [f"pip install {PACKAGES[name]}, or " for name in unknown if name in PACKAGES]
            remedy = "decode it first (gltf-transform copy in.glb out.glb), or export it without compression"
            raise self.error(f"requires {', '.join(unknown)}, which is not supported", "".join([*packages, remedy]))


def natural(holder: dict[str, Any], key: str, default: int | None = None) -> int:
    """Return a whole number of at least 0; some writers store it as 12.0."""
    value = holder[key] if default is None else holder.get(key, default)
    if not isinstance(value, int | float) or value != int(value) or value < 0:
        raise ValueError(f"{key} is {value!r}, not a whole number of at least 0")
    return int(value)
