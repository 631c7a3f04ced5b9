"""Run identity: import paths and class names do not count, every other key does, and the committed files stay known."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.budgets import refuse_budgets
from experiments.results import read_runs
from experiments.rows import Row, refuse_mixed, rows_of
from sculpt4d import identity
from sculpt4d.checkpoints.build import build_denoiser, find_weights
from sculpt4d.checkpoints.stored import description as stored_description
from sculpt4d.data.dataset import ClipDataset, ClipSettings
from sculpt4d.preparation.asset import PrepareSettings
from sculpt4d.training.latents import fingerprint
from sculpt4d.training.recipe import FILE, check_recipe, compared, recipe

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


# --- every key of the composed configurations

COMMANDS = {
    "train": {"attention", "data", "flow", "frames", "model", "seed", "stage"},
    "evaluate": {"protocol"},
    "prepare": {field.name for field in dataclasses.fields(PrepareSettings)} | {"mode", "clip"},
}
PURPOSES: dict[str, list[frozenset[identity.Role]]] = {
    "train": [identity.RESUMED, identity.TRAINED],
    "evaluate": [identity.GENERATED, identity.COMPARED, identity.SWEPT],
    "prepare": [frozenset()],
}


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of everything that is no mapping."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_command_counts_or_has_a_role(command: str, configure: Configure):
    """A new key fails here until it is decided: add it above, or to the table with its role."""
    cfg = configure(command)
    without_role = {str(key) for key in cfg if identity.role_of(str(key), identity.TABLES[command]) is None}
    assert without_role == COMMANDS[command]


def test_every_key_with_a_role_exists(configure: Configure):
    options = ("data=folder", "callbacks=default", "sweep=masks", "trainer=cpu", "+trainer.enable_progress_bar=false")
    composed = {
        "train": [configure("train"), configure("train", *options)],
        "evaluate": [configure("evaluate"), configure("evaluate", "data=folder")],
        "prepare": [configure("prepare")],
    }
    for command, table in identity.TABLES.items():
        for key in table:
            assert key in identity.FORMER or any(has(cfg, key) for cfg in composed[command]), key


def has(cfg: DictConfig, key: str) -> bool:
    above, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, above) if above else cfg
    return OmegaConf.is_dict(node) and name in node


def test_keys_left_out_change_nothing_and_keys_that_count_change_it(configure: Configure):
    """Every value of every command is replaced: those that do not count all at once, the others one by one."""
    for command, purposes in PURPOSES.items():
        cfg, table = configure(command), identity.TABLES[command]
        raw = dict(leaves(OmegaConf.to_container(cfg, resolve=False)))
        roles = {key: identity.role_of(key, table) for key in raw}
        assert len(raw) > 20
        for purpose in purposes:
            counting = {key for key, role in roles.items() if role is None or role in purpose}
            used = " ".join(str(raw[key]) for key in counting)  # interpolations of what counts
            left_out = [
                key
                for key, role in roles.items()
                if key not in counting and role is not identity.Role.DERIVED and f"${{{key}}}" not in used
            ]
            known = identity.digest(identity.counted(cfg, command, purpose))
            changed = configure(command)
            for key in left_out:
                OmegaConf.update(changed, key, "another", force_add=True)
            assert identity.digest(identity.counted(changed, command, purpose)) == known
            assert identity.digest(identity.counted(moved_config(cfg), command, purpose)) == known

        everything = frozenset().union(*purposes)
        known = identity.digest(identity.counted(cfg, command, everything))
        for key, value in raw.items():
            if key.rpartition(".")[2] in identity.BUILDING or not (roles[key] is None or roles[key] in everything):
                continue
            OmegaConf.update(cfg, key, "elsewhere.Another" if key.endswith("_target_") else "another", force_add=True)
            assert identity.digest(identity.counted(cfg, command, everything)) != known, key
            OmegaConf.update(cfg, key, value, force_add=True)


def test_every_class_that_counts_has_a_kind_and_no_two_share_a_name():
    names: dict[str, set[str]] = {}
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        for target in re.findall(r"_target_: ([\w.]+)", path.read_text()):
            names.setdefault(target.rpartition(".")[2], set()).add(target)
    assert all(len(paths) == 1 for paths in names.values()), "two classes of one name would count as the same"

    building = {"ClipDataModule", "prepare_folder", "prepare_synthetic"}  # data.module, which does not count
    used = {
        name
        for group in ("attention", "data", "flow", "metrics", "model", "protocol", "sampler", "stage", "surface")
        for path in (ROOT / "conf" / group).rglob("*.yaml")
        for name in re.findall(r"_target_: [\w.]*\.(\w+)", path.read_text())
    }
    assert {identity.kind_of(name) for name in used - building} == set(identity.KINDS.values()), (
        "a class needs a line in identity.KINDS, or a line has no class"
    )


def test_a_sweep_passes_on_what_both_commands_read(configure: Configure):
    both = {str(key) for key in configure("train")} & {str(key) for key in configure("evaluate")}
    assert both - set(identity.FORWARDED) == {"seed", "output", "logger"}
    assert set(identity.FORWARDED) <= both


# --- committed records


@pytest.mark.parametrize("file", [file for file in RESULTS if file.stem.endswith("_seed0")], ids=lambda file: file.stem)
def test_a_committed_result_is_comparable_with_the_same_run_of_moved_classes(
    file: Path, configure: Configure, tmp_path: Path
):
    old = json.loads(file.read_text())
    cfg = moved_config(configure("evaluate", *old["overrides"]["evaluate"]))
    protocol = {key: old["protocol"][key] for key in ("failed_chamfer", "definitions")}
    new = old | {
        "protocol": identity.plain(cfg.protocol) | protocol,
        "data": identity.counted(cfg, "evaluate", identity.SWEPT)["data"],
    }
    (tmp_path / "new.json").write_text(json.dumps(new))
    runs = read_runs([file, tmp_path / "new.json"])
    refuse_mixed([Row((run,)) for run in runs])
    refuse_budgets(runs)
    assert len(rows_of(runs)) == 1
    new["protocol"]["radius"] = 0.03
    (tmp_path / "new.json").write_text(json.dumps(new))
    with pytest.raises(ValueError, match=r"different protocols \(radius 0\.02 and 0\.03\)"):
        refuse_mixed([Row((run,)) for run in read_runs([file, tmp_path / "new.json"])])


def recipe_of_0_1(cfg: DictConfig) -> dict[str, Any]:
    """recipe.json as version 0.1.0 wrote it."""
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    kept: dict[str, Any] = {
        key: config[key] for key in ("seed", "frames", "attention", "stage", "flow", "model", "data")
    }
    for key in ("weights", "training"):
        kept["model"].pop(key, None)
    for key in ("root", "module", "source", "workers", "loaders"):
        kept["data"].pop(key, None)
    for key in ("steps", "val_every", "save_every", "recompute"):
        kept["stage"].pop(key, None)
    kept["data"]["folder"] = Path(cfg.data.root).name
    return kept


def test_a_run_of_an_older_version_is_resumed_and_another_one_refused(configure: Configure, tmp_path: Path):
    cfg = configure("train", "model=nano", "stage=vae", "flow=logit_normal", "output=.")
    (tmp_path / FILE).write_text(json.dumps(recipe_of_0_1(cfg) | {"weights": {}, "start": None, "checkpoint": None}))
    check_recipe(tmp_path, moved_config(cfg))
    assert identity.same(json.loads((tmp_path / FILE).read_text()), compared(moved_config(cfg)))
    cfg.stage.optimisation.rate = 0.5
    with pytest.raises(ValueError, match=r"other settings \(stage\.optimisation\.rate .* -> 0\.5\)"):
        check_recipe(tmp_path, cfg)
    with pytest.raises(ValueError, match=r"flow\.time\.kind logit_normal -> uniform"):
        check_recipe(tmp_path, configure("train", "model=nano", "stage=vae"))


def test_the_recipes_in_the_committed_weights_are_those_of_today_where_both_have_a_key(configure: Configure):
    for stage in ("vae", "base", "temporal"):
        told = json.loads(stored_description(ROOT / f"weights/tiny/{stage}.safetensors")["sculpt4d"])["config"]
        cfg = moved_config(configure("train", "model=tiny", f"stage={stage}"))
        for part in ("attention", "model"):
            old, new = (dict(identity.flat(identity.canonical(side[part]))) for side in (told, recipe(cfg)))
            assert {key: new[key] for key in old.keys() & new.keys()} == {
                key: old[key] for key in old.keys() & new.keys()
            }
            assert {key for key in old if key.endswith("kind")} == {key for key in new if key.endswith("kind")}


def test_cached_latents_belong_to_objects_reading_and_weights(configure: Configure, tmp_path: Path):
    vae = instantiate(configure("train", "model=nano").model.vae)
    settings = ClipSettings(4, 8, 16)

    def key(settings: ClipSettings, names: tuple[str, ...] = ("a", "b"), variants: int = 1) -> str:
        return fingerprint(vae, ClipDataset(tmp_path, names, settings, 0), variants)

    first = key(settings)
    assert key(dataclasses.replace(settings, keep=True)) == first
    others = [key(dataclasses.replace(settings, points=17)), key(settings, ("b", "a")), key(settings, variants=2)]
    assert len({first, *others}) == 4
    next(vae.parameters()).data += 1
    assert key(settings) != first


def test_objects_of_one_sampling_share_a_folder():
    asked = PrepareSettings()
    assert not list(identity.other_sampling(PrepareSettings(sharp_points=1, points=5, seed=3), asked))
    found = identity.other_sampling(PrepareSettings(sharp_points=0, consistent=False, projection="none"), asked)
    assert [name for name, _, _ in found] == ["consistent", "projection", "sharp_points"]


@pytest.mark.parametrize(
    "override, neutral",
    [
        ("threads=4", True),
        ("backend=flex", True),
        ("paths.runs=x", True),
        ("trainer=gpu", True),
        ("trainer.accelerator=gpu", True),
        ("~callbacks.preview", True),
        ("seeds=[1]", True),
        ("trainer=ddp", False),
        ("trainer.accumulate_grad_batches=2", False),
        ("data.root=x", False),
        ("checkpoint=x", False),
        ("stage.steps=3", False),
        ("data.seed=1", False),
        ("a_new_key=1", False),
    ],
)
def test_overrides_that_change_no_number_are_neutral(override: str, neutral: bool):
    assert identity.is_neutral(override) is neutral
