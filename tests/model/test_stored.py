import io
import json
import os
import pickle
import random
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sculpt4d.model.stored import Stored, description, read, stored_tensors

FORMATS = ("safetensors", "torch", "old torch")
MAPS = Path("/proc/self/maps")


def example(kind: str = "safetensors") -> dict[str, Tensor]:
    """Every type that a format knows, a scalar and nothing."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(6, 4, generator=draw)
    floats = ["float64", "float32", "float16", "bfloat16"]
    floats += ["float8_e4m3fn", "float8_e5m2"] if kind != "old torch" else []  # that format ended before these types
    whole = ("int64", "int32", "int16", "int8", "uint8", "bool")
    tensors = {f"block.{name}": values.to(getattr(torch, name)) for name in floats}
    tensors |= {f"buffer.{name}": (values > 0).to(getattr(torch, name)) for name in whole}
    return tensors | {"scalar": torch.tensor(3.5), "nothing": torch.zeros(0, 3)}


def write(path: Path, tensors: Mapping[str, Any], kind: str) -> Path:
    if kind == "safetensors":
        save_file(dict(tensors), path, metadata={"made": "here"})
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "torch")
    return path


def write_shards(folder: Path, tensors: Mapping[str, Tensor], kind: str) -> Path:
    """The index of two shards, named as the hub's libraries name them."""
    stem, end = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    names, shards = list(tensors), [f"{stem}-0000{k}-of-00002.{end}" for k in (1, 2)]
    where = {name: shards[k % 2] for k, name in enumerate(names)}
    for shard in shards:
        write(folder / shard, {name: tensors[name] for name in names if where[name] == shard}, kind)
    index = folder / f"{stem}.{end}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


