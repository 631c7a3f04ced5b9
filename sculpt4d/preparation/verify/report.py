"""What verification says of one object."""

from pathlib import Path
from typing import NamedTuple

from sculpt4d.preparation.verify.findings import Finding
from sculpt4d.preparation.verify.masks import Snapshot


class ObjectReport(NamedTuple):
    """`kind`: layout of the folder (ours, release, static); no finding means clean."""

    name: str
    folder: Path
    kind: str
    frames: int
    findings: tuple[Finding, ...]
    snapshots: tuple[Snapshot, ...]
