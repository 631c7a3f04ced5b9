"""A golden folder against the formulas: every output recomputed from the weights and inputs beside it."""

import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from .folder import FEATURE, GRADIENT, GRID, MODULE, SERIES
from .formulas_schedule import lr_ema_numbers, scheduler_numbers
from .formulas_surface import surface_case
from .generate_outputs import OPENCV, Tensors, outputs
from .generate_weights import model_shapes

NUMBER = 1e-6  # of numbers in JSON files
TIME = 1e-5  # of time features where times pass 1
MODELS = ("dit_", "sample_", "moe_", "vae_", "conditioner_")
INPUTS = {  # by file, the entries that are given and not computed
    "dit_*_io": ("x", "t", "context", "t_edge", "tap.h", "tap.*.skip", "train.target"),
    "sample_*_io": ("context", "n*.noise"),
    "moe_*_io": ("x", "train.upstream_grad"),
    "vae_*_io": ("surface", "perm_*", "posterior_eps", "latents", "queries", "grid*_mc_level"),
    "conditioner_*_io": ("image",),
    "image_preproc": ("*.rgba",),
    "norm_probe": ("input",),
    "fourier": ("points",),
    "timestep_embedding": ("t", "sinusoid_*.t", "embedder.*"),
    "near_surface_mask": ("field_*",),
}
NUMBERS: dict[str, Callable[[Any], Any]] = {
    "scheduler": scheduler_numbers,
    "lr_ema": lr_ema_numbers,
    "surface_grid": lambda given: {"cases": [surface_case(case) for case in given["cases"]]},
}


class Deviation(NamedTuple):
    """How far one entry is from its recomputed value, and how far it may be."""

    entry: str
    difference: float
    tolerance: float

    @property
    def share(self) -> float:
        """Part of the tolerance that is used; 0 for an exact entry, infinite for a wrong exact one."""
        return self.difference / self.tolerance if self.tolerance else (float("inf") if self.difference else 0.0)


def check(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, Deviation]:
    """The worst entry of every file; in another dtype only of the models' files, without OpenCV not `image_preproc`.

    ValueError for an entry that the formulas do not know, or a state dict that is not the one of config.json.
    """
    config = json.loads((folder / "config.json").read_text())

    def load(name: str) -> Tensors:
        read = load_file(folder / f"{name}.safetensors")
        return {key: value.to(dtype) if value.is_floating_point() else value for key, value in read.items()}

    names = sorted(path.stem for path in folder.glob("*.safetensors"))
    for name in (name for name in names if f"{name}_io" in names):
        stored = {key: tuple(value.shape) for key, value in load(name).items()}
        if stored != model_shapes(name, config):
            wrong = sorted(key for key, _ in stored.items() ^ model_shapes(name, config).items())
            raise ValueError(f"{name} and its entry of config.json differ in names or shapes: {', '.join(wrong)}")
    found = {}
    for name in (name for name in names if any(fnmatch(name, pattern) for pattern in INPUTS)):
        if name.startswith(MODELS) or (dtype == torch.float32 and (OPENCV or name != "image_preproc")):
            found[name] = max(compare(name, load(name), outputs(name, config, load(name), load)), key=worst)
    for name, recompute in NUMBERS.items():
        if (folder / f"{name}.json").is_file():
            stored = json.loads((folder / f"{name}.json").read_text())
            found[name] = max(compare_numbers(name, stored, recompute(stored)), key=worst)
    return found


def worst(deviation: Deviation) -> float:
    """Order of deviations."""
    return deviation.share


def compare(name: str, stored: Tensors, found: Tensors) -> Iterator[Deviation]:
    """Each stored entry that is no input against the recomputed one."""
    given = next(patterns for pattern, patterns in INPUTS.items() if fnmatch(name, pattern))
    for key, value in stored.items():
        if any(fnmatch(key, pattern) for pattern in given):
            continue
        if key not in found:
            raise ValueError(f"{name} holds {key}, which is neither an input nor an output of the formulas")
        yield Deviation(key, difference(found[key], value), tolerance(name, key, value))


def difference(found: Tensor, stored: Tensor) -> float:
    """Largest absolute difference; infinite for another shape or other points left out (NaN)."""
    if found.shape != stored.shape or not torch.equal(found.isnan(), stored.isnan()):
        return float("inf")
    return float((found.double() - stored.double()).nan_to_num().abs().max()) if stored.numel() else 0.0


def tolerance(name: str, key: str, stored: Tensor) -> float:
    """The published tolerance of an entry; relative to its largest value where that can be anything."""
    if not stored.is_floating_point():
        return 0.0
    if key.startswith("train.grad"):
        return GRADIENT * float(stored.abs().max())
    if key.startswith(("posterior_sample", "kl_per_sample")):  # exponentials of a log-variance up to 20
        return MODULE * max(1.0, float(stored.abs().max()))
    if name.startswith("sample_"):
        return SERIES
    if key.startswith(("grid", "flash_", "logits")):
        return GRID
    return {"fourier": FEATURE, "timestep_embedding": TIME}.get(name, MODULE)


def compare_numbers(path: str, stored: Any, found: Any) -> Iterator[Deviation]:
    """Each number of a nested structure; counts and texts are exact."""
    if isinstance(stored, dict):
        if stored.keys() != found.keys():
            raise ValueError(f"{path} holds {sorted(stored)} where the formulas have {sorted(found)}")
        for key, value in stored.items():
            yield from compare_numbers(f"{path}.{key}", value, found[key])
    elif isinstance(stored, list):
        for index, (value, other) in enumerate(zip(stored, found, strict=True)):
            yield from compare_numbers(f"{path}.{index}", value, other)
    elif isinstance(stored, float):
        yield Deviation(path, abs(found - stored), NUMBER * max(1.0, abs(stored)))
    else:
        yield Deviation(path, float(found != stored), 0.0)
