"""Weights on disk: safetensors with a description inside, loaded strictly or not at all."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

DESCRIPTION = "sculpt4d"  # metadata key that holds the description as JSON


def save_weights(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Writes `tensors` and what they are in one step: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(kept, partial, metadata={DESCRIPTION: json.dumps(description)})
        os.replace(partial, path)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}): free some space, or choose another output") from error
    finally:
        partial.unlink(missing_ok=True)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file that `save_weights` wrote. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: train it (python train.py stage=...), or set the weights' path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}): fetch or train it again") from error
    if DESCRIPTION not in metadata:
        raise ValueError(f"{path} does not say what it is: it was not written by this project")
    return tensors, json.loads(metadata[DESCRIPTION])


def load_weights(
    module: nn.Module, path: Path, expected: Mapping[str, Any], chosen: Collection[str] | None = None
) -> None:
    """Puts the file into the tensors `chosen` of `module` (default: all); every name must fit, none may be left.

    `expected` are entries of the description that must agree (model, stage, attention). Raises ValueError with
    what differs.
    """
    tensors, description = read_weights(path)
    for key, wanted in expected.items():
        if description.get(key) != wanted:
            raise ValueError(
                f"{path} was trained with {key}={description.get(key)}, but {key}={wanted} is configured: choose "
                f"{key}={description.get(key)}, or weights that were trained so"
            )
    names = {name: value for name, value in module.state_dict().items() if chosen is None or name in chosen}
    wrong = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in names.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    missing, unused = sorted(names.keys() - tensors.keys()), sorted(tensors.keys() - names.keys())
    if wrong or missing or unused:
        parts = [("other shape", wrong), ("missing in the file", missing), ("not used", unused)]
        told = "; ".join(f"{len(listed)} {what}: {', '.join(listed[:6])}" for what, listed in parts if listed)
        raise ValueError(f"{path} does not fit this model ({told}): set model= to the size it was trained with")
    module.load_state_dict({name: tensors[name].to(value.dtype) for name, value in names.items()}, strict=False)
