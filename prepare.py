"""Prepare animated GLB files for training: python prepare.py source=horse.glb output=data/mine"""

import hydra
from omegaconf import DictConfig

from sculpt4d.cli import clean_errors, told_keys


@told_keys
@hydra.main(version_base="1.3", config_path="conf", config_name="prepare")
@clean_errors
def main(cfg: DictConfig) -> None:
    from sculpt4d.preparation.run import run  # after the settings are checked

    run(cfg)


if __name__ == "__main__":
    main()
