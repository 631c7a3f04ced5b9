"""Objects of predictions and of a ground truth paired by their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Side = TypeVar("Side")


@dataclass(frozen=True)
class Pairs(Generic[Side]):
    """found: name to prediction and truth. missing: objects of the ground truth without a prediction.

    without_ground_truth: predictions, or names that were asked for, that the ground truth does not have; they are no
    failure of the method.
    """

    found: Mapping[str, tuple[Side, Side]]
    missing: tuple[str, ...]
    without_ground_truth: tuple[str, ...]

    @property
    def objects(self) -> int:
        """Of the ground truth, of those that were asked for."""
        return len(self.found) + len(self.missing)


def pair_objects(
    predictions: tuple[Path, Mapping[str, Side]],
    ground_truth: tuple[Path, Mapping[str, Side]],
    names: Sequence[str] | None = None,
) -> Pairs[Side]:
    """Path and objects by name of both sides, or their objects of `names`.

    One object each is a pair whatever the names where a path is itself that object: it was chosen by hand. Objects that
    lie in folders of objects are paired by their names alone.
    """
    (_, predicted), (_, truth) = predictions, ground_truth
    if names is not None:
        predicted, truth = ({name: side[name] for name in names if name in side} for side in (predicted, truth))
    elif len(predicted) == len(truth) == 1 and (is_itself(*predictions) or is_itself(*ground_truth)):
        predicted = dict(zip(truth, predicted.values(), strict=True))
    return Pairs(
        {name: (predicted[name], side) for name, side in truth.items() if name in predicted},
        tuple(sorted(name for name in truth if name not in predicted)),
        tuple(sorted(name for name in names or predicted if name not in truth)),
    )


def is_itself(root: Path, found: Mapping[str, Side]) -> bool:
    """Whether the one object found in `root` is `root`, not one of its subfolders or of several files."""
    own = root.stem if root.is_file() else root.resolve().name
    return set(found) == {own} and not (root / own).is_dir()
