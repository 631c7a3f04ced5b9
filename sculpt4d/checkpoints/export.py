"""Our tensors under the names and in the row order of the reference: the flat file that it reads (base spec 6)."""

import re
from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from sculpt4d.checkpoints.released import old_dino_name, reference_rows
from sculpt4d.model.layers import SelfAttention

PREFIX = {
    "vae": "vae.",
    "conditioner": "conditioner.main_image_encoder.",
    "denoiser": "model.",
    "temporal": "model.",
}
PACKED = re.compile(r"(.*\b(attn1|attn2|temporal))\.to_k\.(weight|bias)")


def reference_tensors(tensors: Mapping[str, Tensor], part: str, module: nn.Module) -> dict[str, Tensor]:
    """`tensors` of a part, named as in `module`, to what the reference's file calls and orders them.

    ValueError for an image encoder other than DINOv2: the reference has none.
    """
    if part == "conditioner" and not all(name.startswith("model.") for name in tensors):
        raise ValueError("the reference's image encoder is DINOv2: this one cannot be written in its layout")
    ordered = {old_dino_name(name) if part == "conditioner" else name: tensor for name, tensor in tensors.items()}
    if part in ("denoiser", "temporal"):
        for name in tensors:
            if match := PACKED.fullmatch(name):
                letters = "kv" if match[2] == "attn2" else "qkv"
                names = [f"{match[1]}.to_{letter}.{match[3]}" for letter in letters]
                heads = cast(SelfAttention, module.get_submodule(match[1])).heads
                ordered |= zip(names, reference_rows([tensors[n] for n in names], heads), strict=True)
    return {PREFIX[part] + name: tensor for name, tensor in ordered.items()}
