"""What the weights of a run depend on: written into them, and kept beside checkpoints, where only it goes on."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sculpt4d.data.files import file_digest

FILE = "recipe.json"
PLACES = {"root", "module", "source", "workers", "loaders"}  # of the data: where they are and who makes them
BUILDS = {"parts", "joined"}  # of the data: functions whose arguments are in it by themselves
LOCAL = {"folder", "cache", "fetch"}  # of data.assets: where files are on this machine
FREE = {"steps", "val_every", "save_every", "recompute"}  # of the stage: what a run may go on with changed
BELOW = {"vae": (), "base": ("vae",), "temporal": ("vae", "base")}  # whose weights a stage stands on


def recipe(cfg: DictConfig) -> dict[str, Any]:
    """What a weights file says of its training: every setting that shapes the numbers, and no path of a machine."""
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    kept = {str(key): config[key] for key in ("seed", "frames", "attention", "stage", "flow", "model", "data")}
    kept["model"] = {key: value for key, value in kept["model"].items() if key not in ("weights", "training")}
    hidden = {"root", "module", "source"} | BUILDS
    kept["data"] = {key: value for key, value in kept["data"].items() if key not in hidden}
    if "assets" in kept["data"]:
        kept["data"]["assets"] = {key: value for key, value in kept["data"]["assets"].items() if key not in LOCAL}
    return kept


def frozen(cfg: DictConfig) -> dict[str, str | None]:
    """Hashes of the weights below the temporal layers."""
    found = {part: known(cfg.model.weights[part]) for part in ("vae", "base")}
    return found | {"checkpoint": known(cfg.checkpoint)}


def known(place: Any) -> str | None:
    """The hash of a weight file; any other place of weights by its name."""
    if place is None:
        return None
    return file_digest(Path(place)) if Path(str(place)).is_file() else str(place)


def check_recipe(folder: Path, cfg: DictConfig) -> None:
    """Raises ValueError when the folder holds a run with other settings, data, start or frozen weights, naming them.

    More steps, and other moments to validate and save at, are a reason to go on.
    """
    path = folder / FILE
    if not path.is_file():
        return
    try:
        before = dict(flat(json.loads(path.read_text())))
    except ValueError as error:
        raise ValueError(f"{path} is not readable ({error}): delete {folder} to start again") from error
    now = dict(flat(json.loads(json.dumps(compared(cfg)))))
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if names:
        told = ", ".join(f"{name} {before.get(name)} -> {now.get(name)}" for name in names[:4])
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        raise ValueError(
            f"{folder} holds a run with other settings ({told}{more}): give this one a folder of its own with "
            f"output=, or delete {path} to go on there with the new ones"
        )


def compared(cfg: DictConfig) -> dict[str, Any]:
    """What two runs of one folder must have in common."""
    kept = recipe(cfg)
    kept["data"] = {key: value for key, value in kept["data"].items() if key not in PLACES}
    kept["data"]["folder"] = Path(cfg.data.root).name
    kept["stage"] = {key: value for key, value in kept["stage"].items() if key not in FREE}
    kept["weights"] = {part: _below(part, cfg) for part in BELOW[cfg.stage.name]}
    return kept | {"start": known(cfg.start), "checkpoint": known(cfg.checkpoint)}


def _below(part: str, cfg: DictConfig) -> str | None:
    """Weights that an earlier stage of the same command makes may train on, with the stage above."""
    place = cfg.model.weights[part]
    own = Path(cfg.output).parent / part / f"{part}.safetensors"
    return "an earlier stage" if place and Path(str(place)) == own else known(place)


def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested settings."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
