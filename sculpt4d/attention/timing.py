"""Timing of computations: process time, insensitive to other processes, with candidates measured in turns."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import median

import torch


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Process time on the CPU, which a busy machine affects little; elsewhere wall time until the work is finished."""
    if device.type == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.accelerator.synchronize(device)
    start = time.perf_counter()
    run()
    torch.accelerator.synchronize(device)
    return time.perf_counter() - start


def rounds(runs: Mapping[str, Callable[[], object]], count: int, device: torch.device) -> Iterator[tuple[str, float]]:
    """Time all candidates in turn, `count` times, after one warm-up round."""
    for run in runs.values():
        run()
    for _ in range(count):
        for name, run in runs.items():
            yield name, seconds(run, device)


def medians(times: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Median time of each candidate in seconds."""
    found: dict[str, list[float]] = {}
    for name, taken in times:
        found.setdefault(name, []).append(taken)
    return {name: median(taken) for name, taken in found.items()}
