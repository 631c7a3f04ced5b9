"""The hub's part in a download, played on this machine, and its cache layout."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

FIRST, SECOND = "1" * 40, "2" * 40
WEIGHTS = bytes(range(256)) * 400
DOWNLOAD = ("GET", "resolve")
REFUSALS = {
    "gated": (403, "GatedRepo", ""),
    "private": (401, "RepoNotFound", ""),
    "token": (401, "", "Invalid credentials in Authorization header"),
}


class Hub(ThreadingHTTPServer):
    """Plays the three endpoints of the hub that a download needs, for one repository."""

    repository = "someone/something"
    refusal = ""
    cut = 0  # answers with weights that break off half way

    def __init__(self) -> None:
        self.files = {"config.json": b"{}", "model.py": b"print()", "sub/model.safetensors": WEIGHTS}
        self.commits = {"main": SECOND, SECOND: SECOND, "v1": FIRST, FIRST: FIRST}
        self.requests: list[tuple[str, str, str, str]] = []
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def downloads(self) -> list[str]:
        """Contents asked for, with the range where one was asked for."""
        return [f"{file} {asked}".strip() for sent, what, file, asked in self.requests if (sent, what) == DOWNLOAD]


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        asked = self.headers["Range"] or ""
        named = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+)/(revision|tree|resolve)/([^/]+)/?(.*)", path)
        assert named is not None, path
        repository, what, revision, file = named.groups()
        hub.requests.append((self.command, what, file, asked))
        if repository != hub.repository:
            self.refuse(404, "RepoNotFound")
        elif hub.refusal and (what == "resolve" or hub.refusal != "gated"):
            self.refuse(*REFUSALS[hub.refusal])
        elif revision not in hub.commits:
            self.refuse(404, "RevisionNotFound")
        elif what == "resolve":
            self.give(hub.files[file], hub.commits[revision], asked)
        else:
            entries = [
                {"type": "file", "path": name, "rfilename": name, "size": len(content), "oid": f"{hash(content):x}"}
                for name, content in hub.files.items()
            ]
            info = {"id": repository, "sha": hub.commits[revision], "siblings": entries, "cardData": {"license": "mit"}}
            self.give(json.dumps(entries if what == "tree" else info).encode())

    def refuse(self, status: int, code: str, message: str = "") -> None:
        self.send_response(status)
        for name, value in (("X-Error-Code", code), ("X-Error-Message", message)):
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give(self, content: bytes, commit: str = "", asked: str = "") -> None:
        rest = content[int(asked.removeprefix("bytes=").rstrip("-")) :] if asked else content
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {len(content) - len(rest)}-{len(content) - 1}/{len(content)}")
        if commit:
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{abs(hash(content)):x}"')
        self.end_headers()
        if self.command == "GET":
            broken = len(rest) > 1000 and self.server.cut > 0
            self.server.cut -= broken
            self.wfile.write(rest[: len(rest) // 2] if broken else rest)
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def point_to(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def put(cache: Path, repository: str, commit: str, *files: str, ref: str = "") -> Path:
    """Files in the hub's cache layout: content in blobs, links to it in a snapshot. Gives the snapshot."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    for name in files:
        blob, link = folder / "blobs" / f"{commit}-{name.replace('/', '-')}", folder / "snapshots" / commit / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text(commit)
        link.symlink_to(blob)
    if ref:
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return folder / "snapshots" / commit
