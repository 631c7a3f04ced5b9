"""Draco and meshopt compression of glTF, decoded by optional packages."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from sculpt4d.optional import probe, require

if TYPE_CHECKING:
    from sculpt4d.gltf.document import GltfFile

DRACO, MESHOPT = "KHR_draco_mesh_compression", ("EXT_meshopt_compression", "KHR_meshopt_compression")
PACKAGES = {DRACO: "DracoPy", **dict.fromkeys(MESHOPT, "meshopt")}
MOST_UNPACKED = 2**28  # bytes that one compressed buffer view may become


def decoder(extension: str) -> ModuleType | None:
    """The package that undoes a compression, or None when it is not installed."""
    return probe(PACKAGES[extension])


def meshopt_of(view: dict[str, Any]) -> dict[str, Any] | None:
    """How a buffer view is packed, or None when it is plain."""
    extensions = view.get("extensions", {})
    return next((extensions[name] for name in MESHOPT if name in extensions), None)


def unpack(file: "GltfFile", packed: dict[str, Any]) -> bytes:
    """The plain bytes of a buffer view that meshopt packed."""
    count, size = packed["count"], packed["byteStride"]
    if not 0 < count * size <= MOST_UNPACKED:
        fault = f"is damaged: {count} packed rows of {size} bytes cannot be unpacked"
        raise file.error(fault, "export it again, without compression")
    meshopt = _required(file, MESHOPT[0])
    try:
        content = file.slice(packed)
        return meshopt.decode_gltf_buffer(bytes(content), count, size, packed["mode"], packed.get("filter")).tobytes()
    except RuntimeError as error:
        raise file.error(f"is damaged: meshopt cannot unpack a buffer view ({error})", "export it again") from error


def draco_mesh(
    file: "GltfFile", packed: dict[str, Any]
) -> tuple[dict[str, Shaped[np.ndarray, "v _"]], Shaped[np.ndarray, "f 3"]]:
    """Attributes by name and triangles of a primitive that Draco packed; integers are not yet normalised."""
    draco = _required(file, DRACO)
    content = file.view_bytes(packed["bufferView"])
    try:
        mesh = draco.decode(bytes(content))
    except (draco.FileTypeException, draco.EncodingFailedException, RuntimeError) as error:
        raise file.error(f"is damaged: Draco cannot unpack a mesh ({error})", "export it again") from error
    found = {attribute["unique_id"]: attribute["data"] for attribute in mesh.attributes}
    attributes = {name: np.asarray(found[row]) for name, row in packed["attributes"].items()}
    return {name: data.reshape(len(data), -1) for name, data in attributes.items()}, np.asarray(mesh.faces)


def _required(file: "GltfFile", extension: str) -> ModuleType:
    try:
        return require(PACKAGES[extension])
    except ImportError as error:
        raise file.error(f"is packed with {extension}", str(error)) from error
