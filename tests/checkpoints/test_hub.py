import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from sculpt4d.checkpoints.hub import is_hub, parse, resolve

from .hub_server import FIRST, SECOND, WEIGHTS, Hub, point_to, put

BASE = "tencent/Hunyuan3D-2.1"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that refuses every connection."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    point_to(monkeypatch, "http://127.0.0.1:9")
    return tmp_path / "hub"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine that is asked instead of the real one."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        point_to(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


def test_only_the_scheme_makes_a_location_a_hub_location():
    assert is_hub("hf://owner/name") and is_hub("hf://wrong")
    assert not is_hub("weights/hf") and not is_hub("/data/hf://a/b") and not is_hub("https://huggingface.co/a/b")


@pytest.mark.parametrize(
    "location, parts",
    [
        ("hf://a/b", ("a/b", "", "main")),
        ("hf://a/b.c-d_e/", ("a/b.c-d_e", "", "main")),
        ("hf://a/b/sub/model.ckpt@v1.0", ("a/b", "sub/model.ckpt", "v1.0")),
        ("hf://a/b/sub/@refs/pr/1", ("a/b", "sub", "refs/pr/1")),
        (f"hf://{BASE}", (BASE, "hunyuan3d-dit-v2-1", "main")),
        (f"hf://{BASE}/hunyuan3d-vae-v2-1", (BASE, "hunyuan3d-vae-v2-1", "main")),
        ("hf://TencentARC/Sculpt4D", ("TencentARC/Sculpt4D", "blockmask_bf16", "main")),
    ],
)
def test_a_location_is_repository_path_and_revision(location: str, parts: tuple[str, str, str]):
    assert parse(location)[:3] == parts


@pytest.mark.parametrize(
    "location",
    ["hf://name", "hf://", "hf:///name", "hf://a/", "hf://a/b@", "hf://a/b/c@", "hf://a/b@v@w", "hf://a/b/../../c",
     "hf://a/b/./c", "hf://a/b//c", "hf://a/b/..\\c", "hf://a/b@../../x", "hf://a/b@/etc", "hf://a b/c", "a/b"],
)  # fmt: skip
def test_a_malformed_location_is_refused_with_the_form_it_should_have(location: str, cache: Path):
    with pytest.raises(ValueError, match=r"hf://owner/repository\[/folder-or-file\]\[@revision\]") as told:
        resolve(location)
    assert location in str(told.value)


def test_code_is_never_wanted():
    for location in ("hf://a/b", "hf://a/b/sub", f"hf://{BASE}", "hf://facebook/dinov2-large"):
        assert not [name for name in parse(location).patterns if name.endswith((".py", "*"))]


def test_a_cached_repository_is_found_offline_by_branch_and_by_commit(cache: Path):
    old = put(cache, "a/b", FIRST, "config.json", "sub/model.bin")
    new = put(cache, "a/b", SECOND, "config.json", "sub/model.bin", ref="main")
    assert resolve("hf://a/b", offline=True) == new
    assert resolve(f"hf://a/b@{FIRST}", offline=True) == old
    assert resolve(f"hf://a/b/sub@{FIRST}", offline=True) == old / "sub"
    assert resolve("hf://a/b/sub/model.bin", offline=True).read_text() == SECOND
    assert resolve("hf://a/b/sub/model.bin", offline=True).name == "model.bin"


def test_signs_of_a_glob_stand_for_themselves(cache: Path):
    put(cache, "a/b", FIRST, "x1.bin", "y[1]/z.bin", ref="main")
    assert resolve("hf://a/b/y[1]", offline=True).is_dir()
    for path in ("x[1].bin", "x*.bin", "x?.bin", "*"):
        with pytest.raises(FileNotFoundError):
            resolve(f"hf://a/b/{path}", offline=True)


def test_a_known_repository_means_its_weights(cache: Path):
    base = put(cache, BASE, FIRST, "hunyuan3d-dit-v2-1/config.yaml", "hunyuan3d-dit-v2-1/model.fp16.ckpt", ref="main")
    dino = put(cache, "facebook/dinov2-large", FIRST, "config.json", "model.safetensors", ref="main")
    assert resolve(f"hf://{BASE}", offline=True) == base / "hunyuan3d-dit-v2-1"
    assert resolve("hf://facebook/dinov2-large", offline=True) == dino


@pytest.mark.parametrize(
    "location",
    ["hf://never/fetched", "hf://a/b@v2", f"hf://a/b@{FIRST}", "hf://a/b/other", "hf://a/b/sub/model.ckpt", f"hf://{BASE}",
     "hf://facebook/dinov2-large"],
)  # fmt: skip
def test_what_is_not_in_the_cache_is_one_error_offline(location: str, cache: Path, monkeypatch: pytest.MonkeyPatch):
    put(cache, "a/b", SECOND, "config.json", "sub/model.bin", ref="main")
    put(cache, BASE, SECOND, "hunyuan3d-dit-v2-1/config.yaml", "hunyuan3d-vae-v2-1/model.fp16.ckpt", ref="main")
    put(cache, "facebook/dinov2-large", SECOND, "model.safetensors", ref="main")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError) as told:
        resolve(location)
    wanted = parse(location)
    for part in (wanted.repository, wanted.revision, wanted.path, str(cache), "hf download", "HF_HOME", "local path"):
        assert part in str(told.value)


def test_the_environment_variable_alone_keeps_the_hub_unasked(cache: Path, root: Path):
    code = "from sculpt4d.checkpoints.hub import resolve; resolve('hf://a/b')"
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "PYTHONPATH": str(root)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert f"the cache {cache} does not hold" in run.stderr and "the hub is not asked" in run.stderr


