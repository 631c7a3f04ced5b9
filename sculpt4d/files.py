"""Files and folders that appear whole or not at all, their digests, strict JSON, and file locks.

A file or folder is written beside its place under a hidden name, then renamed: a reader, or a process that is killed at
any moment, sees the old one or the new one. Modes are those of the umask.
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
NAMED = 100  # letters of the place's name in a hidden one: a file name has 255
ABANDONED = 24 * 3600.0  # seconds without a change after which a draft of another machine belongs to nobody


# --- files


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A hidden empty file that takes the place of `path` when the block ends well, and vanishes if not.

    Folders above are made. The block may write the file itself or let another library replace it.
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
    """Write a file whole."""
    with replacing_file(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole, line ends as they are."""
    write_bytes(path, text.encode())


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# --- JSON


def to_json(content: Any, indent: int | None = 1, default: Callable[[Any], Any] | None = None) -> str:
    """Valid JSON text. A number that is not finite becomes null: NaN means "no value" in every record here.

    Raises TypeError for what JSON cannot hold, unless `default` turns it into something that it can.
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False, default=default)


def write_json(path: Path, content: Any) -> None:
    """Write `to_json` of the content whole."""
    write_text(path, to_json(content))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- folders


def new_draft(folder: Path) -> Path:
    """An empty hidden sibling of `folder`, named after this process, so that `remove_stale` finds it."""
    return _sibling(folder, "draft")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A hidden empty folder that takes the place of `folder` when the block ends well, and vanishes if not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = new_draft(folder)
    try:
        yield draft
        move_into_place(draft, folder)
    finally:
        remove(draft)


def move_into_place(draft: Path, place: Path) -> None:
    """Rename a file or folder to `place`, which it replaces.

    A folder that is there steps aside first. It comes back when the move fails, or by `remove_stale` when the process
    is killed between the two renames. Another process that puts its folder there between them wins: the draft stays.
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
    done = _hidden(place, "draft")  # a half deleted folder must not be restored
    os.replace(aside, done)
    remove(done)


def _restore(aside: Path, place: Path) -> None:
    """Put the folder back that stepped aside from `place`, unless another one is there."""
    if not place.exists() and (aside / place.name).exists():
        os.replace(aside / place.name, place)
    remove(aside)


def remove(path: Path) -> None:
    """Delete a file or folder if it is there; another process may be deleting it too."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_stale(root: Path) -> None:
    """Clean `root` of what killed processes left: processes gone from this machine, or idle for a day on another.

    Drafts are removed. A folder that had stepped aside for a new one that never came is put back.
    """
    for path in root.iterdir() if root.is_dir() else ():
        named = HIDDEN.fullmatch(path.name)
        if named and (_gone(int(named["pid"])) if named["host"] == socket.gethostname() else _idle(path)):
            if named["what"] == "replaced":
                with suppress(OSError):  # another process may clean at the same time
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
    except PermissionError:  # alive, of another user
        return False
    return False


def _idle(path: Path) -> bool:
    try:
        changed = max(part.stat().st_mtime for part in (path, *path.rglob("*")))
    except FileNotFoundError:  # its process is removing it
        return False
    return time.time() - changed > ABANDONED


# --- locks


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Inside, no other process of this machine is inside for the same `path`, which need not exist.

    The first process does the work, the others wait and find it done. The lock is a hidden file beside `path`, which
    goes when the work is done. It is free again when its process ends, however that happens. Not reentrant.
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
        place.unlink(
            missing_ok=True
        )  # while it is held: who waits for this file sees that it is gone, and takes a new one
        lock.release()
