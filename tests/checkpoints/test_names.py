import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sculpt4d.checkpoints.load import NAMES, read_names
from sculpt4d.checkpoints.names import compact, foreign_layout, own_layout, place
from sculpt4d.checkpoints.stored import Stored

from .released import networks, tensors


def stored(*names: str, shape: tuple[int, ...] = (2, 2)) -> dict[str, Stored]:
    return {name: Stored(Path("file"), name, shape, torch.float16) for name in names}


RELEASED = stored(*tensors(networks(), temporal=True))


@pytest.mark.parametrize("wrap", ["", "module.", "model.", "state_dict.", "_forward_module.module."])
def test_every_name_finds_its_part_under_any_prefix(wrap: str):
    layout = foreign_layout({wrap + name: tensor for name, tensor in RELEASED.items()})
    counts = {part: len(held.tensors) for part, held in layout.parts.items()}
    plain = {part: len(held.tensors) for part, held in foreign_layout(RELEASED).parts.items()}
    assert counts == plain
    assert sum(counts.values()) == len(RELEASED)
    assert not layout.unknown and not layout.aside
    assert counts["temporal"] == 3 * 9
    assert layout.prefixes["denoiser"] == f"{wrap}model."


def test_the_prefixes_of_the_reference_training_are_known():
    swap = {"vae.": "first_stage_model.", "conditioner.": "cond_stage_model."}
    renamed = {}
    for name, tensor in RELEASED.items():
        for old, new in swap.items():
            name = re.sub(f"^{old}", new, name)
        renamed[f"state_dict.{name}"] = tensor
    averages = stored("state_dict.model_ema.blocks0attn1to_qweight", "optimizer_states.0.state.1.exp_avg")
    layout = foreign_layout(renamed | averages)
    assert {part: len(held.tensors) for part, held in layout.parts.items()} == {
        part: len(held.tensors) for part, held in foreign_layout(RELEASED).parts.items()
    }
    assert set(layout.aside) == set(averages)


def test_names_of_no_part_are_told():
    assert foreign_layout(RELEASED | stored("model.frame_embedding")).unknown == ("model.frame_embedding",)


def test_a_part_that_is_there_twice_is_refused():
    with pytest.raises(ValueError, match=r"2 times.*'a\.'.*'b\.'"):
        foreign_layout(stored("a.x_embedder.weight", "b.x_embedder.weight"))


def test_a_training_checkpoint_of_ours_is_not_taken_for_a_release():
    with pytest.raises(ValueError, match="training checkpoint of this project"):
        foreign_layout(stored("state_dict.denoiser.blocks.0.temporal.to_q.weight"))


def test_own_files_are_sorted_by_stage_and_keep_their_row_order():
    names = stored("conditioner.stem.0.weight", "denoiser.blocks.0.norm1.weight", "other.weight")
    layout = own_layout(names, {"stage": "base"})
    assert set(layout.parts) == {"conditioner", "denoiser"}
    assert layout.unknown == ("other.weight",)
    assert not any(part.reference_rows for part in layout.parts.values())
    assert set(own_layout(stored("denoiser.blocks.0.temporal.to_q.weight"), {"stage": "temporal"}).parts) == {
        "temporal"
    }


WANTED = {
    f"blocks.{block}.{name}": shape
    for block in range(2)
    for name, shape in {
        **{f"temporal.to_{letter}.weight": (8, 8) for letter in "qkv"},
        "temporal.out_proj.weight": (8, 8),
        "temporal.out_proj.bias": (8,),
        "temporal.q_norm.weight": (4,),
        "temporal.k_norm.weight": (4,),
        "norm_temporal.weight": (8,),
        "norm_temporal.bias": (8,),
    }.items()
}


def foreign(rename: dict[str, str]) -> dict[str, Stored]:
    """What we want, under other names."""
    found = {}
    for name, shape in WANTED.items():
        for ours, theirs in rename.items():
            name = name.replace(ours, theirs)
        found |= stored(name, shape=shape)
    return found


@pytest.mark.parametrize(
    "rename",
    [
        {},
        {".temporal.": ".attn_temporal.", "norm_temporal": "norm_t"},
        {".temporal.": ".temporal_attn.", "to_": "", "out_proj": "proj", "norm_temporal": "norm4"},
        {
            ".temporal.to_": ".attn3.",
            "attn3.q.": "attn3.q_proj.",
            "attn3.k.": "attn3.k_proj.",
            "attn3.v.": "attn3.v_proj.",
        },
        {"norm_temporal": "ln_whatever"},  # by elimination: two tensors of their shape and ending are left, one each
    ],
)
def test_temporal_layers_are_found_under_usual_names_and_by_elimination(rename: dict[str, str]):
    renames, rows = read_names(NAMES)
    placed = place(foreign(rename), WANTED, renames)
    assert rows
    expected = {}
    for ours in WANTED:
        theirs = ours
        for old, new in rename.items():
            theirs = theirs.replace(old, new)
        expected[ours] = theirs
    assert {ours: tensor.name for ours, tensor in placed.items()} == expected


def test_what_cannot_be_placed_is_listed_on_both_sides():
    renames, _ = read_names(NAMES)
    with pytest.raises(ValueError) as problem:
        place(foreign({".temporal.": ".mystery."}) | stored("blocks.0.gate", shape=()), WANTED, renames)
    message = str(problem.value)
    assert "blocks.0.gate" in message  # in the file
    assert "blocks.{0-1}.mystery.to_q.weight" in message
    assert "blocks.{0-1}.temporal.to_v.weight" in message  # wanted
    assert "released_names.yaml" in message


def test_a_name_of_another_shape_is_not_placed():
    renames, _ = read_names(NAMES)
    found = foreign({}) | stored("blocks.0.temporal.to_q.weight", shape=(9, 8))
    with pytest.raises(ValueError, match=r"blocks\.0\.temporal\.to_q\.weight"):
        place(found, WANTED, renames)


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1))
def test_a_compact_list_names_the_range_and_counts_what_lacks(rows: set[tuple[int, int]]):
    told = compact([f"blocks.{i}.experts.{j}.weight" for i, j in rows])
    first, second = ({row[column] for row in rows} for column in (0, 1))
    whole = len(rows) == (max(first) - min(first) + 1) * (max(second) - min(second) + 1)
    assert told.count("weight") == 1
    assert told.endswith(f" ({len(rows)})") != whole
    for low, high in ((min(first), max(first)), (min(second), max(second))):
        assert (f".{{{low}-{high}}}." if low < high else f".{low}.") in told


def test_a_compact_list_keeps_names_without_numbers():
    assert compact(["b", "a.1.x", "a.2.x"]) == "a.{1-2}.x, b"
