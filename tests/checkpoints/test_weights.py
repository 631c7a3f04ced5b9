from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

from sculpt4d import files
from sculpt4d.checkpoints import stored as weights
from sculpt4d.checkpoints.stored import description, save_weights

DESCRIPTION = {"model": "nano", "stage": "temporal", "attention": "A"}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, nn.Module]:
    """A file and the network whose weights it holds."""
    path, module = tmp_path / "some.safetensors", nn.Linear(3, 2)
    save_weights(path, module.state_dict(), DESCRIPTION)
    return path, module


def test_the_file_holds_the_tensors_and_says_what_they_are(saved: tuple[Path, nn.Module]):
    path, module = saved
    assert all((value == load_file(path)[name]).all() for name, value in module.state_dict().items())
    assert '"stage": "temporal"' in description(path)["sculpt4d"]


def test_a_file_for_other_programs_has_no_description(tmp_path: Path):
    save_weights(tmp_path / "plain.safetensors", nn.Linear(3, 2).state_dict(), None)
    assert description(tmp_path / "plain.safetensors") == {}


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

    owner, name = (files.os, "replace") if step == "os.replace" else (weights, "save_file")
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(owner, name, full_disk)
        save_weights(path, nn.Linear(3, 2).state_dict(), DESCRIPTION)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
