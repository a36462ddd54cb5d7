"""A trained model with its catalogue: histories of item ids in, items out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset

from seqrec.adapters import Adapters
from seqrec.catalogue import add_items, encode_new_items, remove_items, set_catalogue, update_items
from seqrec.data import histories_of, load_interactions
from seqrec.data.collation import batches_by_length, collate_histories
from seqrec.data.reading import Tabular
from seqrec.data.sources import INTERACTION_COLUMNS
from seqrec.evaluation import evaluate
from seqrec.explanation import leave_one_out
from seqrec.finding import find_item
from seqrec.item_ids import Histories, ItemIds, UnknownItems, as_id, is_ids, is_list
from seqrec.item_rows import Reading, ReadingOptions
from seqrec.model_folder import ModelFolder
from seqrec.publishing import PushOptions, push_to_hub


class Recommender:
    """Ranks the items of a catalogue after histories of item ids; a `Ranker`.

    Args:
        folder: Model, tokenizer, catalogue and records, as `ModelFolder.load` gives them.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.model = folder.model.eval()
        self.adapters = Adapters(self.model)
        self._first = self.model.config.num_special_tokens
        self._appended = [self.model.config.mask_token_id] if self.model.config.appends_mask else []
        self._index()

    def _index(self) -> None:
        """Read the catalogue as it is now."""
        items, unknown = self.folder.items, self.model.config.unk_token_id
        self._ids = ItemIds(self.folder.tokenizer, self._first, unknown, self._removed_tokens)
        self._item_ids = np.array(items["item_id"][:], dtype=object)
        self._display = {name: items[name][:] for name in self.folder.shown}

    @property
    def items(self) -> Dataset:
        """The catalogue, in token order: `item_id`, display columns, `count` in training; without removed items."""
        removed = self._removed()
        return self.folder.items.select(np.flatnonzero(~removed)) if removed.any() else self.folder.items

    def _removed(self) -> npt.NDArray[np.bool_]:
        return self.model.model.items.removed[self._first :].cpu().numpy()

    def _removed_tokens(self) -> frozenset[int]:
        return frozenset((np.flatnonzero(self._removed()) + self._first).tolist())

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, revision: str | None = None, adapter: str | Path | None = None
    ) -> "Recommender":
        """Load a model folder, or a Hub repository by its id.

        Args:
            name_or_path: The folder, or `owner/name`.
            revision: A branch, tag or commit of the repository.
            adapter: An adapter of this model, which then answers: a folder or a Hub id; more by `adapters.load`.

        Raises:
            ValueError: If there is none, or it is not a finished seqrec model, or the adapter is not made for it.
        """
        recommender = cls(ModelFolder.load(name_or_path, revision))
        if adapter is not None:
            recommender.adapters.load(adapter)
        return recommender

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model folder, which `from_pretrained` and plain transformers load; never half of it."""
        self.folder.save(path)

    def push_to_hub(self, repo_id: str, **options: Unpack[PushOptions]) -> str:
        """Write the model folder into the repository `owner/name` of the Hub, and return its address.

        The options, and what is refused: `seqrec.publishing.push_to_hub`.
        """
        return push_to_hub(self.folder, repo_id, **options)

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
        tokens = self._ids.lists(histories, "histories", on_unknown_items, with_removed=True)
        excluded = self._ids.choices(exclude, len(tokens), "exclude", "ignore")
        choices = self._ids.choices(candidates, len(tokens), "candidates", on_unknown_items)
        results: list[list[dict[str, Any]]] = [[] for _ in tokens]
        for rows, chosen in batches_by_length(tokens, self.model.config.max_position_embeddings, choices):
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
        """Return the k most similar other items of each item, by the cosine of their learned vectors.

        An item of which nothing is known is like none.

        Raises:
            ValueError: If an item is not in the catalogue.
        """
        _check_k(k)
        tokens = torch.tensor(self._ids.known(item_ids), dtype=torch.long)
        with torch.no_grad():
            learned = self.model.encode_items()[:, : self.model.config.vector_size]
            vectors = torch.nn.functional.normalize(learned, dim=-1)
            unrankable = ~self.model.model.items.rankable()
        results = []
        for token in tokens.tolist():
            scores = (vectors @ vectors[token]).masked_fill(unrankable, float("-inf"))  # (vocab,)
            scores[token] = float("-inf")
            if unrankable[token]:
                scores[:] = float("-inf")
            best = scores.topk(min(k, int(scores.isfinite().sum())))
            results.append(self._rows(best.indices.tolist(), best.values.tolist()))
        return results

    def encode_history(self, histories: Histories, on_unknown_items: UnknownItems = "warn") -> npt.NDArray[np.float32]:
        """Return one vector a history (histories, width); its dot product with an item's vector is the score."""
        tokens = self._ids.lists(histories, "histories", on_unknown_items, with_removed=True)
        vectors = np.empty((len(tokens), self.model.config.score_size), dtype=np.float32)
        for rows, _ in batches_by_length(tokens, self.model.config.max_position_embeddings):
            with torch.no_grad():
                encoded = self.model.encode_history(**self._batch([tokens[row] for row in rows]))
            vectors[rows] = encoded.float().cpu().numpy()
        return vectors

    def encode_items(
        self, items: Sequence[str] | Tabular | None = None, **reading: Unpack[ReadingOptions]
    ) -> npt.NDArray[np.float32]:
        """Return one vector an item (items, width), of the whole catalogue in the order of `items` by default.

        Args:
            items: Item ids, or rows of items that need not be in the catalogue, as `add_items` takes them.
            **reading: How rows are read, as in `add_items`.

        Raises:
            ValueError: If an item is not in the catalogue, or a row has no content that the model reads.
        """
        if isinstance(items, str) and self._ids.convert([items])[0] >= self._first:
            raise ValueError(f"items must be a list of item ids, not {items!r:.60}: wrap it in a list.")
        if items is not None and not is_ids(items):
            return encode_new_items(self.folder, items, Reading(**reading))
        with torch.no_grad():
            vectors = self.model.encode_items()
        chosen = vectors[self._first :][~self._removed()] if items is None else vectors[self._ids.known(items)]
        return chosen.detach().float().cpu().numpy().copy()  # the caller's own: the model keeps its own

    def explain(self, history: Sequence[str], item_ids: Sequence[str], newest: int = 20) -> list[list[dict[str, Any]]]:
        """Return for each item a list of `{"item_id", "contribution"}`: how far its score falls without that event.

        Args:
            history: Item ids, oldest first.
            item_ids: Items of the catalogue, as in a list of `recommend`.
            newest: Events that are tried, those that speak most first; each costs one more history to encode.

        Raises:
            ValueError: If an item is not in the catalogue, or an argument has the wrong shape.
        """
        if not is_list(item_ids):
            raise ValueError(f"item_ids must be a list of item ids, not {item_ids!r:.60}: wrap it in a list.")
        _check_k(newest, "newest")
        tokens = self._ids.lists([history], "histories", "warn", with_removed=True)[0]
        known = [self._item_ids[token - self._first] for token in tokens]
        return leave_one_out(self, known, list(item_ids), newest)

    def text_vectors(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]] | None:
        """Return what the texts of `items` say (items, width) and which have one (items,); None without texts."""
        content, kept = self.model.content_vectors("text"), ~self._removed()
        return None if content is None else tuple(part.cpu().numpy()[kept] for part in content)

    def add_items(self, rows: Tabular, **reading: Unpack[ReadingOptions]) -> None:
        """Make new items rankable at once, by their content and without training; removed ones come back.

        What a row says nothing of (all of its text, all of its attributes) stays as it was in one that comes back. Not
        to be called while another thread ranks.

        Args:
            rows: A list of dicts, or any table that `seqrec.data.load_items` reads: `item_id` and the columns that
                content was made of in training. A cell may be missing, but not all content of an item.
            **reading: `column_mapping` (their column name to ours), `encoders` (folders of encoders that were local
                in training, by modality) and `media_folder` (what relative paths start from).

        Raises:
            ValueError: An item is there already, has no content, or a content cannot be read; nothing is changed then.
                Also where the model knows its items by ids alone.
            OSError: The encoder cannot be had.
        """
        add_items(self.folder, rows, Reading(**reading))
        self._index()

    def update_items(self, rows: Tabular, **reading: Unpack[ReadingOptions]) -> None:
        """Replace the content and the display columns of items by those that rows have.

        Args:
            rows: As in `add_items`; content none of whose columns is given stays as it is.
            **reading: As in `add_items`.

        Raises:
            ValueError: An item is not in the catalogue, or would have no content left; nothing is changed then.
        """
        update_items(self.folder, rows, Reading(**reading))
        self._index()

    def remove_items(self, item_ids: Sequence[str]) -> None:
        """Take items out of all lists; histories that hold them are read as before.

        Raises:
            ValueError: An item is not in the catalogue, or none would be left; nothing is changed then.
        """
        if not is_list(item_ids):
            raise ValueError(f"item_ids must be a list of item ids, not {item_ids!r:.60}: wrap it in a list.")
        remove_items(self.folder, [as_id(item) for item in item_ids])

    def set_catalogue(self, items: Tabular, **reading: Unpack[ReadingOptions]) -> None:
        """Replace the whole catalogue of a model that was trained with `use_item_ids: false`.

        Args:
            items: As in `add_items`.
            **reading: As in `add_items`.

        Raises:
            ValueError: The model has item ids, or an item has no content; nothing is changed then.
        """
        set_catalogue(self.folder, items, Reading(**reading))
        self._index()

    def target_ranks(
        self, histories: Histories, targets: Sequence[str], exclude_seen: bool = True
    ) -> npt.NDArray[np.int64]:
        """Return the rank of each history's target over the catalogue, as `Ranker` says; unknown ids are ignored."""
        tokens = self._ids.lists(histories, "histories", "ignore", with_removed=True)
        if not is_list(targets):
            raise ValueError(f"targets must be a list of item ids, one a history, not {targets!r:.60}.")
        asked = self._ids.convert(targets)
        if len(asked) != len(tokens):
            raise ValueError(f"There are {len(asked)} targets for {len(tokens)} histories; give one target a history.")
        ranks = np.empty(len(tokens), dtype=np.int64)
        for rows, _ in batches_by_length(tokens, self.model.config.max_position_embeddings):
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
        if not is_list(queries):
            raise ValueError(f"Name items in a list, not {queries!r:.60}: wrap it in a list.")
        items = self.items
        item_ids, texts = items["item_id"][:], [items[name][:] for name in self._display]
        known = set(item_ids)
        return [query if query in known else find_item(query, item_ids, texts) for query in map(as_id, queries)]

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


def _check_k(k: int, name: str = "k") -> None:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise ValueError(f"{name}={k!r} must be a whole number of at least 1.")
