"""What several test files share: a nano data set made once, configurations and the entry scripts."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from sculpt4d.config.overrides import compose_config
from sculpt4d.preparation.asset import PrepareSettings
from sculpt4d.preparation.run import prepare_synthetic

ROOT = Path(__file__).resolve().parents[1]
NANO_DATA = {
    "frames": 4,
    "points": 256,
    "sharp_points": 64,
    "distance_points": 128,
    "views": 1,
    "image_size": 32,
    "grid_res": 24,
    "front": True,
}
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def nano_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with three synthetic training clips and three held-out ones; one for all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "nano_data"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = prepare_synthetic(folder / "synthetic", 3, 1, PrepareSettings(**NANO_DATA), workers=1)
    assert not report.failed
    return folder


@pytest.fixture(scope="session")
def nano(nano_data: Path) -> list[str]:
    """Overrides of every root configuration: model nano on the nano data."""
    prepared = [f"data.prepare.{key}={value}" for key, value in NANO_DATA.items()]
    return ["model=nano", "data.clips=3", "data.holdout=1", "data.workers=1", f"paths.data={nano_data}", *prepared]


@pytest.fixture(scope="session")
def configure() -> Callable[..., DictConfig]:
    """Composes a root configuration: configure("train", *overrides). Paths are those of the checkout."""

    def composed(name: str, *overrides: str) -> DictConfig:
        root = [] if name == "prepare" else [f"paths.root={ROOT}"]
        return compose_config(str(ROOT / "conf"), name, [*root, *overrides])

    return composed


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Environment of entry scripts: one thread, no accelerator, no logger's own settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "PYTEST_", "SCULPT4D_"))}
    return kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def script(environment: Mapping[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs an entry script of the checkout: script("train.py", *overrides)."""

    def run(name: str, *overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / name), *overrides]
        return subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, timeout=900)

    return run
