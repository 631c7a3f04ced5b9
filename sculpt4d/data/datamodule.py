"""Lightning data module for prepared objects.

Training batches are a function of the step; validation reads the held-out objects the same way every time.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
from torch.utils.data import DataLoader, Dataset, Sampler

from sculpt4d.data.dataset import ClipDataset, ClipSettings, split_names
from sculpt4d.files import file_lock


class StepBatches(Sampler[list[int]]):
    """Batch sampler: item numbers of the batches from `reached()` up to `batches`, disjoint between ranks.

    Numbers never repeat. A dataset that derives item `number` from (seed, number) therefore provides unlimited samples.
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
    """Training and validation loaders over a folder of prepared objects.

    build: creates missing data. encode: maps (dataset of fixed clips, split) to a dataset of clips encoded by the
    frozen autoencoder, indexed by item number. val_limit: maximum number of validation objects.
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
        """Build missing data, on rank 0 only and in one run at a time."""
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
        """Return the training and the held-out object names.

        Each build writes the split it was asked for, and another run may have built a different set in the same folder
        since `prepare_data`. The split is therefore written again and read under the same lock.
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
