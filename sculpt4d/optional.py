"""Optional packages: probed once, required with an error that explains how to install them."""

import importlib
import importlib.util
from functools import cache
from types import ModuleType

REMEDY = {
    "block_sparse_attn": "build it from the MIT HAN Lab's Block-Sparse-Attention sources (CUDA), or use backend=merged",
    "bpy": "install bpy in an environment of its own and name its Python in SCULPT4D_BLENDER, or use renderer=embree",
    "cv2": "pip install -e '.[opencv]', or leave the default preparation of pictures (crop=clip)",
    "deepspeed": "DS_BUILD_OPS=0 pip install -e '.[deepspeed]', or use trainer=ddp or trainer=fsdp",
    "matplotlib": "pip install -e '.[plots]'",
    "objaverse": "pip install -e '.[objaverse]', or give the files themselves (source=FOLDER or a list)",
    "open3d": "pip install -e '.[open3d]', or leave the default (scipy and libigl)",
    "pytorch3d": "build it from Meta's sources against your torch, or leave the default (renderer=embree, scipy)",
    "ray": "pip install -e '.[ray]', or use executor=pool",
    "rembg": "pip install -e '.[rembg]', or give RGBA frames or frames on a plain ground",
    "DracoPy": "pip install -e '.[gltf]', or decode the file first (gltf-transform copy in.glb out.glb)",
    "meshopt": "pip install -e '.[gltf]', or decode the file first (gltf-transform copy in.glb out.glb)",
    "wandb": "pip install wandb, or use logger=csv",
}


@cache
def probe(name: str) -> ModuleType | None:
    """Import a module; None if it is not installed or cannot be imported."""
    if importlib.util.find_spec(name) is None:
        return None
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        return None


def require(name: str) -> ModuleType:
    """Import a module; raises ImportError with installation instructions and the alternative."""
    module = probe(name)
    if module is None:
        raise ImportError(f"{name} is not usable here: {REMEDY.get(name, f'pip install {name}')}")
    return module
