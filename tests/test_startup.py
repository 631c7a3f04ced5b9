"""Help, wrong settings and preparation import nothing heavy."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

HEAVY = ("torch", "lightning", "transformers", "wandb", "trimesh", "scipy")
PREPARE = """
import sys
from pathlib import Path
import sculpt4d.jobs.worker
from sculpt4d.preparation.asset import PrepareJob, PrepareSettings, prepare_object
settings = PrepareSettings(frames=2, points=32, sharp_points=8, views=1, image_size=16, grid_res=16, front=True)
prepare_object(PrepareJob("gears_0000", Path(sys.argv[1], "a.glb"), Path(sys.argv[1], "a"), settings, "gears", made=1))
"""


def imported(command: list[str], root: Path, environment: Mapping[str, str]) -> tuple[set[str], str]:
    """Top-level packages that a Python command imports, and what it prints."""
    words = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(words, cwd=root, env=dict(environment), capture_output=True, text=True, timeout=300)
    lines = done.stderr.splitlines()
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in lines if line.startswith("import time:")}
    return names, done.stdout + "\n".join(line for line in lines if not line.startswith("import time:"))


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "generate.py", "prepare.py"])
@pytest.mark.parametrize(
    "argument, answer",
    [("--help", "python {script} "), ("threds=1", "valid keys beside threds"), ("seed=x", "error: seed=x: must be")],
)
def test_help_and_wrong_settings_import_nothing_heavy(
    script: str, argument: str, answer: str, root: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    folders = [f"hydra.run.dir={tmp_path}"] + (["output=x"] if script == "train.py" else [])
    names, said = imported([script, argument, *folders], root, environment)
    assert answer.format(script=script) in said
    assert not names & set(HEAVY)


def test_a_video_that_is_missing_is_answered_before_torch_is_imported(
    root: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    names, said = imported(["generate.py", f"input={tmp_path}/none.mp4", f"output={tmp_path}/out"], root, environment)
    assert "none.mp4 does not exist" in said
    assert not names & {"torch", "lightning", "transformers", "wandb", "trimesh"}


def test_an_object_is_prepared_without_torch(root: Path, environment: Mapping[str, str], tmp_path: Path) -> None:
    names, _ = imported(["-c", PREPARE, str(tmp_path)], root, environment)
    assert list(tmp_path.glob("a/object.json"))
    assert not names & {"torch", "lightning", "transformers", "wandb", "hydra"}
