"""Findings of verification: one per fault, with its remedy and the frames concerned."""

from collections.abc import Iterable
from typing import NamedTuple

AGAIN = "prepare the object again (python prepare.py)"


class Finding(NamedTuple):
    """One fault. check: name of the rule. frames: empty when the fault concerns the whole object."""

    check: str
    what: str
    remedy: str
    frames: tuple[int, ...] = ()

    def line(self) -> str:
        """Return the finding as one line for the console."""
        return f"{self.check}{self.where()}: {self.what}; {self.remedy}"

    def where(self) -> str:
        return f" ({spell(self.frames)})" if self.frames else ""


def merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Merge findings with the same rule and remedy; the text is that of the first one."""
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
    """Format frame numbers with ranges: frames 0-3, 7."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    words = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"frame {words}" if len(frames) == 1 else f"frames {words}"
