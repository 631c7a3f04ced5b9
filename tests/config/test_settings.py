"""The schema describes every key of conf/, and its choices are what the code knows."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from sculpt4d.attention.backends import BACKENDS
from sculpt4d.config import settings
from sculpt4d.config.schema import check_config, uncovered
from sculpt4d.config.settings import PrepareSettings, Settings
from sculpt4d.evaluation.appearance.compare import PERFECT
from sculpt4d.evaluation.metrics.nearest import ENGINES
from sculpt4d.evaluation.protocols.protocol import BOXES
from sculpt4d.flow import COUPLINGS
from sculpt4d.generation.background import METHODS
from sculpt4d.generation.pipeline import BASELINES, PRECISIONS
from sculpt4d.geometry.marching import EXTRACTORS
from sculpt4d.geometry.projection import PROJECTIONS
from sculpt4d.preparation.exclusions import BENCHMARKS
from sculpt4d.render.views import RENDERERS

CONF = Path(__file__).resolve().parents[2] / "conf"
# of the evaluation's own folder names; of Lightning; of a new pattern
UNDESCRIBED = ("methods", "places", "attention.", "trainer.", "callbacks", "logger", "data.module")
OPTIONS = [
    (root, f"{group}={path.stem}")
    for root, groups in {
        "train": ("model", "stage", "flow", "data", "trainer", "attention", "experiment", "sweep"),
        "evaluate": ("model", "data", "sampler", "surface", "protocol", "metrics", "executor"),
        "generate": ("model", "sampler", "surface"),
        "prepare": ("executor",),
    }.items()
    for group in groups
    for path in sorted((CONF / group).glob("*.yaml"))
]


@pytest.mark.parametrize("root, option", OPTIONS)
def test_every_key_has_a_kind_and_every_shipped_value_is_allowed(
    root: str, option: str, configure: Callable[..., DictConfig]
) -> None:
    cfg = configure(root, option, *([] if root == "prepare" else ["output=out"]))
    check_config(cfg, Settings)
    missing = [key for key in uncovered(cfg, Settings) if not key.startswith(UNDESCRIBED)]
    assert not missing, "add them to sculpt4d/config/settings.py"


@pytest.mark.parametrize(
    "declared, known",
    [
        (settings.BACKENDS, {"auto", *BACKENDS}),
        (settings.BACKGROUNDS, METHODS),
        (settings.BASELINES, BASELINES),
        (settings.BENCHMARKS, BENCHMARKS),
        (settings.BOXES, BOXES),
        (settings.COUPLINGS, COUPLINGS),
        (settings.ENGINES, {"auto", *ENGINES}),
        (settings.EXTRACTORS, EXTRACTORS),
        (settings.MEASURES, PERFECT),
        (settings.PRECISIONS, {"auto", *PRECISIONS}),
        (settings.PROJECTIONS, {*PROJECTIONS, "none"}),
        (settings.RENDERERS, RENDERERS),
        (settings.STAGES, {path.stem for path in (CONF / "stage").glob("*.yaml")}),
    ],
)
def test_choices_are_those_that_the_code_knows(declared: Iterable[str], known: Iterable[str]) -> None:
    assert set(declared) == set(known)


def test_prepare_takes_its_defaults_from_the_dataclass(configure: Callable[..., DictConfig]) -> None:
    cfg = configure("prepare")
    assert {name: cfg[name] for name in vars(PrepareSettings())} == vars(PrepareSettings())
