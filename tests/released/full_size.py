"""A file of the released size with random bfloat16 values: python tests/released/full_size.py OUTPUT [--temporal].

OUTPUT ending in .ckpt is the single torch file of Hunyuan3D-2.1, in .safetensors the flat one; anything else becomes a
folder of shards as the Sculpt4D release has them. It needs about its own size in memory.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "full_keys.json"
SHARDS = 4
DEPTH, WIDTH, HEAD = 21, 2048, 128
LAYERS = {
    **{f"temporal_attn.to_{letter}.weight": (WIDTH, WIDTH) for letter in "qkv"},
    **{f"temporal_attn.{letter}_norm.weight": (HEAD,) for letter in "qk"},
    "temporal_attn.out_proj.weight": (WIDTH, WIDTH),
    "temporal_attn.out_proj.bias": (WIDTH,),
    "norm4.weight": (WIDTH,),
    "norm4.bias": (WIDTH,),
}


def full_shapes(temporal: bool) -> dict[str, tuple[int, ...]]:
    """Every name of the three published parts, with their prefixes, and of temporal layers under foreign names."""
    shapes = {}
    for part, held in json.loads(GOLDEN.read_text()).items():
        for entry in held["entries"]:
            letters = [key for key in entry if key not in ("pattern", "shape")]
            for values in product(*(entry[letter] for letter in letters)):
                name = entry["pattern"].format(**dict(zip(letters, values, strict=True)))
                shapes[f"{part}.{name}"] = tuple(entry["shape"])
    if temporal:
        shapes |= {f"model.blocks.{i}.{name}": shape for i in range(DEPTH) for name, shape in LAYERS.items()}
    return shapes


def full_tensors(temporal: bool) -> dict[str, Tensor]:
    """Random values, deviation 0.02; norm scales about one, so that the network's numbers stay finite."""
    torch.manual_seed(0)
    pool = (0.02 * torch.randn(1 << 25)).bfloat16()
    found = {}
    for number, (name, shape) in enumerate(full_shapes(temporal).items()):
        size = torch.Size(shape).numel()
        repeats = -(-(size + number) // len(pool))
        values = pool.repeat(repeats)[number : number + size].view(shape).clone()
        scale = name.endswith("weight") and ("norm" in name or ".ln_" in name) or "lambda1" in name
        found[name] = values + 1 if scale else values
    return found


def main() -> None:
    """Writes the file or the shards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--temporal", action="store_true")
    chosen = parser.parse_args()
    found = full_tensors(chosen.temporal)
    if chosen.output.suffix == ".safetensors":
        save_file(found, chosen.output)
    elif chosen.output.suffix == ".ckpt":
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in found.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
        torch.save(parts, chosen.output)
    else:
        chosen.output.mkdir(parents=True)
        places = {}
        for number in range(SHARDS):
            file = f"pytorch_model-{number + 1:05}-of-{SHARDS:05}.bin"
            names = list(found)[number * len(found) // SHARDS : (number + 1) * len(found) // SHARDS]
            places |= dict.fromkeys(names, file)
            torch.save({name: found[name] for name in names}, chosen.output / file)
        (chosen.output / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))


if __name__ == "__main__":
    main()
