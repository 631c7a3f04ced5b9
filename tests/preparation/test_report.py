"""The report of a run, and the run as the command line has it."""

import csv
import hashlib
import json
import re
import struct
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from omegaconf import DictConfig

from sculpt4d.config.schema import check_config
from sculpt4d.config.settings import Settings
from sculpt4d.data import store
from sculpt4d.preparation import run as prepare
from sculpt4d.preparation.report import Report, kind, write_reports
from sculpt4d.preparation.synthetic import families as synthetic

SMALL = ["frames=2", "points=64", "sharp_points=8", "views=1", "image_size=16", "grid_res=16", "executor=serial"]
MEMBER = "edec2c2e1fd74742ad0288a93301f4a1"  # a test object of SV4D

Prepare = Callable[..., None]


class Page(HTMLParser):
    """Addresses a page loads, and its tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four objects that move, one of them a benchmark's, one cut short and one whose animation is gone."""
    root = tmp_path_factory.mktemp("assets")
    for number, name in enumerate(["one", "two", "three", MEMBER]):
        synthetic.write_object(name, "quadruped", number, root / f"{name}.glb")
    (root / "cut.glb").write_bytes((root / "one.glb").read_bytes()[:200])
    still((root / "one.glb").read_bytes(), root / "static.glb")
    return root


def still(content: bytes, path: Path) -> None:
    """The GLB without its animations."""
    end = 20 + int.from_bytes(content[12:16], "little")
    document = json.loads(content[20:end])
    del document["animations"]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    parts = struct.pack("<II", len(text), 0x4E4F534A) + text + content[end:]
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(parts)) + parts)


@pytest.fixture
def command(configure: Callable[..., DictConfig], tmp_path: Path) -> Prepare:
    """`python prepare.py` with small settings, into tmp_path/out."""

    def run(*overrides: str) -> None:
        cfg = configure("prepare", *SMALL, f"output={tmp_path / 'out'}", *overrides)
        check_config(cfg, Settings)  # as the script does
        prepare.run(cfg)

    return run


def rows(root: Path) -> dict[str, dict[str, str]]:
    with open(root / "report.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_every_object_is_accounted_for_in_all_three_reports(assets: Path, command: Prepare, tmp_path: Path):
    with pytest.raises(ValueError, match=r"1 of the objects could not be prepared\n  cut: "):
        command(f"source={assets}", "holdout=1")
    out = tmp_path / "out"
    table = rows(out)
    assert {name: row["status"] for name, row in table.items()} == {
        **dict.fromkeys(("one", "two", "three"), "prepared"),
        **{MEMBER: "skipped", "static": "skipped", "cut": "failed"},
    }
    assert kind(table["static"]["reason"]) == "not animated" and "sv4d" in table[MEMBER]["reason"]
    assert int(table["one"]["distinct_frames"]) >= 12 and float(table["one"]["motion"]) > 0.01
    written = json.loads((out / "report.json").read_text())
    assert written["counts"] == {"prepared": 3, "present": 0, "skipped": 2, "failed": 1}
    assert written["skipped"]["static"] == table["static"]["reason"]
    assert written["settings"]["filter"]["min_frames"] == 12
    page = (out / "report.html").read_text()
    for name, row in table.items():
        assert name in page and row["reason"][:30] in page
    assert store.object_names(out) == ("one", "three", "two")


def test_the_page_needs_no_other_file_and_shows_every_object(assets: Path, command: Prepare, tmp_path: Path):
    command(f"source='{assets}/[ot]*.glb'")
    page = Page(tmp_path / "out/report.html")
    assert not page.open
    assert len(page.addresses) == 3 * 2 and all(uri.startswith("data:image/webp;base64,") for uri in page.addresses)


def test_names_and_reasons_cannot_become_markup(tmp_path: Path):
    report = Report(skipped={"<script>alert(1)</script>": "excluded: <b> & 'x'"})
    write_reports(tmp_path, report, {}, {"a": {"b": "<i>"}})
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page and "<b> &" not in page and "<i>" not in page
    assert "&lt;script&gt;" in page and "a.b" in page


def test_the_holdout_is_found_again_from_the_names(assets: Path, command: Prepare, tmp_path: Path):
    command(f"source='{assets}/[ot]*.glb'", "holdout=1")
    split = json.loads((tmp_path / "out/split.json").read_text())
    first = min(("one", "two", "three"), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert split["holdout"] == [first] and sorted([*split["train"], first]) == ["one", "three", "two"]


def test_a_stricter_filter_takes_objects_out_of_the_split(assets: Path, command: Prepare, tmp_path: Path):
    command(f"source='{assets}/[ot]*.glb'")
    motion = {name: float(row["motion"]) for name, row in rows(tmp_path / "out").items()}
    least, middle, _ = sorted(motion, key=motion.__getitem__)
    command(f"source='{assets}/[ot]*.glb'", f"filter.min_motion={(motion[least] + motion[middle]) / 2}")
    assert rows(tmp_path / "out")[least]["status"] == "skipped"
    split = json.loads((tmp_path / "out/split.json").read_text())
    assert least not in split["train"] + split["holdout"] and len(split["train"] + split["holdout"]) == 2
    command(f"source='{assets}/[ot]*.glb'")
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {"present"}


def test_a_named_file_is_kept_in_spite_of_the_filter_and_a_static_one_is_not(
    assets: Path, command: Prepare, tmp_path: Path
):
    command(f"source={assets}/{MEMBER}.glb", "filter.min_frames=99")
    notes = store.read_record(tmp_path / "out" / MEMBER)["notes"]
    assert [kind(note) for note in notes if note.startswith("kept although")] == [
        "kept although excluded",
        "kept although too few frames",
    ]
    with pytest.raises(ValueError, match="static: not animated"):
        command(f"source={assets}/static.glb")


def test_a_list_and_its_faults_are_reported(assets: Path, command: Prepare, tmp_path: Path):
    (tmp_path / "list.txt").write_text(f"{assets}/one.glb\n{assets}/one.glb\nlost.glb\n")
    with pytest.raises(ValueError, match=r"lost.glb: missing file"):
        command(f"source={tmp_path / 'list.txt'}")
    table = rows(tmp_path / "out")
    assert table["one"]["status"] == "prepared" and table["lost.glb"]["status"] == "failed"
    assert table["list.txt line 2"]["reason"].startswith("repeated line")


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["source=objaverse"], "source=objaverse needs uids=FILE"),
        (["source=x", "mode=blender"], "mode=blender: must be one of export, hybrid, render"),
        (["source=x", "holdout=-1"], "holdout=-1"),
        (["source=x", "filter.max_reach=0"], "filter.max_reach=0"),
        (
            ["source=x", "filter.benchmarks=[none]"],
            "filter.benchmarks=[none]: must be a list, each element one of consistent4d, sv4d",
        ),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_written(
    overrides: list[str], words: str, command: Prepare, tmp_path: Path
):
    with pytest.raises(ValueError, match=re.escape(words)):
        command(*overrides)
    assert not (tmp_path / "out").exists()
