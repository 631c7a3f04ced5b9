"""What numbers were computed with: packages, machine, and whether other weights gave those that lie there."""

import json
import logging
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)


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


def tell_replaced(path: Path, weights: Mapping[str, Any]) -> None:
    """A folder is named by the method, not by the checkpoint: says so where results of other weights lie there."""
    if not path.is_file():
        return
    earlier = json.loads(path.read_text())
    known = earlier.get("settings", {}).get("weights")
    if known is None or known == weights:
        return
    parts = [part for part in {**known, **weights} if known.get(part) != weights.get(part)]
    log.warning(
        "%s held the result of checkpoint=%s, with other weights in %s: it is replaced; output=DIR keeps both, and "
        "what was generated is kept, so the earlier command writes its numbers again without generating anything",
        path,
        earlier.get("checkpoint"),
        ", ".join(parts),
    )
