"""Inspect and convert weight files.

python -m sculpt4d.checkpoints inspect PATH; python -m sculpt4d.checkpoints convert PATH OUTPUT
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.progress import Progress
from torch import Tensor, nn

from sculpt4d import identity
from sculpt4d.checkpoints.load import NAMES, tensors_of, transfers
from sculpt4d.checkpoints.locate import OWN, Checkpoint, open_checkpoint, refuse_unknown
from sculpt4d.checkpoints.names import PARTS, compact
from sculpt4d.checkpoints.released import reference_tensors
from sculpt4d.checkpoints.stored import save_weights
from sculpt4d.model.denoiser import is_temporal
from sculpt4d.resources import resource

CONF = resource("conf")
EPILOG = """PATH: a file (.safetensors, .ckpt, .bin), a shard index (*.index.json), a folder (a run, a release), or
hf://owner/repository[/folder][@revision]."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. A user error ends with one line and status 1."""
    parser = argparse.ArgumentParser("python -m sculpt4d.checkpoints", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True)
    inspect = commands.add_parser("inspect", help="what a file is, its sizes, what would and would not load")
    convert = commands.add_parser("convert", help="write the weights anew, in our layout or in the reference's")
    for command in (inspect, convert):
        command.add_argument("path")
        command.add_argument("--names", type=Path, default=NAMES, help="rename table for temporal layers of others")
        command.add_argument("--offline", action="store_true", help="look hf:// addresses up in the local cache alone")
        command.add_argument(
            "--attention", default="blockmask_decay", help="mask of the temporal layers (conf/attention)"
        )
    inspect.add_argument("--model", choices=models(), help="compare with this model alone (conf/model)")
    convert.add_argument("output", type=Path, help="a folder for sculpt4d, a .safetensors file for hunyuan3d")
    convert.add_argument("--to", choices=("sculpt4d", "hunyuan3d"), default="sculpt4d", help="names and row order")
    convert.add_argument("--model", choices=models(), default="hunyuan3d21", help="what the weights belong to")
    chosen = parser.parse_args(arguments)
    try:
        checkpoint = open_checkpoint(chosen.path, chosen.offline)
        if chosen.command == "inspect":
            told = report(checkpoint, [chosen.model] if chosen.model else models(), chosen.attention, chosen.names)
            print("\n".join(told))
        else:
            convert_checkpoint(checkpoint, chosen)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def models() -> list[str]:
    """Names of the configured models, largest first."""
    return ["hunyuan3d21", *sorted(path.stem for path in (CONF / "model").glob("*.yaml") if path.stem != "hunyuan3d21")]


def empty_model(name: str, attention: str) -> tuple[dict[str, nn.Module], Any]:
    """Networks of conf/model/NAME.yaml without memory, by part, and the pattern of their temporal layers."""
    if not (CONF / "attention" / f"{attention}.yaml").is_file():
        raise ValueError(f"--attention {attention} is not one of {', '.join(_stems('attention'))}")
    groups = {"model": name, "attention": attention}
    cfg = OmegaConf.create({group: OmegaConf.load(CONF / group / f"{option}.yaml") for group, option in groups.items()})
    pattern = instantiate(cfg.attention)
    with torch.device("meta"):
        denoiser = instantiate(cfg.model.denoiser, _partial_=True)(pattern=pattern)
        return {
            "vae": instantiate(cfg.model.vae),
            "conditioner": instantiate(cfg.model.conditioner),
            "denoiser": denoiser,
            "temporal": denoiser,
        }, pattern


