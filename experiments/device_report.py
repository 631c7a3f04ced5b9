"""Every check and timing of attention and of the full-size denoiser on one device, in one go, as one JSON file.

python -m experiments.device_report experiments/results/attention_h200.json

Each part is a process of its own, so that one that fails, or runs out of memory, is told in the file and stops no
other. --small measures the same parts at sizes that a CPU finishes in a minute: it checks the command, not the device.
"""

import argparse
import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from sculpt4d.files import write_json

PAPER = ["--tokens", "4096", "--block", "128", "--heads", "16", "--width", "128"]
EXACT = ["--tokens", "1024", "--block", "128", "--heads", "4", "--width", "64"]
MODEL = ["--latents", "4096", "--width", "2048", "--heads", "16", "--depth", "21", "--moe", "6"]
MODEL += ["--context", "1370", "--block", "128", "--dtype", "bf16"]
TINY = ["--tokens", "64", "--block", "2", "--heads", "2", "--width", "32"]
FRAMES = (8, 16, 32)
EVALUATIONS = {"forward": "generate", "forward + backward, recomputed": "train, recompute"}


def parts(device: str, small: bool) -> Iterator[tuple[str, list[str]]]:
    """(what is measured, arguments of the command that prints it as JSON in its last line)."""
    benchmark, clips = ["sculpt4d.attention.benchmark", "--device", device, "--json"], ["experiments.long_clips"]
    model = [*clips, "--device", device, *([] if small else MODEL)]
    for passes in ([], ["--backward"]):
        name = "forward + backward" if passes else "forward"
        for frames in FRAMES[:1] if small else FRAMES:
            sizes = [*(TINY if small else PAPER), "--frames", str(frames), "--dtype", "bf16"]
            yield f"attention, {frames} frames, bf16, {name}", [*benchmark, *sizes, *passes]
        for dtype in ("bf16", "fp32"):
            named = ["--backends", "reference,merged"] if device == "cpu" else []
            sizes = [*(TINY if small else EXACT), "--frames", "8", "--dtype", dtype, *named]
            yield f"attention, exactness, {dtype}, {name}", [*benchmark, *sizes, *passes]
    for name, mode in EVALUATIONS.items():
        yield f"one block, 16 frames, {name}", [*model, "--depth", "1", "--moe", "0", "--row", json.dumps([16, mode])]
        yield f"denoiser, 16 frames, {name}", [*model, "--row", json.dumps([16, mode])]


def measure(arguments: Sequence[str], limit: float) -> Any:
    """The JSON that a command ends with; what went wrong as {"failed": last line}."""
    try:
        done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done in {limit:.0f} s"}
    if done.returncode:
        return {"failed": [*done.stderr.strip().splitlines(), f"exit status {done.returncode}"][-2:]}
    found = json.loads(done.stdout.splitlines()[-1])
    return dict(zip(("peak_bytes", "in_out_bytes", "seconds"), found, strict=True)) if "--row" in arguments else found


def main(given: Sequence[str] | None = None) -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser("python -m experiments.device_report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("output", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--limit", type=float, default=120, help="seconds of one part")
    options = parser.parse_args(given)
    if options.device == "cpu" and not options.small:
        parser.error("the paper's sizes take hours on a CPU: pass --small, or run it where there is a GPU")
    started, listed = time.perf_counter(), list(parts(options.device, options.small))
    found = {name: measure(arguments, options.limit) for name, arguments in track(listed, "measuring")}
    report = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or "cpu",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "seconds": round(time.perf_counter() - started, 1),
        "commands": {name: shlex.join(["python", "-m", *arguments]) for name, arguments in listed},
        "parts": found,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, report)
    failed = [name for name, result in found.items() if "failed" in result]
    print(f"{options.output}: {len(found) - len(failed)} parts measured, failed: {', '.join(failed) or 'none'}")


if __name__ == "__main__":
    main()
