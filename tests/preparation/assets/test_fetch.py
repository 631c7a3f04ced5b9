"""Downloads, against a server of this machine: hashes, resuming, what is gone, files beside a glTF."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sculpt4d.preparation.assets.fetch import download, find_local
from sculpt4d.preparation.assets.listing import ListedAsset

CONTENT = bytes(range(256)) * 40


class Server(BaseHTTPRequestHandler):
    """Serves `files` and understands ranges; `asked` keeps path and range of every request."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    asked: list[tuple[str, str | None]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        content = self.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if first >= len(content) and wanted:
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.files, Server.asked = {}, []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()


def listed(name: str, content: bytes, suffix: str = ".glb") -> ListedAsset:
    digest = hashlib.sha256(content).hexdigest()
    return ListedAsset(name, "pack", "Ann", "CC0-1.0", "ann/models", "0" * 40, f"{name}{suffix}", digest, "train")


def at(server: str, asset: ListedAsset) -> str:
    return f"{server}/{asset.path}"


def test_a_file_is_downloaded_once(server: str, tmp_path: Path) -> None:
    Server.files["/a.glb"] = CONTENT
    for _ in range(2):
        fetched = download([listed("a", CONTENT)], tmp_path, address=partial(at, server))
        assert fetched.files["a"].read_bytes() == CONTENT and not fetched.missing
    assert len(Server.asked) == 1


def test_a_download_that_was_cut_off_goes_on_where_it_ended(server: str, tmp_path: Path) -> None:
    Server.files["/a.glb"] = CONTENT
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".a.glb.part").write_bytes(CONTENT[:1000])
    fetched = download([listed("a", CONTENT)], tmp_path, address=partial(at, server))
    assert fetched.files["a"].read_bytes() == CONTENT
    assert Server.asked == [("/a.glb", "bytes=1000-")]


def test_a_whole_part_is_taken_up(server: str, tmp_path: Path) -> None:
    Server.files["/a.glb"] = CONTENT
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".a.glb.part").write_bytes(CONTENT)
    assert not download([listed("a", CONTENT)], tmp_path, address=partial(at, server)).missing


def test_what_is_gone_or_changed_or_converted_is_named_and_the_rest_is_there(server: str, tmp_path: Path) -> None:
    Server.files |= {"/good.glb": CONTENT, "/other.glb": b"something else"}
    assets = [listed("good", CONTENT), listed("other", CONTENT), listed("gone", CONTENT), listed("old", b"", ".fbx")]
    fetched = download(assets, tmp_path, address=partial(at, server))
    assert set(fetched.files) == {"good"}
    assert set(fetched.missing) == {"other", "gone", "old"}
    assert "SHA-256" in fetched.missing["other"] and "404" in fetched.missing["gone"]
    assert "converted from .fbx" in fetched.missing["old"]
    assert not list((tmp_path / "other").iterdir())  # nothing wrong is left to be resumed


def test_files_beside_a_gltf_come_with_it(server: str, tmp_path: Path) -> None:
    text = json.dumps({"asset": {"version": "2.0"}, "buffers": [{"uri": "more/a%20b.bin", "byteLength": 4}]}).encode()
    Server.files |= {"/a.gltf": text, "/more/a%20b.bin": b"1234"}
    fetched = download([listed("a", text, ".gltf")], tmp_path, address=partial(at, server))
    assert (fetched.files["a"].parent / "more" / "a b.bin").read_bytes() == b"1234"


@pytest.mark.parametrize("uri", ["../../out.bin", "https://elsewhere.example/a.bin", "/etc/hostname"])
def test_a_gltf_does_not_reach_outside_its_folder(server: str, tmp_path: Path, uri: str) -> None:
    text = json.dumps({"asset": {"version": "2.0"}, "buffers": [{"uri": uri, "byteLength": 4}]}).encode()
    Server.files["/a.gltf"] = text
    fetched = download([listed("a", text, ".gltf")], tmp_path, address=partial(at, server))
    assert "outside its folder" in fetched.missing["a"]


def test_a_local_folder_is_searched_by_id(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(CONTENT)
    (tmp_path / "b.gltf").write_bytes(b"{}")
    found = find_local([listed("a", CONTENT), listed("b", CONTENT), listed("c", CONTENT)], tmp_path)
    assert {name: path.name for name, path in found.items()} == {"a": "a.glb", "b": "b.gltf"}
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_local([], tmp_path / "none")
