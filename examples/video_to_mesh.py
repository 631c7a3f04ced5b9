"""A video to one mesh per frame: python examples/video_to_mesh.py clip.mp4 out/ [OVERRIDES of generate.py]"""

import sys
from pathlib import Path

import trimesh

from sculpt4d.config.overrides import compose_config
from sculpt4d.data.images import compose
from sculpt4d.generation.pipeline import load_pipeline
from sculpt4d.generation.video import read_frames
from sculpt4d.resources import resource


def main(video: str, folder: str, *overrides: str) -> None:
    paths = ["paths.root=.", f"paths.weights={resource('weights')}"]
    cfg = compose_config(str(resource("conf")), "generate", [*paths, f"input={video}", *overrides])
    frames = read_frames(video, cfg.frames).frames
    meshes = load_pipeline(cfg).generate(compose(frames, cfg.model.image_size), seed=0).frames
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, mesh in enumerate(meshes):
        trimesh.Trimesh(mesh.vertices, mesh.faces).export(Path(folder) / f"mesh_{number:03d}.ply")


if __name__ == "__main__":
    main(*sys.argv[1:])
