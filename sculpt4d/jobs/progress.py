"""Progress bar and remaining time of a run over many objects."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sculpt4d.jobs.executor import Outcome

log = logging.getLogger(__name__)

LINE_EVERY = 60.0  # seconds between log lines when there is no terminal for a progress bar


def shown(outcomes: Iterable[Outcome], total: int, doing: str = "Preparing") -> Iterator[Outcome]:
    """Pass the outcomes through while showing a progress bar; without a terminal, log one line per minute."""
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
    """Return the counts of skipped and failed objects, the average rate and the remaining time at that rate."""
    rate = counts.total() / max(seconds, 1e-9)
    left = (total - counts.total()) / rate
    losses = f"{counts['skipped']} skipped, {counts['failed']} failed"
    return f"{losses}, {60 * rate:.3g} a minute, {_clock(left)} left"


def _clock(seconds: float) -> str:
    """Format seconds as 1:02:03, with days if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{hours}:{minutes:02d}:{rest:02d}"
