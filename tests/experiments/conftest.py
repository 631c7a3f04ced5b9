"""Result files as sweeps and evaluations leave them, small."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROTOCOL = {"name": "holdout", "radius": 0.02, "points": 10000, "seed": 0}
QUANTITIES = ("chamfer", "iou", "fscore", "volume_jitter_error", "centroid_jitter_error", "identity_drift")
OBJECTS = [{"name": name, "samples": {"0": {"values": {}}}} for name in ("fox", *(f"object{k}" for k in range(23)))]
Leave = Callable[..., Path]


@pytest.fixture
def sweep(tmp_path: Path) -> Leave:
    """Writes the result of a run; keywords replace what the file says, chamfer its mean Chamfer distance."""

    def leave(name: str, variant: str, seed: int = 0, chamfer: float = 0.15, **changes: Any) -> Path:
        record = {
            "sweep": name,
            "variant": variant,
            "seed": seed,
            "model": "tiny",
            "steps": 1500,
            "frames": 8,
            "trained_frames": 8,
            "protocol": PROTOCOL,
            "data": {"name": "synthetic"},
            "objects": 24,
            "mean": dict.fromkeys(QUANTITIES, 0.5) | {"chamfer": chamfer},
            "error": dict.fromkeys(QUANTITIES, 0.25),
            "floor": dict.fromkeys(QUANTITIES, 0.0) | {"chamfer": 0.025},
            "failures": 0,
            "failed_objects": 0,
            "loss": {"val/loss": 1.0, "val/loss_time_0.00": 0.75, "val/loss_time_0.50": 0.25},
            "attention": {"density": 0.35, "tmac": 0.00125},
            "seconds": {"train": 240.0, "evaluate": 120.0},
            "frozen": {"vae": {"vae.safetensors": "aa"}, "denoiser": {"base.safetensors": "bb"}},
            "overrides": {
                "train": ["model=tiny", "stage.steps=1500", f"attention={variant}", f"seed={seed}"],
                "evaluate": ["model=tiny", "limit=24", f"attention={variant}", f"seeds=[{seed}]"],
            },
            "command": f"python train.py sweep={name} sweep.only=[{variant}] sweep.seeds=[{seed}]",
        }
        file = tmp_path / "results" / name / f"{variant}_seed{seed}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record | changes))
        return tmp_path / "results"

    return leave


@pytest.fixture
def evaluation(tmp_path: Path) -> Leave:
    """Writes the metrics.json of a method's output."""

    def leave(method: str, mean: dict[str, float | None], **changes: Any) -> Path:
        record = {
            "method": method,
            "objects": 24,
            "failed_objects": {},
            "mean": mean,
            "error": dict.fromkeys(mean, 0.01),
            "floor": dict.fromkeys(mean, 0.0),
            "frames": 192,
            "failures": 0,
            "protocol": PROTOCOL | {"name": "sculpt4d"},
            "settings": {"data": {"ground_truth": "truth"}, "frames": None},
            "seeds": [0],
            "spread": dict.fromkeys(mean, None),
            "per_object": [entry for entry in OBJECTS if entry["name"] not in changes.get("failed_objects", {})],
        }
        file = tmp_path / method / "metrics.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record | changes))
        return file.parent

    return leave
