"""From what a person calls an item to its id."""

import difflib
from collections.abc import Sequence

NAMED_AT_MOST = 5  # ids in a message


def find_item(query: str, item_ids: Sequence[str], texts: Sequence[Sequence[str | None]]) -> str:
    """Return the id of the item that has a display text (case aside), whole or as a unique part.

    Args:
        query: The text.
        item_ids: The catalogue.
        texts: Its display columns, each parallel to `item_ids`.

    Raises:
        ValueError: If the query fits no item or several; it names the nearest.

    >>> find_item("heat", ["i1", "i2"], [["Alien", "Heat"]])
    'i2'
    """
    columns = [[text or "" for text in column] for column in texts]
    wanted = query.casefold()
    if not wanted.strip():
        raise ValueError("An empty text names no item; pass an item id or a part of its title.")
    for fits in (lambda text: text == wanted, lambda text: wanted in text):
        rows = sorted({row for column in columns for row, text in enumerate(column) if fits(text.casefold())})
        if len(rows) == 1:
            return str(item_ids[rows[0]])
        if rows:
            some = [f"{item_ids[row]} ({columns[0][row]})" for row in rows[:NAMED_AT_MOST]]
            raise ValueError(f"{query!r} fits {len(rows)} items, e.g. {', '.join(some)}. Name one by its id.")
    close = difflib.get_close_matches(query, [*map(str, item_ids), *(text for c in columns for text in c)], n=3)
    raise ValueError(f"No item is called {query!r}. " + (f"Near it: {close}." if close else "Pass an item id."))
