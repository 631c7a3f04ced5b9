"""Renderer using Blender's Cycles in a separate process, since bpy pins its own Python and numpy versions."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sculpt4d.optional import REMEDY
from sculpt4d.render.cameras import MESH_TO_WORLD, SENSOR, Camera
from sculpt4d.render.embree import AMBIENT, LIGHTS, prepare_scene
from sculpt4d.types import Appearance, Drawable

VARIABLE = "SCULPT4D_BLENDER"  # a Python interpreter that has bpy, or a Blender executable
SCRIPT = Path(__file__).with_name("blender_script.py")
SAMPLES = 8  # rays per pixel; enough for the edges of the mask
START, PER_VIEW = 120.0, 120.0  # seconds allowed; on one core a view of 512 x 512 takes one to four
LAST = 12  # lines of Blender's output kept for the error


def find_blender() -> list[str] | None:
    """Command that runs a Python script with bpy; None if Blender is not configured.

    The script path is appended to the command. Raises FileNotFoundError if SCULPT4D_BLENDER is not an executable.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    path = shutil.which(named)
    if path is None:
        raise FileNotFoundError(
            f"{VARIABLE}={named} cannot be run: name a Python interpreter that has bpy, or a Blender executable"
        )
    if Path(path).name.lower().startswith("blender"):
        return [path, "--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    return [path]


def render_views(
    drawable: Drawable, cameras: Sequence[Camera], size: int
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """Same as `embree.render_views`, with shadows. One Blender process renders all cameras on one core.

    Raises ImportError if Blender is not configured, ChildProcessError with Blender's last output if it fails, and
    TimeoutError if it takes longer than two minutes per view.
    """
    vertices, faces, appearance = drawable.mesh.vertices, drawable.mesh.faces, drawable.appearance
    if len(faces) == 0:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in cameras]
    if appearance is None:
        corners = np.repeat(np.asarray(drawable.colors, np.float32)[:, None], 3, axis=1)
        appearance = Appearance(corners, np.zeros((len(faces), 3, 2), np.float32), np.full(len(faces), -1))
    scene = prepare_scene(drawable)
    normals = np.repeat(scene.normals[:, None], 3, axis=1) if scene.bent is None else scene.bent
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.savez(
            folder / "request.npz",
            vertices=vertices @ MESH_TO_WORLD.T.astype(np.float32),
            faces=faces.astype(np.int32),
            colors=appearance.colors,
            texcoords=appearance.texcoords,
            texture=appearance.texture.astype(np.int32),
            normals=normals @ MESH_TO_WORLD.T.astype(np.float32),
            poses=np.stack([camera.to_world() for camera in cameras]),
            fields=np.array([camera.field for camera in cameras]),
            sensor=np.array(SENSOR),
            lamps=np.array([light.direction for light in LIGHTS]),
            lamp_colors=np.array([light.color for light in LIGHTS]),
            ambient=AMBIENT,
            size=np.array(size),
            samples=np.array(SAMPLES),
            **{f"texture_{row}": texture for row, texture in enumerate(appearance.textures)},  # type: ignore[arg-type]
        )
        run_script(SCRIPT, (str(folder / "request.npz"), place), START + PER_VIEW * len(cameras))
        pictures = []
        for number in range(len(cameras)):
            with Image.open(folder / f"{number:03d}.png") as picture:
                pictures.append(np.asarray(picture.convert("RGBA")))
    return pictures


def run_script(script: Path, arguments: Sequence[str], seconds: float) -> None:
    """Run `script` with bpy. Its arguments follow "--". Errors are those of `render_views`."""
    command = find_blender()
    if command is None:
        raise ImportError(f"{VARIABLE} is not set: {REMEDY['bpy']}")
    # this interpreter's own path entries contain another numpy
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            [*command, str(script), "--", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(
            f"Blender ({command[0]}) did not finish {script.name} within {seconds:.0f} s and was ended: use fewer or "
            "smaller views, or renderer=embree"
        ) from error
    if done.returncode:
        words = " | ".join(line.strip() for line in done.stdout.splitlines()[-LAST:] if line.strip())
        raise ChildProcessError(
            f"Blender ({command[0]}) ended {script.name} with status {done.returncode}: {words or 'it said nothing'}; "
            f"check that {VARIABLE} names a Python that can import bpy, or use renderer=embree"
        )
