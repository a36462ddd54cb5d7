"""A trained model with its catalogue: histories of item ids in, items out."""

import difflib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset

from seqrec.data import histories_of, load_interactions
from seqrec.data.catalogue import OWN_COLUMNS
from seqrec.data.collation import collate_histories
from seqrec.data.reading import Tabular
from seqrec.data.sources import INTERACTION_COLUMNS
from seqrec.evaluation import evaluate
from seqrec.model_folder import ModelFolder

logger = logging.getLogger(__name__)

UnknownItems = Literal["warn", "ignore", "raise"]
Histories = Sequence[Sequence[str]]
BATCH_SIZE = 256
ATTENTION_AT_ONCE = 2**24  # attention weights a head of one batch, 64 MB
NAMED_AT_MOST = 5  # ids in a message


class Recommender:
    """Ranks the items of a catalogue after histories of item ids; a `Ranker`.

    Args:
        folder: Model, tokenizer, catalogue and records, as `ModelFolder.load` gives them.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.model = folder.model.eval()
        self.items = folder.items
        self._first = self.model.config.num_special_tokens
        self._item_ids = np.array(self.items["item_id"], dtype=object)
        shown = [name for name in self.model.config.display_columns or [] if name in self.items.column_names]
        shown = [name for name in shown if name not in OWN_COLUMNS]
        self._display = {name: list(self.items[name]) for name in shown}
        self._appended = [self.model.config.mask_token_id] if self.model.config.attention == "bidirectional" else []

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, revision: str | None = None) -> "Recommender":
        """Load a model folder, or a Hub repository by its id.

        Raises:
            ValueError: If there is none, or it is not a finished seqrec model.
        """
        return cls(ModelFolder.load(name_or_path, revision))

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model folder, which `from_pretrained` and plain transformers load; never half of it."""
        self.folder.save(path)

    def recommend(
        self,
        histories: Histories,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Sequence[str] | Histories | None = None,
        exclude: Sequence[str] | Histories | None = None,
        on_unknown_items: UnknownItems = "warn",
    ) -> list[list[dict[str, Any]]]:
        """Return the k best items of each history, best first.

        Args:
            histories: Item ids of each user, oldest first; may be empty.
            k: Length of the lists; shorter only where fewer items are left.
            exclude_seen: Leave out every item of the history, however old.
            candidates: Item ids to choose from: one list for all histories, or one a history.
            exclude: Item ids to leave out: one list for all histories, or one a history; may name unknown items.
            on_unknown_items: What to do about ids of histories and candidates that are outside the catalogue, which
                are left out in any case.

        Returns:
            For each history a list of `{"item_id", "score", ...}` with the display columns of the model.

        Raises:
            ValueError: If an argument has the wrong shape, or for unknown ids with `on_unknown_items="raise"`.
        """
        _check_k(k)
        tokens = self._tokens(histories, "histories", on_unknown_items)
        excluded = self._choices(exclude, len(tokens), "exclude", "ignore")
        choices = self._choices(candidates, len(tokens), "candidates", on_unknown_items)
        results: list[list[dict[str, Any]]] = [[] for _ in tokens]
        for rows, chosen in self._groups(tokens, choices):
            batch = self._batch([tokens[row] for row in rows])
            left_out = None if excluded is None else collate_histories([excluded[row] for row in rows])["input_ids"]
            ranking = self.model.rank(
                **batch,
                k=k,
                exclude_seen=exclude_seen,
                candidates=self._tensor(chosen),
                exclude=self._tensor(left_out),
            )
            for row, token_ids, scores in zip(rows, ranking.token_ids.tolist(), ranking.scores.tolist(), strict=True):
                results[row] = self._rows(token_ids, scores)
        return results

    def recommend_users(
        self,
        interactions: Tabular,
        k: int = 10,
        column_mapping: Mapping[str, str] | None = None,
        exclude_seen: bool = True,
        on_unknown_items: UnknownItems = "warn",
    ) -> Dataset:
        """Return a table (user_id, item_id, rank, score) with the k best items of every user.

        Args:
            interactions: Anything that `seqrec.data.load_interactions` reads.
            k: Items a user.
            column_mapping: Their column name to ours, as in training: what it says of items alone is passed over.
            exclude_seen: Leave out what the user has.
            on_unknown_items: As in `recommend`.
        """
        of_events = {name: ours for name, ours in (column_mapping or {}).items() if ours in INTERACTION_COLUMNS}
        users = histories_of(load_interactions(interactions, of_events)).to_pydict()
        lists = self.recommend(users["history"], k, exclude_seen, on_unknown_items=on_unknown_items)
        columns: dict[str, list[Any]] = {"user_id": [], "item_id": [], "rank": [], "score": []}
        for user_id, recommended in zip(users["user_id"], lists, strict=True):
            columns["user_id"] += [user_id] * len(recommended)
            columns["item_id"] += [row["item_id"] for row in recommended]
            columns["rank"] += range(1, len(recommended) + 1)
            columns["score"] += [row["score"] for row in recommended]
        return Dataset.from_dict(columns)

    def similar_items(self, item_ids: Sequence[str], k: int = 10) -> list[list[dict[str, Any]]]:
        """Return the k most similar other items of each item, by the cosine of their vectors.

        Raises:
            ValueError: If an item is not in the catalogue.
        """
        _check_k(k)
        tokens = torch.tensor(self._known_tokens(item_ids), dtype=torch.long)
        with torch.no_grad():
            vectors = torch.nn.functional.normalize(self.model.encode_items()[self._first :], dim=-1)
        results = []
        for token in tokens.tolist():
            scores = vectors @ vectors[token - self._first]  # (items,)
            scores[token - self._first] = float("-inf")
            best = scores.topk(min(k, len(scores) - 1))
            results.append(self._rows((best.indices + self._first).tolist(), best.values.tolist()))
        return results

    def encode_history(self, histories: Histories, on_unknown_items: UnknownItems = "warn") -> npt.NDArray[np.float32]:
        """Return one vector a history (histories, hidden); its dot product with an item's vector is the score."""
        tokens = self._tokens(histories, "histories", on_unknown_items)
        vectors = np.empty((len(tokens), self.model.config.hidden_size), dtype=np.float32)
        for rows, _ in self._groups(tokens, None):
            with torch.no_grad():
                encoded = self.model.encode_history(**self._batch([tokens[row] for row in rows]))
            vectors[rows] = encoded.float().cpu().numpy()
        return vectors

    def encode_items(self, item_ids: Sequence[str] | None = None) -> npt.NDArray[np.float32]:
        """Return one vector an item (items, hidden), of the whole catalogue in the order of `items` by default.

        Raises:
            ValueError: If an item is not in the catalogue.
        """
        with torch.no_grad():
            vectors = self.model.encode_items()
        chosen = vectors[self._first :] if item_ids is None else vectors[self._known_tokens(item_ids)]
        return chosen.detach().float().cpu().numpy().copy()  # the caller's own: the model keeps its own

    def text_vectors(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]] | None:
        """Return what the items' texts say (items, width) and which items have a text (items,); None without texts."""
        content = self.model.content_vectors("text")
        return None if content is None else (content[0].float().cpu().numpy(), content[1].cpu().numpy())

    def target_ranks(
        self, histories: Histories, targets: Sequence[str], exclude_seen: bool = True
    ) -> npt.NDArray[np.int64]:
        """Return the rank of each history's target over the catalogue, as `Ranker` says; unknown ids are ignored."""
        tokens = self._tokens(histories, "histories", "ignore")
        if not _is_list(targets):
            raise ValueError(f"targets must be a list of item ids, one a history, not {targets!r:.60}.")
        asked = self._convert(targets)
        if len(asked) != len(tokens):
            raise ValueError(f"There are {len(asked)} targets for {len(tokens)} histories; give one target a history.")
        ranks = np.empty(len(tokens), dtype=np.int64)
        for rows, _ in self._groups(tokens, None):
            batch = self._batch([tokens[row] for row in rows])
            wanted = torch.tensor([asked[row] for row in rows], device=self.model.device)
            ranks[rows] = self.model.target_ranks(**batch, targets=wanted, exclude_seen=exclude_seen).cpu().numpy()
        return ranks

    def evaluate(self, dataset: Dataset, k: Sequence[int] = (10, 20)) -> dict[str, Any]:
        """Return the metrics on a prepared split, as `seqrec.evaluate` does."""
        return evaluate(self, dataset, k, self.items, self.text_vectors())

    def find_items(self, queries: Sequence[str]) -> list[str]:
        """Return the item id that each query means: an id, or a display text (case aside), whole or a unique part.

        Raises:
            ValueError: If a query fits no item or several; it names the nearest.
        """
        if not _is_list(queries):
            raise ValueError(f"Name items in a list, not {queries!r:.60}: wrap it in a list.")
        known = set(self._item_ids)
        return [query if query in known else self._find_text(query) for query in map(_as_id, queries)]

    def _find_text(self, query: str) -> str:
        texts = [[text or "" for text in column] for column in self._display.values()]
        wanted = query.casefold()
        if not wanted.strip():
            raise ValueError("An empty text names no item; pass an item id or a part of its title.")
        for fits in (lambda text: text == wanted, lambda text: wanted in text):
            rows = sorted({row for column in texts for row, text in enumerate(column) if fits(text.casefold())})
            if len(rows) == 1:
                return str(self._item_ids[rows[0]])
            if rows:
                some = [f"{self._item_ids[row]} ({texts[0][row]})" for row in rows[:NAMED_AT_MOST]]
                raise ValueError(f"{query!r} fits {len(rows)} items, e.g. {', '.join(some)}. Name one by its id.")
        close = difflib.get_close_matches(query, [*map(str, self._item_ids), *(t for c in texts for t in c)], n=3)
        raise ValueError(f"No item is called {query!r}. " + (f"Near it: {close}." if close else "Pass an item id."))

    def _convert(self, item_ids: Sequence[str]) -> list[int]:
        """Token ids; what is no item of the catalogue becomes the unknown token, special tokens too."""
        unknown = self.model.config.unk_token_id
        try:
            tokens: Any = self.folder.tokenizer.convert_tokens_to_ids([_as_id(item) for item in item_ids])
        except UnicodeEncodeError as error:
            raise ValueError(f"The item id {error.object!r:.80} is not Unicode; read its file as UTF-8.") from None
        return [token if token >= self._first else unknown for token in tokens]

    def _known_tokens(self, item_ids: Sequence[str]) -> list[int]:
        if not _is_list(item_ids):
            raise ValueError(f"item_ids must be a list of item ids, not {item_ids!r:.60}: wrap it in a list.")
        return self._tokens([item_ids], "item_ids", "raise")[0]

    def _choices(
        self, ids: Sequence[str] | Histories | None, count: int, name: str, on_unknown_items: UnknownItems
    ) -> list[list[int]] | None:
        """Tokens of one list of ids for each history; a single list of ids serves all of them."""
        if ids is None:
            return None
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise ValueError(f"{name} must be a list of item ids, or one list a history, not {ids!r}.")
        every: list[Any] = list(ids)
        if not any(_is_list(item) for item in every):
            return self._tokens([every], name, on_unknown_items) * count
        if len(every) != count:
            raise ValueError(
                f"{name} has {len(every)} lists for {count} histories; give one each, or one list of ids for all."
            )
        return self._tokens(every, name, on_unknown_items)

    def _tokens(self, lists: Histories, name: str, on_unknown_items: UnknownItems) -> list[list[int]]:
        """Token ids of lists of item ids without those outside the catalogue, which are named once."""
        if on_unknown_items not in ("warn", "ignore", "raise"):
            raise ValueError(f"on_unknown_items={on_unknown_items!r} must be 'warn', 'ignore' or 'raise'.")
        given, lists = lists, list(lists) if isinstance(lists, Iterable) else []
        if not isinstance(given, Iterable) or not all(_is_list(ids) for ids in lists):
            raise ValueError(f"{name} must be a list of lists of item ids, not {given!r:.60}: wrap it in a list.")
        flat = [item for ids in lists for item in ids]
        tokens = self._convert(flat)
        unknown = [item for item, token in zip(flat, tokens, strict=True) if token < self._first]
        if unknown and on_unknown_items != "ignore":
            some = ", ".join(repr(item) for item in list(dict.fromkeys(unknown))[:NAMED_AT_MOST])
            message = f"{len(unknown)} of {len(flat)} ids in {name} are not in the catalogue: {some}"
            if on_unknown_items == "raise":
                raise ValueError(f"{message}. Pass ids of the catalogue (`recommender.items['item_id']`).")
            logger.warning("%s; they are left out.", message)
        stream = iter(tokens)
        return [[token for _, token in zip(ids, stream, strict=False) if token >= self._first] for ids in lists]

    def _groups(
        self, tokens: list[list[int]], candidates: list[list[int]] | None
    ) -> Iterator[tuple[list[int], torch.Tensor | None]]:
        """Yield rows that share their candidates, in batches of similar length."""
        groups: dict[int | None, list[int]] = defaultdict(list)  # by the list of candidates itself
        for row in sorted(range(len(tokens)), key=lambda row: len(tokens[row])):
            groups[None if candidates is None else id(candidates[row])].append(row)
        for rows in groups.values():
            unique = None
            if candidates is not None:
                unique = torch.tensor(list(dict.fromkeys(candidates[rows[0]])), dtype=torch.long)
            while rows:
                longest = min(len(tokens[rows[:BATCH_SIZE][-1]]) + 1, self.model.config.max_position_embeddings)
                size = max(1, min(BATCH_SIZE, ATTENTION_AT_ONCE // longest**2))
                batch, rows = rows[:size], rows[size:]
                yield batch, unique

    def _batch(self, tokens: list[list[int]]) -> dict[str, torch.Tensor]:
        return {
            name: tensor.to(self.model.device) for name, tensor in collate_histories(tokens, self._appended).items()
        }

    def _tensor(self, tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor.to(self.model.device)

    def _rows(self, token_ids: list[int], scores: list[float]) -> list[dict[str, Any]]:
        """Dicts of the real items of one list."""
        kept = [
            (token - self._first, score)
            for token, score in zip(token_ids, scores, strict=True)
            if token >= self._first
        ]
        rows = []
        for row, score in kept:
            display = {name: column[row] for name, column in self._display.items()}
            rows.append({"item_id": self._item_ids[row], "score": score, **display})
        return rows


def _check_k(k: int) -> None:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k={k!r} must be a whole number of at least 1.")


def _is_list(ids: object) -> bool:
    """Whether something is a list of ids (an array or a pandas Series, too) rather than an id."""
    return getattr(ids, "ndim", 0) == 1 or (isinstance(ids, Sequence) and not isinstance(ids, str | bytes))


def _as_id(item: object) -> str:
    """An id as training reads it: text, whole numbers without a fraction.

    >>> _as_id(1500), _as_id(1500.0), _as_id("007")
    ('1500', '1500', '007')
    """
    if not isinstance(item, str | int | float | np.number):
        raise ValueError(f"An item id is text or a number, not {item!r:.80}.")
    return str(int(item)) if isinstance(item, float | np.floating) and float(item).is_integer() else str(item)
