import pytest
from datasets import Dataset, Value

from seqrec.content import default_text_template, render_texts


def render(template, **row):
    [text] = render_texts(Dataset.from_dict({name: [value] for name, value in row.items()}), template)
    return text


def test_all_fields_present():
    assert render("{title}. Genres: {genres}.", title="Heat", genres="Crime") == "Heat. Genres: Crime."


@pytest.mark.parametrize(
    ("template", "row", "expected"),
    [
        ("{a}. {b}", {"a": "Heat", "b": ""}, "Heat"),
        ("{a}. {b}", {"a": None, "b": "Crime"}, "Crime"),
        ("{a}. {b}. {c}", {"a": "Heat", "b": "  ", "c": "1995"}, "Heat. 1995"),
        ("{a}. Genres: {b}.", {"a": "Heat", "b": ""}, "Heat."),
        ("{a}. Genres: {b}.", {"a": "", "b": "Crime"}, "Genres: Crime."),
        ("{a} ({b})", {"a": "Heat", "b": ""}, "Heat"),
        ("({b}) {a}", {"a": "Heat", "b": ""}, "Heat"),
        ("{a} ({b}). {c}", {"a": "Heat", "b": "", "c": "Crime"}, "Heat. Crime"),
        ("{a} ({b})", {"a": "", "b": "1995"}, "(1995)"),
        ("{a} {a}", {"a": "Heat"}, "Heat Heat"),
    ],
)
def test_an_empty_field_takes_its_separators_along(template, row, expected):
    columns = {"a": "x", **row}
    assert render(template, **columns) == expected


def test_an_item_without_any_field_has_no_text():
    items = Dataset.from_dict({"title": ["Heat", None, " "], "year": [1995.0, float("nan"), None]})
    assert render_texts(items, "Title: {title}, year: {year}!") == ["Title: Heat, year: 1995.0!", None, None]


def test_lists_and_numbers_become_words():
    assert render("{genres} {year}", genres=["Crime", None, "Drama"], year=1995) == "Crime, Drama 1995"


def test_a_column_name_may_hold_anything_but_braces():
    assert render("{movie_title:token_seq}, {a.b}", **{"movie_title:token_seq": "Heat", "a.b": "x"}) == "Heat, x"


def test_a_template_reaches_no_attribute():
    with pytest.raises(ValueError, match="title.__class__"):
        render("{title.__class__}", title="Heat")


def test_an_unknown_column_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['name'\].*'title'.*column_mapping"):
        render("{name}", title="Heat")


@pytest.mark.parametrize("template", ["", "no field", "{title", "title}", "{{title}}", "{}"])
def test_a_template_that_is_none_is_refused(template):
    with pytest.raises(ValueError, match="template"):
        render(template, title="Heat")


def test_a_column_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match="'image' holds dict values"):
        render("{image}", image={"path": "a.png"})


def test_the_default_joins_the_text_columns_and_leaves_ids_counts_and_numbers():
    items = Dataset.from_dict(
        {"item_id": ["i"], "count": [3], "title": ["Heat"], "year": [1995], "tags": [["a"]], "raw": [b"x"]}
    ).cast_column("raw", Value("binary"))
    assert default_text_template(items) == "{title}. {tags}"


def test_no_text_column_gives_no_default():
    assert default_text_template(Dataset.from_dict({"item_id": ["i"], "year": [1995]})) is None


def test_the_default_leaves_codes_out():
    numbers = range(50)
    items = Dataset.from_dict(
        {
            "asin": [f"B000{number:06}" for number in numbers],
            "barcode": [None] * 20 + [f"40063813{number:05}" for number in range(30)],
            "title": [f"Lipstick {number}" for number in numbers],
            "manga": [f"鬼滅の刃第{number}巻" for number in numbers],
            "slug": [f"ultra-hd-tv-{number}-inch" for number in numbers],
            "model": [f"RX{number % 5}" for number in numbers],  # the same word again and again is a word
            "tags": [[f"t{number}"] for number in numbers],
        }
    )
    assert default_text_template(items) == "{title}. {manga}. {slug}. {model}. {tags}"
