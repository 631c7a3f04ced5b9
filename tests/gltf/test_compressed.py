"""Packed glTF: Draco and meshopt give what the plain file gives, and their absence is said in words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from sculpt4d import optional
from sculpt4d.gltf.compressed import DRACO, MESHOPT
from sculpt4d.gltf.read import read_animation

BALL = trimesh.creation.icosphere(1)
POINTS, FACES = np.array(BALL.vertices, np.float32), np.array(BALL.faces, np.uint32)


def plain(document: Any, path: Path) -> Path:
    indices = document.accessor(FACES.ravel())
    document.slide({"attributes": {"POSITION": document.accessor(POINTS)}, "indices": indices})
    return document.write(path)


def test_meshopt_gives_the_plain_positions_and_triangles(tmp_path: Path, document: Any) -> None:
    meshopt = pytest.importorskip("meshopt")
    whole = read_animation(plain(document, tmp_path / "plain.gltf"), 2)
    for row, values, mode in ((0, FACES.ravel(), "TRIANGLES"), (1, POINTS, "ATTRIBUTES")):
        content = bytes(meshopt.encode_gltf_buffer(values, mode))
        packed = document.view(content)
        size = values.itemsize * (1 if mode == "TRIANGLES" else 3)
        document.json["bufferViews"][row]["buffer"] = 6  # the fallback, which has no bytes
        document.json["bufferViews"][row]["extensions"] = {
            MESHOPT[0]: {
                **{"buffer": document.json["bufferViews"][packed]["buffer"], "byteLength": len(content)},
                **{"byteStride": size, "count": len(values), "mode": mode},
            }
        }
    document.json["buffers"].append({"byteLength": 10**6, "extensions": {MESHOPT[0]: {"fallback": True}}})
    document.json["extensionsRequired"] = [MESHOPT[0]]
    read = read_animation(document.write(tmp_path / "packed.gltf"), 2)
    assert trimesh.Trimesh(read.rest, read.faces, process=False).volume == pytest.approx(BALL.volume, rel=1e-5)
    np.testing.assert_allclose(np.sort(read.vertices, axis=1), np.sort(whole.vertices, axis=1))
    document.json["bufferViews"][0]["extensions"][MESHOPT[0]]["count"] = 10**9
    with pytest.raises(ValueError, match=r"packed\.gltf is damaged.*cannot be unpacked"):
        read_animation(document.write(tmp_path / "packed.gltf"), 2)


def test_draco_gives_the_plain_surface(tmp_path: Path, document: Any) -> None:
    draco = pytest.importorskip("DracoPy")
    plain(document, tmp_path / "plain.gltf")
    content = draco.encode(POINTS, FACES, quantization_bits=16)
    (attribute,) = draco.decode(content).attributes
    packed = {"bufferView": document.view(content), "attributes": {"POSITION": attribute["unique_id"]}}
    document.json["meshes"][0]["primitives"][0]["extensions"] = {DRACO: packed}
    for accessor in document.json["accessors"][:2]:
        del accessor["bufferView"]
    document.json["extensionsRequired"] = [DRACO]
    read = read_animation(document.write(tmp_path / "packed.gltf"), 2)
    surface = trimesh.Trimesh(read.rest, read.faces, process=False)
    assert surface.is_watertight and surface.volume == pytest.approx(BALL.volume, rel=1e-3)
    packed["bufferView"] = document.view(content[:40])
    with pytest.raises(ValueError, match=r"packed\.gltf is damaged.*Draco"):
        read_animation(document.write(tmp_path / "packed.gltf"), 2)


@pytest.mark.parametrize("extension, package", [(DRACO, "DracoPy"), (MESHOPT[0], "meshopt")])
def test_without_a_decoder_the_way_out_is_said(
    tmp_path: Path, sliding_square: Any, monkeypatch: pytest.MonkeyPatch, extension: str, package: str
) -> None:
    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda name: None)
    optional.probe.cache_clear()
    path = sliding_square(tmp_path / "packed.gltf", extensionsRequired=[extension])
    with pytest.raises(ValueError, match=rf"packed\.gltf requires {extension}.*pip install {package}.*decode it first"):
        read_animation(path, 2)
    monkeypatch.undo()
    optional.probe.cache_clear()
