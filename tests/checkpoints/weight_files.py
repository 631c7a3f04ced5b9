"""Weights files of every format for the tests, and the check that a bad one is refused in one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sculpt4d.checkpoints.stored import stored_tensors

FORMATS = ("safetensors", "torch", "old torch")


def example(kind: str = "safetensors") -> dict[str, Tensor]:
    """Every type that a format knows, a scalar and nothing."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(6, 4, generator=draw)
    floats = ["float64", "float32", "float16", "bfloat16"]
    floats += ["float8_e4m3fn", "float8_e5m2"] if kind != "old torch" else []  # that format ended before these types
    whole = ("int64", "int32", "int16", "int8", "uint8", "bool")
    tensors = {f"block.{name}": values.to(getattr(torch, name)) for name in floats}
    tensors |= {f"buffer.{name}": (values > 0).to(getattr(torch, name)) for name in whole}
    return tensors | {"scalar": torch.tensor(3.5), "nothing": torch.zeros(0, 3)}


def write(path: Path, tensors: Mapping[str, Any], kind: str) -> Path:
    if kind == "safetensors":
        save_file(dict(tensors), path, metadata={"made": "here"})
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "torch")
    return path


def write_shards(folder: Path, tensors: Mapping[str, Tensor], kind: str) -> Path:
    """The index of two shards, named as the hub's libraries name them."""
    stem, end = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    names, shards = list(tensors), [f"{stem}-0000{k}-of-00002.{end}" for k in (1, 2)]
    where = {name: shards[k % 2] for k, name in enumerate(names)}
    for shard in shards:
        write(folder / shard, {name: tensors[name] for name in names if where[name] == shard}, kind)
    index = folder / f"{stem}.{end}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


def refused(path: Path, *words: str, error: type[Exception] = ValueError) -> str:
    """Listing raises one line that names the file, the words and, behind the colon, a remedy."""
    with pytest.raises(error) as problem:
        stored_tensors(path)
    told = str(problem.value)
    assert type(problem.value) is error and "\n" not in told
    for word in (str(path), *words, ": "):
        assert word in told
    return told
