"""Old names are answered with the new ones, which exist."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from sculpt4d.config.overrides import RENAMED, refuse_renamed

CONF = Path(__file__).resolve().parents[2] / "conf"
OPTIONS = {old: new for old, new in RENAMED.items() if "=" in old}


@pytest.mark.parametrize("old, new", OPTIONS.items())
def test_an_old_option_is_gone_and_its_replacement_composes(
    old: str, new: str, configure: Callable[..., DictConfig]
) -> None:
    group, _, option = old.partition("=")
    assert not (CONF / group / f"{option}.yaml").exists()
    assert configure("train", *shlex.split(new), "output=out")
    with pytest.raises(ValueError, match=f"^{old} is now {new}$"):
        configure("train", old)


@pytest.mark.parametrize(
    "override, answer",
    [
        ("experiment=demo,fixed_stride", "experiment=fixed_stride is now attention=fixed_stride"),
        ("model.training.tiny=1", None),
        ("model.training.vae.steps=5", "model.training.vae.steps is now stage.steps=5"),
        ("+model.training.base.rate=1e-4", "model.training.base.rate is now stage.optimisation.rate=1e-4"),
        ("model={training: {temporal: {rate: 3}}}", "model.training.temporal is now stage={'rate': 3}"),
        ("~model.training.vae.rate", "model.training.vae.rate is now stage.optimisation.rate"),
        ("experiment=demo", None),
        ("not an override", None),
    ],
)
def test_an_old_name_is_found_in_sweeps_and_inside_dictionaries(override: str, answer: str | None) -> None:
    if answer is None:
        refuse_renamed([override])
        return
    with pytest.raises(ValueError) as problem:
        refuse_renamed([override])
    assert str(problem.value) == answer
