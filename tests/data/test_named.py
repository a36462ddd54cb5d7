import hashlib
import io
import zipfile
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pytest

from seqrec.data import load_interactions, load_items, load_tables
from seqrec.data.named import (
    MOVIELENS_100K,
    MOVIELENS_GENRES,
    NamedDataset,
    Source,
    load_named,
    read_movielens_100k,
    read_recbole_movielens_100k,
)
from seqrec.fetching import UnreachableError, WrongHashError, cache_dir, fetch_url

RATINGS = "196\t242\t3\t881250949\n186\t267\t5\t891717742\n"
RECBOLE_FILMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tMisérables, Les\t1995\tDrama Musical\n"
    "267\tunkonwn\tunkonwn\tunknown\n"
    "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
)
FILMS = {
    "item_id": ["242", "267", "1412"],
    "title": [
        *("Misérables, Les (1995)", "unknown"),
        "Land Before Time III: The Time of the Great Giving (1995) (V)",
    ],
    "genres": ["Drama, Musical", "unknown", "Animation, Children's"],
}


def u_item(films):
    """Items in GroupLens' own format, a blank after the title as some of its rows have it."""
    lines = []
    for item_id, title, genres in zip(*films.values(), strict=True):
        flags = [str(int(genre in genres.split(", "))) for genre in MOVIELENS_GENRES]
        lines.append("|".join([item_id, f"{title} ", "01-Jan-1995", "", "http://us.imdb.com/", *flags]) + "\n")
    return "".join(lines).encode("latin-1")


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_both_sources_are_read_into_the_same_tables():
    grouplens = zipped({"ml-100k/u.data": RATINGS, "ml-100k/u.item": u_item(FILMS)})
    folder = "recbole/dataset_example/ml-100k"
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    recbole = zipped({f"{folder}/ml-100k.inter": header + RATINGS, f"{folder}/ml-100k.item": RECBOLE_FILMS})
    tables = read_movielens_100k(zipfile.ZipFile(io.BytesIO(grouplens)))
    assert tables == read_recbole_movielens_100k(zipfile.ZipFile(io.BytesIO(recbole)))
    assert tables[0].to_pydict() == {
        "user_id": ["196", "186"],
        "item_id": ["242", "267"],
        "value": [3.0, 5.0],
        "timestamp": [881250949, 891717742],
    }
    assert tables[1].to_pydict() == FILMS


@pytest.fixture
def toy_named(tmp_path, monkeypatch):
    """A named data set with two sources that are files of this machine."""
    monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "cache"))
    archive = zipped({"ml-100k/u.data": RATINGS, "ml-100k/u.item": u_item(FILMS)})
    sources = []
    for name in ("first", "second"):
        path = tmp_path / f"{name}.zip"
        path.write_bytes(archive + name.encode())  # other bytes, equal members
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        sources.append(Source(name, partial(fetch_url, path.as_uri(), sha256), read_movielens_100k))
    return NamedDataset("toy", tuple(sources), licence="For research only.")


def test_the_first_source_is_taken_and_the_licence_shown_once(toy_named, tmp_path, caplog):
    assert load_named(toy_named)[1].to_pydict() == FILMS
    assert [record.message for record in caplog.records] == ["For research only."]
    (tmp_path / "first.zip").unlink()
    (tmp_path / "second.zip").unlink()
    assert load_named(toy_named)[1].to_pydict() == FILMS  # from the cache
    assert len(caplog.records) == 1


def test_an_unreachable_source_gives_way_and_the_other_is_remembered(toy_named, tmp_path):
    (tmp_path / "first.zip").unlink()
    assert load_named(toy_named)[1].to_pydict() == FILMS
    asked = []
    first = replace(toy_named.sources[0], fetch=lambda: asked.append("first"))
    load_named(replace(toy_named, sources=(first, toy_named.sources[1])))
    assert not asked


def test_no_source_at_all_names_each(toy_named, tmp_path):
    (tmp_path / "first.zip").unlink()
    (tmp_path / "second.zip").unlink()
    with pytest.raises(UnreachableError, match="(?s)'toy' can be reached.*first: .*second: "):
        load_named(toy_named)
    assert not (cache_dir() / "named" / "toy").exists()


def test_wrong_bytes_are_an_error_and_no_reason_to_look_elsewhere(toy_named, tmp_path):
    (tmp_path / "first.zip").write_bytes(b"other")
    with pytest.raises(WrongHashError, match=r"first\.zip gave a file with sha256"):
        load_named(toy_named)


@pytest.mark.network
def test_movielens_100k():
    ratings, films = load_tables("movielens-100k")
    assert ratings.column_names == ["user_id", "item_id", "timestamp", "value"]
    assert (ratings.num_rows, films.num_rows) == (100_000, 1682)
    assert ratings.slice(0, 1).to_pylist() == [
        {"user_id": "196", "item_id": "242", "timestamp": 881250949, "value": 3.0}
    ]
    titles = dict(zip(films["item_id"].to_pylist(), films["title"].to_pylist(), strict=True))
    assert titles["1"] == "Toy Story (1995)"
    assert titles["13"] == "Mighty Aphrodite (1995)"
    assert titles["543"] == "Misérables, Les (1995)"
    assert titles["267"] == "unknown"
    assert films["genres"][0].as_py() == "Animation, Children's, Comedy"
    assert films.column_names == ["item_id", "title", "genres"]
    assert not sum(column.null_count for column in films.columns)


@pytest.mark.network
def test_other_items_may_stand_in_for_those_of_a_named_data_set():
    own = pa.table({"item_id": ["1"], "title": ["my title"]})
    assert load_tables("movielens-100k", own)[1].to_pydict() == own.to_pydict()
    assert load_items("movielens-100k").num_rows == 1682
    assert load_interactions("movielens-100k", {"value": "stars"}).column_names == ["user_id", "item_id", "timestamp"]


@pytest.mark.network
def test_the_archive_of_grouplens_would_give_the_same_films():
    _, films = load_named(MOVIELENS_100K)
    archive = zipped({"ml-100k/u.data": RATINGS, "ml-100k/u.item": u_item(films.to_pydict())})
    assert read_movielens_100k(zipfile.ZipFile(io.BytesIO(archive)))[1] == films