def test_a_pinned_commit_in_the_cache_asks_no_network(hub: Hub, cache: Path):
    old = put(cache, hub.repository, FIRST, "config.json", "model.bin")
    assert resolve(f"hf://{hub.repository}@{FIRST}") == old
    assert not hub.requests


@pytest.mark.parametrize("name", [BASE, "TencentARC/Sculpt4D"])
def test_the_message_comes_before_anything_is_downloaded(
    name: str, hub: Hub, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    file = f"{parse(f'hf://{name}').path}/model.ckpt"
    hub.repository, hub.files = name, {file: WEIGHTS, "other/model.ckpt": WEIGHTS}

    def stop(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            raise KeyboardInterrupt
        return True

    caplog.set_level(logging.INFO, "sculpt4d")
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger("sculpt4d.checkpoints.hub"), "filters", [stop])
        with pytest.raises(KeyboardInterrupt):
            resolve(f"hf://{name}")
    assert not hub.downloads and not cache.exists()
    folder = resolve(f"hf://{name}")
    assert hub.downloads == [file]
    assert (folder / "model.ckpt").read_bytes() == WEIGHTS
    message, pin = (record.getMessage() for record in caplog.records if record.name == "sculpt4d.checkpoints.hub")
    for part in (name, "files: 1, together 0.1 MB", constants.ENDPOINT, str(cache), "Union", "South Korea", "Ctrl-C"):
        assert part in message
    assert f"at commit {SECOND}; pin it with @{SECOND}" in pin


def test_a_download_takes_weights_and_configuration_once_and_no_code(
    hub: Hub, cache: Path, caplog: pytest.LogCaptureFixture
):
    folder = resolve(f"hf://{hub.repository}")
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["config.json", "model.safetensors"]
    assert "its card: mit" in caplog.text
    caplog.clear()
    hub.requests.clear()
    assert resolve(f"hf://{hub.repository}") == folder == resolve(f"hf://{hub.repository}@{SECOND}")
    assert not hub.downloads and not caplog.text
    hub.requests.clear()
    assert resolve(f"hf://{hub.repository}/sub/model.safetensors", offline=True).read_bytes() == WEIGHTS
    assert not hub.requests


def test_a_revision_chooses_the_commit(hub: Hub, cache: Path):
    assert resolve(f"hf://{hub.repository}@v1").name == FIRST
    assert resolve(f"hf://{hub.repository}").name == SECOND
    assert resolve(f"hf://{hub.repository}@v1", offline=True).name == FIRST


def test_the_next_run_fetches_only_what_is_missing(hub: Hub, cache: Path, caplog: pytest.LogCaptureFixture):
    resolve(f"hf://{hub.repository}/config.json")
    with pytest.raises(FileNotFoundError, match="or not all of it"):
        resolve(f"hf://{hub.repository}", offline=True)
    hub.requests.clear()
    caplog.clear()
    resolve(f"hf://{hub.repository}")
    assert hub.downloads == ["sub/model.safetensors"]
    assert "files: 1," in caplog.text


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut = 1
    file = resolve(f"hf://{hub.repository}/sub/model.safetensors")
    assert file.read_bytes() == WEIGHTS
    assert len(hub.downloads) == 2 and re.fullmatch(r".* bytes=[1-9]\d*-", hub.downloads[1])


def test_an_unknown_repository_revision_or_path_is_one_error(hub: Hub, cache: Path):
    with pytest.raises(FileNotFoundError, match=r"no/such is not on .*spelling.*hf auth login"):
        resolve("hf://no/such")
    with pytest.raises(FileNotFoundError, match=r"no revision v9.*branch, tag or commit"):
        resolve(f"hf://{hub.repository}@v9")
    for path in ("no/folder", "model.py", "su"):
        with pytest.raises(FileNotFoundError, match=rf"at '{path}': choose among config.json, model.py, sub on "):
            resolve(f"hf://{hub.repository}/{path}")
    assert not hub.downloads


def test_a_gated_or_private_repository_says_how_to_log_in(hub: Hub, cache: Path):
    hub.refusal = "gated"
    with pytest.raises(PermissionError, match=rf"gated.*hf auth login.*licence on {constants.ENDPOINT}/someone"):
        resolve(f"hf://{hub.repository}")
    hub.refusal = "private"
    with pytest.raises(FileNotFoundError, match=r"or private.*hf auth login"):
        resolve(f"hf://{hub.repository}")
    hub.refusal = "token"
    with pytest.raises(PermissionError, match=r"refuses access \(401\).*hf auth login"):
        resolve(f"hf://{hub.repository}")
    assert not hub.downloads


def test_without_network_the_cache_is_used_with_a_warning_or_the_error_says_so(
    cache: Path, caplog: pytest.LogCaptureFixture
):
    with pytest.raises(ConnectionError, match=rf"{cache}.*{constants.ENDPOINT} failed.*refused.*hf download a/b"):
        resolve("hf://a/b")
    with pytest.raises(ConnectionError, match="failed"):
        resolve(f"hf://a/b@{FIRST}")
    folder = put(cache, "a/b", FIRST, "model.bin", ref="main")
    assert resolve("hf://a/b") == folder
    assert "cannot be looked up" in caplog.text


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("writing failed: No space left (os error 28)")]
)
def test_a_full_disk_names_the_cache(hub: Hub, cache: Path, error: Exception, monkeypatch: pytest.MonkeyPatch):
    def full(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(OSError, match=rf"no space left for someone/something in the cache {cache}.*HF_HOME"):
        resolve(f"hf://{hub.repository}")
