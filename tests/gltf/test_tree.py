"""Nodes as coordinate frames: parts and matrices are each other's inverses, and hierarchies multiply."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sculpt4d.gltf.document import GltfFile
from sculpt4d.gltf.read import read_animation
from sculpt4d.gltf.tree import composed, read_tree, worlds

NUMBER = st.floats(-2, 2).filter(lambda x: abs(x) > 0.1)


def tree_of(folder: Path, nodes: list[dict[str, Any]]) -> Any:
    (folder / "a.gltf").write_text(json.dumps({"asset": {"version": "2.0"}, "nodes": nodes}))
    return read_tree(GltfFile(folder / "a.gltf"))


@given(st.lists(NUMBER, min_size=7, max_size=7), st.lists(NUMBER, min_size=3, max_size=3))
def test_a_matrix_is_taken_apart_and_put_together_again(numbers: list[float], scale: list[float]) -> None:
    matrix = composed(np.array(numbers[:3]), np.array(numbers[3:]), np.array(scale))
    with tempfile.TemporaryDirectory() as folder:
        tree = tree_of(Path(folder), [{"matrix": matrix.T.ravel().tolist()}])
    np.testing.assert_allclose(tree.local[0], matrix)
    again = composed(tree.translation[0], tree.rotation[0], tree.scale[0])
    np.testing.assert_allclose(again, matrix, atol=1e-9)


def test_a_chain_of_nodes_is_the_product_of_their_frames(tmp_path: Path) -> None:
    nodes = [
        {"translation": [1, 0, 0]},
        {"children": [2], "scale": [2, 2, 2]},
        {"children": [0], "rotation": [0, 0, 2, 2]},
    ]
    tree = tree_of(tmp_path, nodes)
    world = worlds(tree, {(1, "translation"): np.array([[0.0, 0, 0], [0, 0, 5]])}, 2)
    np.testing.assert_allclose(world[:, 0, :3, 3], [[0, 2, 0], [0, 2, 5]], atol=1e-12)


def test_a_clip_that_turns_a_node_with_a_matrix_keeps_its_place_and_size(tmp_path: Path, document: Any) -> None:
    corners = document.accessor(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32))
    document.slide({"attributes": {"POSITION": corners}})
    document.json["nodes"][0]["matrix"] = [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 9, 0, 0, 1]
    half = np.sqrt(0.5)
    document.json["animations"][0]["samplers"][0]["output"] = document.accessor(
        np.array([[0, 0, 0, 1], [0, 0, half, half]], np.float32)
    )
    document.json["animations"][0]["channels"][0]["target"]["path"] = "rotation"
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    np.testing.assert_allclose(read.vertices[0], [[9, 0, 0], [11, 0, 0], [9, 2, 0]], atol=1e-6)
    np.testing.assert_allclose(read.vertices[1], [[9, 0, 0], [9, 2, 0], [7, 0, 0]], atol=1e-6)
