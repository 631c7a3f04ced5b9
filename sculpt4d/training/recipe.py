"""Identity of a training run: the settings that determine its weights.

It is stored in weight files and next to checkpoints. A run resumes only if its identity is unchanged.
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sculpt4d import identity
from sculpt4d.files import file_digest

FILE = "recipe.json"
BELOW = {"vae": (), "base": ("vae",), "temporal": ("vae", "base")}  # stages whose weights a stage builds on


def recipe(cfg: DictConfig) -> dict[str, Any]:
    """Training description stored in a weight file: every setting that affects the numbers, and no local path."""
    return identity.counted(cfg, "train", identity.TRAINED)


def frozen(cfg: DictConfig) -> dict[str, str | None]:
    """Hashes of the weights below the temporal layers."""
    found = {part: known(cfg.model.weights[part]) for part in ("vae", "base")}
    return found | {"checkpoint": known(cfg.checkpoint)}


def known(place: Any) -> str | None:
    """Hash of a weight file; any other source of weights is identified by its name."""
    if place is None:
        return None
    return file_digest(Path(place)) if Path(str(place)).is_file() else str(place)


def check_recipe(folder: Path, cfg: DictConfig) -> None:
    """Raise ValueError if the folder holds a run with other settings, data, start or frozen weights.

    The error names the differences. More steps, or another schedule of validation and checkpoints, are allowed.
    """
    path = folder / FILE
    if not path.is_file():
        return
    try:
        before = dict(identity.flat(identity.canonical(json.loads(path.read_text()))))
    except ValueError as error:
        raise ValueError(f"{path} is not readable ({error}): delete {folder} to start again") from error
    now = dict(identity.flat(identity.canonical(compared(cfg))))
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if names:
        told = ", ".join(f"{name} {before.get(name)} -> {now.get(name)}" for name in names[:4])
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        raise ValueError(
            f"{folder} holds a run with other settings ({told}{more}): give this one a folder of its own with "
            f"output=, or delete {path} to go on there with the new ones"
        )


def compared(cfg: DictConfig) -> dict[str, Any]:
    """Settings that two runs in one folder must share."""
    kept = identity.counted(cfg, "train", identity.RESUMED)
    kept["data"]["folder"] = Path(cfg.data.root).name
    kept["weights"] = {part: _below(part, cfg) for part in BELOW[cfg.stage.name]}
    return kept | {"start": known(cfg.start), "checkpoint": known(cfg.checkpoint)}


def _below(part: str, cfg: DictConfig) -> str | None:
    """Identity of the weights of an earlier stage.

    Weights trained by the same command are not hashed: they may train on, together with the stage above.
    """
    place = cfg.model.weights[part]
    own = Path(cfg.output).parent / part / f"{part}.safetensors"
    return "an earlier stage" if place and Path(str(place)) == own else known(place)
