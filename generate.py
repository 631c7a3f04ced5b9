"""Make an animated mesh from a video: python generate.py input=clip.mp4 output=out/clip"""

import hydra
from omegaconf import DictConfig

from sculpt4d.cli import clean_errors, told_keys


@told_keys
@hydra.main(version_base="1.3", config_path="conf", config_name="generate")
@clean_errors
def main(cfg: DictConfig) -> None:
    from sculpt4d.generation.generate import generate  # after the settings are checked: it loads torch

    generate(cfg)


if __name__ == "__main__":
    main()
