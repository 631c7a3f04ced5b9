"""How long a clip took to make, as generate.py has left it beside its meshes."""

import json
from pathlib import Path

UNCOUNTED = "loading"  # phases of this beginning: of networks, once, however many clips follow


def seconds_per_clip(predictions: Path) -> float | None:
    """Mean over the clips in a folder, or that of the one clip it is; None where any of them does not say.

    Raises ValueError for a generation.json that cannot be read.
    """
    own = predictions / "generation.json"
    clips = [own] if own.is_file() else [path / own.name for path in sorted(predictions.glob("*/"))]
    if not clips or not all(clip.is_file() for clip in clips):
        return None
    return sum(map(_seconds, clips)) / len(clips)


def _seconds(file: Path) -> float:
    try:
        phases = json.loads(file.read_text())["seconds"]
        return float(sum(seconds for phase, seconds in phases.items() if not phase.startswith(UNCOUNTED)))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} does not say its seconds ({error!r}): generate the clip again, or remove it"
        ) from error
