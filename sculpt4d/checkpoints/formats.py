"""What a weights file is, told by its first bytes, and in one error why it cannot be read."""

import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

Format = Literal["safetensors", "torch", "old torch", "index"]

# What the readers raise on damaged bytes, besides UnpicklingError; torch's checks little and fails where it happens to.
DAMAGE = (
    *(SafetensorError, zipfile.BadZipFile, RuntimeError, ValueError, TypeError, LookupError, AttributeError),
    *(AssertionError, EOFError, struct.error, OverflowError, MemoryError),
)


def file_format(path: Path) -> Format:
    """Raises FileNotFoundError or ValueError for what is no weights file and no index; the end is not looked at."""
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: give the weights file in it (.safetensors, .ckpt, .pt, .pth, .bin), or the "
            "*.index.json of its shards"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: fetch it, or correct the path")
    with path.open("rb") as file:
        head = file.read(64)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        raise ValueError(f"{path} is empty: its download did not finish, fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a Git LFS pointer, not the weights: run git lfs pull, or download the file itself")
    if head[4:9] == b"\0\0\0\0{":  # the header, behind eight bytes for its length of at most 100 MB
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "torch"
    if head.startswith(b"\x80"):  # any pickle of protocol 2 or later
        return "old torch"
    if text.startswith(b"<"):
        raise ValueError(f"{path} is a web page, not the weights: use the download link of the file itself")
    if text.startswith(b"{"):
        return "index"
    raise ValueError(
        f"{path} is no safetensors file, no torch file and no index (JSON with a weight_map), it starts with "
        f"{head[:16]!r}: fetch it again, or give another file"
    )


def check_archive(path: Path) -> None:
    """Tells apart the zip files that torch.load refuses. Raises ValueError."""
    with explained(path), zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names:
        raise ValueError(f"{path} is a TorchScript program, which is never run: save its state_dict() as safetensors")
    if "data.pkl" not in names:
        raise ValueError(f"{path} is a zip archive, but no torch file: unpack it, and give the weights file inside")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever a library's reader raises becomes one ValueError with the file, its fault and the remedy."""
    try:
        yield
    except pickle.UnpicklingError as error:  # its own text advises to switch the protection off
        raise ValueError(_refused(path, str(error))) from None
    except DAMAGE as error:
        raise ValueError(_damaged(path, str(error) or type(error).__name__)) from error


def _damaged(path: Path, reason: str) -> str:
    brief = " ".join(reason.split("\n")[0].split())[:200]
    return f"{path} is cut short or damaged at {path.stat().st_size} bytes ({brief}): fetch it again"


def _refused(path: Path, reason: str) -> str:
    """Why torch would not unpickle a file; nothing in it has run."""
    named = re.search(r"GLOBAL (\S+) ", reason)
    wanted = named[1] if named else _first_global(path)
    if wanted is None:
        return (
            f"{path} has a pickle of another protocol than torch.save's, or a damaged one: fetch it again, or save its "
            "state dictionary as safetensors where it loads"
        )
    return (
        f"{path} wants to run {wanted!r}, and only plain tensors are read, so nothing of it ran: on a machine that "
        "may trust it, save its state dictionary as safetensors"
    )


def _first_global(path: Path) -> str | None:
    """The first function or class that a pickle of protocol 4 or later asks for; torch refuses those unread."""
    texts: list[str] = []
    with path.open("rb") as file:
        try:
            for operation, value, _ in pickletools.genops(file):
                if operation.name == "STACK_GLOBAL":
                    return ".".join(texts[-2:])
                if isinstance(value, str):
                    texts.append(value)
        except DAMAGE:  # not a pickle alone
            return None
    return None
