"""Benchmark report: backends that can run a case against dense attention, timed in turns, with their errors."""

import platform
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sculpt4d.attention.backends import BACKENDS, AttentionCase, Backend, choose
from sculpt4d.attention.measure import error, extra_memory, inputs, work
from sculpt4d.attention.patterns import Pattern
from sculpt4d.attention.timing import medians, rounds

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
WHOLE_MASK = 2**28  # mask entries up to which `reference` runs without being named
CPUINFO = Path("/proc/cpuinfo")  # processor name on Linux
messages = Console(stderr=True)


def compare(case: AttentionCase, names: Sequence[str] | None, count: int) -> dict[str, Any]:
    """Time, error and memory of all backends that can run a case, or of the named ones."""
    given, errors = inputs(case), {}
    unit = given.q.numel() * given.q.element_size()
    runs: dict[str, Callable[[], object]] = {}
    with Progress(console=messages, transient=True) as bar:
        chosen, reason = choose("auto", case)
        for name, run in dense(case).items():
            runs[f"dense {name}"] = work(run, case, given)
        for name in bar.track(names or list(BACKENDS), description=f"{case.frames} frames, exactness"):
            try:
                if names is None:
                    _check_unasked(name, case)
                errors[name] = error(backend(name), case, given)
                runs[name] = work(backend(name), case, given)
            except (ValueError, ImportError) as refusal:
                if names is not None:
                    raise
                _announce(f"without {name}: {refusal}")
        turns = rounds(runs, count, case.device)
        times = medians(bar.track(turns, total=count * len(runs), description=f"{case.frames} frames, time"))
    fastest = min((name for name in times if name.startswith("dense ")), key=lambda name: times[name])
    density = case.pattern.density(case.frames, case.pattern.blocks(case.tokens))
    rows = []
    for name in errors:
        ratio, memory = times[name] / times[fastest], extra_memory(runs[name], case.device)
        row = {"backend": name, "seconds": times[name], "ratio": ratio, "efficiency": density / ratio}
        rows.append(row | {"error": errors[name], "memory": None if memory is None else memory / unit})
    dense_memory = extra_memory(runs[fastest], case.device)
    return {
        "chosen": chosen,
        "reason": reason,
        "density": density,
        "dense": fastest.removeprefix("dense "),
        "dense_seconds": times[fastest],
        "dense_memory": None if dense_memory is None else dense_memory / unit,
        "rows": rows,
        "shape": _shape(case),
        "machine": _machine(case.device),
    }


def dense(case: AttentionCase) -> dict[str, Backend]:
    """Unmasked attention, using PyTorch's operators for the case."""
    q = inputs(case._replace(frames=1)).q.requires_grad_(case.gradients)
    if case.device.type != "cuda":
        return {SDPBackend(torch._fused_sdp_choice(q, q, q)).name.lower(): _unmasked}
    found: dict[str, Backend] = {}
    for kind in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
        run = partial(_unmasked, kind=kind)
        try:
            run(q, q, q, case.pattern, 1)
        except RuntimeError:  # PyTorch's error for unsupported inputs
            continue
        found[kind.name.lower()] = run
    return found or {"math": _unmasked}


def _unmasked(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, frames: int, kind: SDPBackend | None = None) -> Tensor:
    if kind is None:
        return F.scaled_dot_product_attention(q, k, v)
    with sdpa_kernel(kind):
        return F.scaled_dot_product_attention(q, k, v)


def backend(name: str) -> Backend:
    """Backend with this name; raises ValueError that lists the available names."""
    if name not in BACKENDS:
        raise ValueError(f"there is no attention backend {name!r}: pass --backends {','.join(BACKENDS)}")
    return BACKENDS[name]


def _check_unasked(name: str, case: AttentionCase) -> None:
    """Raise ValueError for a backend that needs too much time or memory to run without being named."""
    length = case.frames * case.tokens
    if name == "flex" and case.device.type != "cuda":
        raise ValueError("uncompiled on this device, for checks alone: pass --backends to see it")
    if name == "reference" and length**2 > WHOLE_MASK:
        raise ValueError(f"its mask has {length**2:.1e} entries: pass --backends to see it")


@cache
def _announce(message: str) -> None:
    messages.print(message, highlight=False, soft_wrap=True)


def _shape(case: AttentionCase) -> dict[str, Any]:
    shape = {name: getattr(case, name) for name in ("frames", "tokens", "heads", "width")}
    names = {dtype: name for name, dtype in DTYPES.items()}
    return shape | {"dtype": names[case.dtype], "backward": case.gradients, "pattern": str(case.pattern)}


def _machine(device: torch.device) -> dict[str, Any]:
    machine: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version(), "device": device.type}
    if device.type == "cuda":
        return machine | {"name": torch.cuda.get_device_name(device), "cudnn": torch.backends.cudnn.version()}
    described = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in described if line.startswith("model name")]
    return machine | {"name": [*names, platform.processor()][0], "threads": torch.get_num_threads()}
