"""Draco and meshopt decompression for glTF, using optional packages.

Errors are raised as `error(fault, remedy)`, so that the caller can name the file.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sculpt4d.optional import probe, require

DRACO, MESHOPT = "KHR_draco_mesh_compression", ("EXT_meshopt_compression", "KHR_meshopt_compression")
PACKAGES = {DRACO: "DracoPy", **dict.fromkeys(MESHOPT, "meshopt")}
Error = Callable[[str, str], Exception]  # maps (fault, remedy) to the exception to raise
MOST_UNPACKED = 2**28  # maximum bytes of one decompressed buffer view


def decoder(extension: str) -> ModuleType | None:
    """Return the package that decodes a compression extension, or None when it is not installed."""
    return probe(PACKAGES[extension])


def meshopt_of(view: dict[str, Any]) -> dict[str, Any] | None:
    """Return the meshopt extension of a buffer view, or None when it is uncompressed."""
    extensions = view.get("extensions", {})
    return next((extensions[name] for name in MESHOPT if name in extensions), None)


def unpack(content: bytes, packed: dict[str, Any], error: Error) -> bytes:
    """Decompress a buffer view. content: bytes compressed by meshopt. packed: the view's extension object."""
    count, size = packed["count"], packed["byteStride"]
    if not 0 < count * size <= MOST_UNPACKED:
        fault = f"is damaged: {count} packed rows of {size} bytes cannot be unpacked"
        raise error(fault, "export it again, without compression")
    meshopt = _required(MESHOPT[0], error)
    try:
        return meshopt.decode_gltf_buffer(content, count, size, packed["mode"], packed.get("filter")).tobytes()
    except RuntimeError as cause:
        raise error(f"is damaged: meshopt cannot unpack a buffer view ({cause})", "export it again") from cause


def draco_mesh(
    content: bytes, attributes: dict[str, int], error: Error
) -> tuple[dict[str, Shaped[np.ndarray, "v _"]], Shaped[np.ndarray, "f 3"]]:
    """Decode a Draco primitive into attributes by name and triangles. Integers are not yet normalised.

    attributes: names mapped to ids inside the compressed mesh.
    """
    draco = _required(DRACO, error)
    try:
        mesh = draco.decode(content)
    except (draco.FileTypeException, draco.EncodingFailedException, RuntimeError) as cause:
        raise error(f"is damaged: Draco cannot unpack a mesh ({cause})", "export it again") from cause
    found = {attribute["unique_id"]: attribute["data"] for attribute in mesh.attributes}
    named = {name: np.asarray(found[key]) for name, key in attributes.items()}
    return {name: data.reshape(len(data), -1) for name, data in named.items()}, np.asarray(mesh.faces)


def _required(extension: str, error: Error) -> ModuleType:
    try:
        return require(PACKAGES[extension])
    except ImportError as cause:
        raise error(f"is packed with {extension}", str(cause)) from cause
