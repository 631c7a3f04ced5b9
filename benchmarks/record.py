"""Benchmark results as one JSON file per day and machine, and the table made from all of them.

results/benchmarks/<date>_<machine>.json holds the machine, the versions and a list of measurements. A measurement is
one command with its seed and what it gave. Ratios are kept, not seconds alone: a shared machine changes both sides.
"""

import argparse
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from experiments.report import Table
from experiments.results import BENCHMARKS, ROOT
from sculpt4d.evaluation.provenance import hardware, versions
from sculpt4d.evaluation.records import part, read_record
from sculpt4d.files import write_json

FOLDER = ROOT / "results" / BENCHMARKS


@dataclass(frozen=True)
class BenchmarkRecord:
    """One benchmark run. ratios: name to value; what a ratio is of stands in its name. figures: other numbers, with
    their units in their names. seed: None if nothing is drawn.
    """

    benchmark: str
    command: str
    seed: int | None
    ratios: Mapping[str, float]
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """All measurements of one day on one machine. note: what else may have changed the numbers."""

    date: str
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]
    note: str
    measurements: tuple[BenchmarkRecord, ...]


def record(measurement: BenchmarkRecord, note: str) -> Path:
    """Adds a measurement to today's file of this machine in `FOLDER`; it replaces one of the same command."""
    today, machine = date.today().isoformat(), {**hardware(), "cpu": cpu()}
    words = machine["gpu"] if machine["gpu"] != "none" else machine["cpu"]
    name = re.sub(r"[^a-z0-9]+", "-", str(words).lower()).strip("-")
    path = FOLDER / f"{today}_{name}.json"
    known = read(path).measurements if path.is_file() else ()
    kept = [each for each in known if each.command != measurement.command]
    session = Session(today, machine, versions(), note, (*kept, measurement))
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(session))
    return path


def read(path: Path) -> Session:
    """Raises ValueError, naming the file, where it is not a record of benchmarks."""

    def session(content: dict[str, Any]) -> Session:
        listed = tuple(BenchmarkRecord(**entry) for entry in part(content, "measurements", list))
        texts = {name: part(content, name, str) for name in ("date", "note")}
        return Session(
            hardware=part(content, "hardware"), versions=part(content, "versions"), measurements=listed, **texts
        )

    return read_record(path, "a record of benchmarks", session)


def add_record(parser: argparse.ArgumentParser) -> None:
    """The option that keeps the result, as `record`: None, or a note."""
    told = "add the result to results/benchmarks, with a note on what else was running"
    parser.add_argument("--record", nargs="?", const="", metavar="NOTE", help=told)


def command_line(module: str, arguments: Sequence[str] | None) -> str:
    """The command that was given, without --record and its note."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--record" in given:
        place = given.index("--record")
        del given[place : place + 2]
    return shlex.join(["python", "-m", module, *given])


def table(sources: Sequence[Path] = ()) -> Table:
    """A row for every ratio and figure, newest last. sources: files and folders; none: results/benchmarks."""
    files = sorted(file for source in sources or [FOLDER] for file in _files(source))
    sessions = [read(file) for file in files]
    rows = [row for session in sessions for row in _rows(session)]
    notes = {f"{session.date}, {_machine(session)}: {session.note}": None for session in sessions if session.note}
    return Table(
        "Benchmarks",
        ("benchmark", "what", "value", "date", "machine", "torch", "seed", "command"),
        tuple(rows),
        ("A ratio is of the same run on the same machine; seconds of different machines do not compare.", *notes),
    )


def cpu() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _files(source: Path) -> Iterable[Path]:
    if source.is_file():
        return [source]
    found = sorted(source.glob("*.json"))
    if not found:
        raise FileNotFoundError(f"{source} holds no record of benchmarks: run one with --record")
    return found


def _rows(session: Session) -> Iterable[tuple[str, ...]]:
    for each in session.measurements:
        seed = "-" if each.seed is None else str(each.seed)
        origin = (session.date, _machine(session), session.versions.get("torch", "not stated"), seed)
        for what, value in (*each.ratios.items(), *each.figures.items()):
            yield each.benchmark, what, f"{value:.4g}", *origin, f"`{each.command}`"


def _machine(session: Session) -> str:
    gpu = session.hardware.get("gpu", "none")
    words = session.hardware.get("cpu", "not stated") if gpu == "none" else gpu
    return f"{words}, {session.hardware.get('threads', '?')} threads"
