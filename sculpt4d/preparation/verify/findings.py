"""What verification found: one line per fault, with its remedy, and the frames that have it."""

from collections.abc import Iterable
from typing import NamedTuple

AGAIN = "prepare the object again (python prepare.py)"


class Finding(NamedTuple):
    """One fault. `check` names the rule; `frames` is empty when the fault is the object's as a whole."""

    check: str
    what: str
    remedy: str
    frames: tuple[int, ...] = ()

    def line(self) -> str:
        """The finding as the console shows it."""
        return f"{self.check}{self.where()}: {self.what}; {self.remedy}"

    def where(self) -> str:
        return f" ({spell(self.frames)})" if self.frames else ""


def merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of one rule and remedy become one, worded as in the first of their frames."""
    merged: dict[tuple[str, str], Finding] = {}
    counts: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = finding.check, finding.remedy
        counts[key] = counts.get(key, 0) + 1
        frames = merged[key].frames if key in merged else ()
        together = tuple(sorted({*frames, *finding.frames}))
        merged[key] = (merged.get(key) or finding)._replace(frames=together)
    return tuple(
        finding._replace(what=f"{finding.what}, and {counts[key] - 1} more like it") if counts[key] > 1 else finding
        for key, finding in merged.items()
    )


def spell(frames: tuple[int, ...]) -> str:
    """Frame numbers with runs shortened: frames 0-3, 7."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    words = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"frame {words}" if len(frames) == 1 else f"frames {words}"
