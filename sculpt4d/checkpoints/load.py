"""Load one part of a checkpoint into a network.

The transfer is planned from headers and rejected as a whole unless everything fits. Only then are tensors read.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
import yaml
from torch import Tensor, nn

from sculpt4d.checkpoints.names import WeightPart, compact, place
from sculpt4d.checkpoints.released import natural_rows
from sculpt4d.checkpoints.stored import Stored, read
from sculpt4d.model.layers import SelfAttention

NAMES = Path(__file__).with_name("released_names.yaml")
PACKED = re.compile(r"(.*\b(attn1|attn2|temporal))\.to_([qkv])\.(weight|bias)")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Transfer(NamedTuple):
    """Stored tensors, in file order, that are converted to as many of our tensors."""

    sources: tuple[Stored, ...]
    targets: tuple[str, ...]
    convert: Callable[[Sequence[Tensor]], Sequence[Tensor]]


def transfers(
    module: nn.Module, chosen: Collection[str], part: WeightPart, told: str, names: Path = NAMES
) -> list[Transfer]:
    """Plan how `part` fills the tensors `chosen` of `module`.

    Raises ValueError unless all tensors fit and none is left over.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items() if name in chosen}
    tensors, rows = part.tensors, part.reference_rows
    if rows and any(name.startswith("blocks.") and ".temporal." in name for name in wanted):
        renames, rows = read_names(names)
        try:
            tensors = place(tensors, wanted, renames)
        except ValueError as error:
            raise ValueError(f"{told}: {error}") from error
    _check(tensors, wanted, told)
    done: set[str] = set()
    planned = []
    for name in tensors:
        if name in done:
            continue
        match = PACKED.fullmatch(name)
        letters = {"attn1": "qkv", "temporal": "qkv", "attn2": "kv"}[match[2]] if match else ""
        if match and rows and match[3] in letters:
            targets = tuple(f"{match[1]}.to_{letter}.{match[4]}" for letter in letters)
            heads = cast(SelfAttention, module.get_submodule(match[1])).heads
            planned.append(Transfer(tuple(tensors[t] for t in targets), targets, partial(natural_rows, heads=heads)))
        else:
            targets = (name,)
            planned.append(Transfer((tensors[name],), targets, tuple))
        done.update(targets)
    return planned


def _check(tensors: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]], told: str) -> None:
    """Check that exactly the wanted names are present, each with its shape and a floating dtype."""
    odd: dict[str, list[str]] = {}
    types: dict[str, list[str]] = {}
    for name in tensors.keys() & wanted.keys():
        if tensors[name].shape != wanted[name]:
            odd.setdefault(f"{tensors[name].shape} instead of {wanted[name]}", []).append(name)
        if tensors[name].dtype not in FLOATS:
            types.setdefault(str(tensors[name].dtype).removeprefix("torch."), []).append(name)
    problems = {
        "missing in the file": compact(wanted.keys() - tensors.keys()),
        "not used": compact(tensors.keys() - wanted.keys()),
        "other shape": "; ".join(f"{compact(names)} {shapes}" for shapes, names in sorted(odd.items())),
        "not a floating type": "; ".join(f"{compact(names)} {kind}" for kind, names in sorted(types.items())),
    }
    if any(problems.values()):
        said = "; ".join(f"{problem}: {names}" for problem, names in problems.items() if names)
        raise ValueError(f"{told} does not fit this model ({said}): set model= to the size it was made for")


def read_names(path: Path) -> tuple[list[tuple[str, str]], bool]:
    """Read a rename table: (expression, our name) pairs, and whether rows are in the reference's order."""
    try:
        table = yaml.safe_load(path.read_text())
        renames = [(str(expression), str(ours)) for expression, ours in table["temporal"]]
        for expression, _ in renames:
            re.compile(expression)
        rows = {"reference": True, "natural": False}[table["rows"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, re.error) as error:
        raise ValueError(
            f"{path} is no rename table ({type(error).__name__}: {error}): copy {NAMES.name} and change its entries"
        ) from error
    return renames, rows


def tensors_of(planned: Sequence[Transfer]) -> Iterator[tuple[str, Tensor]]:
    """Yield our names and values, in the stored dtype, one transfer at a time."""
    sources = read([stored for transfer in planned for stored in transfer.sources])
    for transfer in planned:
        found = transfer.convert([next(sources) for _ in transfer.sources])
        yield from zip(transfer.targets, found, strict=True)


@torch.no_grad()
def fill(module: nn.Module, planned: Sequence[Transfer], progress: Callable[[int], None] | None = None) -> None:
    """Read and copy tensors. The module keeps its dtypes. `progress` gets the bytes of every tensor."""
    state = module.state_dict(keep_vars=True)
    for name, tensor in tensors_of(planned):
        state[name].data.copy_(tensor)
        if progress is not None:
            progress(tensor.nbytes)
