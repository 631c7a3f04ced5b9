"""What numbers were computed with: packages and machine."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch


def versions() -> dict[str, str]:
    """Of Python and the packages the numbers pass through."""
    found = {"python": platform.python_version()}
    for package in ("sculpt4d", "torch", "numpy", "scipy", "libigl", "scikit-image", "trimesh"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> dict[str, str | int]:
    """What the numbers were computed on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"machine": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "gpu": device}
