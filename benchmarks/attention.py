"""All backends beside dense attention of the same shape, in turns in one process.

python -m benchmarks.attention --frames 16 --tokens 1024 --block 32 --heads 2 --width 64 --dtype fp32 --backward

`ratio` is time over that of dense unmasked attention (the fastest that PyTorch has for the shape); `efficiency` is
density / ratio, 1 when every product that is left out is a product saved; `error` is absolute against float64, in half
precision relative; `memory` counts tensors of the size of the queries, results included. On the CPU time is process
time, which a busy machine stretches little, of one thread unless told otherwise: of several, waiting counts too.
A pattern that depends on the clip is that of a clip which speeds up.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table

from sculpt4d.attention.backends import BACKENDS, AttentionCase
from sculpt4d.attention.comparison import DTYPES, compare, messages
from sculpt4d.attention.patterns import Pattern
from sculpt4d.attention.plot import draw
from sculpt4d.resources import resource

CONF = resource("conf")
PLOTTED = (4, 8, 16, 32, 64)  # frames
COUNTS = ("frames", "tokens", "heads", "width", "block", "rounds", "threads")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (ValueError, ImportError) as problem:
        parser.error(str(problem))


def run(options: argparse.Namespace) -> None:
    """One report, or with `plot` one for each number of frames."""
    if any(vars(options)[name] < 1 for name in COUNTS):
        raise ValueError(f"{', '.join(COUNTS)} are whole numbers from 1 up: correct them")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.set_num_threads(options.threads)
    pattern, dtype = configured(options.pattern, options.block), DTYPES[options.dtype]
    names = options.backends.split(",") if options.backends else None
    reports = {}
    for frames in PLOTTED if options.plot else (options.frames,):
        shape = (frames, options.tokens, options.heads, options.width)
        reports[frames] = compare(
            AttentionCase(pattern.typical(frames), *shape, dtype, device, options.backward), names, options.rounds
        )
    if options.plot:
        title = f"{options.pattern}, {options.tokens} tokens a frame, {options.dtype}, {device.type}"
        draw(options.plot, reports, title)
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


def show(report: dict[str, Any]) -> None:
    """The report as a table."""
    shape, machine = report["shape"], report["machine"]
    passes = "forward + backward" if shape["backward"] else "forward"
    title = "{frames} frames x {tokens} tokens, {heads} heads of {width}, {dtype}, ".format(**shape) + passes
    caption = f"{shape['pattern']}, density {report['density']:.4f}; auto: {report['chosen']} ({report['reason']})\n"
    table = Table(title=title, caption=caption + ", ".join(f"{key} {value}" for key, value in machine.items()))
    for heading in ("backend", "seconds", "ratio", "efficiency", "error", "memory"):
        table.add_column(heading, justify="left" if heading == "backend" else "right")
    seconds = f"{report['dense_seconds']:.4f}"
    table.add_row(f"dense ({report['dense']})", seconds, "1", "", "", _tensors(report["dense_memory"]))
    for row in report["rows"]:
        numbers = (f"{row['seconds']:.4f}", f"{row['ratio']:.3f}", f"{row['efficiency']:.3f}", f"{row['error']:.1e}")
        table.add_row(row["backend"], *numbers, _tensors(row["memory"]))
    Console(file=sys.stdout).print(table)


def _tensors(memory: float | None) -> str:
    return "" if memory is None else f"{memory:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__)
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
