"""Build the networks of a configuration and load their weights, from any source."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig
from torch import nn

from sculpt4d import identity
from sculpt4d.attention.patterns import Pattern
from sculpt4d.checkpoints.load import NAMES, Transfer, fill, transfers
from sculpt4d.checkpoints.locate import Checkpoint, open_checkpoint, refuse_unknown
from sculpt4d.checkpoints.names import PARTS, WeightPart
from sculpt4d.checkpoints.released import differences
from sculpt4d.model.denoiser import Denoiser, is_temporal, reset_temporal
from sculpt4d.model.vae import ShapeVAE

log = logging.getLogger(__name__)

RANDOM = "random"  # used instead of a path: keep the initial weights
STAGE = {"vae": "vae", "conditioner": "base", "denoiser": "base", "temporal": "temporal"}
Progress = Callable[[str, int, int], None]  # phase, done, total
Sources = Mapping[str, tuple[Checkpoint, WeightPart] | None]  # None: initial weights


class Bundle(nn.Module):
    """Conditioner and denoiser, with the names used in weight files."""

    def __init__(self, conditioner: nn.Module, denoiser: Denoiser) -> None:
        super().__init__()
        self.conditioner, self.denoiser = conditioner, denoiser


def base_names(bundle: nn.Module) -> tuple[str, ...]:
    """Tensor names of the 3D base: everything that is not a temporal layer."""
    return tuple(name for name in bundle.state_dict() if not is_temporal(name))


def temporal_names(bundle: nn.Module) -> tuple[str, ...]:
    """Tensor names of the temporal layers."""
    return tuple(name for name in bundle.state_dict() if is_temporal(name))


def find_weights(cfg: DictConfig, wanted: Sequence[str] = PARTS, trained: Sequence[str] = ()) -> Sources:
    """Find the source of the weights of every wanted part.

    Parts in `trained` start from `cfg.start`, or from initial weights if it is null. Other parts come from the first
    entry of `cfg.checkpoint` (a path, an hf:// address, a list of them, or "random") that holds them, else from the
    model's own files. Raises ValueError if a part is not found, except temporal layers, which then start as zeros.
    """
    opened: dict[str, Checkpoint] = {}

    def look(locations: Sequence[str], part: str) -> tuple[Checkpoint, WeightPart] | None:
        for location in locations:
            if location not in opened:
                opened[location] = open_checkpoint(location, cfg.get("offline", False))
                refuse_unknown(opened[location])
            if part in opened[location].layout.parts:
                return opened[location], opened[location].layout.parts[part]
        return None

    chosen = cfg.get("checkpoint")
    given = [] if chosen is None else list(chosen) if isinstance(chosen, ListConfig) else [str(chosen)]
    found: dict[str, tuple[Checkpoint, WeightPart] | None] = {}
    for part in wanted:
        own = cfg.model.weights[STAGE[part]]
        places = [cfg.start or RANDOM] if part in trained else [*given, *([] if own is None else [own])]
        first = places.index(RANDOM) if RANDOM in places else len(places)
        found[part] = look(places[:first], part)
        if found[part] is None and first == len(places) and part != "temporal":
            raise ValueError(_nowhere(cfg, part, opened))
    return found


def _nowhere(cfg: DictConfig, part: str, opened: Mapping[str, Checkpoint]) -> str:
    held = "; ".join(f"{name} holds {', '.join(c.layout.parts) or 'nothing of it'}" for name, c in opened.items())
    return (
        f"model={cfg.model.name} has no weights for the {part}{f' ({held})' if held else ''}: set checkpoint= to a "
        "file, a folder, hf://tencent/Hunyuan3D-2.1 or a list of them that holds it; checkpoint=random runs untrained "
        "networks"
    )


def build_vae(
    cfg: DictConfig, sources: Sources, dtype: torch.dtype = torch.float32, progress: Progress | None = None
) -> ShapeVAE:
    """Build the autoencoder with its weights, in `dtype`, on the CPU."""
    with _construction(sources["vae"], dtype):
        vae: ShapeVAE = instantiate(cfg.model.vae)
    _fill(vae, [_plan(cfg, vae, sources, "vae", tuple(vae.state_dict()))], progress)
    return vae


def build_denoiser(
    cfg: DictConfig,
    temporal: bool,
    sources: Sources,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> Bundle:
    """Build conditioner and denoiser, with temporal layers or as the 3D base, in `dtype`, on the CPU."""
    pattern = instantiate(cfg.attention) if temporal else None
    with _construction(sources["conditioner"], dtype):
        conditioner = instantiate(cfg.model.conditioner)
    with _construction(sources["denoiser"], dtype):
        # partial, since Hydra would convert a pattern argument to a config
        denoiser: Denoiser = instantiate(cfg.model.denoiser, _partial_=True)(pattern=pattern, backend=cfg.backend)
    # all parts are checked before any tensor is read
    pictures = _plan(cfg, conditioner, sources, "conditioner", tuple(conditioner.state_dict()))
    plans = [_plan(cfg, denoiser, sources, "denoiser", base_names(denoiser))]
    if temporal:
        plans.append(_plan(cfg, denoiser, sources, "temporal", temporal_names(denoiser), pattern))
    _fill(conditioner, [pictures], progress)
    _fill(denoiser, plans, progress)
    if temporal and sources["temporal"] is None:
        reset_temporal(denoiser)
    return Bundle(conditioner, denoiser)


@contextmanager
def _construction(source: tuple[Checkpoint, WeightPart] | None, dtype: torch.dtype) -> Iterator[None]:
    """Context manager: modules get their final dtype, and no memory if a checkpoint will fill them."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cpu" if source is None else "meta"):
            yield
    finally:
        torch.set_default_dtype(before)


