"""Which clip of a file is read: by name, by number, by motion, and several that are one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sculpt4d.gltf.read import read_animation

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "animated_glb"


def two_squares(document: Any, ends: tuple[float, float], nodes: tuple[int, int]) -> None:
    """Two nodes with the same triangle, and two animations of a node each, one unit and two units far."""
    corners = document.accessor(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32))
    primitive = {"attributes": {"POSITION": corners}}
    animations = []
    for length, node in enumerate(nodes, 1):
        times = document.accessor(np.array([0, ends[length - 1]], np.float32))
        values = document.accessor(np.array([[0, 0, 0], [length, 0, 0]], np.float32))
        channel = {"sampler": 0, "target": {"node": node, "path": "translation"}}
        animations.append(
            {"name": f"a{length}", "channels": [channel], "samplers": [{"input": times, "output": values}]}
        )
    document.json |= {"nodes": [{"mesh": 0}, {"mesh": 0}], "meshes": [{"primitives": [primitive]}]}
    document.json["animations"] = animations


def test_animations_of_different_nodes_and_equal_length_are_one_motion(tmp_path: Path, document: Any) -> None:
    two_squares(document, (1, 1), (0, 1))
    path = document.write(tmp_path / "a.gltf")
    read = read_animation(path, 2)
    moved = read.vertices[1] - read.vertices[0]
    np.testing.assert_allclose(sorted(moved[:, 0]), [1, 1, 1, 2, 2, 2], atol=1e-6)
    assert "'a1 + a2'" in read.notes[0] and any("2 animations (0, 1) played as one" in note for note in read.notes)
    for clip, far in (("a1", 1), (1, 2), ("a1 + a2", 2), (2, 2)):
        read = read_animation(path, 2, clip)
        assert np.ptp(read.vertices[1] - read.vertices[0]) == pytest.approx(far)


@pytest.mark.parametrize("ends, nodes", [((1, 2), (0, 1)), ((1, 1), (1, 1))])
def test_other_animations_stay_apart(tmp_path: Path, document: Any, ends: Any, nodes: Any) -> None:
    two_squares(document, ends, nodes)
    path = document.write(tmp_path / "a.gltf")
    assert read_animation(path, 2).notes[0].startswith("clip 'a2'")
    with pytest.raises(ValueError, match=r"a\.gltf has no clip 2: choose one of 'a1', 'a2', or a number below 2"):
        read_animation(path, 2, 2)


def test_a_broken_clip_is_passed_over_with_a_note_unless_it_is_asked_for(tmp_path: Path, document: Any) -> None:
    two_squares(document, (1, 2), (0, 1))
    values = document.accessor(np.array([[0, 0, 0], [np.nan, 0, 0]], np.float32))
    document.json["animations"][1]["samplers"][0]["output"] = values
    path = document.write(tmp_path / "a.gltf")
    read = read_animation(path, 2)
    assert read.notes[0].startswith("clip 'a1'") and any("clip 'a2' left out" in note for note in read.notes)
    with pytest.raises(ValueError, match=r"a\.gltf has keys that are not finite in clip 'a2'"):
        read_animation(path, 2, "a2")


def test_channels_that_move_no_node_are_left_out_with_a_note(tmp_path: Path, document: Any) -> None:
    two_squares(document, (1, 2), (0, 1))
    channels = document.json["animations"][1]["channels"]
    pointer = {"path": "pointer", "extensions": {"KHR_animation_pointer": {"pointer": "/materials/0/alphaCutoff"}}}
    missing = {"node": 77, "path": "scale"}
    channels += [{"sampler": 0, "target": target} for target in (pointer, missing, {"path": "rotation"})]
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    assert "3 channels that move no node left out" in read.notes


def test_a_pointer_to_a_node_moves_it(tmp_path: Path, document: Any) -> None:
    two_squares(document, (1, 2), (0, 1))
    pointer = {"path": "pointer", "extensions": {"KHR_animation_pointer": {"pointer": "/nodes/1/translation"}}}
    document.json["animations"][1]["channels"][0]["target"] = pointer
    document.json["extensionsRequired"] = ["KHR_animation_pointer"]
    assert np.ptp(read_animation(document.write(tmp_path / "a.gltf"), 2).vertices[:, :, 0]) == pytest.approx(3)


def test_an_animation_of_materials_alone_moves_nothing(tmp_path: Path, sliding_square: Any) -> None:
    path = sliding_square(tmp_path / "a.gltf")
    content = json.loads(path.read_text())
    content["animations"][0]["channels"][0]["target"] = {"path": "pointer"}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.gltf has an animation of zero duration"):
        read_animation(path, 2)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared files beside the checkout")
def test_nine_clips_of_nine_cubes_are_one_motion() -> None:
    read = read_animation(SHARED / "InterpolationTest" / "InterpolationTest.gltf", 8)
    assert any("9 animations (0, 1, 2, 3, 4, 5, 6, 7, 8) played as one motion" in note for note in read.notes)
