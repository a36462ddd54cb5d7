import gzip
import hashlib
import html
import json
import random
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from seqrec.data import load_interactions, load_items, load_tables, prepare
from seqrec.data.amazon import read_2014
from seqrec.data.movielens import GENRES_100K, read_1m, read_100k, read_recbole_100k
from seqrec.data.named import MOVIELENS_1M, MOVIELENS_100K, NamedDataset, PinnedFile, Source, load_named
from seqrec.fetching import UnreachableError, WrongHashError, cache_dir

SHARED = Path(__file__).parents[3] / "shared" / "data"
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
        flags = [str(int(genre in genres.split(", "))) for genre in GENRES_100K]
        lines.append("|".join([item_id, f"{title} ", "01-Jan-1995", "", "http://us.imdb.com/", *flags]) + "\n")
    return "".join(lines).encode("latin-1")


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_both_sources_are_read_into_the_same_tables(tmp_path):
    grouplens = zipped(tmp_path / "a.zip", {"ml-100k/u.data": RATINGS, "ml-100k/u.item": u_item(FILMS)})
    folder = "recbole/dataset_example/ml-100k"
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    members = {f"{folder}/ml-100k.inter": header + RATINGS, f"{folder}/ml-100k.item": RECBOLE_FILMS}
    tables = read_100k(grouplens)
    assert tables == read_recbole_100k(zipped(tmp_path / "b.whl", members))
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
    sources = []
    for name in ("first", "second"):
        path = zipped(tmp_path / f"{name}.zip", {"ml-100k/u.data": RATINGS, "ml-100k/u.item": u_item(FILMS)})
        path.write_bytes(path.read_bytes() + name.encode())  # other bytes, equal members
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        sources.append(Source(name, (PinnedFile.at(path.as_uri(), sha256),), read_100k))
    return NamedDataset("toy", tuple(sources), licence="For research only.", event="A click.")


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
    file = replace(toy_named.sources[0].files[0], fetch=lambda: asked.append("first"))
    first = replace(toy_named.sources[0], files=(file,))
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
def test_the_archive_of_grouplens_would_give_the_same_films(tmp_path):
    _, films = load_named(MOVIELENS_100K)
    archive = zipped(tmp_path / "a.zip", {"ml-100k/u.data": RATINGS, "ml-100k/u.item": u_item(films.to_pydict())})
    assert read_100k(archive)[1] == films


def test_a_local_copy_is_taken_under_any_name_and_kept(toy_named, tmp_path):
    for name in ("first", "second"):
        (tmp_path / f"{name}.zip").rename(tmp_path / f"my {name} download")
    assert load_named(toy_named, [tmp_path / "my second download"])[1].to_pydict() == FILMS
    (tmp_path / "my second download").unlink()
    assert load_named(toy_named)[1].to_pydict() == FILMS  # from the cache


def test_a_local_copy_with_other_bytes_names_both_hashes(toy_named, tmp_path):
    other = tmp_path / "second.zip"
    expected = toy_named.sources[1].files[0].sha256
    other.write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(WrongHashError, match=rf"(?s)has the sha256 {found}; 'toy' needs .*{expected} \(second\.zip\)"):
        load_named(toy_named, [other])
    with pytest.raises(ValueError, match="There is no file .*third.* to take 'toy' from"):
        load_named(toy_named, [tmp_path / "third"])
    assert other.is_file()
    with pytest.raises(ValueError, match=r"dataset_files=.* but 'clicks.csv' is none of \['amazon-beauty'"):
        load_tables("clicks.csv", dataset_files=[other])


def test_movielens_1m_is_read_from_grouplens_format(tmp_path):
    movies = "1::Toy Story (1995)::Animation|Children's|Comedy\n73::Misérables, Les (1995)::Drama|Musical\n"
    ratings = "1::73::5::978300760\n1::1::3::978302109\n"
    members = {"ml-1m/ratings.dat": ratings, "ml-1m/movies.dat": movies.encode("latin-1"), "ml-1m/README": "x"}
    interactions, items = read_1m(zipped(tmp_path / "ml-1m.zip", members))
    assert interactions.to_pydict() == {
        "user_id": ["1", "1"],
        "item_id": ["73", "1"],
        "value": [5.0, 3.0],
        "timestamp": [978300760, 978302109],
    }
    assert items.to_pydict() == {
        "item_id": ["1", "73"],
        "title": ["Toy Story (1995)", "Misérables, Les (1995)"],
        "genres": ["Animation, Children's, Comedy", "Drama, Musical"],
    }


REVIEWS = """\
{"reviewerID": "A1", "asin": "B2", "reviewerName": "N", "helpful": [3, 4], "reviewText": "Very \\"oily\\"\\n", \
"overall": 1.0, "summary": "Don\'t", "unixReviewTime": 1391040000, "reviewTime": "01 30, 2014"}
{"reviewerID": "A1", "asin": "B1", "helpful": [0, 0], "reviewText": "", "overall": 5.0, "summary": "S", \
"unixReviewTime": 1391040000, "reviewTime": "01 30, 2014"}
"""
METADATA = """\
{'asin': 'B1', 'description': "It's", 'title': 'Wash &amp; Go', 'price': 3.5, 'salesRank': {'Beauty': 7}, \
'imUrl': 'http://x/y.jpg', 'related': {'also_bought': ['B9', 'B2']}, 'categories': [['Beauty', 'Hair'], ['Other']]}
{'asin': 'B9', 'title': __import__('os').abort()}
{'asin': 'B2', 'categories': [['Beauty', 'Make &amp; Up', "Women's"]]}
"""


