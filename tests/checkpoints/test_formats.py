import io
import json
import os
import pickle
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sculpt4d.checkpoints.stored import description, stored_tensors

from .weight_files import FORMATS, example, refused, write, write_shards


def test_the_description_is_a_safetensors_files_metadata(tmp_path: Path):
    assert description(write(tmp_path / "a", example(), "safetensors")) == {"made": "here"}
    save_file(example(), tmp_path / "b")
    assert description(tmp_path / "b") == {}
    assert description(write(tmp_path / "c", example(), "torch")) == {}
    assert description(write_shards(tmp_path, example(), "safetensors")) == {}
    with pytest.raises(FileNotFoundError, match="missing"):
        description(tmp_path / "d")


def test_what_is_no_file_is_told(tmp_path: Path):
    refused(tmp_path / "absent.ckpt", "missing", error=FileNotFoundError)
    refused(tmp_path, "is a folder", ".safetensors", ".ckpt", "index.json")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", ("is empty", "fetch it again")),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            ("Git LFS", "git lfs pull", "download"),
        ),
        (b"<!DOCTYPE html>\n<html>", ("web page", "download link")),
        (b"\n  <html lang='en'>", ("web page",)),
        (b"Invalid username or password.", ("Invalid usernam", "fetch it again")),
        (bytes(4096), ("\\x00", "fetch it again")),
        (b'{"weight_map": {"a": ', ("JSON",)),
        (b'{"error": "not found"}', ("weight_map",)),
        (b'{"weight_map": {}}', ("weight_map",)),
        (b'{"weight_map": ["a"]}', ("weight_map",)),
        (b'{"weight_map": {"a": 3}}', ("3", "not a file name")),
        (b'{"a": ' * 200_000, ("JSON",)),
        (b"[1, 2]", ("no index",)),
        (b"\x80", ("fetch it again",)),
        (b"PK\x03\x04", ("cut short",)),
    ],
)
def test_what_holds_no_weights_is_told(tmp_path: Path, content: bytes, words: tuple[str, ...]):
    for end in ("safetensors", "ckpt", "index.json"):
        path = tmp_path / f"model.{end}"
        path.write_bytes(content)
        refused(path, *words)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_without_tensors_is_told(tmp_path: Path, kind: str):
    refused(write(tmp_path / "weights", {}, kind), "holds no tensors")


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], 3])
def test_tensors_without_names_are_told(tmp_path: Path, content: Any):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    refused(path, type(content).__name__, "state dictionary")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9, 0.9999])
def test_a_file_cut_short_is_told(tmp_path: Path, kind: str, part: float):
    path = write(tmp_path / "weights", {"a": torch.randn(100, 100), "b": torch.randn(100)}, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    refused(path, "fetch it again")


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, kind: str):
    path = write(tmp_path / "weights", example(kind), kind)
    whole, told = path.read_bytes(), 0
    for draw in range(200):
        chance, damaged = random.Random(draw), bytearray(whole)
        for _ in range(chance.choice([1, 2, 4])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, about pickle protocols
                stored_tensors(path)
        except ValueError as error:
            told += 1
            assert str(path) in str(error) and "\n" not in str(error), draw
    assert told > 10


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def saved_by_torch(content: Any, old: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("function", ["mkdir", "eval"])
@pytest.mark.parametrize(
    "dump",
    [
        lambda content: saved_by_torch(content, old=False),
        lambda content: saved_by_torch(content, old=True),
        *(lambda content, protocol=protocol: pickle.dumps(content, protocol) for protocol in range(2, 6)),
    ],
)
def test_a_pickle_that_runs_code_is_refused_and_nothing_runs(
    tmp_path: Path, dump: Callable[[Any], bytes], function: str
):
    mark, path = tmp_path / "mark", tmp_path / "weights.ckpt"
    call = Call(os.mkdir, str(mark)) if function == "mkdir" else Call(eval, f"__import__('os').mkdir({str(mark)!r})")
    path.write_bytes(dump({"state_dict": {"a": 1.5}, "hook": call}))
    told = refused(path, function, "only plain tensors", "safetensors")
    assert not mark.exists()
    assert "weights_only" not in told
    pickle.loads(pickle.dumps(call))
    assert mark.exists(), "the call does nothing even where it may run, so this test shows nothing"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_whole_modules_and_programs_are_refused(tmp_path: Path):
    path = tmp_path / "weights.pt"
    torch.save(nn.Linear(2, 2), path)
    refused(path, "torch.nn.modules.linear.Linear", "safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(str(path))
    refused(path, "TorchScript", "state_dict()")
    torch.save({"a": torch.zeros(2)}, path, pickle_protocol=4)
    refused(path, "protocol", "safetensors")


def test_other_archives_are_told(tmp_path: Path):
    path = tmp_path / "weights.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.safetensors", b"")
    refused(path, "zip archive", "unpack")


def test_tensors_without_plain_values_are_told(tmp_path: Path):
    for value in (torch.eye(3).to_sparse(), torch.empty(3, device="meta")):
        refused(write(tmp_path / "weights", {"odd": value}, "torch"), "odd", "dense")


def test_one_name_for_two_tensors_is_told(tmp_path: Path):
    content = {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1)}
    refused(write(tmp_path / "weights", content, "torch"), "two tensors", "a.b")


def test_a_dictionary_inside_itself_is_told(tmp_path: Path):
    content: dict[str, Any] = {"a": torch.zeros(1)}
    content["again"] = content
    refused(write(tmp_path / "weights", content, "torch"), "deeper")


def test_a_type_below_a_byte_is_told(tmp_path: Path):
    header = json.dumps({"a": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    refused(path, "a as F4", "convert")
