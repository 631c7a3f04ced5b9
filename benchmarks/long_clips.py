"""Memory and time of long clips: one evaluation of the denoiser, and one training step, at 16 to 128 frames.

Random weights at a small width by default, as a CPU allows; --width 2048 --heads 16 --depth 21 --latents 4096
--context 1370 --dtype bf16 --device cuda is the full size. Every row runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.progress import track

from benchmarks.record import BenchmarkRecord, add_record, command_line, record
from experiments.report import Table, markdown
from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.model.denoiser import Denoiser

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MODES = {
    "generate": "one evaluation",
    "generate, low memory": "one evaluation, low_memory=true",
    "train": "one training step",
    "train, recompute": "one training step, stage.recompute=true",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser("python -m benchmarks.long_clips", description=__doc__)
    found.formatter_class = argparse.RawDescriptionHelpFormatter
    found.add_argument("--frames", type=int, nargs="+", default=[16, 32, 64, 128])
    found.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    sizes = {"latents": 256, "width": 64, "heads": 2, "depth": 5, "moe": 1, "context": 32, "block": 8, "threads": 1}
    for name, value in sizes.items():
        found.add_argument(f"--{name}", type=int, default=value)
    found.add_argument("--dtype", choices=DTYPES, default="fp32")
    found.add_argument("--device", default="cpu")
    add_record(found)
    found.add_argument("--row", help=argparse.SUPPRESS)  # frames and mode of the one row of a child process
    return found


def main() -> None:
    """Prints the table."""
    given = parser().parse_args()
    if given.row:
        print(json.dumps(measure(given, *json.loads(given.row))))
        return
    cases = [(frames, mode) for mode in given.modes for frames in given.frames]
    rows: list[tuple[str, ...]] = []
    peaks: dict[tuple[str, int], int] = {}
    for frames, mode in track(cases, "measuring"):
        command = [sys.executable, "-m", "benchmarks.long_clips", *_sizes(given), "--row", json.dumps([frames, mode])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            rows.append((MODES[mode], str(frames), *["failed"] * 3, done.stderr.strip().splitlines()[-1][:80]))
            continue
        peak, kept, seconds = json.loads(done.stdout.splitlines()[-1])
        peaks[mode, frames] = peak
        rows.append((MODES[mode], str(frames), *(f"{x / 1e6:.0f}" for x in (peak, kept)), f"{peak / frames / 1e6:.2f}"))
        rows[-1] += (f"{seconds:.1f}",)
    clock = "CPU seconds" if given.device == "cpu" else "seconds"
    header = ("what", "frames", "peak (MB)", "of it inputs and outputs (MB)", "peak per frame (MB)", clock)
    sizes = f"{given.latents} latents a frame, width {given.width}, {given.depth} blocks, {given.dtype}, {given.device}"
    print(markdown(Table(f"Memory above the weights: {sizes}, torch {torch.__version__}", header, tuple(rows))))
    if given.record is not None:
        ratios = {
            f"{MODES[mode]}, peak / without it, {frames} frames": peaks[mode, frames] / peaks[plain, frames]
            for (mode, frames) in peaks
            if mode != (plain := mode.partition(",")[0]) and (plain, frames) in peaks
        }
        figures = {f"{MODES[mode]}, {frames} frames, peak (MB)": peak / 1e6 for (mode, frames), peak in peaks.items()}
        line = command_line("benchmarks.long_clips", None)
        print(record(BenchmarkRecord("long clips", line, 0, ratios, figures), given.record))


def _sizes(given: argparse.Namespace) -> list[str]:
    """The arguments of a child process, which measures one row."""
    names = ("latents", "width", "heads", "depth", "moe", "context", "block", "threads", "dtype", "device")
    return [word for name in names for word in (f"--{name}", str(getattr(given, name)))]


def measure(given: argparse.Namespace, frames: int, mode: str) -> tuple[int, int, float]:
    """Bytes at the highest above the loaded model, bytes of inputs and outputs, seconds."""
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    pattern = StridedPattern(block_size=given.block)
    sizes = {"in_channels": 64, "hidden_size": given.width, "context_dim": given.width // 2, "depth": given.depth}
    torch.set_default_dtype(DTYPES[given.dtype])
    with device:
        model = Denoiser(**sizes, num_heads=given.heads, num_moe_layers=given.moe, pattern=pattern)
        latents = torch.randn(1, frames, given.latents, 64, dtype=torch.float32)
        context = torch.randn(1, frames, given.context, given.width // 2)
    time_of_flow = torch.full((1,), 0.5, device=device)
    model(latents[:, :1], time_of_flow, context[:, :1])  # kernels and pools that every process needs once
    low, start = _memory(device), _clock(device)
    if mode.startswith("generate"):
        model.eval()
        if "low" in mode:
            model.save_memory()
        with torch.no_grad():
            model(latents, time_of_flow, context)
    else:
        model.train().recompute = "recompute" in mode
        model(latents, time_of_flow, context).square().mean().backward()
    seconds = _clock(device) - start
    weights = sum(value.nbytes for value in model.parameters()) if mode.startswith("train") else 0
    return _peak(device) - low - weights, 2 * latents.nbytes + context.nbytes, seconds


def _status(field: str) -> int:
    """Bytes that Linux books for this process."""
    lines: Iterator[str] = iter(Path("/proc/self/status").read_text().splitlines())
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _memory(device: torch.device) -> int:
    if device.type != "cuda":
        return _status("VmRSS")
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


if __name__ == "__main__":
    main()
