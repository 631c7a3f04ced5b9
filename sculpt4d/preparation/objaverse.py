"""Objaverse objects by id, downloaded through the `objaverse` package if not cached.

Objects that the annotations already rule out (licence, no animation, too many vertices) are never downloaded.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.progress import track

from sculpt4d.optional import require
from sculpt4d.preparation.exclusions import read_lines
from sculpt4d.preparation.filter import Selection, Unsuitable, check_origin, check_size, settle, short_licence

log = logging.getLogger(__name__)

Result = TypeVar("Result")
CACHE = ".objaverse/hf-objaverse-v1"  # cache of the package, relative to the home folder
CHUNK = 32  # objects per call; every call reads the index again


class Fetched(NamedTuple):
    """Result of fetching a list of ids.

    files: id to the downloaded file. licences: id to the annotated licence, empty if there is none. skipped, failed:
    id, or line of the list, to its reason.
    """

    files: Mapping[str, Path]
    licences: Mapping[str, str]
    skipped: Mapping[str, str]
    failed: Mapping[str, str]


def cached_paths() -> dict[str, Path]:
    """Return the files of all objects that the package has downloaded before, by id. Downloads nothing."""
    return {path.stem: path for path in sorted((Path.home() / CACHE / "glbs").glob("*/*.glb"))}


def fetch(listed: Path, selection: Selection, downloads: int) -> Fetched:
    """Fetch the objects listed in a text file with one id per line; `downloads` threads load the missing ones.

    Raises ImportError without the package, OSError when its index cannot be loaded.
    """
    package = require("objaverse")
    lines = read_lines(listed, uids=True)
    if not lines.lines:
        raise ValueError(f"uids={listed} holds no id: one of 32 hexadecimal digits a line was expected")
    known = frozenset(_index(package.load_uids))
    failed = {uid: "unknown id: Objaverse has no such object" for uid in lines.lines if uid not in known}
    wanted = [uid for uid in lines.lines if uid in known]
    skipped = dict(lines.faults)
    annotations: Mapping[str, Any] = _index(lambda: package.load_annotations(wanted)) if wanted else {}
    licences = {uid: short_licence(str(annotations.get(uid, {}).get("license") or "")) for uid in wanted}
    chosen = []
    for uid in wanted:
        try:
            _check(uid, annotations.get(uid, {}), licences[uid], selection)
            chosen.append(uid)
        except Unsuitable as reason:
            skipped[uid] = str(reason)
    log.info("objaverse: %d ids, %d of them to load, %d ruled out", len(lines.lines), len(chosen), len(skipped))
    files: dict[str, Path] = {}
    _load(package, chosen, downloads, files, failed)
    return Fetched(files, licences, skipped, failed)


def _check(uid: str, annotation: Mapping[str, Any], licence: str, selection: Selection) -> None:
    """Raise Unsuitable when the annotation alone rules the object out."""
    if annotation.get("animationCount") == 0:
        raise Unsuitable("not animated: Objaverse lists no animation of it")
    reasons = check_origin([uid], licence, selection) + check_size(annotation.get("vertexCount") or 0, selection)
    settle(reasons, selection)


def _index(load: Callable[[], Result]) -> Result:
    """Load an index file of the package, which downloads it at the first use."""
    try:
        return load()
    except OSError as error:
        raise OSError(
            f"the index of Objaverse cannot be loaded ({error}): check the network and ~/{CACHE}, or give the files "
            "themselves (source=FOLDER)"
        ) from error


def _load(package: Any, uids: Sequence[str], downloads: int, files: dict[str, Path], failed: dict[str, str]) -> None:
    """Fill `files` and `failed`. Uses threads: network errors do not always survive the package's process pool."""
    chunks = [uids[start : start + CHUNK] for start in range(0, len(uids), CHUNK)]
    with ThreadPoolExecutor(downloads) as pool:
        for found, lost in track(pool.map(lambda chunk: _chunk(package, chunk), chunks), "Loading", len(chunks)):
            files.update(found)
            failed.update(lost)


def _chunk(package: Any, uids: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the files and failures of some ids. On an error both halves are retried, so that a bad id fails alone."""
    try:
        paths = package.load_objects(list(uids))
    except OSError as error:
        if len(uids) == 1:
            return {}, {uids[0]: f"download: {error}"}
        (files, failed), (more, lost) = (
            _chunk(package, half) for half in (uids[: len(uids) // 2], uids[len(uids) // 2 :])
        )
        return files | more, failed | lost
    files = {uid: Path(paths[uid]) for uid in uids if uid in paths and Path(paths[uid]).is_file()}
    return files, {uid: "download: the package returned no file" for uid in uids if uid not in files}
