"""A configuration to networks with their weights, whoever made the weights."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig
from torch import nn

from sculpt4d.checkpoints.load import NAMES, Transfer, fill, transfers
from sculpt4d.checkpoints.locate import Checkpoint, open_checkpoint, refuse_unknown
from sculpt4d.checkpoints.names import PARTS, Part
from sculpt4d.checkpoints.released import differences
from sculpt4d.model.denoiser import Denoiser, is_temporal, reset_temporal
from sculpt4d.model.vae import ShapeVAE

log = logging.getLogger(__name__)

RANDOM = "random"  # in place of a path: weights as initialised
STAGE = {"vae": "vae", "conditioner": "base", "denoiser": "base", "temporal": "temporal"}
Progress = Callable[[str, int, int], None]  # phase, done, total
Sources = Mapping[str, tuple[Checkpoint, Part] | None]  # None: as initialised


class Bundle(nn.Module):
    """Conditioner and denoiser under the names that weight files use."""

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
    """Where the weights of every wanted part come from.

    Parts in `trained` begin from `cfg.start`, or as initialised when that is null. The others come from the first entry
    of `cfg.checkpoint` (a path, an hf:// address, a list of them, or "random") that holds them, else from the model's
    own files. Raises ValueError when a part is nowhere, temporal layers excepted: they start as zeros.
    """
    opened: dict[str, Checkpoint] = {}

    def look(locations: Sequence[str], part: str) -> tuple[Checkpoint, Part] | None:
        for location in locations:
            if location not in opened:
                opened[location] = open_checkpoint(location, cfg.get("offline", False))
                refuse_unknown(opened[location])
            if part in opened[location].layout.parts:
                return opened[location], opened[location].layout.parts[part]
        return None

    chosen = cfg.get("checkpoint")
    given = [] if chosen is None else list(chosen) if isinstance(chosen, ListConfig) else [str(chosen)]
    found: dict[str, tuple[Checkpoint, Part] | None] = {}
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
    """The autoencoder with its weights, in `dtype`, on the CPU."""
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
    """Conditioner and denoiser, with temporal layers or as the 3D base, in `dtype`, on the CPU."""
    pattern = instantiate(cfg.attention) if temporal else None
    with _construction(sources["conditioner"], dtype):
        conditioner = instantiate(cfg.model.conditioner)
    with _construction(sources["denoiser"], dtype):
        # partial, as Hydra would turn a pattern among its keywords into a config
        denoiser: Denoiser = instantiate(cfg.model.denoiser, _partial_=True)(pattern=pattern, backend=cfg.backend)
    # all of it is checked before the first byte is read
    pictures = _plan(cfg, conditioner, sources, "conditioner", tuple(conditioner.state_dict()))
    plans = [_plan(cfg, denoiser, sources, "denoiser", base_names(denoiser))]
    if temporal:
        plans.append(_plan(cfg, denoiser, sources, "temporal", temporal_names(denoiser), {"attention": repr(pattern)}))
    _fill(conditioner, [pictures], progress)
    _fill(denoiser, plans, progress)
    if temporal and sources["temporal"] is None:
        reset_temporal(denoiser)
    return Bundle(conditioner, denoiser)


@contextmanager
def _construction(source: tuple[Checkpoint, Part] | None, dtype: torch.dtype) -> Iterator[None]:
    """Modules made inside have their final type, and no memory when a checkpoint will fill them."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cpu" if source is None else "meta"):
            yield
    finally:
        torch.set_default_dtype(before)


class _Plan(NamedTuple):
    """A part that will be read: None in place of transfers leaves it as initialised."""

    part: str
    location: str
    transfers: Sequence[Transfer] | None


def _plan(
    cfg: DictConfig,
    module: nn.Module,
    sources: Sources,
    part: str,
    names: Sequence[str],
    expected: Mapping[str, str] | None = None,
) -> _Plan:
    """How the tensors `names` of `module` are read. ValueError unless they fit and were trained as `expected`."""
    source = sources[part]
    if source is None:
        return _Plan(part, RANDOM, None)
    checkpoint, stored = source
    files = {str(tensor.file) for tensor in stored.tensors.values()}
    told = f"{files.pop() if len(files) == 1 else checkpoint.location} ({part})"
    _agree(told, stored, {"model": cfg.model.name, "stage": STAGE[part]} | dict(expected or {}))
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
    """Memory for a module that has none, then the values of its parts."""
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


def _agree(told: str, part: Part, expected: Mapping[str, str]) -> None:
    """Our own files say what they were trained with."""
    if part.description is None:
        return
    for key, wanted in expected.items():
        if part.description.get(key) != wanted:
            raise ValueError(
                f"{told} was trained with {key}={part.description.get(key)}, but {key}={wanted} is configured: choose "
                f"{key}={part.description.get(key)}, or weights that were trained so"
            )
