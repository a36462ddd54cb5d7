"""What the demo asks of a model, without a page."""

import sys
from pathlib import Path

import pytest

from seqrec import Recommender

SPACE = Path(__file__).parents[2] / "space"


@pytest.fixture(scope="module")
def parts():
    """The modules of the Space, which import each other by their own names, as there."""
    sys.path.insert(0, str(SPACE))
    try:
        import page
        import shop

        yield shop, page
    finally:
        sys.path.remove(str(SPACE))


@pytest.fixture(scope="module")
def shop(parts, demo_model):
    return parts[0].Shop(Recommender.from_pretrained(demo_model))


def test_a_search_needs_all_words_and_no_accents(shop):
    assert [item.item_id for item in shop.search("ALIEN")][:2] and {i.item_id for i in shop.search("alien")} == {
        "15001",
        "d07",
    }
    assert [item.title for item in shop.search("stóry toy")] == ["Toy Story (1995)"]
    assert shop.search("nothing of this name") == [] and shop.search("  ") == []


def test_the_next_items_are_those_of_the_model_with_reasons_of_the_history(shop):
    history = ["1500", "d05", "d07"]
    rows = shop.recommend(history, k=5)
    plain = shop.recommender.recommend([history], k=5)[0]
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in plain]
    for row in rows:
        assert {reason["item_id"] for reason in row["because_of"]} <= set(history)
        assert sum(reason["share"] for reason in row["because_of"]) <= 1.01


@pytest.mark.parametrize("length", [0, 1, 500])
def test_any_length_of_history_has_an_answer(shop, length):
    history = (shop.item_ids * 40)[:length]
    rows = shop.recommend(history, k=5)
    assert len(rows) == (5 if length < 15 else 0)


def test_unknown_items_of_a_link_are_left_out(shop):
    assert shop.known(["nowhere", "1500", "<script>"]) == ["1500"]
    assert len(shop.known(["1500"] * 900)) == 500


def test_a_made_up_item_has_a_place_and_neighbours(shop):
    assert shop.fields == ["genres"]
    answer = shop.place({"genres": "Horror"}, ["15001"])
    assert 1 <= answer["rank"] <= answer["of"] == 15 and len(answer["neighbours"]) == 5
    with pytest.raises(ValueError, match="Say something"):
        shop.place({"genres": "  "}, [])


@pytest.mark.parametrize(
    ("content", "found", "missing"),
    [
        ("item_id\n1500\nd05\nnowhere\n", ["1500", "d05"], ["nowhere"]),
        ("rating,title\n5,Alien (1979)\n3,heat (1995)\n", ["15001", "a [MASK] b"], []),
        ("d04\n\nd05", ["d04", "d05"], []),
        ("\ufeffTitle\nAlien (1979)\n", ["15001"], []),
        ("", [], []),
    ],
)
def test_a_list_of_ones_own_is_read(shop, tmp_path, content, found, missing):
    (tmp_path / "list.csv").write_text(content, encoding="utf-8")
    assert shop.read_csv(tmp_path / "list.csv") == (found, missing)


def test_a_list_that_is_none_is_refused(shop, tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="no CSV in UTF-8"):
        shop.read_csv(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_bytes(b"a" * 2_000_001)
    with pytest.raises(ValueError, match="2,000,001 bytes"):
        shop.read_csv(tmp_path / "list.csv")


def test_the_map_has_a_place_for_each_item(shop):
    rows, places = shop.map
    assert sorted(rows.tolist()) == list(range(15)) and places.shape == (15, 2)


def test_texts_of_a_catalogue_are_escaped(parts, untrained):
    made, page = parts[0], parts[1]
    folder = untrained(["<b>'\"&", "plain"])
    shop = made.Shop(Recommender(folder))
    shown = [page.history_list(shop, shop.item_ids), page.found_items(shop.search("of"), "<i>")]
    shown.append(page.recommended_list(shop, shop.recommend([], 2), anything=False))
    shown.append(page.found_items([], "<script>alert(1)</script>") + page.problem("<script>"))
    assert not any("<b>'" in html or "<script>" in html or "<i>alert" in html for html in shown)


def test_pictures_are_shown_by_safe_addresses_alone(parts, untrained):
    folder = untrained(["a", "b"])
    folder.items = folder.items.remove_columns("title").add_column(
        "title", ["https://pictures.example/a.jpg", "https://pictures.example/b.png"]
    )
    shop = parts[0].Shop(Recommender(folder))
    assert shop.shown("a").picture == "https://pictures.example/a.jpg" and shop.shown("a").title == "a"
    folder.items = folder.items.remove_columns("title").add_column("title", ["javascript:alert(1)", "x' onerror='y"])
    assert parts[0].Shop(Recommender(folder)).shown("a").picture == ""
