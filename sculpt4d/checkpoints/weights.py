"""Our own weights files: safetensors with a description of what they are inside."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

DESCRIPTION = "sculpt4d"  # metadata key that holds the description as JSON


def save_weights(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any] | None) -> None:
    """Writes `tensors` and what they are in one step: a reader sees the old file or the new one.

    `description` None leaves a plain safetensors file, for other programs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        about = None if description is None else {DESCRIPTION: json.dumps(description)}
        save_file(kept, partial, metadata=about)
        os.replace(partial, path)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}): free some space, or choose another output") from error
    finally:
        partial.unlink(missing_ok=True)
