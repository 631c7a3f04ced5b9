"""Configuration overrides: compose a configuration, and report renamed options and keys."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from omegaconf import DictConfig

from sculpt4d.config.settings import PrepareSettings

# Old to new. `group=option` is an option of a group, anything else a key with all keys below it; the new name of a key
# is a key, so that the answer can repeat the value.
RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "trainer=deepspeed_zero1": "trainer=deepspeed trainer.strategy.stage=1",
        "trainer=deepspeed_zero2": "trainer=deepspeed",
        "trainer=deepspeed_zero3": "trainer=deepspeed trainer.strategy.stage=3",
        "experiment=fixed_stride": "attention=fixed_stride",
        "experiment=full_attention": "attention=full",
        "experiment=temporal_only": "attention=temporal_only",
        "experiment=without_anchor": "attention=no_anchor",
        "experiment=paper_8f": "experiment=paper_16f frames=8",
        **{
            f"model.training.{stage}.{key}": f"stage.optimisation.{key}"
            for stage in ("vae", "base", "temporal")
            for key in ("rate", "warmup", "final")
        },
        **{f"model.training.{stage}": "stage" for stage in ("vae", "base", "temporal")},
    }
)

# The option that holds the defaults of conf/prepare.yaml; they are defined only in the dataclass.
ConfigStore.instance().store("prepare_settings", dict(vars(PrepareSettings())))


def compose_config(conf: str, name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration `name` in the folder `conf`; inside an entry script, in Hydra's current folder.

    Raises ValueError for an override that uses an old name.
    """
    refuse_renamed(overrides)
    if GlobalHydra.instance().is_initialized():
        return compose(name, list(overrides))
    with initialize_config_dir(conf, version_base="1.3"):
        return compose(name, list(overrides))


def refuse_renamed(overrides: Sequence[str]) -> None:
    """Raise ValueError for the first override that uses an old name. Overrides that do not parse are left to Hydra."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException:
        return
    for override, text in zip(parsed, overrides, strict=True):
        values = list(override.sweep_iterator()) if override.is_discrete_sweep() else [override.value()]
        for value in values:
            if new := RENAMED.get(f"{override.key_or_group}={value}"):
                raise ValueError(f"{override.key_or_group}={value} is now {new}")
        for key, value in _entries(override.key_or_group, values[0] if values else None):
            if old := next((old for old in RENAMED if key == old or key.startswith(f"{old}.")), None):
                repeated = "" if text.startswith("~") else f"={text.partition('=')[2]}"
                shown = repeated if key == override.key_or_group else f"={value}"
                raise ValueError(f"{key} is now {RENAMED[old]}{key.removeprefix(old)}{shown}")


def _entries(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The key and, if the value is a dictionary, all keys inside it."""
    yield key, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _entries(f"{key}.{name}", inner)
