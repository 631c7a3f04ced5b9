"""Hub weights: resolve hf://owner/repository[/folder-or-file][@revision] to a path in the local hub cache.

Before a download starts, a message gives the repository, its size and its licence.
"""

import errno
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn

import huggingface_hub  # imports its submodules lazily: 5 ms here, 0.3 s below
from huggingface_hub import constants

log = logging.getLogger(__name__)

SCHEME = "hf://"
SHAPE = "hf://owner/repository[/folder-or-file][@revision]"
LOCATION = re.compile(r"hf://([\w.-]+/[\w.-]+)((?:/[^@\\]*)?)(?:@([\w.+-]+(?:/[\w.+-]+)*))?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt")
ENDINGS = (*WEIGHTS, ".json", ".yaml")  # files to download: weights and configurations, never code
TENCENT = (
    "Tencent's community licence of Hunyuan3D-2.1, which grants nothing in the European Union, the United Kingdom and "
    "South Korea and restricts uses elsewhere"
)


class Known(NamedTuple):
    """Default content of a known repository: a folder or the `files` at its root, and the licence."""

    licence: str
    folder: str = ""
    files: tuple[str, ...] = ()


KNOWN = {
    "tencent/Hunyuan3D-2.1": Known(TENCENT, folder="hunyuan3d-dit-v2-1"),  # with VAE and image encoder, 7.4 GB
    "TencentARC/Sculpt4D": Known(  # 8 GB
        f"check the repository's own; the weights derive from Hunyuan3D-2.1 and fall under {TENCENT}, too",
        folder="blockmask_bf16",
    ),
    "facebook/dinov2-large": Known("Apache-2.0", files=("config.json", "model.safetensors")),  # 1.2 GB
    # image metrics (docs/appearance.md)
    "timm/vgg16.tv_in1k": Known("BSD-3-Clause", files=("model.safetensors",)),  # 0.6 GB
    "openai/clip-vit-base-patch32": Known(  # 0.6 GB
        "MIT for OpenAI's code, the card names none for the weights", files=("config.json", "pytorch_model.bin")
    ),
}


class Wanted(NamedTuple):
    """Parsed location in a repository. `files`, if given, are exactly the files to download."""

    repository: str
    path: str
    revision: str
    files: tuple[str, ...]

    @property
    def patterns(self) -> list[str]:
        """Glob patterns over the repository's file names; `*` also matches slashes."""
        if self.files:
            return list(self.files)
        exact = re.sub(r"([*?[])", r"[\1]", self.path)
        below = [f"{exact}/*{ending}" if exact else f"*{ending}" for ending in ENDINGS]
        return [exact, *below] if exact.endswith(ENDINGS) else below

    @property
    def page(self) -> str:
        return f"{constants.ENDPOINT}/{self.repository}"

    @property
    def name(self) -> str:
        return f"{self.repository} (revision {self.revision})"


def is_hub(location: str) -> bool:
    """Whether `location` names a hub repository rather than a local path."""
    return location.startswith(SCHEME)


def resolve(location: str, offline: bool = False) -> Path:
    """Folder or file in the cache (HF_HUB_CACHE, HF_HOME) for `location`, downloaded if missing.

    A known repository without a sub-path means the folder of its weights. `offline`, or HF_HUB_OFFLINE=1, uses the
    cache only. A cached full commit hash needs no network; a branch or tag is looked up.
    Raises ValueError (malformed), FileNotFoundError (no such repository, revision or sub-path, or not in the cache),
    PermissionError (gated or private), ConnectionError, or OSError (disk full).
    """
    wanted = parse(location)
    pinned = COMMIT.fullmatch(wanted.revision) is not None
    offline = offline or constants.HF_HUB_OFFLINE
    folder = cached(wanted) if offline or pinned else None
    if folder is None and offline:
        raise FileNotFoundError(_absent(wanted, "and the hub is not asked (offline, or HF_HUB_OFFLINE=1)"))
    folder = folder or fetched(wanted)
    remedy = "" if pinned else f"; pin it with @{folder.name}"
    log.info("%s at commit %s%s", wanted.repository, folder.name, remedy)
    return folder / wanted.path


def parse(location: str) -> Wanted:
    """Parse a location. Raises ValueError if it is malformed."""
    match = LOCATION.fullmatch(location)
    if match is None:
        raise ValueError(f"{location} is not of the form {SHAPE}: correct it, or give a local path")
    repository, path, revision = match[1], match[2][1:].removesuffix("/"), match[3] or constants.DEFAULT_REVISION
    if ".." in revision or (path and {"", ".", ".."} & {*path.split("/")}):
        raise ValueError(f"{location} has an empty part, . or .. in its sub-path or revision: write it as {SHAPE}")
    known = KNOWN.get(repository, Known(licence=""))
    return Wanted(repository, path or known.folder, revision, () if path else known.files)


