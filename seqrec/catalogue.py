"""A model folder's catalogue: items come, change and go, without training."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset

from seqrec.data.catalogue import OWN_COLUMNS
from seqrec.data.reading import Tabular
from seqrec.item_content import ItemContent, columns_of, content_rows, put_rows, read_content
from seqrec.item_ids import ItemIds, is_list, some_of
from seqrec.item_rows import Reading, read_rows
from seqrec.model import SeqRecForNextItem
from seqrec.model.content import Rows
from seqrec.model_folder import ModelFolder
from seqrec.tokenization import build_tokenizer

logger = logging.getLogger(__name__)


def add_items(folder: ModelFolder, rows: Tabular, reading: Reading) -> None:
    """Append items, or bring back removed ones; see `Recommender.add_items`."""
    items = read_rows(rows, reading)
    tokens = _tokens(folder, items["item_id"][:])
    if not all(tokens):
        _require_content(folder.model, "add_items")
    removed = folder.model.model.items.removed.cpu()
    there = [item for item, token in zip(items["item_id"][:], tokens, strict=True) if token and not removed[token]]
    if there:
        raise ValueError(
            f"{len(there)} of {len(items)} items are in the catalogue already: {some_of(there)}. Change them with "
            "update_items, or leave them out."
        )
    _report_unread(folder.model, items)
    old_tokens = np.array(tokens)  # 0 for items that were never there
    known = old_tokens > 0  # what comes back has what it had
    rows_of = content_rows(folder.model, _content_of_all(folder, items, reading, known))
    rows_of = _completed(folder.model, rows_of, torch.from_numpy(old_tokens))
    grown = _appended(folder, items.select([row for row, token in enumerate(tokens) if not token]))
    shown = _with_shown(grown, items, empties=False)  # of those that come back
    vocab_size = folder.model.config.num_special_tokens + len(shown)
    places = iter(range(folder.model.config.vocab_size, vocab_size))
    numbers = torch.tensor([token or next(places) for token in tokens], dtype=torch.long)
    with _all_or_nothing(folder.model):
        folder.model.resize_catalogue(vocab_size)
        put_rows(folder.model, rows_of, numbers)
    folder.model.model.items.removed[numbers] = False
    folder.items, folder.tokenizer = shown, grown.tokenizer


def update_items(folder: ModelFolder, rows: Tabular, reading: Reading) -> None:
    """Replace the content and the display columns that rows have; see `Recommender.update_items`."""
    model = folder.model
    if is_list(rows) and len({frozenset(row) for row in rows if isinstance(row, Mapping)}) > 1:
        raise ValueError(
            "The rows have different columns, and an update empties what a row lacks. Give each the same columns, or "
            "update those with other columns in a call of their own."
        )
    items = read_rows(rows, reading)
    numbers = _present_tokens(folder, items["item_id"][:])
    _report_unread(model, items)
    given = set(items.column_names)
    origins = {m: o for m, o in (model.config.content_encoders or {}).items() if given & set(columns_of(o))}
    for modality, origin in origins.items():
        absent = sorted(set(columns_of(origin)) - given)
        if absent:
            raise ValueError(
                f"What the model reads as {modality} is made of the columns {columns_of(origin)}, and {absent} are "
                f"not among {items.column_names}. Give all of them, or none."
            )
    rows_of = content_rows(model, _read_content(folder, items, origins, reading))
    _refuse_without_vector(model, items["item_id"][:], numbers, rows_of)
    shown = _with_shown(folder, items, empties=True)
    put_rows(model, rows_of, numbers)
    folder.items = shown


def remove_items(folder: ModelFolder, item_ids: Sequence[str]) -> None:
    """Take items out of all lists; see `Recommender.remove_items`."""
    numbers = _present_tokens(folder, item_ids)
    removed = folder.model.model.items.removed
    if int((~removed).sum()) - folder.model.config.num_special_tokens <= len(numbers):
        raise ValueError(f"Removing {len(numbers)} items would leave none to rank; keep at least one.")
    removed[numbers] = True


def set_catalogue(folder: ModelFolder, rows: Tabular, reading: Reading) -> None:
    """Replace the whole catalogue of a model without item ids; see `Recommender.set_catalogue`."""
    if folder.model.config.use_item_ids:
        raise ValueError(
            "This model knows its items by embeddings of their own, which another catalogue would not have; "
            "set_catalogue is for a model that was trained with use_item_ids: false. Use add_items and remove_items."
        )
    items = read_rows(rows, reading)
    replace_catalogue(folder, items, _content_of_all(folder, items, reading))


def replace_catalogue(folder: ModelFolder, items: Dataset, content: ItemContent) -> None:
    """Let a model without item ids rank these items, whose content has been read, and no others.

    Their `count` in training is kept where they have one.
    """
    model, config = folder.model, folder.model.config
    rows_of = content_rows(model, content)
    table = _catalogue_rows(items, [name for name in config.display_columns or [] if name not in OWN_COLUMNS])
    if "count" in items.column_names:
        counts = items.with_format("arrow")[:]["count"]
        table = table.set_column(table.column_names.index("count"), "count", counts.cast(pa.int64()))
    tokenizer = build_tokenizer(items["item_id"][:], config)
    first = config.num_special_tokens
    with _all_or_nothing(model):
        model.resize_catalogue(first)
        model.resize_catalogue(first + len(items))
        config.num_trained_tokens = None
        put_rows(model, rows_of, torch.arange(first, config.vocab_size))
    folder.items, folder.tokenizer = Dataset(table), tokenizer


def encode_new_items(folder: ModelFolder, rows: Tabular, reading: Reading) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the vectors that items would have in the catalogue (items, width), without adding them."""
    _require_content(folder.model, "encode_items of rows")
    items = read_rows(rows, reading)
    content = _content_of_all(folder, items, reading)
    return folder.model.encode_new_items(content_rows(folder.model, content)).float().cpu().numpy()


