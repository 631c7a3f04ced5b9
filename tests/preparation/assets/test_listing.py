"""The list of real assets: what it holds, and what makes it unusable."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from sculpt4d.preparation.assets.listing import LIST, SPLITS, ListedAsset, credits, read_list, read_lists

ROW = ListedAsset("a", "pack", "Ann", "CC-BY-4.0", "ann/models", "0" * 40, "some dir/a.glb", "f" * 64, "train")


def write(path: Path, *rows: ListedAsset) -> Path:
    lines = [",".join(ListedAsset._fields), *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_projects_list_holds_out_packs_of_several_kinds_and_no_author_of_training_but_one() -> None:
    assets = read_list(LIST)
    packs, authors, files = defaultdict(set), defaultdict(set), Counter(asset.split for asset in assets)
    for asset in assets:
        packs[asset.split].add(asset.pack)
        authors[asset.split].add(asset.author)
    assert len(packs["holdout"]) >= 5
    assert 0.12 <= files["holdout"] / len(assets) <= 0.2
    assert authors["train"] & authors["holdout"] == {"Quaternius"}  # who made most packs
    assert all(asset.suffix in (".glb", ".gltf") for asset in assets)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"licence": "CC-BY-NC-4.0"}, "licence 'CC-BY-NC-4.0' is not one of CC0-1.0, CC-BY-4.0"),
        ({"split": "test"}, "split='test'"),
        ({"commit": "main"}, "commit='main'"),
        ({"author": ""}, "must not be empty"),
        ({"id": "../a"}, "id="),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, change: dict[str, str], told: str) -> None:
    path = write(tmp_path / "list.csv", ROW._replace(id="b"), ROW._replace(**change))
    with pytest.raises(ValueError, match="line 3") as caught:
        read_list(path)
    assert told in str(caught.value)


def test_a_pack_on_both_sides_and_an_id_listed_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pack pack is in train and in holdout"):
        read_list(write(tmp_path / "torn.csv", ROW, ROW._replace(id="b", split="holdout")))
    with pytest.raises(ValueError, match="listed twice: a"):
        read_lists([write(tmp_path / "one.csv", ROW), write(tmp_path / "two.csv", ROW)])


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,pack\na,b\n")
    with pytest.raises(ValueError, match="lacks the columns author, commit"):
        read_list(path)


def test_addresses_escape_what_a_path_may_hold() -> None:
    assert ROW.address == f"https://raw.githubusercontent.com/ann/models/{'0' * 40}/some%20dir/a.glb"


def test_credits_name_author_licence_and_origin_of_every_work() -> None:
    text = credits([ROW])
    assert "| a | Ann | [CC-BY-4.0](https://creativecommons.org/licenses/by/4.0/) |" in text
    assert f"github.com/ann/models/blob/{'0' * 40}/some%20dir/a.glb" in text


def test_a_list_of_ones_own_adds_to_the_projects(tmp_path: Path) -> None:
    own = write(tmp_path / "own.csv", ROW)
    assert len(read_lists([None, str(own)])) == len(read_list(LIST)) + 1
    assert {asset.split for asset in read_lists([None])} == set(SPLITS)