def amazon_files(folder, reviews, metadata):
    paths = folder / "reviews_Beauty_5.json.gz", folder / "meta_Beauty.json.gz"
    for path, text in zip(paths, (reviews, metadata), strict=True):
        path.write_bytes(gzip.compress(text.encode()))
    return paths


def test_amazon_reviews_of_2014_are_read_from_their_format(tmp_path):
    interactions, items = read_2014(*amazon_files(tmp_path, REVIEWS, METADATA))
    assert interactions.to_pydict() == {
        "user_id": ["A1", "A1"],
        "item_id": ["B2", "B1"],
        "value": [1.0, 5.0],
        "timestamp": [1391040000, 1391040000],
    }
    assert items.to_pydict() == {  # B9 has no review: its line is not even read
        "item_id": ["B1", "B2"],
        "title": ["Wash & Go", None],
        "categories": ["Beauty > Hair", "Beauty > Make & Up > Women's"],
    }


@pytest.mark.parametrize(
    "line",
    [
        "{'asin': 'B1', 'title': __import__('os').abort()}",
        "{'asin': 'B1'",
        "['asin': 'B1']",
        "{'asin': 'B1', " + "[" * 500,
    ],
)
def test_metadata_that_is_no_literal_is_refused_and_never_run(tmp_path, line):
    with pytest.raises(ValueError, match=r"meta_Beauty.json.gz, line 1 cannot be read"):
        read_2014(*amazon_files(tmp_path, REVIEWS, line))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not beside this checkout")
def test_the_shared_histories_survive_the_original_formats(tmp_path):
    """What our readers make of Beauty and MovieLens-1M, written back into their original formats."""
    log = pa.parquet.read_table(SHARED / "amazon-beauty-2014" / "interactions.parquet")
    items = pa.parquet.read_table(SHARED / "amazon-beauty-2014" / "items.parquet")
    names = dict(zip(items["item_id"].to_pylist(), items["asin"].to_pylist(), strict=True))
    lines = [
        json.dumps({"reviewerID": f"A{user}", "asin": names[item], "overall": 5.0, "unixReviewTime": time})
        for user, item, time in zip(*(column.to_pylist() for column in log.columns), strict=True)
    ]
    metadata = [
        repr(
            {
                "asin": row["asin"],
                "title": html.escape(row["title"] or ""),
                "categories": [row["categories"].split(" > ")],
            }
        )
        for row in items.to_pylist()
    ]
    random.Random(0).shuffle(lines)  # the file is in the order of items
    interactions, content = read_2014(*amazon_files(tmp_path, "\n".join(lines), "\n".join(metadata)))
    found, expected = prepare(interactions, content), prepare(log, items)
    translated = {user: [names[item] for item in history] for user, history in histories(expected).items()}
    assert {user[1:]: history for user, history in histories(found).items()} == translated
    assert (found.report["num_users"], found.report["num_items"]) == (22363, 12101)
    titles = dict(zip(found.items["item_id"], found.items["title"], strict=True))
    assert titles == dict(zip(items["asin"].to_pylist(), items["title"].to_pylist(), strict=True))


def histories(prepared):
    return {row["user_id"]: row["history"] + row["targets"] for row in prepared.dataset["test"]}


ML_1M = cache_dir() / "downloads" / MOVIELENS_1M.sources[0].files[0].sha256 / "ml-1m.zip"


@pytest.mark.skipif(not (ML_1M.is_file() and SHARED.is_dir()), reason="needs ml-1m.zip in the cache, and shared data")
def test_movielens_1m_gives_the_histories_of_the_sasrec_copy():
    """The copy numbers users and items anew; who took what is the same, and the order but for events of one time."""
    prepared = prepare("movielens-1m")
    report = prepared.report
    assert (report["num_users"], report["num_items"], report["num_interactions"]) == (6040, 3416, 999611)
    items = pa.parquet.read_table(SHARED / "movielens-1m" / "items.parquet", columns=["item_id", "movie_id"])
    names = dict(zip(*(column.to_pylist() for column in items.columns), strict=True))
    copy = prepare(SHARED / "movielens-1m" / "interactions.parquet")
    shared = [tuple(names[item] for item in history) for history in histories(copy).values()]
    ours = [tuple(history) for history in histories(prepared).values()]
    assert Counter(map(frozenset, ours)) == Counter(map(frozenset, shared))


@pytest.mark.parametrize("marker", ["folder", "bytes", "no room"])
def test_a_cache_that_does_not_take_the_note_of_the_source_costs_nothing(toy_named, marker):
    named = cache_dir() / "named"
    if marker == "no room":
        named.parent.mkdir(parents=True)
        named.write_text("")
    elif marker == "folder":
        (named / "toy").mkdir(parents=True)
    else:
        named.mkdir(parents=True)
        (named / "toy").write_bytes(b"\xff")
    assert load_named(toy_named)[1].to_pydict() == FILMS
