import numpy as np
import pytest
from datasets import Dataset

from seqrec.content import fit_attributes, read_attributes

ITEMS = Dataset.from_dict(
    {
        "item_id": ["a", "b", "c", "d"],
        "genres": [["War", "Drama"], ["War"], ["Drama", "Rare"], None],
        "brand": ["x", "x", " ", "y"],
        "price": [1.0, 3.0, None, 100.0],
        "year": ["1990", "1990", "2000", ""],
        "rare": ["p", "q", "r", "s"],
    }
)
FITTED = np.array([True, True, True, False])


def test_values_share_one_vocabulary_and_rare_ones_an_entry_of_their_column():
    origin = fit_attributes(ITEMS, ["genres", "brand"], FITTED)
    assert origin["categories"] == {"genres": ["Drama", "War"], "brand": ["x"]}
    read = read_attributes(ITEMS, origin)
    assert read.num_values == 5
    assert read.values.tolist() == [[3, 2, 5], [3, 5, 0], [2, 1, 0], [4, 0, 0]]  # 1 and 4: values without an entry
    assert read.present.tolist() == [True] * 4


def test_numbers_are_standardised_by_the_items_of_training():
    read = read_attributes(ITEMS, fit_attributes(ITEMS, ["price"], FITTED))
    assert read.numbers[:, 0].tolist() == [-1, 1, 0, 98]
    assert read.known[:, 0].tolist() == [True, True, False, True]
    assert read.present.tolist() == [True, True, False, True]


def test_what_a_column_holds_can_be_said():
    assert fit_attributes(ITEMS, ["year:category"], FITTED)["categories"] == {"year": ["1990"]}
    assert set(fit_attributes(ITEMS, ["year:number"], FITTED)["numbers"]) == {"year"}


def test_numbers_that_are_texts_as_in_a_csv_are_numbers():
    assert set(fit_attributes(ITEMS, ["year"], FITTED)["numbers"]) == {"year"}
    codes = ITEMS.add_column("code", ["007", "007", "12", "12"])
    assert set(fit_attributes(codes, ["code"], FITTED)["categories"]) == {"code"}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["colour"], "'colour'; expected one of the columns"),
        (["genres:colour"], "'genres:colour'"),
        (["brand:number"], "Item 'a' has 'x' in the column 'brand'; expected a number of at most 1e"),
        (["genres", "genres"], "twice"),
        (["item_id"], "'item_id', which says who an item is"),
        (["rare"], "No value of the column 'rare'"),
    ],
)
def test_columns_that_cannot_serve_are_named(columns, said):
    with pytest.raises(ValueError, match=said):
        fit_attributes(ITEMS, columns, FITTED)


def test_an_item_with_a_number_that_is_none_is_named_later_too():
    origin = fit_attributes(ITEMS, ["price"], FITTED)
    with pytest.raises(ValueError, match="Item 'new' has 'cheap' in the column 'price'"):
        read_attributes(Dataset.from_dict({"item_id": ["new"], "price": ["cheap"]}), origin)