def cached(wanted: Wanted) -> Path | None:
    """Cached snapshot that holds the wanted files, or None. Does not use the network."""
    from huggingface_hub import errors

    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                wanted.repository,
                revision=wanted.revision,
                cache_dir=constants.HF_HUB_CACHE,
                allow_patterns=wanted.patterns,
                local_files_only=True,
            )
        )
    except errors.LocalEntryNotFoundError:  # no such snapshot, or an unfinished one
        return None
    # another program may have cached only a part, which the client does not record: require weights
    held = _chosen(wanted, (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
    whole = wanted.path in held or any(name.endswith(WEIGHTS) for name in held)
    return folder if whole and set(wanted.files) <= set(held) else None


def fetched(wanted: Wanted) -> Path:
    """Download missing files and return the snapshot; the cached one, with a warning, if the hub is unreachable."""
    from huggingface_hub import errors

    try:
        listing = huggingface_hub.HfApi().model_info(
            wanted.repository, revision=wanted.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    except (errors.HTTPError, OSError) as error:
        refused = isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403, 404)
        folder = None if refused else cached(wanted)
        if folder is None:
            _explain(error, wanted)
        log.warning("%s cannot be looked up (%s): what the cache holds is used", wanted.name, error)
        return folder
    sizes = {entry.rfilename: entry.size or 0 for entry in listing.siblings or ()}
    names = _chosen(wanted, sizes)
    if not names:
        top = sorted({name.split("/")[0] for name in sizes})
        raise FileNotFoundError(
            f"{wanted.name} has no weights or configuration ({' '.join(ENDINGS)}) at {wanted.path or 'any place'!r}: "
            f"choose among {', '.join(top[:12])} on {wanted.page}"
        )
    missing = [name for name in names if not _holds(wanted, listing.sha, name)]
    if missing:
        card = listing.card_data
        named = (card.get("license_name") or card.get("license")) if card else None
        _announce(wanted, len(missing), sum(sizes[name] for name in missing), named or "none")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                wanted.repository,
                revision=wanted.revision,
                cache_dir=constants.HF_HUB_CACHE,
                allow_patterns=wanted.patterns,
            )
        )
    except (errors.HTTPError, OSError, RuntimeError) as error:  # hf_xet, which moves large files, raises RuntimeError
        _explain(error, wanted)


def _chosen(wanted: Wanted, names: Iterable[str]) -> list[str]:
    return list(huggingface_hub.utils.filter_repo_objects(names, allow_patterns=wanted.patterns))


def _holds(wanted: Wanted, commit: str | None, name: str) -> bool:
    found = huggingface_hub.try_to_load_from_cache(
        wanted.repository, name, cache_dir=constants.HF_HUB_CACHE, revision=commit
    )
    return isinstance(found, str)


def _announce(wanted: Wanted, files: int, size: int, card: str) -> None:
    known = KNOWN.get(wanted.repository)
    licence = known.licence if known else f"on its card: {card}; check it before use"
    told = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
    log.warning(
        "%s is about to be downloaded (files: %d, together %s) from %s to %s (HF_HOME moves it). Licence: %s. "
        "Ctrl-C stops it; finished files are kept, and the next run fetches the rest. A local path downloads nothing.",
        *(wanted.name, files, told, wanted.page, constants.HF_HUB_CACHE, licence),
    )


def _absent(wanted: Wanted, cause: str) -> str:
    below = [f"--include '{wanted.path}/*'"] if wanted.path else []
    files = [wanted.path] if wanted.path.endswith(ENDINGS) else wanted.files or below
    command = " ".join(["hf download", wanted.repository, *files, "--revision", wanted.revision])
    return (
        f"the cache {constants.HF_HUB_CACHE} does not hold {wanted.path or 'the weights'} of {wanted.name}, or not all "
        f"of it, {cause}: run once with network, fetch it with `{command}`, set HF_HOME to the folder that holds it, "
        "or give a local path"
    )


def _explain(error: Exception, wanted: Wanted) -> NoReturn:
    """Raise an error of the hub's client with one cause and one remedy."""
    from huggingface_hub import errors

    cause = (error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else None) or error
    status = cause.response.status_code if isinstance(cause, errors.HfHubHTTPError) else None
    login = f"log in with `hf auth login` as someone who may read it, and accept its licence on {wanted.page}"
    if isinstance(cause, errors.GatedRepoError):
        raise PermissionError(f"{wanted.repository} is gated: {login}") from error
    if isinstance(cause, errors.RepositoryNotFoundError):
        raise FileNotFoundError(
            f"{wanted.repository} is not on {constants.ENDPOINT}, or private: check its spelling, or {login}"
        ) from error
    if isinstance(cause, errors.RevisionNotFoundError):
        raise FileNotFoundError(
            f"{wanted.repository} has no revision {wanted.revision}: choose a branch, tag or commit of {wanted.page}, "
            f"and write it last, {SHAPE}"
        ) from error
    if status in (401, 403):
        raise PermissionError(f"{wanted.repository} refuses access ({status}): {login}") from error
    full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or f"os error {errno.ENOSPC}" in str(cause):
        raise OSError(
            errno.ENOSPC,
            f"no space left for {wanted.repository} in the cache {constants.HF_HUB_CACHE}: free some, or set HF_HOME "
            "to a folder on another disk",
        ) from error
    if isinstance(cause, (errors.HTTPError, ConnectionError, TimeoutError, RuntimeError)):
        told = " ".join(str(cause).split())
        raise ConnectionError(_absent(wanted, f"and the download from {constants.ENDPOINT} failed ({told})")) from error
    raise error
