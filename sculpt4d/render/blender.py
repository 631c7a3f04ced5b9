"""Pictures by Blender's Cycles, in a process of its own: bpy pins its Python and numpy, and must not pin ours."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8
from PIL import Image

from sculpt4d.optional import REMEDY
from sculpt4d.render.cameras import MESH_TO_WORLD, SENSOR, Camera
from sculpt4d.render.embree import AMBIENT, LIGHTS, prepare_scene
from sculpt4d.types import Appearance

VARIABLE = "SCULPT4D_BLENDER"  # a Python interpreter that has bpy, or a Blender executable
SCRIPT = Path(__file__).with_name("blender_views.py")
SAMPLES = 8  # rays per pixel; the edges of the mask need no more
START, PER_VIEW = 120.0, 120.0  # seconds allowed; on one core a view of 512 x 512 takes one to four
LAST = 12  # lines of Blender's own words kept for the error


def find_blender() -> list[str] | None:
    """The command that runs a Python script with bpy when the script's path is added; None when none is named.

    Raises FileNotFoundError when SCULPT4D_BLENDER names nothing that can be run.
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
    vertices: Float32[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    colors: Float[np.ndarray, "f 3"],
    cameras: Sequence[Camera],
    size: int,
    smooth: bool = False,
    appearance: Appearance | None = None,
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """As `render.render_views`, with shadows; one Blender for all cameras, on one core.

    Raises ImportError when no Blender is named, ChildProcessError with Blender's last words when it fails, and
    TimeoutError when it takes longer than two minutes a view.
    """
    if len(faces) == 0:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in cameras]
    if appearance is None:
        corners = np.repeat(np.asarray(colors, np.float32)[:, None], 3, axis=1)
        appearance = Appearance(corners, np.zeros((len(faces), 3, 2), np.float32), np.full(len(faces), -1))
    scene = prepare_scene(vertices, faces, smooth)
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
    """Runs `script` with bpy; its arguments follow a lone "--". Errors are those of `render_views`."""
    command = find_blender()
    if command is None:
        raise ImportError(f"{VARIABLE} is not set: {REMEDY['bpy']}")
    # what this interpreter adds to its own path has another numpy in it
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
