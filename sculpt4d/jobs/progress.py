"""How far a run over many objects is, and how long it will still take."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sculpt4d.jobs.executor import Outcome

log = logging.getLogger(__name__)

LINE_EVERY = 60.0  # seconds between two lines where there is no terminal to draw a bar in


def shown(outcomes: Iterable[Outcome], total: int, doing: str = "Preparing") -> Iterator[Outcome]:
    """Passes the outcomes on under a progress bar; a log file gets a line a minute instead."""
    console = Console(stderr=True)
    losses_and_rate = TextColumn("{task.description}")
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), losses_and_rate)
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    counts: Counter[str] = Counter()
    start = told = time.monotonic()
    with bar:
        row = bar.add_task("", total=total)
        for outcome in outcomes:
            counts[outcome.status] += 1
            now = time.monotonic()
            bar.update(row, advance=1, description=told_of(counts, total, now - start))
            if bar.disable and now - told > LINE_EVERY:
                told = now
                log.info("%d of %d objects: %s", counts.total(), total, told_of(counts, total, now - start))
            yield outcome


def told_of(counts: Counter[str], total: int, seconds: float) -> str:
    """Skips and failures so far, the rate of the whole run and the time that is left at that rate."""
    rate = counts.total() / max(seconds, 1e-9)
    left = (total - counts.total()) / rate
    losses = f"{counts['skipped']} skipped, {counts['failed']} failed"
    return f"{losses}, {60 * rate:.3g} a minute, {_clock(left)} left"


def _clock(seconds: float) -> str:
    """1:02:03, and days where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{hours}:{minutes:02d}:{rest:02d}"
