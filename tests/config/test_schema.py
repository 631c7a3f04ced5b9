"""What `setting` declares is what constructors and configurations accept; everything else is answered by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf

from sculpt4d.config.schema import check_config, check_fields, setting, uncovered


@dataclass(frozen=True)
class Inner:
    share: int | float = setting(0.5, ge=0, le=1)


@dataclass(frozen=True)
class Other:
    angle: int | float = setting(1.0, gt=0, lt=180)


@dataclass(frozen=True)
class Outer:
    steps: int = setting(1, ge=1)
    limit: int | None = setting(None, ge=1)
    mode: str = setting("a", choices=("a", "b"))
    quick: bool = False
    seeds: Sequence[int] = setting((0,), ge=0, empty=False)
    inner: Inner | Other | None = None
    many: dict[str, Inner] | None = None
    path: str | None = None
    clip: str | int | None = None

    def __post_init__(self) -> None:
        check_fields(self, "outer")


def check(**values: Any) -> None:
    check_config(OmegaConf.create(values), Outer)


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 3, "limit": None, "mode": "b", "quick": True, "seeds": [0, 1]},
        {"inner": {"share": 1}, "many": {"x": {"share": 0.5}}, "path": 3, "clip": 2},
        {"inner": {"angle": 90.0}, "unknown": object, "path": "${nowhere}"},
        {"inner": None, "many": None, "clip": "walk", "steps": "${limit}", "limit": 2},
    ],
)
def test_what_is_allowed_passes(values: dict[str, Any]) -> None:
    check_config(OmegaConf.create(values, flags={"allow_objects": True}), Outer)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"steps": 0}, "steps=0: must be a whole number of at least 1"),
        ({"steps": 1.5}, "steps=1.5: must be a whole number of at least 1"),
        ({"steps": True}, "steps=true: must be a whole number of at least 1"),
        ({"steps": None}, "steps=null: must be a whole number of at least 1"),
        ({"steps": [1]}, "steps=[1]: must be a whole number of at least 1"),
        ({"limit": "abc"}, "limit=abc: must be a whole number of at least 1, or null"),
        ({"mode": "c"}, "mode=c: must be one of a, b"),
        ({"quick": "maybe"}, "quick=maybe: must be true or false"),
        ({"quick": 1}, "quick=1: must be true or false"),
        ({"seeds": 0}, "seeds=0: must be a list: seeds=[0]"),
        ({"seeds": []}, "seeds=[]: must hold at least one element"),
        ({"seeds": [0, -1]}, "seeds=[0, -1]: must be a list, each element a whole number of at least 0"),
        ({"inner": {"share": 1.5}}, "inner.share=1.5: must be a number from 0 to 1"),
        ({"inner": {"share": float("nan")}}, "inner.share=nan: must be a number from 0 to 1"),
        ({"inner": {"angle": 180}}, "inner.angle=180: must be a number above 0 and below 180"),
        ({"inner": 3}, "inner=3: must be a group of keys: set them one by one, as GROUP.KEY=VALUE"),
        ({"many": {"x": {"share": -1}}}, "many.x.share=-1: must be a number from 0 to 1"),
        ({"path": ["a"]}, "path=['a']: must be text, or null"),
        ({"clip": [1]}, "clip=[1]: must be text or a whole number, or null"),
        ({"steps": "${limit}", "limit": 0}, "limit=0: must be a whole number of at least 1, or null"),
    ],
)
def test_what_is_not_allowed_is_answered_with_key_value_and_what_is(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as problem:
        check(**values)
    assert str(problem.value) == message.replace("['a']", "[a]")


def test_constructors_check_the_same_declaration() -> None:
    with pytest.raises(ValueError, match=r"outer\.steps=0: must be a whole number of at least 1"):
        Outer(steps=0)
    assert Outer(steps=2, inner=Inner(1)).limit is None


def test_keys_without_a_declaration_are_listed() -> None:
    cfg = OmegaConf.create({"steps": 1, "stps": 2, "inner": {"share": 1, "angel": 3, "_target_": "x"}})
    assert list(uncovered(cfg, Outer)) == ["stps", "inner.angel"]
