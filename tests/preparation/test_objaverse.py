"""Objects by their ids, from a stand-in of what the objaverse package keeps on disk. Nothing is downloaded."""

import gzip
import importlib.util
import json
import sys
import types
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from sculpt4d.preparation import objaverse
from sculpt4d.preparation.filter import Selection

GOOD, NC, STATIC, HUGE, BENCH, LOST, UNKNOWN = (letter * 32 for letter in "abcdef0")
ANNOTATIONS: dict[str, dict[str, Any]] = {
    GOOD: {"license": "by", "animationCount": 1, "vertexCount": 900},
    NC: {"license": "by-nc", "animationCount": 2, "vertexCount": 900},
    STATIC: {"license": "by", "animationCount": 0, "vertexCount": 900},
    HUGE: {"license": "cc0", "animationCount": 1, "vertexCount": 10**6},
    BENCH: {"license": "by", "animationCount": 1, "vertexCount": 900},
    LOST: {"license": "by", "animationCount": 1, "vertexCount": 900},
}
CHOSEN = Selection(licences=frozenset({"by", "cc0"}), excluded={BENCH: "a benchmark"})


class Package(types.ModuleType):
    """The three calls, as the package makes them of its files; a missing file would be downloaded."""

    _VERSIONED_PATH = ""

    def load_uids(self) -> list[str]:
        return list(self._paths())

    def load_annotations(self, uids: list[str]) -> dict[str, Any]:
        paths = self._paths()
        shards = {paths[uid].split("/")[1] for uid in uids}
        read = [self._read(f"metadata/{shard}.json.gz") for shard in shards]
        return {uid: shard[uid] for shard in read for uid in uids if uid in shard}

    def load_objects(self, uids: list[str], download_processes: int = 1) -> dict[str, str]:
        found = {uid: Path(self._VERSIONED_PATH, path) for uid, path in self._paths().items() if uid in uids}
        for path in found.values():
            if not path.exists():
                urllib.request.urlretrieve(f"https://objects.example/{path.name}", str(path))
        return {uid: str(path) for uid, path in found.items()}

    def _paths(self) -> dict[str, str]:
        return self._read("object-paths.json.gz")

    def _read(self, name: str) -> dict[str, Any]:
        with gzip.open(Path(self._VERSIONED_PATH, name)) as file:
            return json.load(file)


@pytest.fixture(params=["package", "stand-in"])
def package(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The package, or its stand-in where it is not installed, on files like those it downloads; what it asks for."""
    if request.param == "package":
        if importlib.util.find_spec("objaverse") is None:
            pytest.skip("the package objaverse is not installed")
        module = importlib.import_module("objaverse")
    else:
        module = Package("objaverse")
    cache = tmp_path / objaverse.CACHE
    paths = {uid: f"glbs/000-{number // 3:03d}/{uid}.glb" for number, uid in enumerate(ANNOTATIONS)}
    (cache / "metadata").mkdir(parents=True)
    (cache / "object-paths.json.gz").write_bytes(gzip.compress(json.dumps(paths).encode()))
    for shard in ("000-000", "000-001"):
        content = {uid: entry for uid, entry in ANNOTATIONS.items() if shard in paths[uid]}
        (cache / f"metadata/{shard}.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    for uid in (GOOD, HUGE):
        (cache / paths[uid]).parent.mkdir(parents=True, exist_ok=True)
        (cache / paths[uid]).write_bytes(b"glTF")
    asked: list[str] = []

    def refused(url: str, target: str) -> None:
        asked.append(url)
        raise OSError("HTTP Error 404: Not Found")

    monkeypatch.setattr(urllib.request, "urlretrieve", refused)
    monkeypatch.setattr(module, "_VERSIONED_PATH", str(cache))
    monkeypatch.setattr(objaverse, "require", lambda name: {"objaverse": module}[name])
    return asked


def uids(tmp_path: Path, *lines: str) -> Path:
    (tmp_path / "uids.txt").write_text("\n".join(lines))
    return tmp_path / "uids.txt"


def test_each_id_becomes_a_file_or_a_reason(package: list[str], tmp_path: Path):
    path = uids(tmp_path, *ANNOTATIONS, UNKNOWN, GOOD, "not an id")
    fetched = objaverse.fetch(path, CHOSEN, 2)
    assert {uid: file.name for uid, file in fetched.files.items()} == {GOOD: f"{GOOD}.glb"}
    assert fetched.licences[GOOD] == "by" and fetched.licences[NC] == "by-nc"
    assert {name: reason.partition(":")[0] for name, reason in fetched.skipped.items()} == {
        NC: "licence",
        STATIC: "not animated",
        HUGE: "too many vertices",
        BENCH: "excluded",
        "uids.txt line 8": "repeated line",
        "uids.txt line 9": "damaged line",
    }
    assert {name: reason.partition(":")[0] for name, reason in fetched.failed.items()} == {
        LOST: "download",
        UNKNOWN: "unknown id",
    }


def test_what_is_ruled_out_or_at_hand_is_not_asked_for(package: list[str], tmp_path: Path):
    objaverse.fetch(uids(tmp_path, GOOD, NC, STATIC, HUGE, BENCH), CHOSEN, 1)
    assert not package
    objaverse.fetch(uids(tmp_path, GOOD, LOST), CHOSEN, 1)
    assert package and all(LOST in url for url in package)


def test_an_index_that_cannot_be_had_says_what_to_do(package: list[str], tmp_path: Path):
    (tmp_path / objaverse.CACHE / "object-paths.json.gz").write_bytes(b"torn")
    with pytest.raises(OSError, match=r"index of Objaverse cannot be loaded .*source=FOLDER"):
        objaverse.fetch(uids(tmp_path, GOOD), CHOSEN, 1)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "objaverse", None)
    monkeypatch.setattr("sculpt4d.optional.probe", lambda name: None)
    with pytest.raises(ImportError, match=r"\.\[objaverse\]"):
        objaverse.fetch(uids(tmp_path, GOOD), CHOSEN, 1)