@contextmanager
def _all_or_nothing(model: SeqRecForNextItem) -> Iterator[None]:
    """Undo a change that is interrupted; `resize_catalogue` comes first, and leaves the old tensors as they are."""
    items, config = model.model.items, model.config
    buffers = dict(items.named_buffers())
    sizes = {name: getattr(config, name) for name in ("vocab_size", "num_trained_tokens", "content_sizes")}
    try:
        yield
    except BaseException:
        for name, buffer in buffers.items():
            module, _, own_name = name.rpartition(".")
            setattr(items.get_submodule(module), own_name, buffer)
        for name, value in sizes.items():
            setattr(config, name, value)
        raise


def _require_content(model: SeqRecForNextItem, what: str) -> None:
    if not model.config.content_sizes:
        raise ValueError(
            f"This model knows its items by ids alone, so {what} has nothing to rank a new item by. Train with "
            "content: pass a table of items with texts, images, audio or attributes."
        )


def _report_unread(model: SeqRecForNextItem, items: Dataset) -> None:
    """Say which columns nothing reads: a misspelt name would be lost silently."""
    read = {name for origin in (model.config.content_encoders or {}).values() for name in columns_of(origin)}
    read |= {*(model.config.display_columns or []), *OWN_COLUMNS}
    unread = [name for name in items.column_names if name not in read]
    if unread:
        known = sorted(read - {"score"})
        logger.warning("The columns %s of the items are not read; this model reads %s.", unread, known)


def _read_content(
    folder: ModelFolder, items: Dataset, origins: Mapping[str, Mapping[str, Any]], reading: Reading
) -> ItemContent:
    """The content of items in some of a model's modalities."""
    known = sorted(folder.model.config.content_encoders or {})
    unknown = sorted(set(reading.encoders or {}) - set(known))
    if unknown:
        raise ValueError(f"encoders names {unknown}; expected modalities of this model, which are {known}.")
    return read_content(items, origins, reading.encoders, reading.media_folder, folder.text_adapter)


def _content_of_all(
    folder: ModelFolder,
    items: Dataset,
    reading: Reading,
    has_id: np.ndarray[Any, np.dtype[np.bool_]] | None = None,
) -> ItemContent:
    """The content of items, which each must have unless it has an embedding of its own (items,)."""
    origins = folder.model.config.content_encoders or {}
    content = _read_content(folder, items, origins, reading)
    known = content.present() if has_id is None else content.present() | has_id
    empty = [item for item, is_known in zip(items["item_id"][:], known, strict=True) if not is_known]
    if empty:
        columns = sorted({name for origin in origins.values() for name in columns_of(origin)})
        raise ValueError(
            f"{len(empty)} of {len(items)} items have no content to be ranked by: {some_of(empty)}. Fill at least one "
            f"of their columns {columns}."
        )
    return content


