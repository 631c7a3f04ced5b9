"""The golden folder: what it holds decides which tests run (SCULPT4D_GOLDEN, or the copies beside the tests)."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(os.environ.get("SCULPT4D_GOLDEN", Path(__file__).resolve().parents[1] / "golden"))
MODULE, SERIES, GRID, FEATURE, GRADIENT = 2e-5, 5e-5, 5e-5, 1e-6, 1e-4  # suggested tolerances; the last is relative


def config() -> dict[str, Any]:
    """Constructor arguments of the golden models, under the reference's names; {} without a config.json."""
    path = FOLDER / "config.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def entry(kind: str, name: str) -> str:
    """The key of config.json that built `name`: dit for dit_tiny, dit2 for dit_tiny_bias."""
    return f"{kind}2" if name.endswith("_bias") else kind


def instances(kind: str) -> list[Any]:
    """Parameters for every NAME.safetensors of that kind with a NAME_io.safetensors; one skipped entry if none."""
    found = sorted(path.stem.removesuffix("_io") for path in FOLDER.glob(f"{kind}_*_io.safetensors"))
    return listed([name for name in found if (FOLDER / f"{name}.safetensors").is_file()], f"{kind}_*")


def listed(names: list[Any], wanted: str) -> list[Any]:
    """`names` as test parameters, or one that is skipped and says what the folder does not hold."""
    return names or [pytest.param(None, marks=pytest.mark.skip(reason=f"{FOLDER} holds no {wanted}"))]


def tensors(name: str) -> dict[str, Tensor]:
    """Tensors of NAME.safetensors; skips the test where the folder has none."""
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"{FOLDER} holds no {path.name}")
    return load_file(path)


def numbers(name: str) -> dict[str, Any]:
    """Content of NAME.json; skips the test where the folder has none."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{FOLDER} holds no {path.name}")
    return json.loads(path.read_text())


def gap(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference of two tensors of one shape."""
    assert found.shape == wanted.shape, f"{tuple(found.shape)} instead of {tuple(wanted.shape)}"
    return float((found.double() - wanted.double()).abs().max()) if found.numel() else 0.0


def same(found: Tensor, wanted: Tensor) -> bool:
    """Equal in every element."""
    return found.shape == wanted.shape and bool(torch.equal(found, wanted))
