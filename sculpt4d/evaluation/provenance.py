"""Where numbers come from: packages, machine, the weights of the earlier result, the time a clip took to generate."""

import json
import logging
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sculpt4d.evaluation.records import kept, part

log = logging.getLogger(__name__)

UNCOUNTED = "loading"  # phases of this beginning: of networks, once, however many clips follow


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


def tell_replaced(path: Path, weights: Mapping[str, Any] | None) -> None:
    """Warns when a metrics.json made with other weights is replaced: its folder is named by the method alone."""
    earlier = kept(path, read_earlier)
    known = earlier.get("settings", {}).get("weights") if earlier else None
    if earlier is None or known is None or weights is None or known == weights:
        return
    parts = [part for part in {**known, **weights} if known.get(part) != weights.get(part)]
    log.warning(
        "%s held the result of checkpoint=%s, with other weights in %s: it is replaced; output=DIR keeps both, and "
        "what was generated is kept, so the earlier command writes its numbers again without generating anything",
        path,
        earlier.get("checkpoint"),
        ", ".join(parts),
    )


def seconds_per_clip(predictions: Path) -> float | None:
    """Mean over the clips in a folder, or that of the one clip it is; None where any of them does not say.

    Raises ValueError for a generation.json that cannot be read.
    """
    own = predictions / "generation.json"
    clips = [own] if own.is_file() else [path / own.name for path in sorted(predictions.glob("*/"))]
    if not clips or not all(clip.is_file() for clip in clips):
        return None
    return sum(map(_seconds, clips)) / len(clips)


def _seconds(file: Path) -> float:
    try:
        phases = json.loads(file.read_text())["seconds"]
        return float(sum(seconds for phase, seconds in phases.items() if not phase.startswith(UNCOUNTED)))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} does not say its seconds ({error!r}): generate the clip again, or remove it"
        ) from error


def read_earlier(path: Path) -> dict[str, Any]:
    """The metrics.json of an earlier run. Raises TypeError or ValueError when it is damaged."""
    return dict(part({"record": json.loads(path.read_text())}, "record"))
