"""What the demo asks of a model: titles to ids, lists with reasons, the place of a made-up item, a map."""

import csv
import io
import re
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seqrec import Recommender
from seqrec.content.templates import fields_of

LONGEST_HISTORY = 500
EXPLAINED = 12  # newest events that are tried as reasons
WEIGHED = (
    100  # newest events among which a reason is weighed, so that a long history is answered as soon as a short one
)
ON_THE_MAP = 2000
PICTURE = re.compile(r"https?://\S+\.(?:jpe?g|png|webp|gif)(?:\?\S*)?", re.IGNORECASE)
LARGEST_CSV = 2_000_000  # bytes
MADE_UP = "made-up"


@dataclass(frozen=True)
class Shown:
    """An item as a person sees it.

    Attributes:
        item_id: Its id.
        title: What it is called.
        subtitle: What else its row says, in short.
        picture: The address of a picture, empty where there is none.
    """

    item_id: str
    title: str
    subtitle: str
    picture: str


class Shop:
    """A recommender with words and pictures of its items.

    Args:
        recommender: The model.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self._drawing = threading.Lock()
        table = recommender.items.to_dict()
        self.item_ids: list[str] = [str(item) for item in table["item_id"]]
        self.counts = np.array(table["count"])
        columns = {name: table[name] for name in recommender.folder.shown}
        pictures = next((name for name, cells in columns.items() if _are_pictures(cells)), None)
        texts = [name for name in columns if name != pictures]
        self.columns = {name: columns[name] for name in texts}
        self._shown = {}
        for row, item in enumerate(self.item_ids):
            cells = [str(columns[name][row]) for name in texts if columns[name][row]]
            picture = str(columns[pictures][row] or "") if pictures else ""
            safe = picture if PICTURE.fullmatch(picture) else ""
            self._shown[item] = Shown(item, cells[0] if cells else item, " · ".join(cells[1:])[:120], safe)
        self._folded = [_fold(f"{shown.title} {item}") for item, shown in self._shown.items()]

    def shown(self, item_id: str) -> Shown:
        """Return how an item is shown; one that is not in the catalogue by its id."""
        return self._shown.get(item_id, Shown(item_id, item_id, "", ""))

    def known(self, item_ids: Sequence[str]) -> list[str]:
        """Return those that are in the catalogue, the newest of too many."""
        return [item for item in item_ids if item in self._shown][-LONGEST_HISTORY:]

    def search(self, query: str, limit: int = 8) -> list[Shown]:
        """Return the items whose title holds all words of a query: best beginnings first, then what many took."""
        words = _fold(query).split()
        if not words:
            return []
        found = [row for row, text in enumerate(self._folded) if all(word in text for word in words)]
        found.sort(key=lambda row: (not self._folded[row].startswith(words[0]), -self.counts[row], row))
        return [self._shown[self.item_ids[row]] for row in found[:limit]]

    def recommend(self, history: Sequence[str], k: int) -> list[dict[str, Any]]:
        """Return the next items with `item_id`, `title`, `score` and what in the history speaks for each."""
        kept = self.known(history)
        rows = self.recommender.recommend([kept], k=k)[0]
        reasons = self.recommender.explain(kept[-WEIGHED:], [row["item_id"] for row in rows], newest=EXPLAINED)
        return [
            {
                "item_id": row["item_id"],
                "title": self.shown(row["item_id"]).title,
                "score": round(row["score"], 4),
                "because_of": _strongest(self, of_item),
            }
            for row, of_item in zip(rows, reasons, strict=True)
        ]

    def similar(self, item_id: str, k: int) -> list[dict[str, Any]]:
        """Return the items whose learned vectors are nearest."""
        rows = self.recommender.similar_items([item_id], k=k)[0]
        return [
            {"item_id": row["item_id"], "title": self.shown(row["item_id"]).title, "score": round(row["score"], 4)}
            for row in rows
        ]

    @property
    def fields(self) -> list[str]:
        """The columns that a made-up item can have: those that the model reads of texts and categories."""
        origins = self.recommender.model.config.content_encoders or {}
        names: list[str] = []
        if "text" in origins:
            names += fields_of(origins["text"]["template"])
        names += list(origins.get("attributes", {}).get("categories", []))
        return list(dict.fromkeys(names))

    def place(self, made_up: Mapping[str, str], history: Sequence[str]) -> dict[str, Any]:
        """Return where an item that nobody took would stand for a history: `rank`, `of`, and its `neighbours`.

        Raises:
            ValueError: Nothing is said of it that the model reads.
        """
        row = {name: text.strip() for name, text in made_up.items() if text and text.strip()}
        if not row:
            raise ValueError("Say something about it first: a title is enough.")
        kept = self.known(history)
        vector = self.recommender.encode_items([{"item_id": MADE_UP, **row}])[0]
        query, items = self.recommender.encode_history([kept])[0], self.recommender.encode_items()
        scores = items @ query
        seen = np.isin(np.array(self.item_ids, dtype=object), kept)
        better = int((scores[~seen] > vector @ query).sum())
        width = self.recommender.model.config.vector_size
        learned, own = items[:, :width], vector[:width]
        closeness = learned @ own / np.maximum(np.linalg.norm(learned, axis=1) * np.linalg.norm(own), 1e-12)
        nearest = np.argsort(-closeness, kind="stable")[:5]
        return {
            "rank": better + 1,
            "of": int((~seen).sum()) + 1,
            "neighbours": [
                {"item_id": self.item_ids[row], "title": self.shown(self.item_ids[row]).title} for row in nearest
            ],
        }

    def read_csv(self, path: str | Path) -> tuple[list[str], list[str]]:
        """Return the items of a list, oldest first, and what in it was not found.

        Args:
            path: A file with a column `item_id` or `title`, or one of either in each line.

        Raises:
            ValueError: It is too large, or no text.
        """
        content = Path(path).read_bytes()
        if len(content) > LARGEST_CSV:
            raise ValueError(f"The file has {len(content):,} bytes; up to {LARGEST_CSV:,} are read.")
        try:
            rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"The file is no CSV in UTF-8 ({error}).") from error
        header = [cell.strip().lower() for cell in rows[0]] if rows else []
        named = next((header.index(name) for name in ("item_id", "title") if name in header), None)
        cells = [row[named or 0].strip() for row in rows[named is not None :] if len(row) > (named or 0)]
        found, missing = [], []
        for cell in filter(None, cells):
            item = cell if cell in self._shown else self._by_title.get(_fold(cell))
            found.append(item) if item else missing.append(cell)
        return [item for item in found if item][-LONGEST_HISTORY:], missing

    @cached_property
    def _by_title(self) -> dict[str, str]:
        return {_fold(shown.title): item for item, shown in reversed(self._shown.items())}

    @cached_property
    def groups(self) -> tuple[str, list[str]]:
        """The column that sorts items into few kinds, by the first word of each cell, and the kind of each item."""
        best: tuple[str, list[str]] = ("", [""] * len(self.item_ids))
        for name, cells in self.columns.items():
            kinds = [re.split(r"[,|>/]", str(cell or ""))[0].strip() for cell in cells]
            frequent = [kind for kind in set(kinds) if kinds.count(kind) >= max(2, len(kinds) / 200)]
            if 2 <= len(frequent) <= 24 and sum(kind in frequent for kind in kinds) > 0.7 * len(kinds):
                return name, [kind if kind in frequent else "other" for kind in kinds]
        return best

    @property
    def map(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the items that are on the map, and where each lies (items, 2); drawn once, whoever asks first."""
        with self._drawing:
            return self._map

    @cached_property
    def _map(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the items that most people took, and where each lies (items, 2), by t-SNE of learned vectors."""
        from sklearn.manifold import TSNE

        rows = np.argsort(-self.counts, kind="stable")[:ON_THE_MAP]
        vectors = self.recommender.encode_items()[rows, : self.recommender.model.config.vector_size]
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        perplexity = min(30.0, max(1.0, (len(rows) - 1) / 3))
        projection = TSNE(init="random", perplexity=perplexity, random_state=0, metric="cosine", max_iter=500)
        return rows, projection.fit_transform(vectors)


def _strongest(shop: Shop, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events that speak most for an item, with their share of all that speaks for it.

    At most three, none with less than half of what the first one has: what speaks for everything explains nothing.
    """
    for_it = [event for event in events if event["contribution"] > 0]
    total = sum(event["contribution"] for event in for_it) or 1.0
    return [
        {
            "item_id": event["item_id"],
            "title": shop.shown(event["item_id"]).title,
            "share": round(event["contribution"] / total, 3),
        }
        for event in for_it[:3]
        if event["contribution"] >= for_it[0]["contribution"] / 2
    ]


def _are_pictures(cells: Sequence[Any]) -> bool:
    filled = [str(cell) for cell in cells if cell][:50]
    return bool(filled) and all(PICTURE.fullmatch(cell) for cell in filled)


def _fold(text: str) -> str:
    """Lower case without accents, as people type.

    >>> _fold("Amélie (2001)")
    'amelie (2001)'
    """
    spread = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in spread if not unicodedata.combining(letter)).casefold()
