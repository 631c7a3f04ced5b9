"""Files of the networks that judge pictures: found on this machine, read as plain tensors, never run.

Nothing is fetched unless that was asked for, and nothing is measured with weights that do not fit.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sculpt4d.checkpoints.hub import is_hub, resolve
from sculpt4d.checkpoints.names import compact
from sculpt4d.checkpoints.stored import read, stored_tensors


def find_file(location: str | None, names: Sequence[str], remedy: str, download: bool = False) -> Path:
    """The file that `location` means: itself, or the first of `names` in the folder it is.

    hf:// is looked up in this machine's cache, and on the hub only with `download`. Raises ValueError,
    FileNotFoundError or what `hub.resolve` raises; `remedy` says where the weights come from.
    """
    if location is None:
        raise ValueError(f"no weights are given: {remedy}")
    try:
        path = resolve(location, offline=not download) if is_hub(location) else Path(location)
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error) if download else f"{error}; metrics.download=true fetches it") from error
    if path.is_dir():
        held = [path / name for name in names if (path / name).is_file()]
        if not held:
            raise FileNotFoundError(f"{path} holds none of {', '.join(names)}: {remedy}")
        return held[0]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {remedy}")
    return path


def read_tensors(path: Path, rename: Callable[[str], str | None]) -> dict[str, Tensor]:
    """Tensors of a weights file in float32 by their new names; those that `rename` answers with None are left.

    Raises ValueError for what is no file of plain tensors: a TorchScript program or a pickled object is never run.
    """
    chosen = {new: stored for name, stored in stored_tensors(path).items() if (new := rename(name)) is not None}
    values = read(list(chosen.values()))
    return {name: value.to(torch.float32) for name, value in zip(chosen, values, strict=True)}


def filled(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> nn.Module:
    """The module with these weights, frozen, in evaluation mode. Raises ValueError, naming the file, unless all fit."""
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    odd = [name for name in wanted.keys() & shapes.keys() if wanted[name] != shapes[name]]
    problems = {
        "it lacks": compact(wanted.keys() - shapes.keys()),
        "it has besides": compact(shapes.keys() - wanted.keys()),
        "of another shape are": compact(odd),
    }
    if any(problems.values()):
        said = "; ".join(f"{problem} {names}" for problem, names in problems.items() if names)
        raise ValueError(f"{path} is not {what}: {said}")
    module.load_state_dict(dict(tensors))
    return module.eval().requires_grad_(False)
