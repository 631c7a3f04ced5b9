from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sculpt4d.model import checkpoint
from sculpt4d.model.checkpoint import load_weights, read_weights, save_weights

DESCRIPTION = {"model": "nano", "stage": "temporal", "attention": "A"}


def network(width: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2), nn.LayerNorm(2))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, nn.Module]:
    """A file and the network whose weights it holds."""
    path, module = tmp_path / "some.safetensors", network()
    save_weights(path, module.state_dict(), DESCRIPTION)
    return path, module


def test_what_was_saved_is_what_is_loaded(saved: tuple[Path, nn.Module]):
    path, module = saved
    other = network()
    assert not torch.equal(other[0].weight, module[0].weight)
    load_weights(other, path, DESCRIPTION)
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert read_weights(path)[1] == DESCRIPTION


def test_chosen_names_alone_are_touched(tmp_path: Path):
    path, module, other = tmp_path / "some.safetensors", network(), network()
    names = ("0.weight", "0.bias")
    save_weights(path, {name: module.state_dict()[name] + 1 for name in names}, DESCRIPTION)
    kept = other[1].weight.clone()
    load_weights(other, path, {}, names)
    assert torch.equal(other[0].weight, module[0].weight + 1)
    assert torch.equal(other[1].weight, kept)


def refused(module: nn.Module, path: Path, *words: str, **expected: str) -> None:
    """Loading raises one ValueError that names the file and says the words; nothing has moved."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError) as problem:
        load_weights(module, path, expected)
    for word in (str(path), *words):
        assert word in str(problem.value)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_weights_of_another_size_are_refused(saved: tuple[Path, nn.Module]):
    refused(network(width=4), saved[0], "0.weight (2, 3) instead of (2, 4)")


def test_missing_and_unused_names_are_told(saved: tuple[Path, nn.Module]):
    path, module = saved
    refused(nn.Sequential(*module, nn.Linear(2, 2)), path, "missing in the file: 2.bias, 2.weight")
    refused(module[:1], path, "not used: 1.bias, 1.weight")


@pytest.mark.parametrize("key, wanted", [("model", "tiny"), ("stage", "base"), ("attention", "B")])
def test_weights_of_another_model_stage_or_attention_are_refused(saved: tuple[Path, nn.Module], key: str, wanted: str):
    refused(network(), saved[0], f"{key}={DESCRIPTION[key]}", f"{key}={wanted}", **{key: wanted})


def test_a_cut_off_file_is_refused(saved: tuple[Path, nn.Module]):
    path, module = saved
    whole = path.read_bytes()
    for size in (0, 6, 60, len(whole) - 4):
        path.write_bytes(whole[:size])
        refused(module, path, "not a readable safetensors file")


def test_a_file_of_another_project_is_refused(tmp_path: Path):
    path, module = tmp_path / "foreign.safetensors", network()
    save_file(module.state_dict(), path)
    refused(module, path, "does not say what it is")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors is missing"):
        load_weights(network(), tmp_path / "absent.safetensors", {})


@pytest.mark.parametrize("step", ["save_file", "os.replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    saved: tuple[Path, nn.Module], step: str, monkeypatch: pytest.MonkeyPatch
):
    path, _ = saved
    before = path.read_bytes()

    def full_disk(*arguments: object, **options: object) -> None:
        if step == "save_file":
            Path(str(arguments[1])).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    owner, name = (checkpoint.os, "replace") if step == "os.replace" else (checkpoint, "save_file")
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(owner, name, full_disk)
        save_weights(path, network().state_dict(), DESCRIPTION)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
