"""Prepared objects as batches: training draws by step, validation reads every held-out object alike."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
from torch.utils.data import DataLoader, Dataset, Sampler

from sculpt4d.data.dataset import ClipDataset, ClipSettings, split_names
from sculpt4d.files import file_lock


class StepBatches(Sampler[list[int]]):
    """Item numbers of the batches from the one that `reached()` names up to `batches`; every rank has its own.

    Numbers never repeat, so a dataset that reads item `number` as a function of (seed, number) draws for ever.
    """

    def __init__(self, size: int, batches: int, reached: Callable[[], int], rank: int = 0, world: int = 1) -> None:
        self.size, self.batches, self.reached, self.rank, self.world = size, batches, reached, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.reached(), self.batches):
            first = (batch * self.world + self.rank) * self.size
            yield list(range(first, first + self.size))

    def __len__(self) -> int:
        return self.batches


class ClipDataModule(lightning.LightningDataModule):
    """`build` makes the data when it is missing. `encode` replaces clips by what the frozen autoencoder says of them:
    (dataset of fixed clips, split) to a dataset read by number. Validation holds at most `val_limit` objects.
    """

    def __init__(
        self,
        root: Path | str,
        settings: ClipSettings,
        batch_size: int,
        workers: int = 0,
        seed: int = 0,
        val_limit: int = 32,
        build: Callable[[Path], None] | None = None,
        encode: Callable[[ClipDataset, str], Dataset[Any]] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        self.root, self.settings, self.batch_size, self.workers = Path(root), settings, batch_size, workers
        self.seed, self.val_limit, self.build, self.encode = seed, val_limit, build, encode
        self.train: Dataset[Any] | None = None
        self.holdout: Dataset[Any] | None = None

    def prepare_data(self) -> None:
        """Builds what is missing; rank 0 alone, and one run alone."""
        if self.build is not None:
            with file_lock(self.root):
                self.build(self.root)

    def setup(self, stage: str) -> None:
        if self.train is not None:
            return
        train, holdout = self._split()
        fixed = self.encode is not None
        datasets = {
            "train": ClipDataset(self.root, train, self.settings, self.seed, fixed=fixed),
            "holdout": ClipDataset(self.root, holdout[: self.val_limit], self.settings, self.seed, fixed=True),
        }
        if self.encode is not None:
            self.train, self.holdout = (self.encode(dataset, split) for split, dataset in datasets.items())
        else:
            self.train, self.holdout = datasets["train"], datasets["holdout"]

    def _split(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names to train on and held-out names.

        Another run may have asked for another set of the same folder since `prepare_data`, and every build writes the
        split it was asked for: it is written again, and read before anyone else can.
        """
        if self.build is None:
            return split_names(self.root, "train"), split_names(self.root, "holdout")
        with file_lock(self.root):
            self.build(self.root)
            return split_names(self.root, "train"), split_names(self.root, "holdout")

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        assert trainer is not None and self.train is not None
        accumulate = trainer.accumulate_grad_batches
        batches = StepBatches(
            self.batch_size,
            trainer.max_steps * accumulate,
            lambda: trainer.global_step * accumulate,
            trainer.global_rank,
            trainer.world_size,
        )
        return DataLoader(
            self.train, batch_sampler=batches, num_workers=self.workers, persistent_workers=self.workers > 0
        )

    def val_dataloader(self) -> DataLoader[Any]:
        assert self.holdout is not None
        return DataLoader(self.holdout, batch_size=min(self.batch_size, 8), num_workers=0)
