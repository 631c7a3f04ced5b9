"""Atomic writes of files and folders, SHA-256 digests, strict JSON, and file locks.

A file or folder is first written under a hidden name in the same folder, then renamed. Readers see the old content or
the new content, never a partial one, even if the writing process is killed. File modes follow the umask.
"""

import errno
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

HIDDEN = re.compile(r"\..+\.(?P<what>draft|replaced)-(?P<host>.+)-(?P<pid>\d+)-\w+")
NAMED = 100  # characters of the target name kept in a hidden name: file names are limited to 255
ABANDONED = 24 * 3600.0  # seconds without a change after which a temporary file of another machine is stale


# --- files


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a hidden empty file that replaces `path` if the block succeeds and is removed otherwise.

    Creates parent folders. The block may write the file itself or let another library replace it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _hidden(path, "draft")
    draft.touch(exist_ok=False)
    mode = draft.stat().st_mode & 0o777
    try:
        yield draft
        if draft.stat().st_mode & 0o777 != mode:
            draft.chmod(mode)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing_file(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically; line endings are kept."""
    write_bytes(path, text.encode())


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# --- JSON


def to_json(content: Any, indent: int | None = 1, default: Callable[[Any], Any] | None = None) -> str:
    """Serialise to valid JSON. Non-finite numbers become null: NaN means "no value" in all records of this project.

    Raises TypeError for values JSON cannot represent, unless `default` converts them.
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False, default=default)


def write_json(path: Path, content: Any) -> None:
    """Write the `to_json` text of the content atomically."""
    write_text(path, to_json(content))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- folders


def new_draft(folder: Path) -> Path:
    """Create an empty hidden sibling of `folder`, named after this process so that `remove_stale` recognises it."""
    return _sibling(folder, "draft")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden empty folder that replaces `folder` if the block succeeds and is removed otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = new_draft(folder)
    try:
        yield draft
        move_into_place(draft, folder)
    finally:
        remove(draft)


def move_into_place(draft: Path, place: Path) -> None:
    """Rename a file or folder to `place`, replacing what is there.

    An existing folder is first moved aside. It is restored when the move fails, or by `remove_stale` when the process
    is killed between the two renames. If another process creates `place` between the renames, its folder stays and the
    draft is left where it is.
    """
    if not draft.is_dir():
        os.replace(draft, place)
        return
    aside = _sibling(place, "replaced")
    try:
        with suppress(FileNotFoundError):
            os.replace(place, aside / place.name)
        try:
            os.replace(draft, place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    except BaseException:
        _restore(aside, place)
        raise
    done = _hidden(place, "draft")  # renamed first, so that a partly deleted folder is never restored
    os.replace(aside, done)
    remove(done)


def _restore(aside: Path, place: Path) -> None:
    """Move the folder set aside for `place` back, unless `place` exists again."""
    if not place.exists() and (aside / place.name).exists():
        os.replace(aside / place.name, place)
    remove(aside)


def remove(path: Path) -> None:
    """Delete a file or folder if it exists. Tolerates another process deleting it at the same time."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_stale(root: Path) -> None:
    """Remove temporary files and folders that killed processes left in `root`.

    They are stale when their process no longer runs on this machine, or when they belong to another machine and have
    not changed for a day. A folder that was moved aside for a replacement that never came is restored.
    """
    for path in root.iterdir() if root.is_dir() else ():
        named = HIDDEN.fullmatch(path.name)
        if named and (_gone(int(named["pid"])) if named["host"] == socket.gethostname() else _idle(path)):
            if named["what"] == "replaced":
                with suppress(OSError):  # another process may clean up at the same time
                    for old in path.iterdir():
                        _restore(path, root / old.name)
            remove(path)


def _hidden(place: Path, what: str) -> Path:
    name = f".{place.name[:NAMED]}.{what}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    return place.with_name(name)


def _sibling(place: Path, what: str) -> Path:
    path = _hidden(place, what)
    path.mkdir()
    return path


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # the process exists and belongs to another user
        return False
    return False


def _idle(path: Path) -> bool:
    try:
        changed = max(part.stat().st_mtime for part in (path, *path.rglob("*")))
    except FileNotFoundError:  # its process is deleting it
        return False
    return time.time() - changed > ABANDONED


# --- locks


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """File lock: the first process does the work, the others wait and reuse it.

    At most one process of this machine holds the lock of `path`, which need not exist. The lock is a hidden file next
    to `path` and is deleted when the work is done. It is released when its process ends for any reason. Not reentrant.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.lock")
    lock = FileLock(place)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for another process that makes %s", path)
        lock.acquire()
    try:
        yield
    finally:
        place.unlink(missing_ok=True)  # deleted while held: a waiting process notices and creates a new file
        lock.release()
