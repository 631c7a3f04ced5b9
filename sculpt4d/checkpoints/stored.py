"""Tensors stored in files: listed from headers, read on demand, without executing code. Also writes weight files."""

import json
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sculpt4d.files import replacing_file, to_json

Format = Literal["safetensors", "torch", "old torch", "index"]

# Errors of the readers on damaged files, besides UnpicklingError; torch checks little and fails anywhere.
DAMAGE = (
    *(SafetensorError, zipfile.BadZipFile, RuntimeError, ValueError, TypeError, LookupError, AttributeError),
    *(AssertionError, EOFError, struct.error, OverflowError, MemoryError),
)


def file_format(path: Path) -> Format:
    """Detect the file format from the content; the extension is not checked.

    Raises FileNotFoundError, or ValueError if it is neither a weights file nor an index.
    """
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
    """Distinguish the zip files that torch.load rejects. Raises ValueError."""
    with explained(path), zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names:
        raise ValueError(f"{path} is a TorchScript program, which is never run: save its state_dict() as safetensors")
    if "data.pkl" not in names:
        raise ValueError(f"{path} is a zip archive, but no torch file: unpack it, and give the weights file inside")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Context manager: turn any error of a library's reader into one ValueError with file, fault and remedy."""
    try:
        yield
    except pickle.UnpicklingError as error:  # its message advises to disable the protection
        raise ValueError(_refused(path, str(error))) from None
    except DAMAGE as error:
        raise ValueError(_damaged(path, str(error) or type(error).__name__)) from error


def _damaged(path: Path, reason: str) -> str:
    brief = " ".join(reason.split("\n")[0].split())[:200]
    return f"{path} is cut short or damaged at {path.stat().st_size} bytes ({brief}): fetch it again"


def _refused(path: Path, reason: str) -> str:
    """Reason why torch would not unpickle a file. No code of the file has run."""
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
    """First function or class that a pickle of protocol 4 or later imports; torch rejects those unread."""
    texts: list[str] = []
    with path.open("rb") as file:
        try:
            for operation, value, _ in pickletools.genops(file):
                if operation.name == "STACK_GLOBAL":
                    return ".".join(texts[-2:])
                if isinstance(value, str):
                    texts.append(value)
        except DAMAGE:  # not a plain pickle
            return None
    return None


DESCRIPTION = "sculpt4d"  # metadata key that holds the description as JSON


def save_weights(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any] | None) -> None:
    """Write `tensors` and their description atomically: a reader sees the old file or the new one.

    `description` None writes a plain safetensors file, for other programs.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = None if description is None else {DESCRIPTION: to_json(description, indent=None)}
    try:
        with replacing_file(path) as draft:
            save_file(kept, draft, metadata=about)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}): free some space, or choose another output") from error


# The names of the safetensors header. Its types below a byte (F4, F6) have no torch type of the same shape.
DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E8M0": torch.float8_e8m0fnu},
    **{"F8_E5M2": torch.float8_e5m2, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "C64": torch.complex64},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8},
}
DEPTH = 16  # maximum nesting of dictionaries: a pickled one can contain itself


class Stored(NamedTuple):
    """Reference to a tensor in a file."""

    file: Path  # the shard that holds it
    name: str  # inside the file; names of nested dictionaries are joined by dots
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of its values in bytes, independent of the file format."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def stored_tensors(path: Path) -> dict[str, Stored]:
    """All tensors of a weights file, or of the shards of an index, by dotted name.

    Weights files are safetensors and files of torch.save (zip archives, and pickles of old versions, which are read
    whole). An index is JSON with a `weight_map`. The content decides, not the extension. In a torch file, everything
    except tensors and dictionaries of tensors is ignored.
    Raises FileNotFoundError or ValueError that says what the file is instead.
    """
    kind = file_format(path)
    listed = _of_shards(path) if kind == "index" else _of_file(path, kind)
    if not listed:
        raise ValueError(f"{path} holds no tensors: give the file with the model's weights")
    return listed


def read(wanted: Sequence[Stored], window: int = 256 << 20) -> Iterator[Tensor]:
    """Yield the tensors in the requested order, each a separate contiguous copy on the CPU.

    Pages of a mapped file count as resident memory. So a file is closed and reopened after `window` bytes, and closed
    when the next tensor is in another file. An old torch file cannot be mapped and stays in memory while it is read.
    Raises ValueError if a file has changed since it was listed.
    """
    file, get, left = None, None, 0
    for stored in wanted:
        if get is None or stored.file != file or left <= 0:
            get = None  # release the old mapping before the next one
            kind = file_format(stored.file)
            file, get, left = stored.file, _opened(stored.file, kind), window
        if kind != "old torch":
            left -= stored.bytes
        yield _copied(get, stored)  # not bound to a name: a view would keep the mapping open


def description(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file; empty for other formats. Raises as `stored_tensors` does."""
    if file_format(path) != "safetensors":
        return {}
    with explained(path), safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _of_shards(path: Path) -> dict[str, Stored]:
    """Tensors named by an index, each found in the header of its shard."""
    try:
        index = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}): fetch the index again") from error
    names = index.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{path} has no weight_map from tensors to shards: give a *.index.json, or a weights file")
    held = {}
    for name, shard in names.items():
        if not isinstance(shard, str):
            raise ValueError(f"{path} gives {shard!r} as the shard of {name}, not a file name: fetch the index again")
        if shard not in held:
            held[shard] = _of_shard(path, shard)
    lacking = [(name, shard) for name, shard in names.items() if name not in held[shard]]
    if lacking:
        name, shard = lacking[0]
        raise ValueError(
            f"{path} names {len(lacking)} tensors that their shards lack, the first {name} in {shard}: index and "
            "shards are not of one release, fetch all of them again"
        )
    return {name: held[shard][name] for name, shard in names.items()}


