"""What a person at the command line sees when something is wrong: one line, and an exit status that is not 0."""

import errno
import functools
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
ROOT = "SCULPT4D_ROOT"  # the checkout, see conf/paths
TRACEBACK = "SCULPT4D_TRACEBACK"  # set to 1 to see where an error comes from
STOPPED = 128 + signal.SIGINT  # what a shell expects of a program that Ctrl-C ended
MENDABLE = (ValueError, OSError, ImportError, MissingMandatoryValue)


def clean_errors(main: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Turns errors that a person can mend (a wrong value, a file, a full disk, a missing package) into one line.

    Goes between `hydra.main` and the function: Hydra would print its own traceback. SCULPT4D_TRACEBACK=1 shows all.
    """

    @functools.wraps(main)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            refuse_other_kinds()
            return main(*args, **kwargs)
        except (*MENDABLE, InstantiationException) as error:
            if os.environ.get(TRACEBACK) == "1":
                raise
            print(f"error: {in_words(error)}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            raise SystemExit(STOPPED) from None

    return guarded


def refuse_other_kinds() -> None:
    """Raises ValueError for the first override of the running command that has a word or list where a number is usual,
    or neither list nor null where a list is. Lightning's own keys (trainer), interpolations and whole groups are left
    to those who read them.
    """
    if not HydraConfig.initialized() or not GlobalHydra.instance().is_initialized():
        return
    running = HydraConfig.get()
    given: list[str] = OmegaConf.to_container(running.overrides.task, resolve=False)  # type: ignore[assignment]
    chosen = [text for text in given if text.split("=")[0].lstrip("+") in running.runtime.choices]
    loader = GlobalHydra.instance().config_loader()
    usual = loader.load_configuration(running.job.config_name, chosen, RunMode.RUN)
    for override in OverridesParser.create().parse_overrides([text for text in given if "${" not in text]):
        key, value = override.key_or_group, override.value()
        if key in running.runtime.choices or key.startswith("trainer.") or value is None:
            continue
        before = OmegaConf.select(usual, key, throw_on_resolution_failure=False)
        if OmegaConf.is_list(before) and isinstance(value, str | int | float):
            raise ValueError(f"{key}={value}: must be a list: {key}=[{value}]")
        if isinstance(before, int | float) and not isinstance(before, bool) and isinstance(value, str | list):
            raise ValueError(f"{key}={value}: must be a number, such as the usual {before}")


def in_words(error: BaseException) -> str:
    """What was wrong, and the remedy where Hydra, OmegaConf or the system leave it out."""
    cause = error
    while isinstance(cause, InstantiationException) and cause.__cause__ is not None:  # Hydra wraps a constructor's own
        cause = cause.__cause__
    if not isinstance(cause, MENDABLE):
        return " ".join(str(error).split())
    missing = re.search(r"Missing mandatory value: (\S+)", str(cause))
    if missing:
        return f"{missing[1]} is needed: add {missing[1]}=... to the command (--help shows how)"
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC and cause.strerror == os.strerror(errno.ENOSPC):
        return f"{cause}: free some space, or choose a folder on another disk"
    return str(cause)


def told_keys(main: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Adds the valid keys to what Hydra says of a mistyped one, and sets the root of all paths where nobody has. Goes
    around `hydra.main`.
    """

    @functools.wraps(main)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        os.environ.setdefault(ROOT, os.getcwd())
        try:
            return main(*args, **kwargs)
        except SystemExit as stop:
            reason = getattr(stop.__context__, "__cause__", None)
            if isinstance(reason, OmegaConfBaseException) and isinstance(reason.parent_node, DictConfig):
                names = ", ".join(str(name) for name in reason.parent_node if name != "hydra")
                print(f"valid keys beside {reason.full_key}: {names}", file=sys.stderr)
            raise

    return guarded
