"""Shared behaviour of the four commands: early validation of settings, one-line errors, --help.

Settings are checked before heavy imports. A user error ends the command with one line on stderr and a non-zero status.
"""

import errno
import functools
import inspect
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import ParamSpec, TypeVar

from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from sculpt4d.config.overrides import refuse_renamed
from sculpt4d.config.schema import check_config
from sculpt4d.config.settings import Settings
from sculpt4d.resources import resource

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
ROOT = "SCULPT4D_ROOT"  # the working folder, see conf/paths
SHIPPED = ("conf", "weights")  # located next to the code, see conf/paths
TRACEBACK = "SCULPT4D_TRACEBACK"  # set to 1 to show tracebacks
STOPPED = 128 + signal.SIGINT  # exit status of a program ended by Ctrl-C
FIXABLE = (ValueError, OSError, ImportError, MissingMandatoryValue)


def clean_errors(main: Callable[[DictConfig], Result]) -> Callable[[DictConfig], Result]:
    """Decorator that checks the composed configuration, then runs `main`. Place it below `hydra.main`.

    `main` does its own imports, so that a wrong setting is reported before torch is loaded. User errors (a value, a
    file, a full disk, a missing package) become one line. SCULPT4D_TRACEBACK=1 shows the traceback.
    """

    @functools.wraps(main)
    def guarded(cfg: DictConfig) -> Result:
        with one_line_errors():
            check_config(cfg, Settings)
            return main(cfg)

    return guarded


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Context manager: on a user error, print one line and exit with status 1."""
    try:
        yield
    except (*FIXABLE, InstantiationException) as error:
        if os.environ.get(TRACEBACK) == "1":
            raise
        print(f"error: {in_words(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(STOPPED) from None


def in_words(error: BaseException) -> str:
    """Error message, with the remedy if Hydra, OmegaConf or the system omit it."""
    cause = error
    while (
        isinstance(cause, InstantiationException) and cause.__cause__ is not None
    ):  # Hydra wraps errors of constructors
        cause = cause.__cause__
    if not isinstance(cause, FIXABLE):
        return " ".join(str(error).split())
    missing = re.search(r"Missing mandatory value: (\S+)", str(cause))
    if missing:
        return f"{missing[1]} is needed: add {missing[1]}=... to the command (--help shows how)"
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC and cause.strerror == os.strerror(errno.ENOSPC):
        return f"{cause}: free some space, or choose a folder on another disk"
    return str(cause)


def told_keys(main: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator around `hydra.main` that reports renamed keys and lists valid ones.

    An old name is answered with the new one. Hydra's error for a mistyped key gets the list of valid keys. Also sets
    the root of all paths if it is not set.
    """

    script = Path(inspect.getfile(inspect.unwrap(main)))

    @functools.wraps(main)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        os.environ.setdefault(ROOT, os.getcwd())
        for name in SHIPPED:
            os.environ.setdefault(f"SCULPT4D_{name.upper()}", str(resource(name)))
        overrides = typed(sys.argv[1:])
        with one_line_errors():
            refuse_renamed(overrides)
        if {"--help", "-h"} & set(sys.argv[1:]) and (script.parent / "conf" / f"{script.stem}.yaml").is_file():
            print(usage(script.parent / "conf", script.stem, overrides))
            raise SystemExit(0)
        try:
            return main(*args, **kwargs)
        except SystemExit as stop:
            reason = getattr(stop.__context__, "__cause__", None)
            if isinstance(reason, OmegaConfBaseException) and isinstance(reason.parent_node, DictConfig):
                names = ", ".join(str(name) for name in reason.parent_node if name != "hydra")
                print(f"valid keys beside {reason.full_key}: {names}", file=sys.stderr)
            raise

    return guarded


def usage(conf: Path, name: str, overrides: Sequence[str]) -> str:
    """Text of --help: `hydra.help` of the configuration. Hydra's own takes three times as long."""
    with initialize_config_dir(str(conf), job_name=name, version_base="1.3"):
        cfg = compose(name, list(overrides), return_hydra_config=True)
    template = Template(cfg.hydra.help.template)
    chosen = sorted(group for group in cfg.hydra.runtime.choices if "/" not in group and group != "hydra")
    options = {group: sorted(path.stem for path in (conf / group).glob("*.yaml")) for group in chosen}
    listed = "".join(f"{group}: {', '.join(names)}\n" for group, names in options.items())
    with open_dict(cfg):
        del cfg.hydra
    return template.substitute(APP_CONFIG_GROUPS=listed, CONFIG=OmegaConf.to_yaml(cfg))


def typed(words: Sequence[str]) -> list[str]:
    """Overrides among the command line arguments."""
    return [word for word in words if not word.startswith("-") and ("=" in word or word.startswith("~"))]
