"""Our own weights files: safetensors with a description of what they are inside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sculpt4d.files import replacing_file, to_json

DESCRIPTION = "sculpt4d"  # metadata key that holds the description as JSON


def save_weights(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any] | None) -> None:
    """Writes `tensors` and what they are in one step: a reader sees the old file or the new one.

    `description` None leaves a plain safetensors file, for other programs.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = None if description is None else {DESCRIPTION: to_json(description, indent=None)}
    try:
        with replacing_file(path) as draft:
            save_file(kept, draft, metadata=about)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}): free some space, or choose another output") from error
