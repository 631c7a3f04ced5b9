"""Find the weights at a path or hub address and split them into parts: Hunyuan3D-2.1, Sculpt4D, DINOv2 or our own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sculpt4d.checkpoints.hub import is_hub, resolve
from sculpt4d.checkpoints.names import PARTS, CheckpointLayout, WeightPart, compact, foreign_layout, own_layout
from sculpt4d.checkpoints.stored import DESCRIPTION, description, stored_tensors

OWN = ("vae", "base", "temporal")  # stages, also the stems of exported files
FOLDERS = ("hunyuan3d-dit-v2-1", "blockmask_bf16", "hunyuan3d-vae-v2-1")  # of the public repositories
FILES = ("model.fp16.safetensors", "model.fp16.ckpt", "model.safetensors", "pytorch_model.bin", "model.ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """Parts found at `location`. Only headers have been read."""

    location: str
    files: tuple[Path, ...]
    layout: CheckpointLayout
    settings: Mapping[str, Mapping[str, Any]]  # from an adjacent config.yaml: the reference's arguments, by part

    @property
    def kind(self) -> str:
        """Readable description of the kind of checkpoint."""
        parts = self.layout.parts
        if any(part.description for part in parts.values()):
            return "sculpt4d weights"
        if "temporal" in parts:
            return "4D denoiser with temporal layers (as Sculpt4D's)"
        if {"denoiser", "vae"} <= parts.keys():
            return "3D denoiser and autoencoder (as Hunyuan3D-2.1's)"
        single = {"vae": "ShapeVAE", "conditioner": "DINOv2", "denoiser": "3D denoiser (as Hunyuan3D-2.1's)"}
        return single[next(iter(parts))] if parts else "nothing that this project knows"


def open_checkpoint(location: str | Path, offline: bool = False) -> Checkpoint:
    """Open the checkpoint at a path or hf:// address (file, shard index, or folder in one of the known layouts).

    Raises FileNotFoundError or ValueError naming the file, the fault and the remedy.
    """
    path = resolve(str(location), offline) if is_hub(str(location)) else Path(location).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"checkpoint {path} is missing: check the path, or give hf://owner/repository")
    files = weight_files(path) if path.is_dir() else (path,)
    layouts = [_layout(file) for file in files]
    merged: dict[str, WeightPart] = {}
    for layout in layouts:
        merged |= layout.parts
    unknown = tuple(name for layout in layouts for name in layout.unknown)
    aside = tuple(name for layout in layouts for name in layout.aside)
    prefixes = {part: prefix for layout in layouts for part, prefix in layout.prefixes.items()}
    settings = {part: said for file in files for part, said in _settings(file.with_name("config.yaml")).items()}
    return Checkpoint(str(location), files, CheckpointLayout(merged, unknown, aside, prefixes), settings)


def _settings(path: Path) -> dict[str, Mapping[str, Any]]:
    """Network settings in the reference's config.yaml (base spec 6); {} if there is none."""
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML ({error}): fetch it again, or remove it") from error
    sections = {"denoiser": "model", "vae": "vae"}
    found = content if isinstance(content, Mapping) else {}
    if "params" in found:  # of the autoencoder alone
        found = {"vae": found}
    named = {part: found.get(section) for part, section in sections.items()}
    return {part: said["params"] for part, said in named.items() if isinstance(said, Mapping) and "params" in said}


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Checkpoint files in a folder: our stages, a shard index, or a single file.

    Searches the folder, then the subfolders used by the public repositories.
    """
    found = []
    for stage in OWN:
        for candidate in (folder / f"{stage}.safetensors", folder / stage / f"{stage}.safetensors"):
            if candidate.is_file():
                found.append(candidate)
                break
    if found:
        return tuple(found)
    indices = sorted(folder.glob("*.index.json"))
    singles = [folder / name for name in FILES if (folder / name).is_file()]
    others = sorted(
        path for path in folder.glob("*") if path.suffix in (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
    )
    for candidates in (indices, singles[:1], others):
        if len(candidates) == 1:
            return (candidates[0],)
        if candidates:
            names = ", ".join(path.name for path in candidates)
            raise ValueError(f"{folder} holds several checkpoints ({names}): give the path of one of them")
    for name in FOLDERS:
        if (folder / name).is_dir():
            return weight_files(folder / name)
    raise FileNotFoundError(
        f"{folder} holds no weights: no vae, base or temporal.safetensors of a training run, no *.index.json, no "
        f"{', '.join(FILES)}, and none of the folders {', '.join(FOLDERS)}"
    )


def _layout(file: Path) -> CheckpointLayout:
    stored = stored_tensors(file)
    text = description(file).get(DESCRIPTION) if file.suffix != ".json" else None
    try:
        return foreign_layout(stored) if text is None else own_layout(stored, json.loads(text))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def refuse_unknown(checkpoint: Checkpoint) -> None:
    """Raise ValueError if the file holds tensors that belong to no part."""
    if checkpoint.layout.unknown:
        raise ValueError(
            f"{checkpoint.location} holds tensors that belong to no part ({', '.join(PARTS)}): "
            f"{compact(checkpoint.layout.unknown)}. It is not one of the layouts this project reads"
        )
