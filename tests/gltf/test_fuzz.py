"""Damaged glTF: whatever is wrong with a file, the reader gives a mesh or an error that names it, in bounded memory."""

import copy
import json
import math
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sculpt4d.gltf.__main__ import describe
from sculpt4d.gltf.keyframes import Track
from sculpt4d.gltf.read import read_animation
from sculpt4d.gltf.write import Node, Primitive, Scene, write_scene
from sculpt4d.preparation.synthetic.solids import block

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "animated_glb"
REAL = ("Fox.glb", "leftHand_cubicspline.glb", "SimpleSkin.gltf") if SHARED.is_dir() else ()
MOST_BYTES = 2 * 10**9
ODD = (
    *(None, True, -1, 0, 1, 3, 7, 255, 65536, 2**31 - 1, 2**32 - 1, 2**63, 10**30, 0.5, -2.5, 1e39, 1e308),
    *(math.nan, math.inf, -math.inf, "", "VEC3", "MAT4", "SCALAR", "STEP", "\0", "a.bin", "data:,x", "/dev/zero"),
    *([], {}, [0], [-1], [[]], {"0": 0}, [math.nan] * 16, [0] * 16, [1e300] * 3, 5120, 5121, 5123, 5125, 5126, 5130),
)
FUZZED = settings(deadline=20_000, suppress_health_check=list(HealthCheck), max_examples=15)


def skinned_scene() -> Scene:
    """Everything at once: a skin, morph targets, a moving hierarchy, three interpolations."""
    cube = block((0.5, 0.5, 0.5))
    count = len(cube.vertices)
    joints = np.tile(np.arange(4) % 2, (count, 1))
    weights = np.tile([0.25, 0.75, 0, 0], (count, 1))
    targets = np.stack([np.ones((count, 3)), cube.vertices]).astype(np.float32)
    nodes = (
        Node("root"),
        Node("bone", 0, (0, 1, 0)),
        Node("skin", primitives=(Primitive(cube, joints=joints, weights=weights),), skin=(0, 1),
             inverse_binds=np.tile(np.eye(4), (2, 1, 1))),
        Node("morph", 0, primitives=(Primitive(cube, targets=targets),)),
    )  # fmt: skip
    times = np.array([0.0, 0.5, 1.0])
    turn = np.array([[0, 0, 0, 1], [0, 0.6, 0, 0.8], [0, 0, 0, 1.0]])
    tracks = (
        Track(1, "rotation", times, turn),
        Track(0, "translation", times, np.array([[0, 0, 0], [1, 0, 0], [1, 2, 0.0]]), "STEP"),
        Track(0, "scale", times, np.ones((3, 3, 3)), "CUBICSPLINE"),
        Track(3, "weights", times, np.array([[0, 0], [1, 0.5], [0, 1.0]])),
    )
    return Scene(nodes, tracks)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], bytes]]:
    """Sound files by name: document and binary chunk."""
    made = tmp_path_factory.mktemp("whole") / "made.glb"
    write_scene(made, skinned_scene())
    return {path.name: opened(path) for path in (made, *(SHARED / name for name in REAL))}


def opened(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    if content[:4] != b"glTF":
        return json.loads(content), b""
    (size,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def packed(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield (*path, key)
        yield from places(child, (*path, key))


def holds(path: Path) -> None:
    """Reads the file, and fails unless it gives a sound mesh, or an error that names the file, within the memory."""
    tracemalloc.start()
    try:
        json.dumps(describe(path, times=[0.0, 0.7]))
        read = read_animation(path, 3)
        assert np.isfinite(read.vertices).all() and len(read.faces) and read.faces.max() < len(read.rest)
        assert np.isfinite(read.colors).all() and read.appearance is not None
        assert read.appearance.texture.max() < len(read.appearance.textures)
    except ValueError as error:
        assert str(path) in str(error), error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_BYTES


@FUZZED
@given(data=st.data())
def test_a_document_with_wrong_values_is_read_or_refused(data: st.DataObject, whole, tmp_path: Path) -> None:
    name = data.draw(st.sampled_from(sorted(whole)))
    document, binary = copy.deepcopy(whole[name][0]), whole[name][1]
    for _ in range(data.draw(st.integers(1, 3))):
        # top-level lists are chosen first: most entries are accessors, and most of the code is elsewhere
        section = data.draw(st.sampled_from(sorted(document)))
        inside = [(section,), *places(document[section], (section,))]
        *path, last = data.draw(st.sampled_from(inside))
        holder = document
        for key in path:
            holder = holder[key]
        if data.draw(st.booleans()) and isinstance(holder, dict) and path:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    (tmp_path / "wrong.glb").write_bytes(packed(document, binary))
    holds(tmp_path / "wrong.glb")


@FUZZED
@given(data=st.data())
def test_bytes_overwritten_or_cut_off_are_read_or_refused(data: st.DataObject, whole, tmp_path: Path) -> None:
    content = bytearray(packed(*whole[data.draw(st.sampled_from(sorted(whole)))]))
    words = st.sampled_from([2**32 - 1, 2**31, 0x7FC00000, 0x7F800000, 0xFF7FFFFF, 0, 1, 65536])
    for _ in range(data.draw(st.integers(0, 8))):
        struct.pack_into("<I", content, 4 * data.draw(st.integers(0, len(content) // 4 - 1)), data.draw(words))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    (tmp_path / "cut.glb").write_bytes(content[:cut])
    holds(tmp_path / "cut.glb")


@FUZZED
@given(data=st.data())
def test_a_buffer_of_other_numbers_is_read_or_refused(data: st.DataObject, whole, tmp_path: Path) -> None:
    document, binary = whole["made.glb"]
    numbers = np.frombuffer(binary, np.uint32).copy()
    places = data.draw(st.lists(st.integers(0, len(numbers) - 1), min_size=1, max_size=20))
    kinds = st.sampled_from([math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-45, 0.0, 1.0])
    for place in places:
        numbers[place] = np.float32(data.draw(kinds)).view(np.uint32)
    (tmp_path / "odd.glb").write_bytes(packed(document, numbers.tobytes()))
    holds(tmp_path / "odd.glb")
