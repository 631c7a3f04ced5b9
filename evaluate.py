"""Measure the 4D model or a baseline on the holdout: python evaluate.py baseline=per_frame_shared_noise"""

import hydra
from omegaconf import DictConfig

from sculpt4d.cli import clean_errors, told_keys


@told_keys
@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@clean_errors
def main(cfg: DictConfig) -> float:
    from sculpt4d.evaluation.run import evaluate  # after the settings are checked: it loads torch

    return evaluate(cfg)


if __name__ == "__main__":
    main()
