"""Bytes and accessors of glTF files: where buffers may lie, and what is refused before anything is allocated."""

import base64
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sculpt4d.gltf.accessors import array, offsets
from sculpt4d.gltf.document import GltfFile
from sculpt4d.gltf.read import read_animation

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


def test_a_buffer_beside_the_file_is_read_by_its_quoted_name(tmp_path: Path, document: Any) -> None:
    document.slide({"attributes": {"POSITION": document.accessor(CORNERS)}})
    inside = read_animation(document.write(tmp_path / "inside.gltf"), 2)
    content = base64.b64decode(document.json["buffers"][0]["uri"].split(",")[1])
    (tmp_path / "my data.bin").write_bytes(content)
    document.json["buffers"][0]["uri"] = "my%20data.bin"
    beside = read_animation(document.write(tmp_path / "beside.gltf"), 2)
    np.testing.assert_array_equal(beside.vertices, inside.vertices)


@pytest.mark.parametrize("uri", ["https://a.org/b.bin", "../away.bin", "/dev/zero", "a\0b"])
def test_a_buffer_that_is_not_a_file_beside_is_asked_for(tmp_path: Path, document: Any, uri: str) -> None:
    document.slide({"attributes": {"POSITION": document.accessor(CORNERS)}})
    document.json["buffers"][0]["uri"] = uri
    with pytest.raises(ValueError, match=r"a\.gltf needs .*not beside it: put it there"):
        read_animation(document.write(tmp_path / "a.gltf"), 2)


@pytest.mark.parametrize("size, kind", [(2**32 - 1, 2**32 - 1), (2**32 - 1, 48), (40, 2**32 - 1)])
def test_a_length_of_four_gigabytes_is_refused_at_once(tmp_path: Path, size: int, kind: int) -> None:
    content = struct.pack("<4sIIII", b"glTF", 2, size, kind, 0x4E4F534A) + b" " * 28
    (tmp_path / "a.glb").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.glb is (truncated|damaged)"):
        read_animation(tmp_path / "a.glb", 2)


@pytest.mark.parametrize("count", [10**7, 10**9, 2**63])
@pytest.mark.parametrize("bare", [True, False])
def test_a_count_that_does_not_fit_allocates_nothing(tmp_path: Path, document: Any, count: int, bare: bool) -> None:
    document.slide({"attributes": {"POSITION": document.accessor(CORNERS)}})
    document.json["accessors"][0]["count"] = count
    if bare:
        del document.json["accessors"][0]["bufferView"]
    path = document.write(tmp_path / "a.gltf")
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a\.gltf"):
        read_animation(path, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**7


def test_json_that_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gltf").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"a\.gltf is not glTF"):
        read_animation(tmp_path / "a.gltf", 2)


def test_normalised_integers_span_minus_one_to_one(tmp_path: Path, document: Any) -> None:
    for values in (np.array([-128, -127, 0, 127], np.int8), np.array([0, 255], np.uint8), np.array([-32767], np.int16)):
        document.accessor(values, normalized=True)
    file = GltfFile(document.write(tmp_path / "a.gltf"))
    np.testing.assert_allclose(array(file, 0)[:, 0], [-1, -1, 0, 1])
    np.testing.assert_allclose(array(file, 1)[:, 0], [0, 1])
    np.testing.assert_allclose(array(file, 2)[:, 0], [-1])


def test_a_sparse_accessor_over_values_replaces_them_and_over_none_stays_small(tmp_path: Path, document: Any) -> None:
    indices = {"bufferView": document.view(np.array([1], np.uint16).tobytes()), "componentType": 5123}
    sparse = {"count": 1, "indices": indices, "values": {"bufferView": document.view(b"\0\0\x80?" * 3)}}
    over = document.accessor(CORNERS, sparse=sparse)
    document.json["accessors"].append({"componentType": 5126, "count": 10**9, "type": "VEC3", "sparse": sparse})
    file = GltfFile(document.write(tmp_path / "a.gltf"))
    np.testing.assert_array_equal(array(file, over), [[0, 0, 0], [1, 1, 1], [0, 1, 0]])
    rows, moved = offsets(file, over + 1)
    np.testing.assert_array_equal(rows, [1])
    np.testing.assert_array_equal(moved, [[1, 1, 1]])


def test_vertices_of_one_buffer_shared_by_two_primitives_are_read_as_each_uses_them(
    tmp_path: Path, document: Any
) -> None:
    places = np.concatenate([CORNERS, CORNERS + np.array([5, 0, 0]), [[99, 99, 99]]]).astype(np.float32)
    shared = document.accessor(places)
    first, second = (document.accessor(np.array(rows, np.uint8)) for rows in ([0, 1, 2], [3, 4, 5]))
    document.slide({"attributes": {"POSITION": shared}, "indices": first})
    document.json["meshes"][0]["primitives"].append({"attributes": {"POSITION": shared}, "indices": second})
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    assert read.rest.max() == 6 and read.rest.shape == (6, 3)


def test_weights_that_do_not_sum_to_one_are_shares_and_no_weight_follows_the_first_joint(
    tmp_path: Path, document: Any
) -> None:
    attributes = {
        "POSITION": document.accessor(CORNERS),
        "JOINTS_0": document.accessor(np.tile(np.array([0, 1, 0, 9], np.uint8), (3, 1))),
        "WEIGHTS_0": document.accessor(np.array([[1, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]], np.float32)),
    }
    document.slide({"attributes": attributes})
    document.json |= {"nodes": [{}, {}, {"mesh": 0, "skin": 0}], "skins": [{"joints": [0, 1]}]}
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    np.testing.assert_allclose(read.vertices[1] - read.vertices[0], [[1, 0, 0], [0, 0, 0], [2, 0, 0]], atol=1e-6)


def test_a_file_too_large_for_memory_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "a.glb", "wb") as stream:
        stream.truncate(3 * 2**30)  # sparse: takes no room on the disk
    with pytest.raises(ValueError, match=r"a\.glb is too large: 3\.0 GiB"):
        read_animation(tmp_path / "a.glb", 2)


def test_instances_that_are_not_read_are_noted(tmp_path: Path, sliding_square: Any) -> None:
    nodes = [{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {}}}}]
    path = sliding_square(tmp_path / "a.gltf", nodes=nodes)
    assert any("1 nodes drawn once" in note for note in read_animation(path, 2).notes)
    content = json.loads(path.read_text()) | {"extensionsRequired": ["EXT_mesh_gpu_instancing"]}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.gltf requires EXT_mesh_gpu_instancing"):
        read_animation(path, 2)
