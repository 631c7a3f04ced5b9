import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sculpt4d.checkpoints.stored import Stored, read, stored_tensors

from .weight_files import FORMATS, example, refused, write, write_shards

MAPS = Path("/proc/self/maps")


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
    assert_same(found := everything(write(tmp_path / "weights", content, kind)), expected)
    assert not any(value.requires_grad for value in found.values())


def test_links_of_a_download_cache_are_followed(tmp_path: Path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    index = snapshot / write_shards(blobs, example(), "safetensors").name
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", path.name))
    index.unlink()
    index.symlink_to((blobs / index.name).rename(blobs / "0a1b"))
    assert_same(everything(index), example())


MEASURED = """
import sys
from pathlib import Path
import torch
from sculpt4d.checkpoints.stored import read, stored_tensors

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


@pytest.mark.parametrize("kind", FORMATS)
def test_a_shard_cut_short_is_told_by_its_name(tmp_path: Path, kind: str):
    index = write_shards(tmp_path, example(kind), kind)
    shard = sorted(path for path in tmp_path.iterdir() if "00002-of" in path.name)[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"00002-of-00002.*cut short.*fetch it again"):
        stored_tensors(index)


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
