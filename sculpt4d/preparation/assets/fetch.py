"""Files of the list on this machine: from a local folder, or downloaded, checked by hash and resumable."""

import json
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlparse

from rich.progress import track

from sculpt4d.data.files import file_digest
from sculpt4d.preparation.assets.listing import ListedAsset

log = logging.getLogger(__name__)

SUFFIXES = (".glb", ".gltf")
POINTER = b"version https://git-lfs"
TIMEOUT = 60  # seconds without an answer


class Fetched(NamedTuple):
    """files: id to its file. missing: id to the reason why there is none."""

    files: Mapping[str, Path]
    missing: Mapping[str, str]


def find_local(assets: Sequence[ListedAsset], folder: Path) -> dict[str, Path]:
    """Files named after an id, ID.glb or ID.gltf. They may be converted or repacked; how many differ is logged.

    Raises FileNotFoundError when the folder does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"data.assets.folder={folder} is no folder")
    places = {asset.id: [folder / f"{asset.id}{suffix}" for suffix in SUFFIXES] for asset in assets}
    found = {name: next((path for path in paths if path.is_file()), None) for name, paths in places.items()}
    files = {name: path for name, path in found.items() if path is not None}
    changed = sum(asset.id in files and file_digest(files[asset.id]) != asset.sha256 for asset in assets)
    if changed:
        log.info("%d of %d files in %s are not the listed ones byte for byte", changed, len(files), folder)
    return files


def download(
    assets: Sequence[ListedAsset], cache: Path, threads: int = 4, address: Callable[[ListedAsset], str] | None = None
) -> Fetched:
    """The listed files, in `cache`/ID/; what is there already is kept, what was cut off goes on.

    A file that is gone, has another hash or cannot be used unconverted is named in `missing`; the others are not
    affected. address: of another mirror.
    """
    cache.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    missing: dict[str, str] = {}
    wanted = [asset for asset in assets if asset.suffix in SUFFIXES]
    missing |= {
        asset.id: f"converted from {asset.suffix}: it is used from data.assets.folder alone"
        for asset in assets
        if asset.suffix not in SUFFIXES
    }

    def one(asset: ListedAsset) -> tuple[str, Path | str]:
        try:
            return asset.id, _fetch(asset, cache / asset.id, address)
        except (OSError, ValueError) as error:
            return asset.id, f"{asset.address}: {error}"

    with ThreadPoolExecutor(threads) as pool:
        for name, found in track(pool.map(one, wanted), "Downloading", len(wanted), transient=True):
            if isinstance(found, Path):
                files[name] = found
            else:
                missing[name] = found
    return Fetched(files, missing)


def _fetch(asset: ListedAsset, folder: Path, address: Callable[[ListedAsset], str] | None) -> Path:
    folder.mkdir(exist_ok=True)
    place = folder / f"{asset.id}{asset.suffix}"
    source = asset.address if address is None else address(asset)
    if not place.is_file():
        part = place.with_name(f".{place.name}.part")
        _get(source, part)
        if part.stat().st_size < 1024 and part.read_bytes().startswith(POINTER):
            part.unlink()
            _get(asset.large_address, part)
        digest = file_digest(part)
        if digest != asset.sha256:
            part.unlink()
            raise ValueError(f"the file has SHA-256 {digest[:12]}..., the list says {asset.sha256[:12]}...")
        os.replace(part, place)
    if asset.suffix == ".gltf":
        _beside(place, source)
    return place


def _beside(place: Path, source: str) -> None:
    """Buffers and pictures that a .gltf file keeps in files of their own. ValueError for one of another length."""
    described = json.loads(place.read_text(encoding="utf-8-sig"))
    for entry in [*described.get("buffers", ()), *described.get("images", ())]:
        uri = entry.get("uri", "")
        if not uri or uri.startswith("data:"):
            continue
        target = (place.parent / unquote(uri)).resolve()
        if urlparse(uri).scheme or not target.is_relative_to(place.parent.resolve()):
            raise ValueError(f"it refers to {uri}, which is outside its folder")
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            _get(urljoin(source, uri), part)
            os.replace(part, target)
        if target.stat().st_size < entry.get("byteLength", 0):
            target.unlink()
            raise ValueError(f"{uri} is shorter than the {entry['byteLength']} bytes that the file asks for")


def _get(address: str, part: Path) -> None:
    """Downloads to `part`, going on where an earlier try ended if the server can do that."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with (
            urllib.request.urlopen(request, timeout=TIMEOUT) as answer,
            open(part, "ab" if answer.status == 206 else "wb") as opened,
        ):
            shutil.copyfileobj(answer, opened)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the part is whole already
            raise