def _completed(model: SeqRecForNextItem, rows_of: Mapping[str, Rows], tokens: torch.Tensor) -> dict[str, Rows]:
    """Give items that come back the content that they had, where their rows have none; tokens (count,), 0 for new."""
    completed = {}
    for modality, rows in rows_of.items():
        part = model.model.items.content[modality]
        keeps = (tokens.to(rows[-1].device) > 0) & ~rows[-1]  # rows end with what is there
        stored = part.rows(torch.where(keeps, tokens.to(keeps.device), 0))
        completed[modality] = tuple(_chosen(keeps, old, new) for old, new in zip(stored, rows, strict=True))
    return completed


def _chosen(keeps: torch.Tensor, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Rows of `old` where `keeps` (count,) says so, of `new` elsewhere; `new` may be wider (more attribute values)."""
    if old.dim() == 1:
        return torch.where(keeps, old, new)
    return torch.where(keeps[:, None], torch.nn.functional.pad(old, (0, new.shape[1] - old.shape[1])).to(new), new)


def _refuse_without_vector(
    model: SeqRecForNextItem, item_ids: Sequence[str], numbers: torch.Tensor, rows: Mapping[str, Rows]
) -> None:
    """Refuse a change that takes the last content of an item without an id embedding."""
    embeddings = model.model.items
    known = (numbers < model.config.num_id_rows).to(embeddings.removed.device)
    for modality, part in embeddings.content.items():
        known = known | (rows[modality][-1].to(known) if modality in rows else part.present[numbers])
    empty = [item for item, is_known in zip(item_ids, known.tolist(), strict=True) if not is_known]
    if empty:
        raise ValueError(f"Nothing would be known any more of {some_of(empty)}. Keep some content, or remove_items.")


def _tokens(folder: ModelFolder, item_ids: Iterable[str]) -> list[int]:
    """Token of each item, 0 for what is not in the catalogue."""
    return ItemIds(folder.tokenizer, folder.model.config.num_special_tokens, unknown=0).convert(list(item_ids))


def _present_tokens(folder: ModelFolder, item_ids: Sequence[str]) -> torch.Tensor:
    """Tokens (count,) of items that are in the catalogue, each once."""
    ids = list(dict.fromkeys(item_ids))
    tokens, removed = _tokens(folder, ids), folder.model.model.items.removed.cpu()
    absent = [item for item, token in zip(ids, tokens, strict=True) if not token or removed[token]]
    if absent:
        raise ValueError(f"{len(absent)} of {len(ids)} items are not in the catalogue: {some_of(absent)}.")
    return torch.tensor(tokens, dtype=torch.long)


def _appended(folder: ModelFolder, items: Dataset) -> ModelFolder:
    """The catalogue with items at its end, and its tokenizer; the model is not touched."""
    table = folder.items.with_format("arrow")[:]
    columns = [name for name in table.column_names if name not in OWN_COLUMNS]
    schema = table.schema.remove_metadata()
    new = _catalogue_rows(items, columns).select(table.column_names).cast(schema)
    grown = Dataset(pa.concat_tables([table.cast(schema), new]))
    return ModelFolder(folder.model, build_tokenizer(grown["item_id"][:], folder.model.config), grown)


def _catalogue_rows(items: Dataset, columns: Sequence[str]) -> pa.Table:
    """Rows as `items.parquet` has them: id, display columns as text, and a count of 0."""
    table = items.with_format("arrow")[:]
    shown = {name: _shown(table, name) for name in columns}
    return pa.table({"item_id": table["item_id"], "count": pa.array([0] * len(items), pa.int64()), **shown})


def _shown(table: pa.Table, name: str) -> Any:
    """A display column as text, empty where rows lack it."""
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    try:
        return table[name].cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"The column {name!r} is shown beside items and must be text, not {table[name].type}. Convert it."
        ) from error


def _with_shown(folder: ModelFolder, items: Dataset, empties: bool) -> Dataset:
    """The catalogue with the display columns of some of its items replaced, by empty cells where `empties` says so."""
    table, new = folder.items.with_format("arrow")[:], items.with_format("arrow")[:]
    place = pc.index_in(table["item_id"], value_set=pc.cast(new["item_id"], table["item_id"].type))
    changed = pc.is_valid(place)
    for name in [name for name in table.column_names if name not in OWN_COLUMNS and name in new.column_names]:
        values = _shown(new, name).take(place).cast(table[name].type)
        replaced = changed if empties else pc.and_(changed, pc.is_valid(values))
        table = table.set_column(table.column_names.index(name), name, pc.if_else(replaced, values, table[name]))
    return Dataset(table)
