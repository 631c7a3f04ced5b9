"""The wheel, installed without the checkout: commands, configuration and tiny weights work from any folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sculpt4d import __version__
from sculpt4d.resources import resource

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy of its files and unpacked as pip does."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if name.startswith(("sculpt4d/", "conf/", "weights/")) or name in (
            "pyproject.toml",
            "setup.py",
            "README.md",
            "LICENSE",
        ):
            copy = folder / "source" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*pip, "wheel", *offline, "-w", str(folder), str(folder / "source")], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", str(folder / "site"), str(wheel)], check=True, cwd=folder)
    return folder / "site"


@pytest.fixture
def command(installed: Path, environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs the installed `sculpt4d` from an empty folder."""
    work = tmp_path / "work"
    work.mkdir()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        found = environment | {"PYTHONPATH": str(installed)}
        script = [sys.executable, str(installed / "bin" / "sculpt4d"), *words]
        return subprocess.run(script, cwd=work, env=found, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_the_wheel_generates_and_trains_from_an_empty_folder(
    command: Run, installed: Path, tmp_path: Path, nano: list[str]
) -> None:
    work = tmp_path / "work"
    where = "import sculpt4d, os; print(os.path.dirname(sculpt4d.__file__))"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=work,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == installed / "sculpt4d"

    frames = work / "frames"
    frames.mkdir()
    for number in range(2):
        image = np.full((64, 64, 3), 255, np.uint8)
        image[16 + 8 * number : 48, 16:48] = (200, 30, 30)
        Image.fromarray(image).save(frames / f"{number}.png")
    done = command("generate", "input=frames", "frames=2", "sampler.steps=1", "resolution=16", "background=plain")
    assert done.returncode == 0, done.stderr
    assert (work / "runs" / "generate" / "frames" / "generation.json").is_file()

    bare = ["logger=none", "~callbacks.preview", "stage.steps=1", "backend=reference", "checkpoint=random"]
    done = command("train", *nano, *bare)
    assert done.returncode == 0, done.stderr
    assert list((work / "runs" / "train").iterdir())


@pytest.mark.slow
def test_the_command_lists_its_commands_and_refuses_others(command: Run) -> None:
    listed = command("--help")
    assert listed.returncode == 0
    assert all(f"  {name}" in listed.stdout for name in ("train", "generate", "prepare", "evaluate"))
    assert __version__ in listed.stdout
    assert "sampler: " in command("generate", "--help").stdout
    wrong = command("trian")
    assert wrong.returncode == 2 and "trian is no command" in wrong.stderr


def test_a_checkout_finds_its_own_folders() -> None:
    assert (resource("conf"), resource("weights")) == (ROOT / "conf", ROOT / "weights")
    with pytest.raises(FileNotFoundError, match="install sculpt4d again"):
        resource("absent")