def _of_shard(index: Path, shard: str) -> dict[str, Stored]:
    """All tensors of a shard. Symbolic links are followed, since download caches store shards that way."""
    where = PureWindowsPath(shard)  # handles both slashes and drives
    if where.anchor or ".." in where.parts:
        raise ValueError(f"{index} names the shard {shard!r} outside its folder: shards lie beside their index")
    path = index.parent / shard
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing, {index} names it: fetch every shard of the index")
    kind = file_format(path)
    if kind == "index":
        raise ValueError(f"{path} is JSON, but {index} names it as a shard: fetch the shard itself")
    return _of_file(path, kind)


def _of_file(path: Path, kind: Format) -> dict[str, Stored]:
    if kind != "safetensors":
        return {
            name: Stored(path, name, tuple(value.shape), value.dtype) for name, value in _loaded(path, kind).items()
        }
    with explained(path), safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        types = {name: piece.get_dtype() for name, piece in slices.items()}
        shapes = {name: tuple(piece.get_shape()) for name, piece in slices.items()}
    for name, dtype in types.items():
        if dtype not in DTYPES:
            raise ValueError(f"{path} stores {name} as {dtype}, which is not read: convert it to one of {[*DTYPES]}")
    return {name: Stored(path, name, shapes[name], DTYPES[dtype]) for name, dtype in types.items()}


def _opened(path: Path, kind: Format) -> Callable[[str], Tensor]:
    """Open a file for reading tensors by name, as views that keep the file open."""
    if kind != "safetensors":
        return _loaded(path, kind).__getitem__
    with explained(path):
        return safe_open(path, framework="pt").get_tensor


def _copied(get: Callable[[str], Tensor], stored: Stored) -> Tensor:
    try:
        held = get(stored.name)
    except (KeyError, SafetensorError) as error:
        raise ValueError(f"{stored.file} no longer holds {stored.name}: it changed, start again") from error
    if (held.shape, held.dtype) != (stored.shape, stored.dtype):
        raise ValueError(f"{stored.file} no longer holds the {stored.name} that was listed: it changed, start again")
    return held.clone(memory_format=torch.contiguous_format)


def _loaded(path: Path, kind: Format) -> dict[str, Tensor]:
    """Tensors of a torch file: views of the mapped file, or the values themselves for an old file."""
    if kind == "torch":
        check_archive(path)
    with explained(path), path.open("rb") as file:
        # torch.load treats every path with this extension as a safetensors file, and maps only paths.
        name = f"/dev/fd/{file.fileno()}" if path.suffix == ".safetensors" else path
        content = torch.load(name, weights_only=True, mmap=kind == "torch", map_location="cpu")
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds one {type(content).__name__}, not named tensors: save a state dictionary")
    tensors: dict[str, Tensor] = {}
    for name, value in _flat(path, content):
        if name in tensors:
            raise ValueError(f"{path} holds two tensors that are both called {name}: rename one of them")
        if value.layout != torch.strided or value.is_nested or value.is_meta:
            raise ValueError(f"{path} holds no plain values for {name}: save it as a dense tensor of a real device")
        tensors[name] = value.detach()
    return tensors


def _flat(path: Path, content: Mapping[Any, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Tensor]]:
    if depth > DEPTH:
        raise ValueError(f"{path} nests dictionaries deeper than {DEPTH}: save a flat state dictionary")
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict):
            yield from _flat(path, value, f"{prefix}{key}.", depth + 1)
