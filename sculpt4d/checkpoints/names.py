"""Assign checkpoint tensor names, from any writer, to the parts of a model (base spec 1.2, 2.2, 3.4 and 6).

Names are recognised by their tail, so any wrapping prefix (model., module., first_stage_model., ...) is detected.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sculpt4d.checkpoints.released import dino_name
from sculpt4d.checkpoints.stored import Stored

PARTS = ("vae", "conditioner", "denoiser", "temporal")
ROOTS = {
    "denoiser": r"(x_embedder|t_embedder|blocks\.\d+|final_layer)\.",
    "vae": r"(encoder\.(input_proj|cross_attn|self_attn|ln_post)|pre_kl|post_kl|transformer\.resblocks|geo_decoder)\.",
    "conditioner": r"(embeddings\.(cls_token|mask_token|position_embeddings|patch_embeddings)|encoder\.layer\.\d+\.|"
    r"layernorm\.)",
}
BASE = re.compile(
    r"(x_embedder|t_embedder\.mlp|final_layer\.(norm_final|linear)|"
    r"blocks\.\d+\.(norm[123]|attn[12]|mlp|moe|skip_linear|skip_norm))\."
)
ASIDE = re.compile(r"(^|\.)(model_ema|optimizer|optimizer_states|optimizer_state_dict|lr_schedulers|callbacks|loops)\.")


class WeightPart(NamedTuple):
    """Tensors of one part, by name within its module. `reference_rows`: q, k and v are packed as in base spec 1.4."""

    tensors: Mapping[str, Stored]
    reference_rows: bool
    description: Mapping[str, Any] | None = None  # only in our own files


@dataclass(frozen=True)
class CheckpointLayout:
    """Parts found, names that belong to no part, and names that are deliberately ignored (optimiser, EMA)."""

    parts: Mapping[str, WeightPart]
    unknown: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict)


def foreign_layout(stored: Mapping[str, Stored]) -> CheckpointLayout:
    """Sort the names of a checkpoint that this project did not write.

    Raises ValueError if a part occurs twice under different prefixes, or if the names are those of our own training
    checkpoints, whose rows have another order. Temporal layers keep their names; `place` finds ours.
    """
    found: dict[str, dict[str, dict[str, Stored]]] = defaultdict(lambda: defaultdict(dict))
    unknown, aside = [], []
    for name, tensor in stored.items():
        if ASIDE.search(name):
            aside.append(name)
        elif place := _tail(name):
            part, prefix, tail = place
            found[part][prefix][tail] = tensor
        else:
            unknown.append(name)
    parts: dict[str, WeightPart] = {}
    prefixes = {}
    for part, sets in found.items():
        if len(sets) > 1:
            raise ValueError(
                f"the {part} is there {len(sets)} times, under the prefixes {', '.join(map(repr, sets))}: keep one of "
                "them in a file of its own"
            )
        prefix, tensors = next(iter(sets.items()))
        if prefix.endswith("denoiser."):
            raise ValueError(
                "this is a training checkpoint of this project: give the folder of the run, or the .safetensors file "
                "that was exported there"
            )
        prefixes[part] = prefix
        if part == "conditioner":
            parts[part] = WeightPart({f"model.{dino_name(name)}": tensor for name, tensor in tensors.items()}, False)
        elif part == "vae":
            parts[part] = WeightPart(tensors, False)
        else:
            base = {name: tensor for name, tensor in tensors.items() if BASE.match(name)}
            layers = {name: tensor for name, tensor in tensors.items() if name not in base}
            parts |= {"denoiser": WeightPart(base, True)} if base else {}
            parts |= {"temporal": WeightPart(layers, True)} if layers else {}
    return CheckpointLayout(parts, tuple(unknown), tuple(aside), prefixes)


def own_layout(stored: Mapping[str, Stored], description: Mapping[str, Any]) -> CheckpointLayout:
    """Sort the names of a file of this project: one stage, our names, our row order."""
    if description.get("stage") == "vae":
        return CheckpointLayout({"vae": WeightPart(stored, False, description)})
    split: dict[str, dict[str, Stored]] = {"conditioner": {}, "denoiser": {}}
    unknown = []
    for name, tensor in stored.items():
        module, _, tail = name.partition(".")
        if module in split and tail:
            split[module][tail] = tensor
        else:
            unknown.append(name)
    if description.get("stage") == "temporal":
        split["temporal"] = split.pop("denoiser")
    return CheckpointLayout(
        {part: WeightPart(names, False, description) for part, names in split.items() if names}, tuple(unknown)
    )


def _tail(name: str) -> tuple[str, str, str] | None:
    """(part, prefix, tail) of the earliest tail that matches the names of a part."""
    starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
    for start in starts:
        for part, root in ROOTS.items():
            if re.match(root, name[start:]):
                return part, name[:start], name[start:]
    return None


def place(
    found: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]], renames: Iterable[tuple[str, str]]
) -> dict[str, Stored]:
    """Map foreign names of temporal layers to ours: first by `renames`, then by elimination among equal shapes.

    found: names in the checkpoint, blocks.N.REST. wanted: our names and shapes. renames: (regular expression over REST,
    our name). Elimination applies if one stored and one wanted tensor of the block, shape and ending (weight or bias)
    are left. Raises ValueError with all names left over on both sides.
    """
    patterns = [(re.compile(pattern), ours) for pattern, ours in renames]
    placed: dict[str, Stored] = {}
    source: dict[str, str] = {}
    for name, tensor in found.items():
        head, rest = _block(name)
        for pattern, ours in patterns:
            if match := pattern.fullmatch(rest):
                target = head + match.expand(ours)
                if wanted.get(target) == tensor.shape and target not in placed:
                    placed[target], source[name] = tensor, target
                break
    left = _by_shape({name: tensor.shape for name, tensor in found.items() if name not in source})
    lacking = _by_shape({name: shape for name, shape in wanted.items() if name not in placed})
    for key, names in left.items():
        if len(names) == 1 and len(lacking.get(key, ())) == 1:
            placed[lacking.pop(key)[0]], source[names[0]] = found[names[0]], ""
    unused = [name for name in found if name not in source]
    missing = [name for name in wanted if name not in placed]
    if unused or missing:
        raise ValueError(
            f"temporal layers under unknown names. Left in the file: {compact(unused) or 'nothing'}. Still without a "
            f"tensor: {compact(missing) or 'nothing'}. Add the names to sculpt4d/checkpoints/released_names.yaml, or "
            "to a table of your own given as weight_names="
        )
    return placed


def _block(name: str) -> tuple[str, str]:
    """Split a name into blocks.N. and the rest."""
    match = re.match(r"blocks\.\d+\.", name)
    return (match.group(), name[match.end() :]) if match else ("", name)


def _by_shape(shapes: Mapping[str, tuple[int, ...]]) -> dict[tuple[str, tuple[int, ...], str], list[str]]:
    """Groups of interchangeable names: same block, shape and ending."""
    grouped: dict[tuple[str, tuple[int, ...], str], list[str]] = defaultdict(list)
    for name, shape in shapes.items():
        grouped[_block(name)[0], shape, name.rsplit(".", 1)[-1]].append(name)
    return grouped


def compact(names: Iterable[str]) -> str:
    """Short list of names: blocks.{0-20}.norm1.weight for twenty-one of them, with a count if some are missing."""
    numbers: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for name in names:
        found = re.findall(r"(?<=\.)\d+(?=\.)", name)
        numbers[re.sub(r"(?<=\.)\d+(?=\.)", "{}", name)].append(tuple(int(number) for number in found))
    told = []
    for pattern, rows in sorted(numbers.items()):
        ends = [(min(column), max(column)) for column in zip(*rows, strict=True)]
        text = pattern.format(*(str(low) if low == high else f"{{{low}-{high}}}" for low, high in ends))
        whole = math.prod(high - low + 1 for low, high in ends) == len(rows)
        told.append(text if whole else f"{text} ({len(rows)})")
    return ", ".join(told)
