"""Tensor names of a checkpoint, whoever wrote it, to the parts of a model (base spec 1.2, 2.2, 3.4 and 6).

A name is known by its tail, so any wrapping prefix (model., module., first_stage_model., ...) is found, not guessed.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sculpt4d.model.reference import dino_name
from sculpt4d.model.stored import Stored

PARTS = ("vae", "conditioner", "denoiser", "temporal")
ROOTS = {
    "denoiser": r"(x_embedder|anchor_embedder|t_embedder|blocks\.\d+|final_layer)\.",
    "vae": r"(encoder\.(input_proj|cross_attn|self_attn|ln_post|near)|pre_kl|post_kl|transformer\.resblocks|"
    r"geo_decoder)\.",
    "conditioner": r"(embeddings\.(cls_token|mask_token|position_embeddings|patch_embeddings)|encoder\.layer\.\d+\.|"
    r"layernorm\.)",
}
BASE = re.compile(
    r"(x_embedder|anchor_embedder|t_embedder\.mlp|final_layer\.(norm_final|linear)|"
    r"blocks\.\d+\.(norm[123]|attn[12]|mlp|moe|skip_linear|skip_norm))\."
)
ASIDE = re.compile(r"(^|\.)(model_ema|optimizer|optimizer_states|optimizer_state_dict|lr_schedulers|callbacks|loops)\.")


class Part(NamedTuple):
    """Tensors of one part by name within its module. `reference_rows`: q, k and v are packed as in base spec 1.4."""

    tensors: Mapping[str, Stored]
    reference_rows: bool
    description: Mapping[str, Any] | None = None  # of our own files


@dataclass(frozen=True)
class Layout:
    """The parts found, names that belong to none, and names that are left out knowingly (optimiser, averages)."""

    parts: Mapping[str, Part]
    unknown: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict)


def foreign_layout(stored: Mapping[str, Stored]) -> Layout:
    """Sorts the names of a checkpoint that this project did not write.

    ValueError when one part is there twice, under different prefixes, or when the names are those of our own training
    checkpoints, whose rows are ordered otherwise. Temporal layers keep the names they have; `place` finds ours.
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
    parts: dict[str, Part] = {}
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
            parts[part] = Part({f"model.{dino_name(name)}": tensor for name, tensor in tensors.items()}, False)
        elif part == "vae":
            parts[part] = Part(tensors, False)
        else:
            base = {name: tensor for name, tensor in tensors.items() if BASE.match(name)}
            layers = {name: tensor for name, tensor in tensors.items() if name not in base}
            parts |= {"denoiser": Part(base, True)} if base else {}
            parts |= {"temporal": Part(layers, True)} if layers else {}
    return Layout(parts, tuple(unknown), tuple(aside), prefixes)


def own_layout(stored: Mapping[str, Stored], description: Mapping[str, Any]) -> Layout:
    """Sorts the names of a file of this project: one stage, our names, our row order."""
    if description.get("stage") == "vae":
        return Layout({"vae": Part(stored, False, description)})
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
    return Layout({part: Part(names, False, description) for part, names in split.items() if names}, tuple(unknown))


def _tail(name: str) -> tuple[str, str, str] | None:
    """(part, prefix, tail) of the earliest tail that starts as a part's names do."""
    starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
    for start in starts:
        for part, root in ROOTS.items():
            if re.match(root, name[start:]):
                return part, name[:start], name[start:]
    return None


def place(
    found: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]], renames: Iterable[tuple[str, str]]
) -> dict[str, Stored]:
    """Temporal layers under foreign names to ours: first by `renames`, then by elimination among equal shapes.

    found: what a checkpoint holds, blocks.N.REST. wanted: our names and shapes. renames: (regular expression over REST,
    our name). A name is placed by elimination when its block has one tensor of that shape and ending (weight or bias)
    left, and we want one. ValueError with everything that is left over on both sides.
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
            f"tensor: {compact(missing) or 'nothing'}. Add the names to sculpt4d/model/released_names.yaml, or to a "
            "table of your own given as weight_names="
        )
    return placed


def _block(name: str) -> tuple[str, str]:
    """blocks.N. and what follows."""
    match = re.match(r"blocks\.\d+\.", name)
    return (match.group(), name[match.end() :]) if match else ("", name)


def _by_shape(shapes: Mapping[str, tuple[int, ...]]) -> dict[tuple[str, tuple[int, ...], str], list[str]]:
    """Names that could stand for each other: of one block, one shape and one ending."""
    grouped: dict[tuple[str, tuple[int, ...], str], list[str]] = defaultdict(list)
    for name, shape in shapes.items():
        grouped[_block(name)[0], shape, name.rsplit(".", 1)[-1]].append(name)
    return grouped


def compact(names: Iterable[str]) -> str:
    """All names in few words: blocks.{0-20}.norm1.weight for twenty-one of them, with a count where some lack."""
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
