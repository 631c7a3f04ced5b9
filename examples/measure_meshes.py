"""Meshes of any method against ground truth, frame by frame: python examples/measure_meshes.py PREDICTION GROUND_TRUTH

Both are folders of .obj, .ply or .glb files in the order of their names. `evaluate.py` does this for many objects.
"""

import sys
from pathlib import Path

import numpy as np
import trimesh

from sculpt4d.evaluation.protocols.alignment import Similarity
from sculpt4d.evaluation.protocols.protocol import Protocol, Scores, evaluate_sequence
from sculpt4d.types import Mesh, MeshSequence


def read(folder: str) -> MeshSequence:
    meshes = [trimesh.load(path, force="mesh") for path in sorted(Path(folder).iterdir())]
    return MeshSequence(tuple(Mesh(mesh.vertices.astype(np.float32), np.asarray(mesh.faces)) for mesh in meshes))


def main(prediction: str, ground_truth: str, points: int = 10_000) -> Scores:
    protocol = Protocol("sculpt4d", points=points, alignment=Similarity())  # docs/evaluation.md
    scores = evaluate_sequence(read(prediction), read(ground_truth), protocol)
    for name in ("chamfer", "fscore", "iou"):
        print(f"{name:8} {scores[name]:.4f}")
    return scores


if __name__ == "__main__":
    main(*sys.argv[1:3])
