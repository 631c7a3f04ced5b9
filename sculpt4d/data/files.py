"""Small files that appear whole or not at all, and the hash of any file."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Written beside its place first, then moved there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, object]) -> None:
    write_text(path, json.dumps(content, indent=1))