def everything(path: Path, window: int = 256 << 20) -> dict[str, Tensor]:
    listed = stored_tensors(path)
    return dict(zip(listed, read(list(listed.values()), window), strict=True))


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Same names, and the same bits in memory of their own."""
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert (value.dtype, value.shape) == (expected[name].dtype, expected[name].shape), name
        assert value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes, name
        assert torch.equal(value.flatten().view(torch.uint8), expected[name].flatten().view(torch.uint8)), name


def refused(path: Path, *words: str, error: type[Exception] = ValueError) -> str:
    """Listing raises one line that names the file, the words and, behind the colon, a remedy."""
    with pytest.raises(error) as problem:
        stored_tensors(path)
    told = str(problem.value)
    assert type(problem.value) is error and "\n" not in told
    for word in (str(path), *words, ": "):
        assert word in told
    return told


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_saved_is_listed_and_read(tmp_path: Path, kind: str):
    path, tensors = write(tmp_path / "weights", example(kind), kind), example(kind)
    listed = stored_tensors(path)
    assert listed == {name: Stored(path, name, tuple(value.shape), value.dtype) for name, value in tensors.items()}
    assert {name: stored.bytes for name, stored in listed.items()} == {n: v.nbytes for n, v in tensors.items()}
    assert_same(everything(path), tensors)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("end", ["ckpt", "safetensors", "bin", "json"])
def test_the_content_decides_not_the_extension(tmp_path: Path, kind: str, end: str):
    tensors = {"a": torch.arange(3.0)}
    assert_same(everything(write(tmp_path / f"weights.{end}", tensors, kind)), tensors)


@pytest.mark.parametrize("kind", FORMATS)
def test_shards_are_one_set_of_weights(tmp_path: Path, kind: str):
    index = write_shards(tmp_path, example(kind), kind)
    assert_same(everything(index), example(kind))
    assert len({stored.file for stored in stored_tensors(index).values()}) == 2


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("window", [0, 100, 1 << 30])
def test_tensors_come_in_the_order_asked_for(tmp_path: Path, kind: str, window: int):
    tensors, listed = example(kind), stored_tensors(write_shards(tmp_path, example(kind), kind))
    names = [*tensors, *tensors]
    random.Random(0).shuffle(names)
    for name, found in zip(names, read([listed[name] for name in names], window), strict=True):
        assert_same({name: found}, {name: tensors[name]})


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_read_does_not_depend_on_the_file(tmp_path: Path, kind: str):
    tensors = {"a": torch.randn(300, 300), "b": torch.randn(300, 300)}
    path = write(tmp_path / "weights", tensors, kind)
    found = everything(path)
    with path.open("r+b") as file:  # in place: a mapping would show it
        file.write(bytes(path.stat().st_size))
    assert_same(found, tensors)


@pytest.mark.skipif(not MAPS.exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", FORMATS[:2])
def test_one_file_is_mapped_at_a_time_and_none_afterwards(tmp_path: Path, kind: str):
    index = write_shards(tmp_path, {name: torch.randn(100, 100) for name in "abcd"}, kind)
    listed = stored_tensors(index)

    def mapped() -> set[str]:
        return {line.split()[-1] for line in MAPS.read_text().splitlines() if str(tmp_path) in line}

    assert mapped() == set()
    reading = read([listed[name] for name in "acbd"])
    for name in "acbd":
        assert next(reading).shape == (100, 100)
        assert mapped() == {str(listed[name].file)}
    assert next(reading, None) is None and mapped() == set()


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_views_of_a_shared_storage_come_back_contiguous(tmp_path: Path, kind: str):
    base = torch.arange(24.0).view(4, 6)
    views = {"base": base, "tied": base, "turned": base.t(), "column": base[:, 2], "repeated": base[0].expand(5, 6)}
    assert_same(everything(write(tmp_path / "weights", views, kind)), {n: v.contiguous() for n, v in views.items()})


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_nested_dictionaries_join_by_dots_and_the_rest_is_left_out(tmp_path: Path, kind: str):
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    content = {
        "state_dict": module.state_dict(),
        "parameter": module[0].weight,
        "epoch": 3,
        "note": "text",
        "schedule": [torch.zeros(2), 1],
        "nothing": None,
        "optimizer": optimizer.state_dict(),
    }
    expected = {f"state_dict.{name}": value for name, value in module.state_dict().items()}
    expected["parameter"] = module[0].weight.detach()
    expected |= {
        f"optimizer.state.{k}.{name}": value
        for k, held in optimizer.state_dict()["state"].items()
        for name, value in held.items()
    }
    found = everything(write(tmp_path / "weights", content, kind))
    assert_same(found, expected)
    assert not any(value.requires_grad for value in found.values())


def test_links_of_a_download_cache_are_followed(tmp_path: Path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for path in (write_shards(blobs, example(), "safetensors").parent).iterdir():
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", path.name))
    (snapshot / "model.safetensors.index.json").unlink()
    (snapshot / "model.safetensors.index.json").symlink_to(
        (blobs / "model.safetensors.index.json").rename(blobs / "0a1b")
    )
    assert_same(everything(snapshot / "model.safetensors.index.json"), example())


def test_the_description_is_a_safetensors_files_metadata(tmp_path: Path):
    assert description(write(tmp_path / "a", example(), "safetensors")) == {"made": "here"}
    save_file(example(), tmp_path / "b")
    assert description(tmp_path / "b") == {}
    assert description(write(tmp_path / "c", example(), "torch")) == {}
    assert description(write_shards(tmp_path, example(), "safetensors")) == {}
    with pytest.raises(FileNotFoundError, match="missing"):
        description(tmp_path / "d")


MEASURED = """
import sys
from pathlib import Path
import torch
from sculpt4d.model.stored import read, stored_tensors

def memory(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))

path = Path(sys.argv[1])
before, size = memory("VmRSS"), path.stat().st_size
listed = stored_tensors(path)
print((memory("VmHWM") - before) / size)
own = [torch.zeros(stored.shape, dtype=stored.dtype) for stored in listed.values()]
for window in (8 << 20, 1 << 40):
    for place, value in zip(own, read(list(listed.values()), window), strict=True):
        place.copy_(value)
    print((memory("VmHWM") - before) / size)
    assert all(bool((place == k).all()) for k, place in enumerate(own))
