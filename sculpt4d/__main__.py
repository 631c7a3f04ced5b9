"""The command `sculpt4d`: sculpt4d train|generate|prepare|evaluate [OVERRIDES].

The entry scripts of a checkout do the same. Data and runs go to the working folder; configuration and tiny weights come
from the installed package.
"""

import os
import sys
from collections.abc import Callable

import hydra
from omegaconf import DictConfig

from sculpt4d import __version__
from sculpt4d.cli import clean_errors, told_keys, typed, usage
from sculpt4d.resources import resource

COMMAND = "SCULPT4D_COMMAND"  # Lightning starts further processes with the overrides alone: they find the command here


def train(cfg: DictConfig) -> float:
    """Train the 4D denoiser, or another stage."""
    from sculpt4d.sweeps.run import train  # after the settings are checked: it loads torch

    return train(cfg)


def generate(cfg: DictConfig) -> None:
    """Make an animated mesh from a video."""
    from sculpt4d.generation.generate import generate

    generate(cfg)


def prepare(cfg: DictConfig) -> None:
    """Prepare animated GLB files for training."""
    from sculpt4d.preparation.run import run

    run(cfg)


def evaluate(cfg: DictConfig) -> float:
    """Measure a model on the holdout, or the meshes of any method."""
    from sculpt4d.evaluation.run import evaluate

    return evaluate(cfg)


COMMANDS: dict[str, Callable[[DictConfig], float | None]] = {
    command.__name__: command for command in (train, generate, prepare, evaluate)
}


def main() -> None:
    """Runs the command named by the first word; without one, or with --help, lists the commands."""
    words = sys.argv[1:]
    if not words or words[0] in ("--help", "-h"):
        print(overview())
        return
    if words[0] in ("--version", "-V"):
        print(__version__)
        return
    name = words[0] if words[0] in COMMANDS else os.environ.get(COMMAND)
    if name is None:
        print(f"error: {words[0]} is no command: sculpt4d has {', '.join(COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    overrides = words[1:] if words[0] in COMMANDS else words
    os.environ[COMMAND] = name
    sys.argv[1:] = overrides
    if {"--help", "-h"} & set(overrides):
        print(usage(resource("conf"), name, typed(overrides)))
        return
    configured = hydra.main(version_base="1.3", config_path=str(resource("conf")), config_name=name)
    told_keys(configured(clean_errors(COMMANDS[name])))()


def overview() -> str:
    """The commands and what each does."""
    listed = "\n".join(f"  {name:<10}{(command.__doc__ or '').strip()}" for name, command in COMMANDS.items())
    return (
        f"sculpt4d {__version__}: video in, animated 3D mesh out\n\nusage: sculpt4d COMMAND [OVERRIDES]\n\n{listed}\n\n"
        "sculpt4d COMMAND --help lists the settings of a command. Data and runs go to the working folder."
    )


if __name__ == "__main__":
    main()