def _stems(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def part_names(module: nn.Module, part: str) -> tuple[str, ...]:
    """Tensor names of a part of `module`: a denoiser consists of a base and its temporal layers."""
    names = tuple(module.state_dict())
    return (
        names if part in ("vae", "conditioner") else tuple(n for n in names if is_temporal(n) == (part == "temporal"))
    )


def report(checkpoint: Checkpoint, names: Sequence[str], attention: str, table: Path) -> Iterator[str]:
    """Lines of a readable report."""
    stored = [tensor for part in checkpoint.layout.parts.values() for tensor in part.tensors.values()]
    size = sum(file.stat().st_size for file in {tensor.file for tensor in stored} | set(checkpoint.files))
    yield f"{checkpoint.location}: {checkpoint.kind}, {_count(len(stored), 'tensor')}, {size / 1e9:.3f} GB on disk"
    for file in checkpoint.files:
        yield f"  file         {file}"
    for part in PARTS:
        if part in checkpoint.layout.parts:
            held = checkpoint.layout.parts[part]
            values = sum(torch.Size(tensor.shape).numel() for tensor in held.tensors.values())
            kinds = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in held.tensors.values())
            rows = ", q/k/v rows in the reference's order" if held.reference_rows else ""
            prefix = checkpoint.layout.prefixes.get("denoiser" if part == "temporal" else part, "")
            wrapped = f", prefix {prefix}" if prefix else ""
            told = f"{_count(len(held.tensors), 'tensor')}, {values:,} values, {', '.join(kinds)}{wrapped}{rows}"
            yield f"  {part:<12} {told}"
            if held.description:
                said = {
                    key: identity.told(identity.pattern_value(held.description[key]))
                    for key in ("model", "stage", "attention")
                    if key in held.description
                }
                yield f"  {'':<12} {', '.join(f'{key}={value}' for key, value in said.items())}"
    if checkpoint.layout.aside:
        yield f"  left out     {compact(checkpoint.layout.aside)}"
    if checkpoint.layout.unknown:
        yield f"  UNKNOWN      {compact(checkpoint.layout.unknown)}: refused when loaded"
    for name in names:
        yield from _fits(checkpoint, name, attention, table, brief=len(names) > 1)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _fits(checkpoint: Checkpoint, name: str, attention: str, table: Path, brief: bool) -> Iterator[str]:
    """Which parts load into a model, and why others do not. `brief`: one line for a model into which nothing loads."""
    modules, _ = empty_model(name, attention)
    parts = checkpoint.layout.parts
    problems = {part: problem for part in parts if (problem := _problem(checkpoint, modules, part, table))}
    if brief and len(problems) == len(parts):
        yield f"model={name}: nothing of it loads (--model {name} says why)"
        return
    loads = [part for part in PARTS if part in parts and part not in problems] or ["nothing"]
    absent = [part for part in PARTS if part not in parts]
    yield f"model={name}: loads {', '.join(loads)}" + (f"; not in it: {', '.join(absent)}" if absent else "")
    for part, problem in problems.items():
        yield f"  {part} does not load: {problem}"


def _problem(checkpoint: Checkpoint, modules: Mapping[str, nn.Module], part: str, table: Path) -> str | None:
    """Reason why the part would not load; None if it would."""
    module = modules[part]
    try:
        transfers(module, part_names(module, part), checkpoint.layout.parts[part], part, table)
    except ValueError as error:
        return str(error)
    return None


def convert_checkpoint(checkpoint: Checkpoint, chosen: argparse.Namespace) -> None:
    """Write the available parts: one file per stage, or one file with the reference's names."""
    refuse_unknown(checkpoint)
    modules, pattern = empty_model(chosen.model, chosen.attention)
    parts = [part for part in PARTS if part in checkpoint.layout.parts]
    planned = {}
    for part in parts:
        names = part_names(modules[part], part)
        planned[part] = transfers(
            modules[part], names, checkpoint.layout.parts[part], checkpoint.location, chosen.names
        )

    def read(part: str, prefix: str = "") -> dict[str, Tensor]:
        with Progress() as bar:
            task = bar.add_task(f"reading {part}", total=sum(len(transfer.targets) for transfer in planned[part]))
            tensors = {}
            for name, tensor in tensors_of(planned[part]):
                tensors[prefix + name] = tensor
                bar.advance(task)
        return tensors

    if chosen.to == "hunyuan3d":
        if chosen.output.suffix != ".safetensors":
            raise ValueError(f"{chosen.output}: the reference's layout is one file, give a name ending in .safetensors")
        tensors: dict[str, Tensor] = {}
        for part in parts:
            tensors |= reference_tensors(read(part), part, modules[part])
        save_weights(chosen.output, tensors, None)
        print(chosen.output)
        return
    if ("conditioner" in parts) != ("denoiser" in parts):
        raise ValueError(
            f"{checkpoint.location} holds {', '.join(parts)}: base.safetensors takes conditioner and denoiser together"
        )
    stages = {"vae": ("vae",), "base": ("conditioner", "denoiser"), "temporal": ("temporal",)}
    for stage in OWN:
        held = [part for part in stages[stage] if part in parts]
        if held:
            tensors = {}
            for part in held:
                tensors |= read(part, "" if part == "vae" else "conditioner." if part == "conditioner" else "denoiser.")
            about = identity.description(chosen.model, stage, pattern) | {"source": checkpoint.location}
            save_weights(chosen.output / f"{stage}.safetensors", tensors, about)
            print(chosen.output / f"{stage}.safetensors")


if __name__ == "__main__":
    main()
