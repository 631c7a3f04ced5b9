"""Train the 4D denoiser: python train.py attention=blockmask_decay model=tiny"""

import hydra
from omegaconf import DictConfig

from sculpt4d.cli import clean_errors, told_keys


@told_keys
@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@clean_errors
def main(cfg: DictConfig) -> float:
    from sculpt4d.sweeps.run import train  # after the settings are checked: it loads torch

    return train(cfg)


if __name__ == "__main__":
    main()
