"""Hidden folders in which objects are made, named after their process, so that those of dead ones can be found."""

import os
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path

DRAFT = re.compile(r"\..+\.draft-(?P<host>.+)-(?P<pid>\d+)-\w+")
NAMED = 100  # letters of the object's name: a file name has 255
ABANDONED = 24 * 3600.0  # seconds without a change after which a draft of another machine belongs to nobody


def new_draft(folder: Path) -> Path:
    """An empty hidden sibling of `folder`."""
    prefix = f".{folder.name[:NAMED]}.draft-{socket.gethostname()}-{os.getpid()}-"
    return Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))


def sweep_drafts(root: Path) -> None:
    """Removes the drafts in `root` whose process was killed: gone from this machine, or idle for a day on another."""
    for path in root.iterdir() if root.is_dir() else ():
        named = DRAFT.fullmatch(path.name)
        if named and (_gone(int(named["pid"])) if named["host"] == socket.gethostname() else _idle(path)):
            shutil.rmtree(path, ignore_errors=True)  # another run may sweep it at the same time


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # alive, of another user
        return False
    return False


def _idle(path: Path) -> bool:
    try:
        changed = max(part.stat().st_mtime for part in (path, *path.rglob("*")))
    except FileNotFoundError:  # its process is removing it
        return False
    return time.time() - changed > ABANDONED
