"""All backends beside dense attention of the same shape, in turns in one process.

python -m sculpt4d.attention.benchmark --frames 16 --tokens 1024 --block 32 --heads 2 --width 64 --dtype fp32 --backward

`ratio` is time over that of dense unmasked attention (the fastest that PyTorch has for the shape); `efficiency` is
density / ratio, 1 when every product that is left out is a product saved; `error` is absolute against float64, in half
precision relative; `memory` counts tensors of the size of the queries, results included. On the CPU time is process
time, which a busy machine stretches little, of one thread unless told otherwise: of several, waiting counts too.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sculpt4d.attention.backends import BACKENDS, Backend, Case, choose
from sculpt4d.attention.measure import error, extra_memory, inputs, work
from sculpt4d.attention.patterns import Pattern
from sculpt4d.attention.plot import draw
from sculpt4d.attention.timing import medians, rounds

CONF = Path(__file__).resolve().parents[2] / "conf"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
PLOTTED = (4, 8, 16, 32, 64)  # frames
WHOLE_MASK = 2**28  # entries of a mask up to which `reference` runs unasked
messages = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (ValueError, ImportError) as problem:
        parser.error(str(problem))


def run(options: argparse.Namespace) -> None:
    """One report, or with `plot` one for each number of frames."""
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.set_num_threads(options.threads)
    pattern = configured(options.pattern, options.block)
    names = options.backends.split(",") if options.backends else None
    cases = {
        frames: Case(
            pattern,
            frames,
            options.tokens,
            options.heads,
            options.width,
            DTYPES[options.dtype],
            device,
            options.backward,
        )
        for frames in (PLOTTED if options.plot else (options.frames,))
    }
    reports = {frames: compare(case, names, options.rounds) for frames, case in cases.items()}
    if options.plot:
        draw(
            options.plot, reports, f"{options.pattern}, {options.tokens} tokens a frame, {options.dtype}, {device.type}"
        )
        messages.print(f"picture: {options.plot}")
    found = list(reports.values())
    if options.json:
        print(json.dumps(found if options.plot else found[0]))
    else:
        for report in found:
            show(report)


def configured(name: str, block: int) -> Pattern:
    """The pattern of an option of conf/attention; ValueError with the options there are."""
    options = sorted(path.stem for path in (CONF / "attention").glob("*.yaml"))
    if name not in options:
        raise ValueError(f"there is no pattern {name!r}: pass --pattern {', '.join(options)}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+attention={name}", f"++model.block_size={block}"])
    return instantiate(config.attention)


def compare(case: Case, names: Sequence[str] | None, count: int) -> dict[str, Any]:
    """Time, error and memory of the backends that can run a case, or of those named."""
    given = inputs(case)
    unit = given.q.numel() * given.q.element_size()
    chosen, reason = choose("auto", case)
    runs: dict[str, Callable[[], object]] = {
        f"dense {name}": work(run, case, given) for name, run in dense(case).items()
    }
    errors: dict[str, float] = {}
    for name in names or BACKENDS:
        if name not in BACKENDS:
            raise ValueError(f"there is no attention backend {name!r}: pass --backends {','.join(BACKENDS)}")
        left_out = None if names else _unasked(name, case)
        try:
            if not left_out:
                errors[name] = error(BACKENDS[name], case, given)
                runs[name] = work(BACKENDS[name], case, given)
        except (ValueError, ImportError) as refusal:
            if names:
                raise
            left_out = str(refusal)
        if left_out:
            _announce(f"without {name}: {left_out}")
    with Progress(console=messages, transient=True) as bar:
        turns = bar.track(
            rounds(runs, count, case.device), total=count * len(runs), description=f"{case.frames} frames"
        )
        times = medians(iter(turns))
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


def dense(case: Case) -> dict[str, Backend]:
    """Unmasked attention by the operators that PyTorch has for the case."""
    q = inputs(case._replace(frames=1)).q.requires_grad_(case.gradients)
    if case.device.type != "cuda":
        return {SDPBackend(torch._fused_sdp_choice(q, q, q)).name.lower(): _unmasked}
    found: dict[str, Backend] = {}
    for kind in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
        run = partial(_unmasked, kind=kind)
        try:
            run(q, q, q, case.pattern, 1)
        except RuntimeError:  # how PyTorch says that an operator does not take these inputs
            continue
        found[kind.name.lower()] = run
    return found or {"math": _unmasked}


def _unmasked(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, frames: int, kind: SDPBackend | None = None) -> Tensor:
    if kind is None:
        return F.scaled_dot_product_attention(q, k, v)
    with sdpa_kernel(kind):
        return F.scaled_dot_product_attention(q, k, v)


def _unasked(name: str, case: Case) -> str | None:
    """Why a backend runs only when it is named."""
    length = case.frames * case.tokens
    if name == "flex" and case.device.type != "cuda":
        return "uncompiled on this device, for checks alone: pass --backends to see it"
    if name == "reference" and length**2 > WHOLE_MASK:
        return f"its mask has {length**2:.1e} entries: pass --backends to see it"
    return None


@cache
def _announce(message: str) -> None:
    messages.print(message, highlight=False, soft_wrap=True)


def _shape(case: Case) -> dict[str, Any]:
    shape = {name: getattr(case, name) for name in ("frames", "tokens", "heads", "width")}
    names = {dtype: name for name, dtype in DTYPES.items()}
    return shape | {"dtype": names[case.dtype], "backward": case.gradients, "pattern": str(case.pattern)}


def _machine(device: torch.device) -> dict[str, Any]:
    machine: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version(), "device": device.type}
    if device.type == "cuda":
        return machine | {"name": torch.cuda.get_device_name(device), "cudnn": torch.backends.cudnn.version()}
    return machine | {"name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}


def show(report: dict[str, Any]) -> None:
    """The report as a table."""
    shape, machine = report["shape"], report["machine"]
    passes = "forward + backward" if shape["backward"] else "forward"
    title = "{frames} frames x {tokens} tokens, {heads} heads of {width}, {dtype}, ".format(**shape) + passes
    caption = f"{shape['pattern']}, density {report['density']:.4f}; auto: {report['chosen']} ({report['reason']})\n"
    table = Table(title=title, caption=caption + ", ".join(f"{key} {value}" for key, value in machine.items()))
    for heading in ("backend", "seconds", "ratio", "efficiency", "error", "memory"):
        table.add_column(heading, justify="left" if heading == "backend" else "right")
    table.add_row(
        f"dense ({report['dense']})", f"{report['dense_seconds']:.4f}", "1", "", "", _tensors(report["dense_memory"])
    )
    for row in report["rows"]:
        numbers = (f"{row['seconds']:.4f}", f"{row['ratio']:.3f}", f"{row['efficiency']:.3f}", f"{row['error']:.1e}")
        table.add_row(row["backend"], *numbers, _tensors(row["memory"]))
    Console(file=sys.stdout).print(table)


def _tensors(memory: float | None) -> str:
    return "" if memory is None else f"{memory:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sculpt4d.attention.benchmark", description=__doc__)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=4096, help="of a frame")
    parser.add_argument("--block", type=int, default=128, help="tokens of a block")
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--width", type=int, default=128, help="of a head")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--pattern", default="blockmask_decay", help="an option of conf/attention")
    parser.add_argument("--backward", action="store_true", help="forward and backward together")
    parser.add_argument("--backends", help="only these, with commas between: " + ",".join(BACKENDS))
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians count")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--device", help="cpu, cuda, mps; a GPU when there is one")
    parser.add_argument("--json", action="store_true", help="the report as one line of JSON")
    parser.add_argument("--plot", type=Path, help=f"draw time against {PLOTTED} frames into this picture")
    return parser


if __name__ == "__main__":
    main()