class _Plan(NamedTuple):
    """Transfers for a part; None keeps the initial weights."""

    part: str
    location: str
    transfers: Sequence[Transfer] | None


def _plan(
    cfg: DictConfig,
    module: nn.Module,
    sources: Sources,
    part: str,
    names: Sequence[str],
    pattern: Pattern | None = None,
) -> _Plan:
    """Plan how the tensors `names` of `module` are read.

    Raises ValueError unless they fit and were trained for the configured model, stage and, in temporal layers,
    `pattern`.
    """
    source = sources[part]
    if source is None:
        return _Plan(part, RANDOM, None)
    checkpoint, stored = source
    files = {str(tensor.file) for tensor in stored.tensors.values()}
    told = f"{files.pop() if len(files) == 1 else checkpoint.location} ({part})"
    _agree(told, stored, identity.description(cfg.model.name, STAGE[part], pattern))
    if part in checkpoint.settings:
        built = {name: known.default for name, known in signature(type(module)).parameters.items()}
        odd = differences(part, checkpoint.settings[part], built | dict(cfg.model[part]))
        if odd:
            raise ValueError(
                f"{told}: its config.yaml says {'; '.join(odd)}: set model.{part} to what the weights need"
            )
    table = Path(cfg.get("weight_names") or NAMES)
    return _Plan(part, checkpoint.location, transfers(module, names, stored, told, table))


def _fill(module: nn.Module, plans: Sequence[_Plan], progress: Progress | None) -> None:
    """Allocate memory for a module that has none, then load its parts."""
    if any(tensor.is_meta for tensor in module.state_dict().values()):
        module.to_empty(device="cpu")
    for part, location, planned in plans:
        if planned is None:
            log.warning("%s: as initialised, no weights are loaded", part)
            continue
        total = sum(stored.bytes for transfer in planned for stored in transfer.sources)
        done = 0

        def advance(size: int, part: str = part, total: int = total) -> None:
            nonlocal done
            done += size
            if progress is not None:
                progress(f"loading {part}", done, total)

        fill(module, planned, advance)
        log.info("%s: %s, %.2f GB", part, location, total / 1e9)


def _agree(told: str, part: WeightPart, expected: Mapping[str, Any]) -> None:
    """Raise ValueError if our own file was trained with another configuration."""
    description = part.description
    if description is None:
        return
    for key in identity.disagreeing(description, expected):
        sides = description.get(key), expected[key]
        trained, wanted = (identity.told(identity.pattern_value(side)) for side in sides)
        raise ValueError(
            f"{told} was trained with {key}={trained}, but {key}={wanted} is configured: choose {key}={trained}, or "
            "weights that were trained so"
        )
