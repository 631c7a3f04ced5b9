"""Run identity: import paths and class names do not count, every other key does, and the committed files stay known."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sculpt4d import identity
from sculpt4d.checkpoints.build import build_denoiser, find_weights
from sculpt4d.checkpoints.stored import description as stored_description

ROOT = Path(__file__).resolve().parents[1]
RESULTS = sorted((ROOT / "results").glob("*/*_seed*.json"))
ATTENTION = sorted(path.stem for path in (ROOT / "conf/attention").glob("*.yaml"))
Configure = Callable[..., DictConfig]


def moved(node: Any) -> Any:
    """A record or configuration in which every class lies in another module."""
    if isinstance(node, dict):
        return {
            key: f"elsewhere.{value.rpartition('.')[2]}" if key == "_target_" else moved(value)
            for key, value in node.items()
        }
    return [moved(value) for value in node] if isinstance(node, list) else node


def moved_config(cfg: DictConfig) -> DictConfig:
    """A composed configuration in which every class lies in another module."""
    found = OmegaConf.create(moved(OmegaConf.to_container(cfg, resolve=False)))
    assert isinstance(found, DictConfig)
    return found


def test_import_paths_numbers_and_containers_have_one_form():
    old = {"_target_": "sculpt4d.attention.patterns.StridedPattern", "strides": (1, 2), "decay": 1.0, "_partial_": True}
    new = {"_target_": "sculpt4d.elsewhere.StridedPattern", "strides": [1, 2], "decay": 1}
    assert identity.same(old, new) and identity.digest(old) == identity.digest(new)
    assert identity.same(old, identity.plain(old)) and identity.same(identity.plain(old), identity.canonical(new))
    assert identity.same({"a": math.nan}, {"a": math.nan})
    assert not identity.same({"a": 1}, {"a": "1"}) and not identity.same({"a": 1}, {"a": 1, "b": None})


def test_two_classes_without_settings_are_not_the_same():
    same_token, joint = ({"_target_": f"sculpt4d.attention.{name}"} for name in ("SameTokenPattern", "JointPattern"))
    assert not identity.same(same_token, joint)


def test_a_renamed_class_is_the_same_once_the_table_knows_its_new_name(monkeypatch: pytest.MonkeyPatch):
    old, new = ({"_target_": f"a.{name}", "strides": [1]} for name in ("StridedPattern", "BlockPattern"))
    assert not identity.same(old, new)
    monkeypatch.setitem(identity.KINDS, "BlockPattern", "strided")
    assert identity.same(old, new)
    assert identity.pattern_value("StridedPattern(strides=(1,))") == identity.pattern_value(new)


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_pattern_has_one_value_as_object_as_text_and_as_record(attention: str, configure: Configure):
    pattern = instantiate(configure("train", f"attention={attention}").attention)
    value = identity.pattern_value(pattern)
    assert value == identity.pattern_value(repr(pattern)) == identity.pattern_value(json.loads(json.dumps(value)))
    others = [instantiate(configure("train", f"attention={name}").attention) for name in ATTENTION]
    assert {other for other in others if identity.pattern_value(other) == value} == {pattern}


def test_text_that_is_no_pattern_is_its_own_value():
    assert identity.pattern_value("None") is None
    for text in ("tiny", "a b", "Pattern(1)", "Pattern(x=f())"):
        assert identity.pattern_value(text) == text


def test_the_committed_temporal_weights_load_by_value_and_refuse_another_mask(configure: Configure):
    file = ROOT / "weights/tiny/temporal.safetensors"
    told = json.loads(stored_description(file)["sculpt4d"])
    assert told["attention"] == "StridedPattern(strides=(1, 1, 2, 4, 8, 16), anchor=True, block_size=2)"
    cfg = configure("generate", "model=tiny")
    bundle = build_denoiser(cfg, True, find_weights(cfg))
    assert (
        identity.disagreeing(told, identity.description("tiny", "temporal", bundle.denoiser.blocks[0].temporal.pattern))
        == []
    )
    other = configure("generate", "model=tiny", "attention=full")
    with pytest.raises(ValueError, match=r"trained with attention=strided\(strides=\[1, 1, 2, 4, 8, 16\]"):
        build_denoiser(other, True, find_weights(other))


def test_a_checkpoint_that_holds_the_text_of_a_pattern_is_resumed_with_the_pattern(configure: Configure):
    pattern = instantiate(configure("train", "model=tiny").attention)
    now = identity.description("tiny", "temporal", pattern)
    assert identity.disagreeing({"model": "tiny", "stage": "temporal", "attention": repr(pattern)}, now) == []
    assert identity.disagreeing({"model": "nano", "stage": "temporal", "attention": repr(pattern)}, now) == ["model"]
    assert dataclasses.asdict(pattern).items() <= {**now["attention"], "strides": pattern.strides}.items()
