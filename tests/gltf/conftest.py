"""glTF documents made by hand, for the tests of the reader."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ARRAYS = {"f": 5126, "b": 5120, "B": 5121, "H": 5123, "I": 5125, "h": 5122}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class Document:
    """A glTF document made by hand, one data URI per accessor."""

    def __init__(self) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "buffers": [], "bufferViews": [], "accessors": []}

    def view(self, content: bytes, **more: Any) -> int:
        uri = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
        self.json["buffers"].append({"uri": uri, "byteLength": len(content)})
        self.json["bufferViews"].append({"buffer": len(self.json["buffers"]) - 1, "byteLength": len(content), **more})
        return len(self.json["bufferViews"]) - 1

    def accessor(self, values: np.ndarray, **more: Any) -> int:
        width = values.shape[1] if values.ndim > 1 else 1
        kind = {"componentType": ARRAYS[values.dtype.char], "count": len(values), "type": TYPES[width]}
        self.json["accessors"].append({"bufferView": self.view(values.tobytes()), **kind, **more})
        return len(self.json["accessors"]) - 1

    def slide(self, primitive: dict[str, Any], distance: float = 2.0, end: float = 1.0) -> None:
        """The primitive on a node that slides along x."""
        times = self.accessor(np.array([0, end], np.float32))
        values = self.accessor(np.array([[0, 0, 0], [distance, 0, 0]], np.float32))
        target = {"node": 0, "path": "translation"}
        animation = {"samplers": [{"input": times, "output": values}], "channels": [{"sampler": 0, "target": target}]}
        self.json |= {"nodes": [{"mesh": 0}], "meshes": [{"primitives": [primitive]}], "animations": [animation]}

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(self.json))
        return path


@pytest.fixture
def document() -> Document:
    """An empty document."""
    return Document()


@pytest.fixture
def sliding_square() -> Callable[..., Path]:
    """Writes two triangles that slide to a path; keywords replace entries of the document."""

    def written(path: Path, **changes: Any) -> Path:
        document = Document()
        corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
        faces = document.accessor(np.array([0, 1, 2, 0, 2, 3], np.uint16))
        document.slide({"attributes": {"POSITION": document.accessor(corners)}, "indices": faces})
        document.json |= changes
        return document.write(path)

    return written
