"""Verification report: a self-contained HTML page, and the same content as JSON."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from sculpt4d.files import write_json, write_text
from sculpt4d.preparation.verify.findings import Finding
from sculpt4d.preparation.verify.masks import Snapshot


class ObjectReport(NamedTuple):
    """Report on one object. kind: layout of the folder (ours, release, static). No findings means clean."""

    name: str
    folder: Path
    kind: str
    frames: int
    findings: tuple[Finding, ...]
    snapshots: tuple[Snapshot, ...]


SIDE = 256  # snapshot size on the page in pixels
STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1100px;color:#222}
h2{margin:1.6em 0 .3em}.bad{color:#b00020}.good{color:#0a7a33}li{margin:.25em 0}
figure{display:inline-block;margin:0 .5em .5em 0}figcaption{font-size:12px;color:#666}
img{width:256px;border:1px solid #ddd}table{border-collapse:collapse}td,th{padding:.2em .8em .2em 0;text-align:left}"""


def write_page(path: Path, reports: Sequence[ObjectReport], sampled: str) -> None:
    """Write the HTML page: a summary, then every object with its findings, remedies and snapshots."""
    wrong = sum(bool(report.findings) for report in reports)
    verdict = f"{wrong} of {len(reports)} objects have findings" if wrong else f"{len(reports)} objects, no finding"
    rows = "".join(
        f"<tr><td><a href='#{html.escape(report.name)}'>{html.escape(report.name)}</a></td><td>{report.frames}</td>"
        f"<td class={'bad' if report.findings else 'good'}>{len(report.findings) or 'clean'}</td></tr>"
        for report in reports
    )
    body = (
        f"<h1 class={'bad' if wrong else 'good'}>{verdict}</h1><p>{html.escape(sampled)} Dots are projected surface "
        f"points: blue inside the picture's mask, red outside.</p><table><tr><th>object</th><th>frames</th>"
        f"<th>findings</th></tr>{rows}</table>{''.join(map(_section, reports))}"
    )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{verdict}</title><style>{STYLE}</style>{body}</html>"
    )
    write_text(path, page)


def write_findings(path: Path, reports: Sequence[ObjectReport]) -> None:
    """Write the findings of every object as JSON."""
    content = [
        {
            "name": report.name,
            "folder": str(report.folder),
            "layout": report.kind,
            "frames": report.frames,
            "findings": [finding._asdict() for finding in report.findings],
        }
        for report in reports
    ]
    write_json(path, {"clean": not any(report.findings for report in reports), "objects": content})


def _section(report: ObjectReport) -> str:
    name = html.escape(report.name)
    findings = "".join(
        f"<li><b>{html.escape(finding.check)}</b> {html.escape(finding.where())}: {html.escape(finding.what)}. "
        f"<i>Remedy: {html.escape(finding.remedy)}.</i></li>"
        for finding in report.findings
    )
    words = f"<ul class=bad>{findings}</ul>" if findings else "<p class=good>clean</p>"
    return f"<h2 id='{name}'>{name}</h2>{words}<div>{''.join(map(_figure, report.snapshots))}</div>"


def _figure(snapshot: Snapshot) -> str:
    image = Image.fromarray(snapshot.image)
    if image.width > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    stored = io.BytesIO()
    image.save(stored, "PNG", optimize=True)
    source = base64.b64encode(stored.getvalue()).decode()
    label = f"frame {snapshot.frame}, view {snapshot.view}"
    return f"<figure><img alt='{label}' src='data:image/png;base64,{source}'><figcaption>{label}</figcaption></figure>"
