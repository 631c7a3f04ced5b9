"""CLIP similarity: cosine of what CLIP sees in two pictures (Radford et al. 2021; ViT-B/32 as Consistent4D uses it)."""

import json
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sculpt4d.evaluation.appearance.networks import filled, read_tensors

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
NAMES = ("model.safetensors", "pytorch_model.bin")
REMEDY = (
    "metrics.networks.clip.weights takes a CLIP of transformers (a folder with config.json and model.safetensors or "
    "pytorch_model.bin), or hf://openai/clip-vit-base-patch32, which metrics.download=true fetches"
)


class Clip(nn.Module):
    """Pictures (b, 3, size, size) in [0, 1] to embeddings (b, c), the vision tower and its projection."""

    def __init__(self, tower: nn.Module, size: int) -> None:
        super().__init__()
        self.tower, self.size = tower, size

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        mean, deviation = (pictures.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return self.tower(pixel_values=(pictures - mean) / deviation).image_embeds


def similarity(mine: Float[Tensor, "b c"], theirs: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """Cosine of pairs of embeddings: 1 for equal ones."""
    return functional.cosine_similarity(mine, theirs)


def load_clip(weights: Path) -> Clip:
    """The vision half of a CLIP, whole or alone, as transformers stores it. Raises ValueError for other files."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection  # 0.5 s, so only when it is used

    config = _config(weights.with_name("config.json"))
    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    kept = ("vision_model.", "visual_projection.")

    def rename(name: str) -> str | None:
        return name if name.startswith(kept) and not name.endswith("position_ids") else None

    filled(tower, read_tensors(weights, rename), weights, "the CLIP that its config.json describes")
    return Clip(tower, int(tower.config.image_size))


def _config(path: Path) -> dict[str, object]:
    """Settings of the vision tower. Old files keep the width of the projection outside of them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {REMEDY}")
    try:
        content = json.loads(path.read_text())
        vision = dict(content.get("vision_config", content))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no configuration of a CLIP ({error}): fetch it again") from error
    if "projection_dim" in content:
        vision["projection_dim"] = content["projection_dim"]
    return vision