"""


@pytest.mark.skipif(not MAPS.exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", FORMATS[:2])
def test_reading_into_a_model_takes_little_more_memory_than_the_model(
    tmp_path: Path, root: Path, environment: dict[str, str], kind: str
):
    tensors = {f"{k:03}": torch.full((512, 1024), float(k), dtype=torch.bfloat16) for k in range(256)}  # 1 MiB each
    path = write(tmp_path / "weights", tensors, kind)

    command = [sys.executable, "-c", MEASURED, str(path)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    path.unlink()
    assert done.returncode == 0, done.stderr
    listing, reading, whole = map(float, done.stdout.split())  # peak resident memory, in sizes of the file
    assert listing < 0.05
    assert 1 < reading < 1.2
    assert whole > 1.8, "mapped pages do not count here, so this test shows nothing"


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
def test_a_shard_cut_short_is_told_by_its_name(tmp_path: Path, kind: str):
    index = write_shards(tmp_path, example(kind), kind)
    shard = sorted(path for path in tmp_path.iterdir() if "00002-of" in path.name)[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"00002-of-00002.*cut short.*fetch it again"):
        stored_tensors(index)


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


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """An index and its weight_map, to be changed."""
    index = write_shards(tmp_path, example(), "safetensors")
    return index, json.loads(index.read_text())["weight_map"]


def test_a_missing_shard_is_named_with_its_index(shards: tuple[Path, dict[str, str]]):
    index, _ = shards
    (index.parent / "model-00002-of-00002.safetensors").unlink()
    refused(index, "model-00002-of-00002.safetensors is missing", error=FileNotFoundError)


def test_a_tensor_that_its_shard_lacks_is_named(shards: tuple[Path, dict[str, str]]):
    index, where = shards
    index.write_text(json.dumps({"weight_map": where | {"block.99": "model-00001-of-00002.safetensors"}}))
    refused(index, "block.99", "model-00001-of-00002.safetensors", "1 tensors")


def test_a_tensor_that_the_index_does_not_name_is_left_out(shards: tuple[Path, dict[str, str]]):
    index, where = shards
    del where["scalar"]
    index.write_text(json.dumps({"weight_map": where}))
    assert stored_tensors(index).keys() == example().keys() - {"scalar"}


@pytest.mark.parametrize("outside", ["../other/{}", "{folder}/{}", "sub/../../x/{}", "..\\{}", "C:\\x\\{}", ".."])
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, outside: str):
    write(tmp_path / "model.safetensors", example(), "safetensors")
    folder = tmp_path / "index"
    folder.mkdir()
    shard = outside.format("model.safetensors", folder=tmp_path)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"scalar": shard}}))
    refused(index, repr(shard), "outside its folder")


def test_a_shard_in_a_folder_below_is_read(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "a.safetensors", example(), "safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"scalar": "sub/a.safetensors"}}))
    assert_same(everything(index), {"scalar": torch.tensor(3.5)})


@pytest.mark.parametrize("shard", ["model.safetensors.index.json", "", "sub"])
def test_a_shard_that_is_no_weights_file_is_told(tmp_path: Path, shard: str):
    (tmp_path / "sub").mkdir()
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ValueError, match=r"is a folder|it as a shard: fetch the shard"):
        stored_tensors(index)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_changed_since_it_was_listed_is_told(tmp_path: Path, kind: str):
    path = write(tmp_path / "weights", {"a": torch.zeros(3), "b": torch.zeros(3)}, kind)
    listed = list(stored_tensors(path).values())
    for other in ({"b": torch.zeros(3)}, {"a": torch.zeros(4)}, {"a": torch.zeros(3, dtype=torch.int32)}):
        write(path, other, kind)
        with pytest.raises(ValueError, match=r"no longer holds.*it changed"):
            list(read(listed))
    path.unlink()
    with pytest.raises(FileNotFoundError, match="missing"):
        list(read(listed))
