"""What Blender makes of a glTF file, run by a Python that has bpy: bounds and area of one clip at given times.

python blender_bounds.py REQUESTS.json RESULTS.json, where the requests are [{"path", "times"}, ...] and every file has
at most one animation (Blender plays the first). Results are in glTF axes: [{"lo", "hi", "area"}, ...] per request.
"""

import json
import sys
from pathlib import Path
from typing import Any

import bpy
import numpy as np

FPS = 1000  # fine enough that keys fall on frames or close by


def frames(path: str, times: list[float]) -> list[dict[str, Any]]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = FPS, 1.0
    bpy.ops.import_scene.gltf(filepath=path, disable_bone_shape=True)
    rows = []
    for time in times:
        whole = int(np.floor(time * FPS))
        scene.frame_set(whole, subframe=time * FPS - whole)
        rows.append(measured())
    return rows


def measured() -> dict[str, Any]:
    depsgraph = bpy.context.evaluated_depsgraph_get()
    points, area = [], 0.0
    for instance in depsgraph.object_instances:
        if instance.object.type != "MESH":
            continue
        mesh = instance.object.to_mesh()
        mesh.calc_loop_triangles()
        corners = np.empty(3 * len(mesh.loop_triangles), np.int32)
        mesh.loop_triangles.foreach_get("vertices", corners)
        vertices = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", vertices)
        matrix = np.array(instance.matrix_world)
        triangles = (vertices.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])[corners.reshape(-1, 3)]
        triangles = triangles[..., [0, 2, 1]] * (1, 1, -1)  # Blender's z is up
        area += np.linalg.norm(np.cross(*(triangles[:, 1:] - triangles[:, :1]).swapaxes(0, 1)), axis=1).sum() / 2
        points.append(triangles.reshape(-1, 3))
    corners = np.concatenate(points)
    return {"lo": corners.min(0).tolist(), "hi": corners.max(0).tolist(), "area": float(area)}


if __name__ == "__main__":
    requests = json.loads(Path(sys.argv[-2]).read_text())
    results = [frames(request["path"], request["times"]) for request in requests]
    Path(sys.argv[-1]).write_text(json.dumps(results))
